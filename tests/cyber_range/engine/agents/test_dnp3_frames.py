"""DNP3 on the wire: laws of the codecs, and frames known from elsewhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.agents import dnp3_frames, dnp3_objects
from cyber_range.engine.agents.dnp3_frames import LinkFrame, Reassembler
from cyber_range.engine.agents.dnp3_objects import (
    COUNT_8,
    INDEX_8,
    INDEX_16,
    LAYOUTS,
    LIMITS,
    RANGE_8,
    RANGE_16,
    Fragment,
    Function,
    Header,
    Item,
    ObjectError,
)

VALUES = {
    "F": st.just(0), "b": st.integers(0, 1), "B": st.integers(0, 255), "f": st.floats(width=32, allow_nan=False),
    "d": st.floats(allow_nan=False), **{part: st.integers(*limits) for part, limits in LIMITS.items()},
}  # fmt: skip


@st.composite
def items(draw: st.DrawFn, layout: str, index: int) -> Item:
    binary = layout in ("F", "FT", "FR")
    flags = draw(st.integers(0, 127 if binary else 255)) if "F" in layout or "S" in layout else 0
    value = (
        draw(st.integers(0, 1)) if binary else next((draw(VALUES[p]) for p in layout if p in VALUES and p != "F"), 0)
    )
    time = None
    if "T" in layout:
        time = draw(st.integers(0, 2**48 - 1))
    if "R" in layout:
        time = draw(st.integers(0, 65535))
    unsigned = st.integers(0, 2**32 - 1)
    pulse = draw(st.tuples(st.integers(0, 255), unsigned, unsigned)) if "C" in layout else None
    return Item(index, value, flags, time, pulse)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    group, variation = draw(st.sampled_from(sorted(LAYOUTS)))
    qualifier = draw(st.sampled_from([RANGE_8, RANGE_16, COUNT_8, INDEX_8, INDEX_16]))
    count, first = draw(st.integers(1, 12)), draw(st.integers(0, 200))
    indices = [first + number for number in range(count)]
    if qualifier == COUNT_8:
        indices = list(range(count))
    elif qualifier == INDEX_16:
        indices = [7 * index % 60000 for index in indices]
    if LAYOUTS[group, variation] == "b" and qualifier in (INDEX_8, INDEX_16):
        qualifier, indices = RANGE_16, list(range(first, first + count))
    made = tuple(draw(items(LAYOUTS[group, variation], index)) for index in indices)
    return Header(group, variation, qualifier, made)


@given(
    st.builds(
        Fragment,
        st.sampled_from([Function.WRITE, Function.SELECT, Function.RESPONSE, Function.UNSOLICITED]),
        st.integers(0, 15),
        st.lists(headers(), max_size=4).map(tuple),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    st.integers(0, 65535),
)
def test_a_fragment_comes_back_as_it_was(fragment: Fragment, iin: int) -> None:
    answers = fragment.function in (Function.RESPONSE, Function.UNSOLICITED)
    whole = Fragment(
        fragment.function, fragment.sequence, fragment.headers, fragment.first, fragment.final, fragment.confirm,
        fragment.unsolicited, iin if answers else None,
    )  # fmt: skip

    back = dnp3_objects.unpack_fragment(dnp3_objects.pack_fragment(whole))

    assert [h.items for h in back.headers] == [h.items for h in whole.headers]
    assert dnp3_objects.pack_fragment(back) == dnp3_objects.pack_fragment(whole)
    assert (back.function, back.sequence, back.iin) == (whole.function, whole.sequence, whole.iin)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_fragment_or_an_object_error(data: bytes) -> None:
    try:
        dnp3_objects.unpack_fragment(data)
    except ObjectError:
        return


FRAMES = st.builds(
    LinkFrame, st.integers(0, 255), st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=250)
)


@given(st.lists(FRAMES, min_size=1, max_size=4), st.binary(max_size=20).filter(lambda noise: b"\x05" not in noise))
def test_link_frames_come_back_from_a_noisy_line(wanted: list[LinkFrame], noise: bytes) -> None:
    buffer = bytearray()
    for frame in wanted:
        buffer += noise + dnp3_frames.pack_link(frame)
    found = []
    while (frame := dnp3_frames.take_link(buffer)) is not None:  # type: ignore[assignment]
        found.append(frame)

    assert found == wanted
    assert bytes(buffer) == b""


@given(FRAMES, st.data())
def test_one_wrong_bit_never_passes(frame: LinkFrame, data: st.DataObject) -> None:
    packed = bytearray(dnp3_frames.pack_link(frame))
    at = data.draw(st.integers(0, len(packed) * 8 - 1))
    packed[at // 8] ^= 1 << at % 8

    found = dnp3_frames.take_link(packed)

    assert found is None or found != frame


@given(st.binary(max_size=400))
def test_any_bytes_are_skipped(data: bytes) -> None:
    buffer = bytearray(data)
    while dnp3_frames.take_link(buffer) is not None:
        pass
    assert len(buffer) <= 292


@given(st.binary(min_size=1, max_size=2048), st.integers(0, 63))
def test_segments_make_the_fragment_again_and_a_lost_one_makes_none(fragment: bytes, sequence: int) -> None:
    made = dnp3_frames.segments(fragment, sequence)
    whole, holed = Reassembler(), Reassembler()

    assert [whole.feed(segment) for segment in made] == [None] * (len(made) - 1) + [fragment]
    if len(made) > 2:
        assert [holed.feed(segment) for segment in made[:1] + made[2:]] == [None] * (len(made) - 1)


def test_a_frame_known_from_the_standard() -> None:
    """Read class 0 from station 1024 by master 1 (the CRCs are those every capture shows)."""
    read = Fragment(Function.READ, 0, (Header(60, 1, 6),))
    frame = LinkFrame(0xC4, 1024, 1, dnp3_frames.segments(dnp3_objects.pack_fragment(read), 0)[0])

    assert (
        dnp3_frames.pack_link(LinkFrame(0xC0, 1, 0)).hex()
        == "056405c001000000" + dnp3_frames.crc(bytes.fromhex("056405c001000000")).hex()
    )
    assert dnp3_frames.pack_link(frame)[:8].hex() == "05640bc400040100"
    assert dnp3_frames.pack_link(frame)[10:16].hex() == "c0c0013c0106"
    assert dnp3_frames.crc(bytes.fromhex("056405c001000004")) == bytes.fromhex("e921")
