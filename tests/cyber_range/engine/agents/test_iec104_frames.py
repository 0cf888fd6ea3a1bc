"""IEC 60870-5-104 on the wire: laws of the codec, and frames written down by hand from the standard."""

from __future__ import annotations

import datetime
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.agents import iec104_frames as frames
from cyber_range.engine.agents.iec104_frames import KINDS, Asdu, Body, Element, Frame, FrameError, Kind

YEAR_2000, YEAR_2100 = 946684800_000, 4102444800_000


@st.composite
def elements(draw: st.DrawFn, kind: Kind, address: int) -> Element:
    octet = st.integers(0, 255)
    value, flags = {
        Body.SINGLE: (st.integers(0, 1), octet.map(lambda o: o & 0xFE)),
        Body.DOUBLE: (st.integers(0, 3), octet.map(lambda o: o & 0xFC)),
        Body.STEP: (st.integers(0, 3), octet.map(lambda o: o & 0xFC)),
        Body.NORMALIZED: (st.integers(-32768, 32767).map(lambda v: v / 32768), octet),
        Body.SCALED: (st.integers(-32768, 32767), octet),
        Body.FLOAT: (st.floats(width=32, allow_nan=False), octet),
        Body.COUNTER: (st.integers(-(2**31), 2**31 - 1), octet),
        Body.OCTET: (octet, st.just(0)),
        Body.TEST: (st.integers(0, 65535), st.just(0)),
    }.get(kind.body, (st.just(0), st.just(0)))
    time = draw(st.integers(YEAR_2000, YEAR_2100 - 1)) if kind.timed else None
    flawed = draw(st.booleans()) if kind.timed else False
    return Element(address, draw(value), draw(flags), time, flawed)


@st.composite
def asdus(draw: st.DrawFn) -> Asdu:
    kind = draw(st.sampled_from(sorted(KINDS.values(), key=lambda kind: kind.number)))
    sequence = draw(st.booleans())
    room = 240 // max(kind.size, 1) if sequence else 243 // (3 + kind.size)
    count = draw(st.integers(1, max(1, min(127, room))))
    start = draw(st.integers(0, 2**24 - 128))
    return Asdu(
        kind,
        draw(st.integers(0, 63)),
        draw(st.integers(0, 65535)),
        tuple(draw(elements(kind, start + (index if sequence else 3 * index % 128))) for index in range(count)),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(0, 255)),
        sequence,
    )


@given(asdus())
def test_an_asdu_comes_back_as_it_was(asdu: Asdu) -> None:
    assert frames.unpack_asdu(frames.pack_asdu(asdu)) == asdu


@given(
    st.one_of(
        st.builds(Frame, control=st.sampled_from(sorted(frames.U_FORMATS))),
        st.builds(Frame, receive=st.integers(0, 32767)),
        st.builds(
            Frame, send=st.integers(0, 32767), receive=st.integers(0, 32767), asdu=st.binary(min_size=6, max_size=249)
        ),
    ),
    st.binary(max_size=9),
)
def test_a_frame_comes_back_and_leaves_what_follows(frame: Frame, following: bytes) -> None:
    buffer = bytearray(frames.pack_frame(frame) + following)

    assert frames.take_frame(buffer) == frame
    assert bytes(buffer) == following


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_a_frame_error_or_too_few(data: bytes) -> None:
    buffer = bytearray(data)
    try:
        while (frame := frames.take_frame(buffer)) is not None:
            if frame.asdu:
                frames.unpack_asdu(frame.asdu)
    except FrameError:
        return
    assert len(buffer) < 255


@given(st.integers(YEAR_2000, YEAR_2100 - 1))
def test_a_time_comes_back_with_its_weekday(milliseconds: int) -> None:
    packed = frames.pack_time(milliseconds)

    assert frames.unpack_time(packed) == (milliseconds, False)
    at = datetime.datetime.fromtimestamp(milliseconds // 1000, datetime.UTC)
    assert packed[4] >> 5 == at.isoweekday()


@given(st.binary(min_size=7, max_size=7))
def test_a_date_that_does_not_exist_is_invalid_and_no_error(data: bytes) -> None:
    milliseconds, _ = frames.unpack_time(data)

    assert milliseconds == 0 or YEAR_2000 <= milliseconds < YEAR_2100


def test_frames_are_those_of_the_standard() -> None:
    interrogation = Asdu(KINDS[100], 6, 1, (Element(0, 20),))
    spontaneous = Asdu(
        KINDS[36],
        3,
        7,
        (
            Element(
                4001, 21.5, 0, int(datetime.datetime(2026, 11, 23, 8, 9, 10, tzinfo=datetime.UTC).timestamp() * 1000)
            ),
        ),
    )

    assert frames.pack_frame(Frame(control=frames.STARTDT_ACT)).hex() == "680407000000"
    assert frames.pack_frame(Frame(receive=5)).hex() == "680401000a00"
    assert frames.pack_frame(Frame(send=0, receive=0, asdu=frames.pack_asdu(interrogation))).hex() == (
        "680e0000000064010600010000000014"
    )
    assert (
        frames.pack_asdu(spontaneous).hex()
        == "24010300" + "0700" + "a10f00" + "0000ac41" + "00" + "10270908" + "37" + "0b1a"
    )


def test_an_unknown_type_is_mirrored_with_cause_44() -> None:
    asked = bytes((200, 1, 6, 0, 1, 0, 0, 0, 0, 1))

    assert frames.unknown_type(asked) == bytes((200, 1, 44 | 0x40, 0, 1, 0, 0, 0, 0, 1))


@pytest.mark.parametrize("value", [1e300, -1e300, math.inf, 0.1])
def test_a_number_too_large_for_a_float_is_its_largest(value: float) -> None:
    packed = frames.pack_element(KINDS[13], Element(1, value))

    assert struct.unpack("<f", packed[:4])[0] == pytest.approx(
        max(-3.4028235e38, min(3.4028235e38, value))
    ) or math.isinf(value)
