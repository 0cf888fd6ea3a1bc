"""The sensor's memory: connections, Modbus dialogues, hosts, counts. Pure: frames with time stamps in, facts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cyber_range.engine.sensor.decode import ACK, SYN, TCP, UDP, Arp, Packet, decode, dotted
from cyber_range.engine.sensor.modbus import Framer
from cyber_range.engine.sensor.rules import Policy, Rules
from cyber_range.engine.sensor.streams import Stream

MODBUS_PORT = 502
IDLE = 300.0  # s after which a quiet connection is forgotten
MOST_CONNECTIONS = 20_000  # beyond, the oldest half is forgotten: a flood may not eat the sensor's memory
PROTOCOLS = {1: "icmp", TCP: "tcp", UDP: "udp"}


class Connection:
    """One TCP or UDP conversation in one zone; `client` opened it."""

    __slots__ = ("answered", "bytes", "client", "dialogue", "established", "packets", "port", "proto", "seen", "server")

    def __init__(self, client: bytes, server: bytes, port: int, proto: int) -> None:
        self.client, self.server, self.port, self.proto = client, server, port, proto
        self.packets = self.bytes = self.established = 0
        self.answered = False
        self.seen = 0.0
        self.dialogue: Dialogue | None = None


class Dialogue:
    """Both directions of a Modbus connection and what was asked and answered since the last report."""

    __slots__ = (
        "answers",
        "asks",
        "client",
        "down",
        "exceptions",
        "requests",
        "responses",
        "server",
        "told",
        "up",
        "writes",
    )

    def __init__(self, client: str, server: str) -> None:
        self.client, self.server = client, server
        self.begin()
        self.requests = self.responses = self.exceptions = self.writes = 0
        self.told = False

    def begin(self) -> None:
        """Forgets what was half said; counts go on."""
        self.up, self.down = Stream(), Stream()
        self.asks, self.answers = Framer(requests=True), Framer(requests=False)


class Monitor:
    """Feed it frames per zone; `report` gives what is new since the last report."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.rules = Rules(policy or Policy())
        self.frames = self.bytes = self.modbus_requests = self.modbus_writes = self.undecoded = 0
        self.now = 0.0
        self._connections: dict[tuple[str, int, bytes, bytes], tuple[Connection, bool]] = {}
        self._other: dict[tuple[str, bytes, bytes, int], Connection] = {}
        self._hosts: dict[tuple[str, bytes], bytes] = {}
        self._fresh_hosts: list[dict[str, Any]] = []

    def feed(self, zone: str, frames: Sequence[tuple[int, bytes]]) -> None:
        for at_ns, frame in frames:
            at = at_ns / 1e9
            self.now = at
            self.frames += 1
            self.bytes += len(frame)
            packet = decode(frame)
            if packet is None:
                self.undecoded += 1
            elif isinstance(packet, Arp):
                self._arp(zone, at, packet)
            else:
                self._packet(zone, at, packet, len(frame))

    def _arp(self, zone: str, at: float, arp: Arp) -> None:
        sender = dotted(arp.sender)
        if self.rules.on_arp(at, zone, sender, arp.mac.hex(":"), dotted(arp.target), arp.asks):
            self._host(zone, arp.sender, arp.mac, local=True)

    def _host(self, zone: str, address: bytes, mac: bytes, *, local: bool) -> None:
        """A host seen sending; what came through a router wears the router's MAC, so only ARP tells a MAC for sure."""
        key = (zone, address)
        if self._hosts.get(key) == mac:
            return
        first = key not in self._hosts
        self._hosts[key] = mac
        if first or local:
            name = dotted(address)
            self._fresh_hosts.append(
                {"zone": zone, "ip": name, "mac": mac.hex(":"), "known": name in self.rules.policy.assets,
                 "name": self.rules.policy.assets.get(name, "")}
            )  # fmt: skip

    def _packet(self, zone: str, at: float, packet: Packet, size: int) -> None:
        if (zone, packet.src) not in self._hosts:
            self._host(zone, packet.src, packet.mac, local=False)
        if packet.proto not in (TCP, UDP) or not packet.dport:
            key = (zone, packet.src, packet.dst, packet.proto)
            connection = self._other.get(key)
            if connection is None:
                connection = self._other[key] = Connection(packet.src, packet.dst, 0, packet.proto)
            connection.packets += 1
            connection.bytes += size
            return
        # one key per direction, made of bytes the frame already has: no ordering, no strings on the hot path
        ports = packet.sport << 16 | packet.dport
        known = self._connections.get((zone, packet.proto << 32 | ports, packet.src, packet.dst))
        starts = packet.flags & (SYN | ACK) == SYN
        if known is None or (starts and known[0].answered and not known[1]):
            known = self._open(zone, packet)
        connection, from_client = known
        connection.packets += 1
        connection.bytes += size
        connection.seen = at
        if packet.proto == TCP:
            self._segment(zone, at, packet, connection, from_client)

    def _open(self, zone: str, packet: Packet) -> tuple[Connection, bool]:
        """A new connection. Joined in the middle, the lower port is taken for the service."""
        if len(self._connections) > 2 * MOST_CONNECTIONS:
            self._forget(sorted(c.seen for c, _ in self._connections.values())[len(self._connections) // 2])
        from_client = packet.dport <= packet.sport
        if packet.proto == TCP and packet.flags & SYN:
            from_client = not packet.flags & ACK
        client, server, port = (
            (packet.src, packet.dst, packet.dport) if from_client else (packet.dst, packet.src, packet.sport)
        )
        connection = Connection(client, server, port, packet.proto)
        if packet.proto == TCP and port == MODBUS_PORT:
            connection.dialogue = Dialogue(dotted(client), dotted(server))
        proto = packet.proto << 32
        there, back = packet.sport << 16 | packet.dport, packet.dport << 16 | packet.sport
        self._connections[zone, proto | there, packet.src, packet.dst] = (connection, from_client)
        self._connections[zone, proto | back, packet.dst, packet.src] = (connection, not from_client)
        return connection, from_client

    def _segment(self, zone: str, at: float, packet: Packet, connection: Connection, from_client: bool) -> None:
        flags = packet.flags
        if flags & SYN:
            if from_client and not flags & ACK:
                if connection.answered:  # the same ports again: a new conversation
                    connection.answered = False
                    if connection.dialogue is not None:
                        connection.dialogue.begin()
                self.rules.on_syn(at, zone, dotted(connection.client), dotted(connection.server), connection.port)
            elif not connection.answered:
                connection.answered = True
                connection.established += 1
                self.rules.on_established(
                    at, zone, dotted(connection.client), dotted(connection.server), connection.port
                )
        dialogue = connection.dialogue
        if dialogue is None:
            return
        stream = dialogue.up if from_client else dialogue.down
        data = stream.push(packet.sequence, packet.payload, syn=bool(flags & SYN))
        if data:
            self._dialogue(zone, at, dialogue, from_client, data)

    def _dialogue(self, zone: str, at: float, dialogue: Dialogue, from_client: bool, data: bytes) -> None:
        framer = dialogue.asks if from_client else dialogue.answers
        for message in framer.feed(data):
            if from_client:
                dialogue.requests += 1
                self.modbus_requests += 1
                if message.writes:
                    dialogue.writes += 1
                    self.modbus_writes += 1
                self.rules.on_request(at, zone, dialogue.client, dialogue.server, message)
            else:
                dialogue.responses += 1
                dialogue.exceptions += bool(message.exception)
                self.rules.on_answer(at, zone, dialogue.client, dialogue.server, message)
        if framer.broken and not dialogue.told:
            dialogue.told = True
            self.rules.raise_alert(
                "not_modbus", 2, "T0869", at, zone, dialogue.client, dialogue.server,
                f"{dialogue.client} 与 {dialogue.server} 在 502 端口上说的不是 Modbus",
            )  # fmt: skip

    def _forget(self, before: float) -> None:
        for key in [k for k, (c, _) in self._connections.items() if c.seen < before]:
            del self._connections[key]

    def report(self, now: float | None = None) -> dict[str, Any]:
        """{"polls", "flows", "alerts", "assets", "counters"}: counts since the last report, counters since the start."""
        at = self.now if now is None else now
        self.rules.on_time(at)
        flows: dict[tuple[str, bytes, bytes, int, int], list[int]] = {}
        polls: dict[tuple[str, str, str], list[int]] = {}
        listed = [(key[0], c) for key, (c, from_client) in self._connections.items() if from_client]
        listed += [(key[0], c) for key, c in self._other.items()]
        for zone, connection in listed:
            if connection.packets:
                flow = flows.setdefault(
                    (zone, connection.client, connection.server, connection.proto, connection.port), [0, 0, 0]
                )
                flow[0] += connection.packets
                flow[1] += connection.bytes
                flow[2] += connection.established
                connection.packets = connection.bytes = connection.established = 0
            dialogue = connection.dialogue
            if dialogue is not None and (dialogue.requests or dialogue.responses):
                counts = polls.setdefault((zone, dialogue.client, dialogue.server), [0, 0, 0, 0])
                counts[0] += dialogue.requests
                counts[1] += dialogue.responses
                counts[2] += dialogue.exceptions
                counts[3] += dialogue.writes
                dialogue.requests = dialogue.responses = dialogue.exceptions = dialogue.writes = 0
        self._forget(at - IDLE)
        hosts, self._fresh_hosts = self._fresh_hosts, []
        return {
            "polls": [
                {"zone": zone, "client": client, "server": server, "port": MODBUS_PORT, "requests": n[0],
                 "responses": n[1], "exceptions": n[2], "writes": n[3]}
                for (zone, client, server), n in polls.items()
            ],
            "flows": [
                {"zone": zone, "src": dotted(src), "dst": dotted(dst), "proto": PROTOCOLS.get(proto, str(proto)),
                 "port": port, "packets": n[0], "bytes": n[1], "established": n[2]}
                for (zone, src, dst, proto, port), n in flows.items()
            ],
            "alerts": [alert.as_dict() for alert in self.rules.drain()],
            "assets": hosts,
            "counters": {
                "frames": self.frames, "bytes": self.bytes, "modbus_requests": self.modbus_requests,
                "modbus_writes": self.modbus_writes, "undecoded": self.undecoded, **self.rules.counters,
            },
        }  # fmt: skip
