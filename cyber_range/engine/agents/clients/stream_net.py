"""A session that leads inside, as a network for protocol clients: byte streams become asyncio transports."""

from __future__ import annotations

import asyncio
from typing import Any

from cyber_range.engine.agents.context import ProtocolFactory
from cyber_range.engine.attack.ways import Channel, Reach


class StreamNet:
    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def create_connection(
        self, factory: ProtocolFactory, host: str, port: int, *, timeout: float = 5.0
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        channel = await self._reach(host, port, timeout)
        protocol = factory()
        transport = ChannelTransport(channel, protocol, (host, port))
        protocol.connection_made(transport)
        transport.start()
        return transport, protocol


class ChannelTransport(asyncio.Transport):
    """Two tasks carry bytes to and fro; either's end is the connection's."""

    def __init__(self, channel: Channel, protocol: asyncio.BaseProtocol, peer: tuple[str, int]) -> None:
        super().__init__({"peername": peer})
        self._channel, self._protocol = channel, protocol
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._send()), loop.create_task(self._receive())]

    async def _send(self) -> None:
        try:
            while data := await self._outgoing.get():
                await self._channel.send(data)
        except OSError as exc:
            self._end(exc)
            return
        self._end(None)

    async def _receive(self) -> None:
        failure: Exception | None = None
        try:
            while data := await self._channel.some():
                self._protocol.data_received(data)  # type: ignore[attr-defined]  # streams only
        except OSError as exc:
            failure = exc
        self._end(failure)

    def _end(self, failure: Exception | None) -> None:
        if not self._tasks:
            return
        tasks, self._tasks, self._closing = self._tasks, [], True
        current = asyncio.current_task()
        for task in tasks:
            if task is not current:
                task.cancel()
        self._channel.close()
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, failure)

    def write(self, data: Any) -> None:
        if not self._closing and data:
            self._outgoing.put_nowait(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """What was written before still goes out."""
        if not self._closing:
            self._closing = True
            self._outgoing.put_nowait(b"")

    def abort(self) -> None:
        self._end(None)
