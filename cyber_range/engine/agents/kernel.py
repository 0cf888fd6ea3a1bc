"""The kernel's network as a `context.Net`: what programs get inside network namespaces and containers.

Plain sockets through asyncio; AF_PACKET for taps and raw frames (needs CAP_NET_RAW); nftables by netlink.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import cast

from cyber_range.engine.agents.context import (
    Closable,
    Firewall,
    Interface,
    OnDatagram,
    OnFrames,
    OnSocket,
    Peer,
    ProtocolFactory,
    UdpSender,
)
from cyber_range.engine.agents.neighbours import KernelNeighbours, Neighbours
from cyber_range.engine.agents.nft import NftFirewall

EVERY_LEG = "0.0.0.0"  # noqa: S104 - a node listens on all its own legs, which are all the lab's
ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_STATISTICS = 6
PACKET_MR_PROMISC = 1
SO_TIMESTAMPNS = 35
SO_RCVBUFFORCE = 33
SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFHWADDR = 0x8915, 0x891B, 0x8927
TAP_BUFFER = 8 * 1024 * 1024  # bytes: a second of a busy segment while the program decodes
TAP_BATCH = 256  # frames per wake-up, so that one busy tap cannot starve the others
MAX_FRAME = 65600  # a TCP segment that was not yet cut for the wire (GSO) is larger than an MTU


class KernelNet:
    """`taps` maps a zone to the bridge device a hub program listens on; a name that is not there is a device."""

    def __init__(self, taps: Mapping[str, str] | None = None) -> None:
        self._taps = dict(taps or {})
        self._senders: dict[str, socket.socket] = {}

    async def create_server(self, factory: ProtocolFactory, port: int) -> Closable:
        loop = asyncio.get_running_loop()
        return await loop.create_server(factory, EVERY_LEG, port, reuse_address=True, backlog=64)

    async def create_connection(
        self, factory: ProtocolFactory, host: str, port: int, *, timeout: float = 5.0
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        loop = asyncio.get_running_loop()
        connection = loop.create_connection(factory, host, port, family=socket.AF_INET)
        return await asyncio.wait_for(connection, timeout)

    async def connect(self, host: str, port: int, *, timeout: float = 5.0) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            address = await resolve(host)
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, (address, port)), timeout)
        except BaseException:
            sock.close()
            raise
        return sock

    async def serve_sockets(self, port: int, on_socket: OnSocket) -> Closable:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((EVERY_LEG, port))
        listener.listen(64)
        listener.setblocking(False)
        return SocketServer(listener, on_socket)

    async def udp(self, local_port: int, on_datagram: OnDatagram | None = None) -> UdpSender:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(
            lambda: KernelUdp(on_datagram),
            local_addr=(EVERY_LEG, local_port),
            family=socket.AF_INET,
            allow_broadcast=True,  # BACnet devices find one another so
        )
        return protocol

    async def tap(self, where: str, on_frames: OnFrames) -> Closable:
        return PacketTap(self._taps.get(where, where), on_frames)

    def send_frames(self, ifname: str, frames: Sequence[bytes]) -> int:
        sock = self._senders.get(ifname)
        if sock is None:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: sends, receives nothing
            sock.bind((ifname, 0))
            sock.setblocking(False)
            self._senders[ifname] = sock
        sent = 0
        for frame in frames:
            try:
                sock.send(frame)
            except BlockingIOError:
                break
            sent += 1
        return sent

    def interfaces(self) -> list[Interface]:
        found = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            for _, name in socket.if_nameindex():
                if name == "lo":
                    continue
                request = struct.pack("256s", name.encode()[:15])
                try:
                    raw = fcntl.ioctl(asker, SIOCGIFHWADDR, request)
                    mac = raw[18:24].hex(":")
                    ip = socket.inet_ntoa(fcntl.ioctl(asker, SIOCGIFADDR, request)[20:24])
                    mask = socket.inet_ntoa(fcntl.ioctl(asker, SIOCGIFNETMASK, request)[20:24])
                except OSError:  # a leg without an address (a tap port) has no IPv4 story to tell
                    continue
                found.append(Interface(name, ip, ipaddress.IPv4Network(f"0.0.0.0/{mask}").prefixlen, mac))
        return found

    def firewall(self) -> Firewall:
        return NftFirewall()

    def neighbours(self) -> Neighbours:
        return KernelNeighbours({f"{leg.ip}/{leg.prefix}": leg.name for leg in self.interfaces()})


async def resolve(host: str) -> str:
    """Address of a name in the node's hosts file; addresses pass through without a thread."""
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, family=socket.AF_INET)
        return str(found[0][4][0])


class KernelUdp(asyncio.DatagramProtocol):
    """One bound UDP socket. A datagram lost to ICMP errors is just lost, as on any plant network."""

    def __init__(self, on_datagram: OnDatagram | None) -> None:
        self._on_datagram = on_datagram
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own class is not registered as one

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._on_datagram is not None:
            self._on_datagram(data, (addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        pass

    def send(self, data: bytes, host: str, port: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, (host, port))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class SocketServer:
    """Accepts on a listening socket and hands every connection to a task of its own."""

    def __init__(self, listener: socket.socket, on_socket: OnSocket) -> None:
        self._listener = listener
        self._on_socket = on_socket
        self._running: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(self._listener)
            except ConnectionError:  # the peer gave up between SYN and accept
                continue
            except OSError:  # out of descriptors: a flood must not end the service
                await asyncio.sleep(0.1)
                continue
            sock.setblocking(False)
            task = loop.create_task(self._serve(sock, (address[0], address[1])))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _serve(self, sock: socket.socket, peer: Peer) -> None:
        with contextlib.suppress(OSError):
            await self._on_socket(sock, peer)

    def close(self) -> None:
        self._accepting.cancel()
        for task in list(self._running):
            task.cancel()
        self._listener.close()


class PacketTap:
    """An AF_PACKET socket on one device, promiscuous: on a bridge device it sees every frame the bridge forwards."""

    def __init__(self, device: str, on_frames: OnFrames) -> None:
        self._on_frames = on_frames
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            try:
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, TAP_BUFFER)
            except OSError:  # not the host's root: the kernel's own maximum it is
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TAP_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.bind((device, ETH_P_ALL))  # binding with the protocol starts reception, so nothing of other devices
            membership = struct.pack("iHH8s", socket.if_nametoindex(device), PACKET_MR_PROMISC, 0, b"")
            sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        self._sock: socket.socket | None = sock
        self._lost = 0
        asyncio.get_running_loop().add_reader(sock, self._readable)

    def _readable(self) -> None:
        assert self._sock is not None
        frames = []
        for _ in range(TAP_BATCH):
            try:
                data, ancillary, _, _ = self._sock.recvmsg(MAX_FRAME, 64)
            except BlockingIOError:
                break
            except OSError:  # the device went away with its zone
                self.close()
                break
            at = time.time_ns()
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(payload) >= 16:
                    seconds, nanoseconds = struct.unpack("qq", payload[:16])
                    at = seconds * 1_000_000_000 + nanoseconds
            frames.append((at, data))
        if frames:
            self._on_frames(frames)

    def lost(self) -> int:
        """Frames the kernel dropped since the start, because this program did not fetch them in time (packet(7))."""
        if self._sock is not None:
            _, drops = struct.unpack("II", self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))  # counts from zero
            self._lost += drops
        return self._lost

    def close(self) -> None:
        if self._sock is not None:
            self.lost()
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None
