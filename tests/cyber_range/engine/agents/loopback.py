"""A range of nodes on this machine's loopback: every node is an address in 127.0.0.0/8, every socket a real one.

Stands in for a driver in the tests of single programs: real TCP and UDP, no namespaces, no root. Ports below 1024 are
moved up by 20000 on both sides.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

from cyber_range.engine.agents.context import Interface
from cyber_range.engine.agents.kernel import KernelUdp, SocketServer
from cyber_range.engine.agents.packet_filter import PacketFilter
from cyber_range.engine.agents.runner import run_inside


def moved(port: int) -> int:
    return port + 20000 if 0 < port < 1024 else port


class MovedUdp(KernelUdp):
    """Speaks of the ports as the programs know them, on both sides."""

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        port = addr[1] - 20000 if 20000 < addr[1] < 21024 else addr[1]
        super().datagram_received(data, (addr[0], port))

    def send(self, data: bytes, host: str, port: int) -> None:
        super().send(data, host, moved(port))


class LoopbackNet:
    def __init__(self, ip: str) -> None:
        self.ip = ip
        self.filter = PacketFilter()
        self.frames: list[bytes] = []

    async def create_server(self, factory: Any, port: int) -> Any:
        return await asyncio.get_running_loop().create_server(factory, self.ip, moved(port))

    async def create_connection(self, factory: Any, host: str, port: int, *, timeout: float = 5.0) -> Any:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(
            loop.create_connection(factory, host, moved(port), local_addr=(self.ip, 0)), timeout
        )

    async def connect(self, host: str, port: int, *, timeout: float = 5.0) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((self.ip, 0))
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, (host, moved(port))), timeout)
        return sock

    async def serve_sockets(self, port: int, on_socket: Any) -> Any:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.ip, moved(port)))
        listener.listen(16)
        listener.setblocking(False)
        return SocketServer(listener, on_socket)

    async def udp(self, local_port: int, on_datagram: Any = None) -> Any:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(
            lambda: MovedUdp(on_datagram), local_addr=(self.ip, moved(local_port))
        )
        return protocol

    async def tap(self, where: str, on_frames: Any) -> Any:
        raise PermissionError("loopback nodes have no taps")

    def send_frames(self, ifname: str, frames: Sequence[bytes]) -> int:
        self.frames += frames
        return len(frames)

    def interfaces(self) -> list[Interface]:
        return [Interface("eth0", self.ip, 24, "02:00:00:00:00:01")]

    def firewall(self) -> PacketFilter:
        return self.filter


class Running:
    """One program under test."""

    def __init__(self, name: str, use: str, ip: str, spec: dict[str, Any], net: LoopbackNet | None = None) -> None:
        self.net = net or LoopbackNet(ip)
        self.messages: list[dict[str, Any]] = []
        self.inbox: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._news = asyncio.Event()
        self._ids = 0
        self.task = asyncio.ensure_future(run_inside(name, use, spec, self.net, self.inbox, self._emit))

    def _emit(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        self._news.set()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["kind"] == kind]

    async def until(self, wanted: Any, timeout: float = 10.0) -> dict[str, Any]:
        """The first message that `wanted` (a kind or a predicate) accepts, past ones included."""
        accepts = (lambda m: m["kind"] == wanted) if isinstance(wanted, str) else wanted
        async with asyncio.timeout(timeout):
            while True:
                for message in self.messages:
                    if message["kind"] == "error":
                        raise AssertionError(message["where"] or message["what"])
                    if accepts(message):
                        return message
                self._news.clear()
                await self._news.wait()

    async def ask(self, kind: str, timeout: float = 10.0, **fields: Any) -> dict[str, Any]:
        self._ids += 1
        number = self._ids
        self.inbox.put_nowait({"kind": kind, "id": number, **fields})
        return await self.until(lambda m: m["kind"] == "reply" and m["id"] == number, timeout)


@contextlib.asynccontextmanager
async def programs(*started: Running) -> AsyncIterator[None]:
    """Waits until all are ready; ends them afterwards."""
    try:
        for program in started:
            await program.until("ready")
        yield
    finally:
        for program in started:
            program.inbox.put_nowait(None)
        await asyncio.gather(*(p.task for p in started), return_exceptions=True)
