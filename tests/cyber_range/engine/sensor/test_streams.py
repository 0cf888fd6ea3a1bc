"""However segments are cut, repeated and shuffled, a stream gives every byte once, in order."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.sensor.streams import MODULUS, PENDING_LIMIT, Stream


@given(
    st.binary(min_size=1, max_size=400),
    st.integers(0, MODULUS - 1),
    st.lists(st.tuples(st.integers(0, 399), st.integers(1, 80)), max_size=20),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_shuffled_overlapping_segments_give_the_stream(
    data: bytes, first: int, extra: list[tuple[int, int]], chance: random.Random
) -> None:
    segments = [(at, data[at : at + 50]) for at in range(0, len(data), 50)]
    segments += [(at, data[at : at + size]) for at, size in extra if at < len(data)]
    chance.shuffle(segments)
    stream = Stream()
    stream.push(first, b"", syn=True)

    got = b"".join(stream.push((first + 1 + at) % MODULUS, piece) for at, piece in segments)

    assert got == data
    assert stream.holes == 0


def test_a_hole_that_never_fills_is_given_up_and_counted() -> None:
    stream = Stream()
    stream.push(0, b"", syn=True)
    stream.push(1, b"start")

    got = b"".join(stream.push(100 + 1000 * i, b"x" * 1000) for i in range(PENDING_LIMIT // 1000 + 2))

    assert got.startswith(b"x" * 1000)
    assert stream.holes == 94


def test_a_stream_joined_in_the_middle_starts_at_what_is_seen() -> None:
    stream = Stream()

    assert stream.push(5000, b"abc") + stream.push(5003, b"def") + stream.push(5000, b"abc") == b"abcdef"
