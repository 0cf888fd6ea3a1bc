"""The network as one node's programs see it: `agents.context.Net` over the memory fabric."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cyber_range.engine.drivers.memory.fabric import Fabric, Filter, Host, Listener, OnFrames
from cyber_range.engine.drivers.memory.streams import RangeSocket, open_stream

Peer = tuple[str, int]
ProtocolFactory = Callable[[], asyncio.BaseProtocol]
OnSocket = Callable[[socket.socket, Peer], Awaitable[None]]
OnDatagram = Callable[[bytes, Peer], None]


@dataclass(frozen=True, slots=True)
class Interface:
    """The same fields as `agents.context.Interface`, which drivers may not import."""

    name: str
    ip: str
    prefix: int
    mac: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The same fields as `agents.neighbours.Neighbour`."""

    ip: str
    mac: str
    state: str
    ifname: str


class MemoryNet:
    def __init__(self, fabric: Fabric, host: Host) -> None:
        self._fabric = fabric
        self._host = host
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._opened: list[TcpPort | UdpPort | Listener] = []

    def close(self) -> None:
        """The program has ended: what it left open ends with it, as a kernel does for a process."""
        for opened in self._opened:
            opened.close()
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def resolve(self, name: str) -> str:
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            if (ip := self._host.names.get(name)) is None:
                raise socket.gaierror(socket.EAI_NONAME, f"{self._host.plan.name} knows no host {name!r}") from None
            return ip

    async def create_server(self, factory: ProtocolFactory, port: int) -> TcpPort:
        loop = asyncio.get_running_loop()

        async def serve(sock: socket.socket, peer: Peer) -> None:
            await loop.connect_accepted_socket(factory, sock)

        return await self.serve_sockets(port, serve)

    async def create_connection(
        self, factory: ProtocolFactory, host: str, port: int, *, timeout: float = 5.0
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        sock = await self.connect(host, port, timeout=timeout)
        try:
            return await asyncio.get_running_loop().create_connection(factory, sock=sock)
        except BaseException:
            sock.close()
            raise

    async def connect(self, host: str, port: int, *, timeout: float = 5.0) -> RangeSocket:
        sock = await open_stream(self._fabric, self._host, self.resolve(host), port, timeout)
        self._sockets.add(sock)
        return sock

    async def serve_sockets(self, port: int, on_socket: OnSocket) -> TcpPort:
        async def serve(sock: socket.socket, peer: Peer) -> None:
            self._sockets.add(sock)
            await on_socket(sock, peer)

        listening = TcpPort(self._host, port, serve)
        self._opened.append(listening)
        return listening

    async def udp(self, local_port: int, on_datagram: OnDatagram | None = None) -> UdpPort:
        bound = UdpPort(self, self._fabric, self._host, local_port, on_datagram)
        self._opened.append(bound)
        return bound

    async def tap(self, where: str, on_frames: OnFrames) -> Listener:
        if self._host.plan.placement == "hub":
            segment = self._fabric.segments.get(where)
            if segment is None:
                raise OSError(errno.ENODEV, f"there is no zone {where!r}")
            tap = Listener(on_frames, segment.taps)
        else:
            tap = Listener(on_frames, self._host.leg(where).taps)
        self._opened.append(tap)
        return tap

    def send_frames(self, ifname: str, frames: Sequence[bytes]) -> int:
        return self._fabric.inject(self._host, ifname, frames)

    def interfaces(self) -> list[Interface]:
        legs = [leg.plan for leg in self._host.legs]
        return [Interface(leg.ifname, leg.ip, leg.prefix, leg.mac, leg.zone) for leg in legs]

    def firewall(self) -> Filter:
        if "net_admin" not in self._host.plan.caps:
            raise PermissionError(errno.EPERM, f"{self._host.plan.name} may not change its network (no NET_ADMIN)")
        return self._host.filter

    def neighbours(self) -> MemoryNeighbours:
        return MemoryNeighbours(self._host)

    # beyond the protocol: the words of the console use it

    async def ping(self, host: str, number: int, timeout: float) -> float | None:
        return await self._fabric.ping(self._host, self.resolve(host), number, timeout)

    @property
    def host(self) -> Host:
        return self._host


class MemoryNeighbours:
    """`agents.neighbours.Neighbours` of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def _leg_of(self, ip: str) -> str:
        for leg in self._host.legs:
            if ipaddress.IPv4Address(ip) in leg.network:
                return leg.plan.ifname
        raise LookupError(f"{ip} is in none of this node's segments")

    def all(self) -> list[Neighbour]:
        known = {ip: (mac, "permanent") for ip, mac in self._host.permanent.items()}
        known |= {ip: (mac, "reachable") for ip, (mac, _) in self._host.neighbours.items() if ip not in known}
        return [
            Neighbour(ip, mac, state, self._leg_of(ip))
            for ip, (mac, state) in sorted(known.items(), key=lambda item: ipaddress.IPv4Address(item[0]))
        ]

    def pin(self, ip: str, mac: str) -> None:
        self._may(ip)
        self._host.permanent[ip] = mac.lower()

    def forget(self, ip: str) -> None:
        self._may(ip)
        self._host.permanent.pop(ip, None)
        self._host.neighbours.pop(ip, None)

    def _may(self, ip: str) -> None:
        self._leg_of(ip)
        if "net_admin" not in self._host.plan.caps:
            raise PermissionError(errno.EPERM, f"{self._host.plan.name} may not change its network (no NET_ADMIN)")


class TcpPort:
    """A listening port. Closing it leaves accepted connections alone, as a kernel does."""

    def __init__(self, host: Host, port: int, on_socket: OnSocket) -> None:
        if port in host.tcp_ports:
            raise OSError(errno.EADDRINUSE, f"port {port} of {host.plan.name} is in use")
        self.port = port
        self._host = host
        self._on_socket = on_socket
        self._serving: set[asyncio.Task[Any]] = set()
        host.tcp_ports[port] = self._accept

    def _accept(self, sock: socket.socket, peer: Peer) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(sock, peer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, sock: socket.socket, peer: Peer) -> None:
        with contextlib.suppress(OSError):
            await self._on_socket(sock, peer)

    def close(self) -> None:
        if self._host.tcp_ports.get(self.port) == self._accept:
            del self._host.tcp_ports[self.port]


class UdpPort:
    """A bound UDP port; `send` is fire and forget."""

    def __init__(self, net: MemoryNet, fabric: Fabric, host: Host, port: int, on_datagram: OnDatagram | None) -> None:
        if port in host.udp_ports:
            raise OSError(errno.EADDRINUSE, f"UDP port {port} of {host.plan.name} is in use")
        self.port = port or host.free_port(host.udp_ports.__contains__)
        self._net = net
        self._fabric = fabric
        self._host = host
        self._on_datagram = on_datagram
        host.udp_ports[self.port] = self._take

    def _take(self, data: bytes, peer: Peer) -> None:
        if self._on_datagram is not None and self._host.udp_ports.get(self.port) == self._take:
            self._on_datagram(data, peer)

    def send(self, data: bytes, host: str, port: int) -> None:
        if len(data) > 65507:
            raise OSError(errno.EMSGSIZE, f"a datagram holds 65507 bytes at most, not {len(data)}")
        with contextlib.suppress(socket.gaierror):
            self._fabric.send_datagram(self._host, self.port, data, self._net.resolve(host), port)

    def close(self) -> None:
        if self._host.udp_ports.get(self.port) == self._take:
            del self._host.udp_ports[self.port]
