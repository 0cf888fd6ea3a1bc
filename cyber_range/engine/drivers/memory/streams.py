"""TCP connections of a memory range: two AF_UNIX socket pairs and a relay that tells the wire what a kernel would.

Bytes reach the other program only when their segment got through every filter on the way; a dropped one is sent
again with a growing pause, so cutting a connection stalls it first and breaks it later, as in a real network.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket

from cyber_range.engine.drivers.memory.connections import flow_of
from cyber_range.engine.drivers.memory.fabric import Fabric, Host
from cyber_range.engine.drivers.memory.frames import ACK, FIN, MSS, PSH, RST, SYN, TCP, Packet

FIRST_RETRY, LONGEST_RETRY = 0.2, 5.0  # seconds; Linux starts at 0.2 and doubles
GIVE_UP_AFTER = 60.0  # seconds of silence before a connection breaks (a kernel waits up to 15 minutes)
SYN_RETRY = 1.0  # seconds, doubling
ARP_TRIES = 3
READ = 65536
Address = tuple[str, int]


class RangeSocket(socket.socket):
    """One end of a socket pair that answers with the addresses of the range instead of an empty path."""

    own: Address = ("", 0)
    peer: Address = ("", 0)

    def getsockname(self) -> Address:
        return self.own

    def getpeername(self) -> Address:
        return self.peer


def socket_pair(own: Address, peer: Address) -> tuple[RangeSocket, socket.socket]:
    """(the program's end, ours), both non-blocking."""
    raw, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    theirs = RangeSocket(raw.family, raw.type, raw.proto, fileno=raw.detach())
    theirs.own, theirs.peer = own, peer
    theirs.setblocking(False)
    ours.setblocking(False)
    return theirs, ours


class End:
    """One side: its host and address, our end of its socket pair, and the next sequence number it sends."""

    def __init__(self, host: Host, address: Address, sequence: int) -> None:
        self.host = host
        self.address = address
        self.sequence = sequence
        self.sock: socket.socket | None = None


class Stream:
    def __init__(self, fabric: Fabric, client: End, server: End) -> None:
        self.fabric = fabric
        self.ends = (client, server)
        self._pumps: list[asyncio.Task[None]] = []
        self._flow = flow_of(self._packet(client, server, SYN))

    def _packet(self, end: End, other: End, flags: int, payload: bytes = b"") -> Packet:
        ack = other.sequence if flags & ACK else 0
        return Packet(
            end.address[0], other.address[0], TCP, end.address[1], other.address[1], flags, end.sequence, ack, payload
        )

    def _say(self, end: End, other: End, flags: int, payload: bytes = b"") -> bool:
        return self.fabric.send(end.host, self._packet(end, other, flags, payload)).host is other.host

    def start(self, accept: socket.socket, connect: socket.socket) -> None:
        self.ends[0].sock, self.ends[1].sock = connect, accept
        self.fabric.streams[self._flow] = self
        loop = asyncio.get_running_loop()
        self._pumps = [
            loop.create_task(self._pump(*self.ends)),
            loop.create_task(self._pump(*self.ends[::-1])),
        ]
        self.fabric.keep(loop.create_task(self._live()))

    async def _live(self) -> None:
        """Sockets are closed only when no pump waits for them any more: a closed number may be somebody else's."""
        try:
            for result in await asyncio.gather(*self._pumps, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result
        finally:
            self._forget()
            for end in self.ends:
                if end.sock is not None:
                    end.sock.close()

    async def _pump(self, end: End, other: End) -> None:
        assert end.sock is not None
        assert other.sock is not None
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(end.sock, READ):
                await self._carry(end, other, data)
            await self._until_heard(end, other, FIN | ACK)
            end.sequence += 1
            await self._acknowledge(end, other, FIN | ACK, b"", 1)
            with contextlib.suppress(OSError):
                other.sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            # a program closed its socket while bytes were still on their way to it, or unread
            self._say(other, end, RST | ACK)
            self.abort()
        except TimeoutError:
            self.abort()

    async def _carry(self, end: End, other: End, data: bytes) -> None:
        """All segments of one read; what got through is written at once, the rest is tried again."""
        assert other.sock is not None
        loop = asyncio.get_running_loop()
        sent = 0
        while sent < len(data):
            await self.fabric.running.wait()
            heard = sent
            while heard < len(data):
                piece = data[heard : heard + MSS]
                last = heard + len(piece) == len(data)
                if not self._say(end, other, PSH | ACK if last else ACK, piece):
                    break
                end.sequence += len(piece)
                heard += len(piece)
            if heard > sent:
                await loop.sock_sendall(other.sock, data[sent:heard])
                piece = data[max(sent, heard - MSS) : heard]
                sent = heard
                await self._acknowledge(end, other, PSH | ACK, piece, len(piece))
            if sent < len(data):
                piece = data[sent : sent + MSS]
                await self._until_heard(end, other, ACK, piece)
                await loop.sock_sendall(other.sock, piece)
                end.sequence += len(piece)
                sent += len(piece)
                await self._acknowledge(end, other, ACK, piece, len(piece))

    async def _until_heard(self, end: End, other: End, flags: int, payload: bytes = b"") -> None:
        """Says a segment until it gets through."""
        pause, waited = FIRST_RETRY, 0.0
        while True:
            await self.fabric.running.wait()
            if self._say(end, other, flags, payload):
                return
            if waited >= GIVE_UP_AFTER:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            await asyncio.sleep(pause)
            waited += pause
            pause = min(LONGEST_RETRY, pause * 2)

    async def _acknowledge(self, end: End, other: End, flags: int, payload: bytes, length: int) -> None:
        """The other side's answer to the last segment; when it is lost, the segment is said again."""
        pause, waited = FIRST_RETRY, 0.0
        while not self._say(other, end, ACK):
            if waited >= GIVE_UP_AFTER:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            await asyncio.sleep(pause)
            await self.fabric.running.wait()
            waited += pause
            pause = min(LONGEST_RETRY, pause * 2)
            end.sequence -= length
            self._say(end, other, flags, payload)
            end.sequence += length

    def meets(self, packet: Packet) -> None:
        """A segment made by hand for this connection: only a reset with the right number does anything."""
        for end in self.ends:
            right = packet.seq == end.sequence & 0xFFFFFFFF
            if packet.flags & RST and (packet.src, packet.sport) == end.address and right:
                self.abort()

    def touches(self, host: Host) -> bool:
        return any(end.host is host for end in self.ends)

    def abort(self) -> None:
        """Ends both sides at once: a reset, a node that was removed, nobody answering any more."""
        self._forget()
        current = asyncio.current_task()
        for pump in self._pumps:
            if pump is not current:
                pump.cancel()
        for end in self.ends:
            if end.sock is not None:
                with contextlib.suppress(OSError):
                    end.sock.shutdown(socket.SHUT_RDWR)

    def _forget(self) -> None:
        if self.fabric.streams.get(self._flow) is self:
            del self.fabric.streams[self._flow]
            for host in self.fabric.hosts.values():
                host.connections.ended(self._packet(*self.ends, ACK))


async def open_stream(fabric: Fabric, host: Host, ip: str, port: int, timeout: float) -> RangeSocket:
    """A connected socket, after a handshake on the wire. Errors are those of connect(2)."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    source = fabric.source_for(host, ip)
    own, peer = (source, 0), (ip, port)
    number = host.free_port(lambda taken: flow_of(Packet(source, ip, TCP, taken, port)) in fabric.streams)
    own = (source, number)
    syn = Packet(source, ip, TCP, number, port, SYN, fabric.random.getrandbits(32))
    pause, unknown = SYN_RETRY, 0
    while True:
        await asyncio.wait_for(fabric.running.wait(), max(0.0, deadline - loop.time()))
        fate = fabric.send(host, syn)
        if fate.host is not None:
            accept = fate.host.tcp_ports.get(port)
            if accept is None:
                refusal = Packet(ip, source, TCP, port, number, RST | ACK, 0, syn.seq + 1)
                if fabric.send(fate.host, refusal).host is host:
                    raise ConnectionRefusedError(errno.ECONNREFUSED, f"{ip}:{port} refused the connection")
            else:
                client, server = End(host, own, syn.seq), End(fate.host, peer, fabric.random.getrandbits(32))
                welcome = Packet(ip, source, TCP, port, number, SYN | ACK, server.sequence, syn.seq + 1)
                if fabric.send(fate.host, welcome).host is host:
                    client.sequence, server.sequence = syn.seq + 1, server.sequence + 1
                    stream = Stream(fabric, client, server)
                    fabric.send(host, Packet(source, ip, TCP, number, port, ACK, client.sequence, server.sequence))
                    theirs, near = socket_pair(own, peer)
                    accepted, far = socket_pair(peer, own)
                    stream.start(far, near)
                    accept(accepted, own)
                    return theirs
        elif fate.error:
            unknown += 1
            if fabric.neighbour_known(host, (host.route(ip) or (None, ""))[1]) or unknown >= ARP_TRIES:
                raise OSError(fate.error, f"{ip}: {os.strerror(fate.error)}")
        left = deadline - loop.time()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, f"{ip}:{port} did not answer within {timeout:g} s")
        await asyncio.sleep(min(pause, left))
        if unknown == 0:
            pause *= 2
        if loop.time() >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, f"{ip}:{port} did not answer within {timeout:g} s")
