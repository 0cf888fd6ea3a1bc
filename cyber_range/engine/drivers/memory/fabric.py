"""The network of one memory range: segments, hosts with legs, ARP, routing, filters. Packets walk it in one call.

Nothing is queued: `send` carries a packet from host to host at once and says what became of it. Bytes are made only
for segments somebody listens to. Rules follow Linux: weak host model, forwarding only where the plan says so, ICMP
errors instead of silence where a router would send them.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cyber_range.engine.drivers.memory.connections import Connections, flow_of
from cyber_range.engine.drivers.memory.frames import (
    ACK,
    BROADCAST_MAC,
    ICMP,
    PROTOCOL_NAMES,
    RST,
    SYN,
    TCP,
    UDP,
    Arp,
    Packet,
    arp_frame,
    icmp_error,
    parse,
    text_mac,
)
from cyber_range.engine.plan import InterfacePlan, NodePlan, ZonePlan

ARP_SECONDS = 60.0  # how long a learned neighbour is believed, as Linux's base reachable time allows at most
FIRST_EPHEMERAL, LAST_EPHEMERAL = 32768, 60999  # Linux's own range
UNREACHABLE, TIME_EXCEEDED = 3, 11
NET, HOST, PORT, PROHIBITED = 0, 1, 3, 13  # codes of "unreachable"; 13 is what a reject rule answers
OnFrames = Callable[[list[tuple[int, bytes]]], None]


class Filter(Protocol):
    """`agents.packet_filter.PacketFilter`, as far as a packet meets it."""

    def decide(
        self,
        *,
        src: str,
        dst: str,
        proto: str,
        dport: int = 0,
        iif: str = "",
        oif: str = "",
        established: bool = False,
        size: int = 0,
    ) -> str: ...


class LiveStream(Protocol):
    """A TCP connection that somebody may try to break from outside."""

    def meets(self, packet: Packet) -> None: ...
    def touches(self, host: Host) -> bool: ...
    def abort(self) -> None: ...


class Listener:
    """One tap: frames are handed over in batches, once per turn of the event loop."""

    def __init__(self, on_frames: OnFrames, registered: list[Listener]) -> None:
        self._on_frames = on_frames
        self._registered = registered
        self._pending: list[tuple[int, bytes]] = []
        registered.append(self)

    def hear(self, at: int, frame: bytes) -> None:
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._pending.append((at, frame))

    def _hand_over(self) -> None:
        batch, self._pending = self._pending, []
        if batch and self in self._registered:
            self._on_frames(batch)

    def close(self) -> None:
        if self in self._registered:
            self._registered.remove(self)


@dataclass(eq=False)
class Leg:
    plan: InterfacePlan
    host: Host
    segment: Segment
    network: ipaddress.IPv4Network
    taps: list[Listener] = field(default_factory=list)

    @property
    def mac(self) -> str:
        return self.plan.mac

    @property
    def ip(self) -> str:
        return self.plan.ip


@dataclass(eq=False)
class Segment:
    plan: ZonePlan
    legs: list[Leg] = field(default_factory=list)
    taps: list[Listener] = field(default_factory=list)

    def by_mac(self, mac: str) -> Leg | None:
        return next((leg for leg in self.legs if leg.mac == mac), None)

    def by_ip(self, ip: str) -> Leg | None:
        return next((leg for leg in self.legs if leg.ip == ip), None)

    def carry(self, sender: Leg, target: Leg | None, everyone: bool, frame: Callable[[], bytes], at: int) -> None:
        """The bridge hears all; a NIC what it sends, what is for it and what is for everyone."""
        listeners = [*self.taps, *sender.taps]
        if everyone:
            listeners += [tap for leg in self.legs if leg is not sender for tap in leg.taps]
        elif target is not None and target is not sender:
            listeners += target.taps
        if listeners:
            data = frame()
            for listener in listeners:
                listener.hear(at, data)


@dataclass(eq=False)
class Host:
    plan: NodePlan
    filter: Filter
    legs: list[Leg] = field(default_factory=list)
    routes: list[tuple[ipaddress.IPv4Network, str]] = field(default_factory=list)  # longest prefix first
    permanent: dict[str, str] = field(default_factory=dict)  # ip -> mac, from the plan
    neighbours: dict[str, tuple[str, float]] = field(default_factory=dict)  # ip -> (mac, believed until)
    connections: Connections = field(default_factory=Connections)
    tcp_ports: dict[int, Callable[[Any, tuple[str, int]], None]] = field(default_factory=dict)
    udp_ports: dict[int, Callable[[bytes, tuple[str, int]], None]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    last_port: int = FIRST_EPHEMERAL - 1
    ident: int = 0
    hops: dict[str, tuple[Leg, str] | None] = field(default_factory=dict)  # routes already looked up
    echoes: dict[tuple[int, int], asyncio.Future[str]] = field(default_factory=dict)  # (identifier, number) of pings

    def owns(self, ip: str) -> bool:
        return ip.startswith("127.") or any(leg.ip == ip for leg in self.legs)

    def leg(self, ifname: str) -> Leg:
        for leg in self.legs:
            if leg.plan.ifname == ifname:
                return leg
        raise OSError(errno.ENODEV, f"{self.plan.name} has no interface {ifname!r}")

    def route(self, ip: str) -> tuple[Leg, str] | None:
        """(leg, next hop) or None: connected networks first, then the longest prefix."""
        if ip not in self.hops:
            self.hops[ip] = self._look_up(ip)
        return self.hops[ip]

    def _look_up(self, ip: str) -> tuple[Leg, str] | None:
        address = ipaddress.IPv4Address(ip)
        for leg in self.legs:
            if address in leg.network:
                return leg, ip
        for network, gateway in self.routes:
            if address in network:
                for leg in self.legs:
                    if ipaddress.IPv4Address(gateway) in leg.network:
                        return leg, gateway
        return None

    def free_port(self, taken: Callable[[int], bool]) -> int:
        for _ in range(LAST_EPHEMERAL - FIRST_EPHEMERAL + 1):
            self.last_port = FIRST_EPHEMERAL if self.last_port >= LAST_EPHEMERAL else self.last_port + 1
            if not taken(self.last_port):
                return self.last_port
        raise OSError(errno.EADDRNOTAVAIL, f"{self.plan.name} has no free port left")

    def next_ident(self) -> int:
        self.ident = self.ident + 1 & 0xFFFF
        return self.ident


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a packet: it reached `host`, or the sender was told `error` (an errno), or there is silence."""

    host: Host | None = None
    error: int = 0


