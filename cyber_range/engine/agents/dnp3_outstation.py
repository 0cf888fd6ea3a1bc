"""A controller that reports to its master by DNP3 over TCP.

Spec: that of every controller (controller.py); each tag that is reported has an `index` and more (dnp3_station.py);
`address` (its link address, 10), `masters` [IP addresses that may connect; default any], `master` (link address that
may ask; default any), `identity` {vendor, product, revision, serial, name, location, hardware, id}, `port` (20000),
`unsolicited` (reports events by itself once a master has enabled it, false), `need_time` (asks for the time after a
start, true).

Cold and warm restart restart the controller. Setting the time shifts the time stamps of later events only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.agents.dnp3_frames import (
    ACK,
    BROADCASTS,
    CONFIRMED,
    COUNT_BIT,
    COUNT_VALID,
    LINK_STATUS,
    NACK,
    NOT_SUPPORTED,
    PRIMARY,
    REQUEST_STATUS,
    RESET_LINK,
    TEST_LINK,
    UNCONFIRMED,
    LinkFrame,
    Reassembler,
    pack_link,
    segments,
    take_link,
)
from cyber_range.engine.agents.dnp3_station import Done, Points, Session

LOOK_EVERY = 0.1  # s between looks for changes
CONFIRM_WITHIN = 5.0  # s, then an unsolicited response is sent again
MAX_MASTERS = 8


class Outstation:
    def __init__(self, node: NodeContext, controller: Controller) -> None:
        spec = node.spec
        self.node, self.controller = node, controller
        placed = {name: where for name, where in (spec.get("tags") or {}).items() if "index" in (where or {})}
        self.points = Points(controller.tag_list, placed)
        self.address = int(spec.get("address", 10))
        self.master = int(spec["master"]) if "master" in spec else None
        self.allowed = frozenset(spec.get("masters") or ())
        self.unsolicited = bool(spec.get("unsolicited", False))
        self.need_time = bool(spec.get("need_time", True))
        self.restart_ms = int(float(spec.get("restart_seconds", 2)) * 1000)
        self.shift = 0.0  # ms between the world's clock and ours
        self.links: set[MasterLink] = set()

    def now_ms(self) -> int:
        return int(time.time() * 1000 + self.shift)

    def done(self, done: Done, source: str) -> None:
        for tag, value, point in done.writes:
            self.controller.told({"tag": tag, "value": value, "point": point, "source": source})
        for tag, value, seconds in done.pulses:
            asyncio.get_running_loop().call_later(seconds, self.controller.write, tag, value)
        if done.clock is not None:
            self.shift += done.clock - self.now_ms()
            self.node.emit("clock_set", source=source, shift=round(self.shift / 1000, 3))
        if done.restart:
            self.controller.restart(source)

    async def tell(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for link in list(self.links):
                link.look()


class MasterLink(asyncio.Protocol):
    """One master's connection: its link and transport layers, and its session."""

    def __init__(self, station: Outstation) -> None:
        self._station = station
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._reassembler = Reassembler()
        self._session = Session(
            station.points,
            station.controller,
            identity=station.node.spec.get("identity"),
            need_time=station.need_time,
            unsolicited=station.unsolicited,
            restart_ms=station.restart_ms,
        )
        self._sequence = 0  # of transport segments
        self._master: int | None = station.master
        self._expected: int | None = None  # frame count bit of the next confirmed frame, once the link was reset
        self._told_at = 0.0
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        station = self._station
        if len(station.links) >= MAX_MASTERS or (station.allowed and self.peer not in station.allowed):
            transport.close()
            return
        self._session.look(station.now_ms())  # what changes from now on is an event
        station.links.add(self)
        station.node.emit("master", address=self.peer, started=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self in self._station.links:
            self._station.links.discard(self)
            self._station.node.emit("master", address=self.peer, started=False)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (frame := take_link(self._buffer)) is not None:
            self._take(frame)

    def _take(self, frame: LinkFrame) -> None:
        broadcast = frame.destination in BROADCASTS
        if frame.destination != self._station.address and not broadcast:
            return
        if not frame.primary or frame.source >= 0xFFF0:
            return
        if self._station.master is not None and frame.source != self._station.master:
            return
        self._master = frame.source
        function, count = frame.function, frame.control & COUNT_BIT
        if function == UNCONFIRMED:
            self._segment(frame.data, broadcast=broadcast)
        elif broadcast:
            return
        elif function == RESET_LINK:
            self._expected = COUNT_BIT
            self._link(ACK)
        elif function == REQUEST_STATUS:
            self._link(LINK_STATUS)
        elif function in (TEST_LINK, CONFIRMED):
            if self._expected is None or not frame.control & COUNT_VALID:
                self._link(NACK)
                return
            self._link(ACK)
            if count == self._expected:  # else the same frame again: acknowledged, not done twice
                self._expected ^= COUNT_BIT
                if function == CONFIRMED:
                    self._segment(frame.data, broadcast=False)
        else:
            self._link(NOT_SUPPORTED)

    def _segment(self, data: bytes, *, broadcast: bool) -> None:
        fragment = self._reassembler.feed(data)
        if fragment is None:
            return
        response, done = self._session.answer(fragment, time.monotonic(), self._station.now_ms(), broadcast=broadcast)
        if response is not None and not broadcast:
            self._send(response)
        self._station.done(done, self.peer)

    def look(self) -> None:
        """Collects changes; tells them unsolicited where that was enabled."""
        self._session.look(self._station.now_ms())
        if not self._station.unsolicited or self._master is None:
            return
        now = time.monotonic()
        fragment = self._session.unsolicited(again=now - self._told_at > CONFIRM_WITHIN)
        if fragment is not None:
            self._told_at = now
            self._send(fragment)

    def _send(self, fragment: bytes) -> None:
        assert self._master is not None
        for segment in segments(fragment, self._sequence):
            self._sequence = self._sequence + 1 & 0x3F
            self._write(LinkFrame(PRIMARY | UNCONFIRMED, self._master, self._station.address, segment))

    def _link(self, function: int) -> None:
        assert self._master is not None
        self._write(LinkFrame(function, self._master, self._station.address))

    def _write(self, frame: LinkFrame) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack_link(frame))


async def run(node: NodeContext) -> None:
    controller = Controller(node)
    station = Outstation(node, controller)

    async def open_door() -> Callable[[], None]:
        listener = await node.net.create_server(lambda: MasterLink(station), int(node.spec.get("port", 20000)))
        telling = asyncio.ensure_future(station.tell())

        def close() -> None:
            telling.cancel()
            listener.close()
            for link in list(station.links):
                link.close()

        return close

    await controller.run(open_door)
