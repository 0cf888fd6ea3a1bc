"""The numbered events of one range on disk: append only, gapless, forgotten only after they were acknowledged.

Layout of the folder: `events-<first number>.jsonl` segments, one JSON event a line, and `acked` with a number.
An event is shown to readers when it is on the disk (fsync), so what a reader has acknowledged cannot be lost; a line
torn by a crash was never shown and its number is given again. Segments whose events are all acknowledged are removed;
the newest segment stays, because its name carries the numbering on.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cyber_range.engine.errors import RangeError
from cyber_range.engine.events import EventKind, RangeEvent

SEGMENT_EVENTS = 1000
FSYNC_EVERY = 0.02  # seconds in which events are gathered for one fsync


class Spool:
    """One range's events. Used from one event loop; `flush` alone works in a thread."""

    def __init__(self, folder: Path, range_id: str) -> None:
        self._folder = folder
        self._range_id = range_id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._events: list[RangeEvent] = []  # those not yet acknowledged, or still in a kept segment
        self._segments: list[int] = []  # first numbers
        self._fd, self._size = -1, 0
        self.acked = self._read_acked()
        self._recover()
        self.durable = self.last
        self._bell = asyncio.Event()
        self._flushing: asyncio.Task[None] | None = None

    @property
    def last(self) -> int:
        """The newest number given, durable or not; the segment's name counts when it is empty."""
        return self._events[-1].number if self._events else self._segments[-1] - 1

    def append(self, kind: EventKind, *, at: float, time: float, data: dict[str, Any]) -> RangeEvent:
        """Numbers and writes an event. Readers see it after the next `flush`."""
        event = RangeEvent(
            range_id=self._range_id, number=self.last + 1, kind=kind, at=round(at, 3), time=time, data=data
        )
        if event.number - self._segments[-1] >= SEGMENT_EVENTS:
            self._roll(event.number)
        line = event.model_dump_json().encode() + b"\n"
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                raise OSError(f"{written} of {len(line)} bytes were taken")
        except OSError as exc:
            os.ftruncate(self._fd, self._size)
            raise RangeError(
                f"event {event.number} of range {self._range_id} could not be written to {self._folder}: {exc}",
                remedy="Make room on the disk of the state folder",
            ) from exc
        self._size += len(line)
        self._events.append(event)
        return event

    async def flush(self) -> None:
        """Brings everything written so far to the disk and rings for waiting readers."""
        upto = self.last
        if upto == self.durable:
            return
        fd = os.dup(self._fd)
        try:
            await asyncio.to_thread(os.fsync, fd)
        finally:
            os.close(fd)
        self._durable_to(upto)

    def flush_soon(self) -> None:
        """Flushes within FSYNC_EVERY, together with what else comes until then."""
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().create_task(self._flush_later())

    async def _flush_later(self) -> None:
        while self.durable < self.last:
            await asyncio.sleep(FSYNC_EVERY)
            await self.flush()

    def _durable_to(self, number: int) -> None:
        self.durable = max(self.durable, number)
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    def read(self, *, after: int = 0, limit: int = 500) -> list[RangeEvent]:
        """Durable events with a number above `after`, oldest first."""
        if not self._events:
            return []
        start = max(0, after + 1 - self._events[0].number)
        end = min(len(self._events), start + limit, max(0, self.durable - self._events[0].number + 1))
        return self._events[start:end]

    async def wait(self, *, after: int, seconds: float) -> None:
        """Returns when an event above `after` is durable, or after so many seconds."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.durable <= after:
            missing = deadline - asyncio.get_running_loop().time()
            if missing <= 0:
                return
            try:
                await asyncio.wait_for(self._bell.wait(), missing)
            except TimeoutError:
                return

    def ack(self, number: int) -> int:
        """The reader has kept everything up to `number`. Returns what is acknowledged now; it never goes back."""
        number = min(number, self.durable)
        if number > self.acked:
            self.acked = number
            _write_whole(self._folder / "acked", str(number))
            while len(self._segments) > 1 and self._segments[1] - 1 <= self.acked:
                first = self._segments.pop(0)
                self._path(first).unlink(missing_ok=True)
                self._events = [event for event in self._events if event.number >= self._segments[0]]
        return self.acked

    async def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        if self._fd >= 0:
            await self.flush()
            os.close(self._fd)
            self._fd = -1

    # ------------------------------------------------------------ disk

    def _path(self, first: int) -> Path:
        return self._folder / f"events-{first:012d}.jsonl"

    def _read_acked(self) -> int:
        try:
            return int((self._folder / "acked").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _recover(self) -> None:
        self._segments = sorted(int(path.stem.removeprefix("events-")) for path in self._folder.glob("events-*.jsonl"))
        expected = self._segments[0] if self._segments else 1
        for index, first in enumerate(list(self._segments)):
            if first != expected:
                raise self._broken(first, f"numbers {expected}..{first - 1} are missing")
            content = self._path(first).read_bytes()
            good = 0
            for line in content.splitlines(keepends=True):
                event = self._parse(line, expected)
                if event is None:
                    break
                self._events.append(event)
                expected += 1
                good += len(line)
            if good < len(content):
                if index < len(self._segments) - 1:
                    raise self._broken(first, f"event {expected} is damaged in the middle")
                os.truncate(self._path(first), good)  # torn by a crash: never shown to anybody
        if not self._segments:
            self._segments = [max(1, self.acked + 1)]
        self._open(self._segments[-1])
        os.fsync(self._fd)

    def _parse(self, line: bytes, expected: int) -> RangeEvent | None:
        if not line.endswith(b"\n"):
            return None
        try:
            event = RangeEvent.model_validate_json(line)
        except ValidationError:
            return None
        return event if event.number == expected and event.range_id == self._range_id else None

    def _broken(self, first: int, what: str) -> RangeError:
        return RangeError(
            f"the event spool {self._path(first)} is damaged: {what}",
            remedy="Keep a copy of the folder for the review, then destroy the range",
        )

    def _open(self, first: int) -> None:
        path = self._path(first)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._fd).st_size
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _roll(self, first: int) -> None:
        os.fsync(self._fd)
        os.close(self._fd)
        self._segments.append(first)
        self._open(first)


def _write_whole(path: Path, text: str) -> None:
    """Replaces a small file so that a crash leaves the old or the new one."""
    aside = path.with_name(path.name + ".new")
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(aside, path)
