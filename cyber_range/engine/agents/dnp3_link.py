"""A DNP3 master's connection over `node.net`: one request at a time, answers put together, unsolicited ones confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from cyber_range.engine.agents.context import Connecting
from cyber_range.engine.agents.dnp3_frames import (
    ACK,
    CONFIRMED,
    DIRECTION,
    LINK_STATUS,
    PRIMARY,
    REQUEST_STATUS,
    UNCONFIRMED,
    LinkFrame,
    Reassembler,
    pack_link,
    segments,
    take_link,
)
from cyber_range.engine.agents.dnp3_objects import (
    Fragment,
    Function,
    Header,
    ObjectError,
    pack_fragment,
    unpack_fragment,
)

OnUnsolicited = Callable[[Fragment], None]


class Dnp3Link(asyncio.Protocol):
    """Any failure closes it; the owner opens a new one (see `connect`)."""

    def __init__(self, own: int, station: int, on_unsolicited: OnUnsolicited | None = None) -> None:
        self._own, self._station = own, station
        self._on_unsolicited = on_unsolicited
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._reassembler = Reassembler()
        self._segment = 0
        self._sequence = 15
        self._waiting: asyncio.Future[list[Fragment]] | None = None
        self._parts: list[Fragment] = []
        self._expected = 0
        self._turn = asyncio.Lock()
        self.over = asyncio.Event()

    @classmethod
    async def connect(
        cls,
        net: Connecting,
        host: str,
        port: int = 20000,
        *,
        own: int = 1,
        station: int = 10,
        on_unsolicited: OnUnsolicited | None = None,
        timeout: float = 3.0,
    ) -> Dnp3Link:
        link = cls(own, station, on_unsolicited)
        await net.create_connection(lambda: link, host, port, timeout=timeout)
        return link

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.over.set()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the outstation closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (frame := take_link(self._buffer)) is not None:
            if frame.destination != self._own or frame.source != self._station or not frame.primary:
                continue
            if frame.function == REQUEST_STATUS:
                self._write(LinkFrame(DIRECTION | LINK_STATUS, self._station, self._own))
            elif frame.function in (UNCONFIRMED, CONFIRMED):
                if frame.function == CONFIRMED:
                    self._write(LinkFrame(DIRECTION | ACK, self._station, self._own))
                fragment = self._reassembler.feed(frame.data)
                if fragment is not None:
                    self._take(fragment)

    def _take(self, data: bytes) -> None:
        try:
            fragment = unpack_fragment(data)
        except ObjectError:  # an answer we cannot read is one that did not come
            return
        if fragment.function == Function.UNSOLICITED:
            self._confirm(fragment)
            if self._on_unsolicited is not None:
                self._on_unsolicited(fragment)
            return
        if fragment.function != Function.RESPONSE or self._waiting is None or self._waiting.done():
            return
        if fragment.sequence != self._expected:
            return
        self._confirm(fragment)
        self._parts.append(fragment)
        self._expected = self._expected + 1 & 0x0F
        if fragment.final:
            self._waiting.set_result(self._parts)

    def _confirm(self, fragment: Fragment) -> None:
        if fragment.confirm:
            confirmation = Fragment(Function.CONFIRM, fragment.sequence, unsolicited=fragment.unsolicited)
            self._send(pack_fragment(confirmation))

    async def request(self, function: int, *headers: Header, timeout: float = 5.0) -> list[Fragment]:
        """The fragments of the response; TimeoutError (and a closed link) for none."""
        async with self._turn:
            return await self._exchange(function, headers, timeout)

    async def control(self, header: Header, *, select: bool, timeout: float = 5.0) -> list[Fragment]:
        """Select and operate with nothing in between (an outstation refuses otherwise), or operate at once."""
        async with self._turn:
            if not select:
                return await self._exchange(Function.DIRECT_OPERATE, (header,), timeout)
            chosen = await self._exchange(Function.SELECT, (header,), timeout)
            statuses = [item.flags for part in chosen[-1].headers for item in part.items]
            if any(statuses) or not statuses:
                return chosen
            return await self._exchange(Function.OPERATE, (header,), timeout)

    async def _exchange(self, function: int, headers: tuple[Header, ...], timeout: float) -> list[Fragment]:
        if not self.open:
            raise ConnectionResetError("not connected")
        self._sequence = self._sequence + 1 & 0x0F
        self._expected, self._parts = self._sequence, []
        self._waiting = asyncio.get_running_loop().create_future()
        self._send(pack_fragment(Fragment(function, self._sequence, headers)))
        try:
            return await asyncio.wait_for(self._waiting, timeout)
        except TimeoutError:
            self.close()
            raise TimeoutError(f"no answer within {timeout:g} s") from None
        finally:
            self._waiting = None
            self._sequence = self._expected - 1 & 0x0F if self._parts else self._sequence

    def _send(self, fragment: bytes) -> None:
        for segment in segments(fragment, self._segment):
            self._segment = self._segment + 1 & 0x3F
            self._write(LinkFrame(DIRECTION | PRIMARY | UNCONFIRMED, self._station, self._own, segment))

    def _write(self, frame: LinkFrame) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack_link(frame))
