"""The spool: gapless, durable, forgets only what was acknowledged, survives a torn write."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.errors import RangeError
from cyber_range.engine.events import EventKind
from cyber_range.engine.lab import spool as spool_module
from cyber_range.engine.lab.spool import Spool

RANGE = "0123456789ab"


def add(spool: Spool, count: int = 1) -> None:
    for _ in range(count):
        spool.append(EventKind.WARNING, at=1.0, time=2.0, data={"what": "w" * 20, "n": spool.last + 1})


def numbers(spool: Spool, after: int = 0) -> list[int]:
    return [event.number for event in spool.read(after=after, limit=10_000)]


async def test_readers_see_only_what_is_on_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, RANGE)

    add(spool, 3)

    assert numbers(spool) == []
    await spool.flush()
    assert numbers(spool) == [1, 2, 3]
    assert numbers(spool, after=2) == [3]
    await spool.close()


async def test_waiting_reader_is_woken(tmp_path: Path) -> None:
    spool = Spool(tmp_path, RANGE)
    waiting = asyncio.create_task(spool.wait(after=0, seconds=5))
    await asyncio.sleep(0)

    add(spool)
    spool.flush_soon()
    await asyncio.wait_for(waiting, 1)

    assert numbers(spool) == [1]
    await spool.close()


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 7)),
            st.tuples(st.just("ack"), st.integers(0, 40)),
            st.tuples(st.just("crash"), st.integers(0, 120)),
        ),
        max_size=14,
    ),
    segment=st.integers(1, 5),
)
def test_nothing_shown_is_ever_lost(steps: list[tuple[str, int]], segment: int) -> None:
    """Whatever happens, the numbers after the last acknowledgement are there, gapless, with the same content."""

    async def story(folder: Path) -> None:
        spool = Spool(folder, RANGE)
        shown: dict[int, str] = {}
        acked = 0
        for step, value in steps:
            if step == "add":
                add(spool, value)
                await spool.flush()
            elif step == "ack":
                acked = spool.ack(value)
            else:
                # kill -9 in the middle of a write: the newest segment ends in a torn line that nobody was shown
                add(spool)
                newest = max(folder.glob("events-*.jsonl"))  # noqa: ASYNC240 - a test's own loop
                data = newest.read_bytes()
                last = len(data) - len(data.rstrip(b"\n").rsplit(b"\n", 1)[-1]) - 1
                newest.write_bytes(data[: max(0, min(len(data) - 1, last + value))])
                spool = Spool(folder, RANGE)
            shown.update({event.number: event.model_dump_json() for event in spool.read(limit=10_000)})
            known = numbers(spool)
            assert known == list(range(known[0], known[0] + len(known))) if known else True
            assert set(range(acked + 1, spool.durable + 1)) <= set(known)
            assert all(shown[event.number] == event.model_dump_json() for event in spool.read(limit=10_000))
        last = spool.last
        await spool.close()
        again = Spool(folder, RANGE)
        assert (again.last, again.acked) == (last, acked)
        add(again)
        assert again.last == last + 1
        await again.close()

    before = spool_module.SEGMENT_EVENTS
    spool_module.SEGMENT_EVENTS = segment
    try:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(story(Path(folder)))
    finally:
        spool_module.SEGMENT_EVENTS = before


async def test_acknowledged_segments_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_EVENTS", 10)
    spool = Spool(tmp_path, RANGE)
    add(spool, 35)
    await spool.flush()

    assert spool.ack(25) == 25

    assert [path.name for path in sorted(tmp_path.glob("events-*"))] == [  # noqa: ASYNC240
        "events-000000000021.jsonl",
        "events-000000000031.jsonl",
    ]
    assert spool.ack(7) == 25  # never back
    assert spool.ack(99) == 35  # never beyond what is there
    await spool.close()


async def test_damage_in_the_middle_is_said_and_not_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_EVENTS", 5)
    spool = Spool(tmp_path, RANGE)
    add(spool, 12)
    await spool.close()
    first = tmp_path / "events-000000000001.jsonl"
    first.write_bytes(first.read_bytes().replace(b'"n":3', b'"n":3}', 1))

    with pytest.raises(RangeError) as caught:
        Spool(tmp_path, RANGE)

    assert caught.value.what == f"the event spool {first} is damaged: event 3 is damaged in the middle"