SILENCE = Fate()


class Fabric:
    def __init__(self, range_id: str, new_filter: Callable[[], Filter]) -> None:
        self.range_id = range_id
        self.segments: dict[str, Segment] = {}
        self.hosts: dict[str, Host] = {}
        self.streams: dict[tuple[Any, ...], LiveStream] = {}
        # sequence numbers only: the same range says the same bytes
        self.random = random.Random(range_id)  # noqa: S311 - not a secret
        self.running = asyncio.Event()  # cleared while the range is paused
        self.running.set()
        self._new_filter = new_filter
        self._last_time = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    # wiring

    def add_segment(self, plan: ZonePlan) -> None:
        self.segments.setdefault(plan.name, Segment(plan))

    def remove_segment(self, name: str) -> None:
        self.segments.pop(name, None)

    def add_host(self, plan: NodePlan) -> Host:
        host = Host(plan, self._new_filter())
        for interface in plan.interfaces:
            segment = self.segments.get(interface.zone)
            if segment is None:
                raise LookupError(f"node {plan.name!r} has a leg in zone {interface.zone!r}, which does not exist")
            if (taken := segment.by_ip(interface.ip)) is not None:
                raise LookupError(f"{interface.ip} of node {plan.name!r} is taken by {taken.host.plan.name!r}")
            network = ipaddress.IPv4Network(f"{interface.ip}/{interface.prefix}", strict=False)
            host.legs.append(Leg(interface, host, segment, network))
        for leg in host.legs:
            leg.segment.legs.append(leg)
        host.routes = sorted(
            ((ipaddress.IPv4Network(to), via) for to, via in plan.routes), key=lambda route: -route[0].prefixlen
        )
        host.permanent = {ip: mac.lower() for _, ip, mac in plan.neighbours}
        host.names = {name: ip for ip, name in plan.hosts}
        host.names["localhost"] = "127.0.0.1"
        if plan.interfaces:
            host.names.setdefault(plan.name, plan.interfaces[0].ip)
        self.hosts[plan.name] = host
        return host

    def remove_host(self, name: str) -> None:
        if (host := self.hosts.pop(name, None)) is not None:
            for leg in host.legs:
                leg.segment.legs.remove(leg)
                leg.taps.clear()
            for stream in [stream for stream in self.streams.values() if stream.touches(host)]:
                stream.abort()

    def close(self) -> None:
        """Ends every connection; their last tasks run out by themselves."""
        for stream in list(self.streams.values()):
            stream.abort()
        for segment in self.segments.values():
            segment.taps.clear()

    def keep(self, task: asyncio.Task[Any]) -> None:
        """The event loop itself holds tasks only weakly."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def now(self) -> int:
        """Nanoseconds since the epoch, never the same twice, so that captures keep their order."""
        self._last_time = max(time.time_ns(), self._last_time + 1)
        return self._last_time

    # packets of the hosts' own stacks

    def send(self, host: Host, packet: Packet) -> Fate:
        if host.owns(packet.dst):
            return Fate(host)
        packet.ident = packet.ident or host.next_ident()
        hop = host.route(packet.dst)
        if hop is None:
            return Fate(error=errno.ENETUNREACH)
        return self._leave(host, *hop, packet, packet.ttl)

    def source_for(self, host: Host, ip: str) -> str:
        """The address packets to `ip` come from. OSError(ENETUNREACH) without a route."""
        if host.owns(ip):
            return ip
        hop = host.route(ip)
        if hop is None:
            raise OSError(errno.ENETUNREACH, f"{host.plan.name} has no route to {ip}")
        return hop[0].ip

    def _leave(self, host: Host, leg: Leg, next_hop: str, packet: Packet, ttl: int) -> Fate:
        segment = leg.segment
        if packet.dst in (str(leg.network.broadcast_address), "255.255.255.255"):
            segment.carry(leg, None, True, lambda: packet.frame(leg.mac, BROADCAST_MAC, ttl), self.now())
            for other in [other for other in segment.legs if other is not leg]:
                self._datagram_in(other.host, packet, polite=False)
            return SILENCE
        mac = self.neighbour(host, leg, next_hop)
        if mac is None:
            return Fate(error=errno.EHOSTUNREACH)
        target = segment.by_mac(mac)
        segment.carry(leg, target, False, lambda: packet.frame(leg.mac, mac, ttl), self.now())
        return SILENCE if target is None else self._arrive(target, packet, ttl)

    def _arrive(self, leg: Leg, packet: Packet, ttl: int) -> Fate:
        """A frame for this leg's MAC: the host's own, to be forwarded, or nothing it cares for."""
        host = leg.host
        if any(own.ip == packet.dst for own in host.legs):
            return Fate(host)
        if not host.plan.forwards:
            return SILENCE
        if ttl <= 1:
            return self._complain(host, icmp_error(TIME_EXCEEDED, 0, leg.ip, packet), errno.EHOSTUNREACH)
        hop = host.route(packet.dst)
        if hop is None:
            return self._complain(host, icmp_error(UNREACHABLE, NET, leg.ip, packet), errno.ENETUNREACH)
        out, next_hop = hop
        verdict = host.filter.decide(
            src=packet.src,
            dst=packet.dst,
            proto=PROTOCOL_NAMES.get(packet.proto, str(packet.proto)),
            dport=0 if packet.proto == ICMP else packet.dport,
            iif=leg.plan.ifname,
            oif=out.plan.ifname,
            established=host.connections.established(packet),
            size=packet.size,
        )
        if verdict == "reject":
            return self._complain(host, icmp_error(UNREACHABLE, PROHIBITED, leg.ip, packet), errno.EHOSTUNREACH)
        if verdict != "accept":
            return SILENCE
        host.connections.passed(packet)
        fate = self._leave(host, out, next_hop, packet, ttl - 1)
        if fate.error == errno.EHOSTUNREACH and not self.neighbour_known(host, next_hop):
            return self._complain(host, icmp_error(UNREACHABLE, HOST, leg.ip, packet), errno.EHOSTUNREACH)
        return fate

    def _complain(self, host: Host, error: Packet, number: int) -> Fate:
        """Sends an ICMP error; its receiver learns the errno only when it gets there. None about ICMP errors."""
        if error.about is not None and error.about.about is not None:
            return SILENCE
        return Fate(error=number) if self.send(host, error).host is not None else SILENCE

    # ARP

    def neighbour_known(self, host: Host, ip: str) -> bool:
        return ip in host.permanent or ip in host.neighbours

    def neighbour(self, host: Host, leg: Leg, ip: str) -> str | None:
        """The MAC for a next hop, asked for on the wire when it is not known."""
        if (mac := host.permanent.get(ip)) is not None:
            return mac
        known = host.neighbours.get(ip)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        host.neighbours.pop(ip, None)
        segment = leg.segment
        ask = arp_frame(1, (leg.mac, leg.ip), ("00:00:00:00:00:00", ip), BROADCAST_MAC)
        segment.carry(leg, None, True, lambda: ask, self.now())
        other = segment.by_ip(ip)
        if other is None:
            return None
        self._answer_arp(other, leg.mac, leg.ip)
        host.neighbours[ip] = (other.mac, time.monotonic() + ARP_SECONDS)
        return other.mac

    def _answer_arp(self, leg: Leg, mac: str, ip: str) -> None:
        """`leg` tells its MAC to who asked, and remembers who asked."""
        if ip not in leg.host.permanent:
            leg.host.neighbours[ip] = (mac, time.monotonic() + ARP_SECONDS)
        reply = arp_frame(2, (leg.mac, leg.ip), (mac, ip), mac)
        leg.segment.carry(leg, leg.segment.by_mac(mac), False, lambda: reply, self.now())

    # frames made by hand

    def inject(self, host: Host, ifname: str, frames: Sequence[bytes]) -> int:
        """Raw frames out of one leg; the others' stacks answer them as kernels would. Paused ranges take none."""
        leg = host.leg(ifname)
        if not self.running.is_set():
            return 0
        for frame in frames:
            if len(frame) < 14:
                raise OSError(errno.EINVAL, "a frame has at least the 14 bytes of its Ethernet header")
            everyone = bool(frame[0] & 1)
            target = None if everyone else leg.segment.by_mac(text_mac(frame[:6]))
            data = bytes(frame)
            leg.segment.carry(leg, target, everyone, lambda data=data: data, self.now())  # type: ignore[misc]  # default binds
            said = parse(data)
            if said is None:
                continue
            hearers = [other for other in leg.segment.legs if other is not leg] if everyone else [target]
            for hearer in hearers:
                if hearer is not None:
                    self._hand_made(hearer, said, everyone)
        return len(frames)

    def _hand_made(self, leg: Leg, said: Packet | Arp, everyone: bool) -> None:
        if isinstance(said, Arp):
            if said.operation == 1 and said.target_ip == leg.ip:
                self._answer_arp(leg, said.sender_mac, said.sender_ip)
            elif said.sender_ip in leg.host.neighbours:  # Linux believes whoever speaks about a known neighbour
                leg.host.neighbours[said.sender_ip] = (said.sender_mac, time.monotonic() + ARP_SECONDS)
            return
        if everyone:
            self._datagram_in(leg.host, said, polite=False)
            return
        fate = self._arrive(leg, said, said.ttl)
        if fate.host is not None:
            self.answer(fate.host, said)

    def answer(self, host: Host, packet: Packet) -> None:
        """What the stack of `host` does with a packet that no relay of ours has sent."""
        if packet.proto == ICMP:
            if packet.icmp[0] == 8:
                self._reply(
                    host,
                    Packet(
                        packet.dst, packet.src, ICMP, packet.sport, packet.sport, seq=packet.seq, payload=packet.payload
                    ),
                )
            elif packet.icmp[0] == 0:
                waiting = host.echoes.pop((packet.sport, packet.seq), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(packet.src)
        elif packet.proto == UDP:
            self._datagram_in(host, packet, polite=True)
        elif packet.proto == TCP:
            self._segment_in(host, packet)

    def _reply(self, host: Host, packet: Packet) -> None:
        fate = self.send(host, packet)
        if fate.host is not None:
            self.answer(fate.host, packet)

    def _segment_in(self, host: Host, packet: Packet) -> None:
        stream = self.streams.get(flow_of(packet))
        if stream is not None:
            stream.meets(packet)
            return
        if packet.flags & RST:
            return
        length = len(packet.payload) + bool(packet.flags & SYN) + bool(packet.flags & 1)
        back = Packet(packet.dst, packet.src, TCP, packet.dport, packet.sport)
        if packet.flags & (SYN | ACK) == SYN and packet.dport in host.tcp_ports:
            back.flags, back.seq, back.ack = SYN | ACK, self.random.getrandbits(32), packet.seq + 1
        elif packet.flags & ACK:
            back.flags, back.seq = RST, packet.ack
        else:
            back.flags, back.ack = RST | ACK, packet.seq + length
        self._reply(host, back)

    def _datagram_in(self, host: Host, packet: Packet, *, polite: bool) -> bool:
        """`polite`: a closed port is answered with ICMP; broadcasts never are."""
        if packet.proto != UDP:
            return False
        take = host.udp_ports.get(packet.dport)
        if take is not None:
            asyncio.get_running_loop().call_soon(take, packet.payload, (packet.src, packet.sport))
            return True
        if polite:
            self._complain(host, icmp_error(UNREACHABLE, PORT, packet.dst, packet), errno.ECONNREFUSED)
        return False

    # datagrams and pings of programs

    def send_datagram(self, host: Host, sport: int, data: bytes, ip: str, dport: int) -> None:
        if not self.running.is_set():  # a frozen node sends nothing
            return
        try:
            source = self.source_for(host, ip)
        except OSError:
            return  # lost, as UDP is
        packet = Packet(source, ip, UDP, sport, dport, payload=data)
        fate = self.send(host, packet)
        if fate.host is not None:
            self._datagram_in(fate.host, packet, polite=True)

    async def ping(self, host: Host, ip: str, number: int, timeout: float) -> float | None:
        """Seconds of one echo, None without an answer; OSError when the network says why."""
        identifier = host.next_ident()
        packet = Packet(
            self.source_for(host, ip),
            ip,
            ICMP,
            identifier,
            identifier,
            seq=number,
            icmp=(8, 0),
            payload=bytes(range(56)),
        )
        answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        host.echoes[identifier, number] = answered
        start = time.perf_counter()
        try:
            fate = self.send(host, packet)
            if fate.host is not None:
                self.answer(fate.host, packet)
            elif fate.error:
                raise OSError(fate.error, f"{ip} is unreachable")
            await asyncio.wait_for(answered, timeout)
            return time.perf_counter() - start
        except TimeoutError:
            return None
        finally:
            host.echoes.pop((identifier, number), None)
