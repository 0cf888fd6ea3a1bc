"""One connection of IEC 60870-5-104, for the controlled station (server) and the controlling one (client) alike.

Sequence numbers, the windows k and w, the timers t1, t2, t3 and the start/stop procedures of clauses 5.1 to 5.5 and 6.
What it carries is decided by its owner. A peer that breaks the rules loses the connection, as the standard asks.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from cyber_range.engine.agents.iec104_frames import (
    SEQUENCES,
    STARTDT_ACT,
    STARTDT_CON,
    STOPDT_ACT,
    STOPDT_CON,
    TESTFR_ACT,
    TESTFR_CON,
    Asdu,
    Frame,
    FrameError,
    pack_asdu,
    pack_frame,
    take_frame,
)

QUEUE_LIMIT = 4096  # ASDUs waiting for the window; the oldest go first, as an event buffer overflows
TICK = 0.5  # s between looks at the timers


@dataclass(frozen=True, slots=True)
class Timing:
    """Defaults of clause 9.6: seconds, and numbers of I frames."""

    t1: float = 15.0  # an answer must come
    t2: float = 10.0  # what was received is acknowledged
    t3: float = 20.0  # silence before a test frame
    k: int = 12  # sent without acknowledgement
    w: int = 8  # received before one is sent


class Owner(Protocol):
    """Who uses a connection. Called from the event loop, never after `link_closed`."""

    def link_opened(self, link: Link) -> None: ...
    def link_started(self, link: Link, started: bool) -> None: ...
    def link_asdu(self, link: Link, data: bytes) -> None: ...
    def link_closed(self, link: Link) -> None: ...


class Link(asyncio.Protocol):
    """`controlling` is the side that opened the connection and asks for data transfer."""

    def __init__(self, owner: Owner, *, controlling: bool, timing: Timing | None = None) -> None:
        self.timing = timing or Timing()
        self.controlling = controlling
        self.started = False
        self.peer = ""
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._send = self._receive = 0  # next numbers to be sent and expected
        self._unacknowledged: deque[tuple[int, float]] = deque()  # (number, when sent)
        self._waiting: deque[bytes] = deque()
        self._owed = 0  # I frames received and not acknowledged yet
        self._owed_since = 0.0
        self._asked: dict[int, float] = {}  # U act sent -> when; its con is awaited
        self._heard = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self._tick()
        self._owner.link_opened(self)
        if self.controlling:
            self._ask(STARTDT_ACT)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._heard = time.monotonic()
        try:
            while self._transport is not None and (frame := take_frame(self._buffer)) is not None:
                self._take(frame)
        except FrameError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.started = False
        if self._timer is not None:
            self._timer.cancel()
        self._owner.link_closed(self)

    # the owner's verbs

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def send(self, asdu: Asdu | bytes) -> None:
        """Goes out as soon as data transfer is started and the window has room."""
        if len(self._waiting) >= QUEUE_LIMIT:
            self._waiting.popleft()
        self._waiting.append(asdu if isinstance(asdu, bytes) else pack_asdu(asdu))
        self._flush()

    def stop(self) -> None:
        """A controlling station ends data transfer but keeps the connection."""
        self._acknowledge()
        self._ask(STOPDT_ACT)

    # frames

    def _take(self, frame: Frame) -> None:
        if frame.control:
            self._take_control(frame.control)
            return
        assert frame.receive is not None
        self._acknowledged(frame.receive)
        if frame.send is None:
            return
        if not self.started or frame.send != self._receive:
            raise FrameError("an I frame out of order or before data transfer was started")
        self._receive = (self._receive + 1) % SEQUENCES
        if self._owed == 0:
            self._owed_since = time.monotonic()
        self._owed += 1
        self._owner.link_asdu(self, frame.asdu)
        if self._owed >= self.timing.w:
            self._acknowledge()

    def _take_control(self, control: int) -> None:
        if control == TESTFR_ACT:
            self._write(Frame(control=TESTFR_CON))
        elif control in (STARTDT_ACT, STOPDT_ACT):
            if self.controlling:
                raise FrameError("only a controlling station starts and stops data transfer")
            if control == STOPDT_ACT:
                self._acknowledge()
            self._write(Frame(control=STARTDT_CON if control == STARTDT_ACT else STOPDT_CON))
            self._start(control == STARTDT_ACT)
        else:
            act = {STARTDT_CON: STARTDT_ACT, STOPDT_CON: STOPDT_ACT, TESTFR_CON: TESTFR_ACT}[control]
            if self._asked.pop(act, None) is None:
                raise FrameError("a confirmation nobody asked for")
            if act != TESTFR_ACT:
                self._start(act == STARTDT_ACT)

    def _start(self, started: bool) -> None:
        if self.started == started:
            return
        self.started = started
        if not started:
            self._waiting.clear()
        self._owner.link_started(self, started)
        self._flush()

    def _acknowledged(self, receive: int) -> None:
        """Drops what the peer has; a number that was never sent is an error (clause 5.1)."""
        outstanding = (self._send - receive) % SEQUENCES
        if outstanding > len(self._unacknowledged):
            raise FrameError(f"acknowledges {receive}, sent up to {self._send}")
        while len(self._unacknowledged) > outstanding:
            self._unacknowledged.popleft()
        self._flush()

    def _flush(self) -> None:
        while self.started and self.open and self._waiting and len(self._unacknowledged) < self.timing.k:
            data = self._waiting.popleft()
            number, self._send = self._send, (self._send + 1) % SEQUENCES
            self._unacknowledged.append((number, time.monotonic()))
            self._owed = 0
            self._write(Frame(send=number, receive=self._receive, asdu=data))

    def _acknowledge(self) -> None:
        if self._owed:
            self._owed = 0
            self._write(Frame(receive=self._receive))

    def _ask(self, control: int) -> None:
        self._asked.setdefault(control, time.monotonic())
        self._write(Frame(control=control))

    def _write(self, frame: Frame) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack_frame(frame))

    # timers

    def _tick(self) -> None:
        now, timing = time.monotonic(), self.timing
        late = [when for when in self._asked.values() if now - when > timing.t1]
        if late or (self._unacknowledged and now - self._unacknowledged[0][1] > timing.t1):
            self.close()
            return
        if self._owed and now - self._owed_since >= timing.t2:
            self._acknowledge()
        if now - self._heard >= timing.t3 and TESTFR_ACT not in self._asked:
            self._ask(TESTFR_ACT)
        wait = min(TICK, timing.t2 / 2, timing.t3 / 2)
        self._timer = asyncio.get_running_loop().call_later(wait, self._tick)


def factory(owner: Owner, *, controlling: bool, timing: Timing) -> Callable[[], Link]:
    return lambda: Link(owner, controlling=controlling, timing=timing)
