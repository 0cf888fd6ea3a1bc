"""The sensor's memory: conversations, their messages, hosts, counts, findings. Pure: frames with time stamps in, facts out.

The way of a frame whose conversation is known is written out in one loop, because 50,000 a second must pass it: one
slice as key, one struct, the payload handed to the conversation's decoder. A message that came before, and that no rule
looks at, is counted and nothing else (`Message.calm`). All that is rare leaves the loop for a method with a name.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from cyber_range.engine.sensor.alerts import Alerts, Item
from cyber_range.engine.sensor.baseline import Baseline
from cyber_range.engine.sensor.decode import ACK, SYN, TCP, UDP, Arp, Packet, decode, dotted
from cyber_range.engine.sensor.flows import Flow, Side
from cyber_range.engine.sensor.inventory import Inventory
from cyber_range.engine.sensor.policy import LABELS, Policy, Watch
from cyber_range.engine.sensor.protocols import registry
from cyber_range.engine.sensor.protocols.message import REQUEST, Message
from cyber_range.engine.sensor.rules.book import Book
from cyber_range.engine.sensor.rules.rule import Rule, Sight
from cyber_range.engine.sensor.shedding import READING
from cyber_range.engine.sensor.streams import MODULUS, Stream, after

IDLE = 300.0  # s after which a quiet conversation is forgotten
UNANSWERED = 60.0  # s a request waits for its answer
MOST_CONVERSATIONS = 20_000  # beyond, the oldest half is forgotten: a flood may not eat the sensor's memory
PROTOCOLS = {1: "icmp", TCP: "tcp", UDP: "udp"}
IPV4_PLAIN = b"\x08\x00\x45"  # EtherType IPv4, version 4, no IP options
UNACKNOWLEDGED_LIMIT = 256
SECOND = 1_000_000_000

# From byte 16 of a frame: total length, fragment word, TCP sequence and acknowledgement, header length, flags
_TCP_FIELDS = struct.Struct(">HxxH16xIIBB")


class _Zone:
    """Sides by the 12 bytes source, target, source port, target port as the frame has them.

    `knocks` are connection requests nobody has answered yet: [frames, bytes, last seen, first frame]. A scan or a flood
    makes thousands of them, so they cost no conversation before somebody answers.
    """

    __slots__ = ("knocks", "name", "other", "tcp", "udp")

    def __init__(self, name: str) -> None:
        self.name = name
        self.tcp: dict[bytes, Side] = {}
        self.udp: dict[bytes, Side] = {}
        self.other: dict[tuple[bytes, bytes, int], Flow] = {}
        self.knocks: dict[bytes, list[Any]] = {}


class Monitor:
    """Feed it frames per zone; `report` gives what is new since the last report.

    `shed` is how much of the work is left out when more comes than can be read (see `sensor.shedding`): from 1 on no rules
    look at conversations that are no control protocol, from 2 on those are not read either. Both are counted.
    """

    def __init__(
        self, policy: Policy | None = None, *, book: Book | None = None, baseline: Baseline | None = None
    ) -> None:
        self.policy = policy or Policy()
        self.alerts = Alerts()
        self.watch = Watch(self.policy, self.alerts)
        self.book = book or Book()
        self.baseline = baseline or Baseline()
        self.inventory = Inventory(self.policy.assets)
        self.frames = self.bytes = self.undecoded = self.holes = self.faults = 0
        self.messages: dict[str, int] = {}
        self.modbus_requests = self.modbus_writes = self.signature_alerts = 0
        self.now = 0.0
        self.shed = 0
        self.shed_payloads = self.shed_matching = 0
        self._epoch = 1  # what messages are marked calm with: a new number takes all marks back
        self._zones: dict[str, _Zone] = {}
        self._folded: dict[tuple[str, bytes, bytes, int, int], list[int]] = {}
        self._symmetric: dict[tuple[str, str, bytes, bytes, int], list[int]] = {}

    # ------------------------------------------------------------ the loop

    def feed(self, zone: str, frames: Sequence[Item]) -> None:
        table = self._zones.get(zone)
        if table is None:
            table = self._zones[zone] = _Zone(zone)
        tcp, udp = table.tcp, table.udp
        fields = _TCP_FIELDS.unpack_from
        epoch = self._epoch
        octets = 0
        for item in frames:
            at, frame = item
            size = len(frame)
            octets += size
            if frame[12:15] != IPV4_PLAIN or size < 54 or frame[23] != TCP:
                if frame[12:15] == IPV4_PLAIN and size >= 42 and frame[23] == UDP:
                    side = udp.get(frame[26:38])
                    if side is not None and side.packets and not (frame[20] & 0x3F or frame[21]):
                        side.packets += 1
                        side.bytes += size
                        side.seen = at
                        self._datagram(side, item, frame[42 : 14 + (frame[16] << 8 | frame[17])])
                        continue
                self._slowly(table, item)
                continue
            side = tcp.get(frame[26:38])
            if side is None:
                if frame[47] & 0x17 == SYN and not (frame[20] & 0x3F or frame[21]):
                    self._knock(table, item)
                else:
                    self._slowly(table, item)
                continue
            if not side.packets:  # the first since the last report
                self._slowly(table, item)
                continue
            total, fragment, sequence, acknowledged, offset, flags = fields(frame, 16)
            start, end = 34 + (offset >> 4) * 4, 14 + total
            if fragment & 0x3FFF or end > size or flags & 7:  # a fragment, a cut frame, or FIN, SYN, RST
                self._slowly(table, item)
                continue
            side.packets += 1
            side.bytes += size
            side.seen = at
            flow = side.flow
            if flow.unacknowledged is not None:
                self._acknowledges(side, acknowledged)
            plan = side.plan
            if plan.packet and (rules := plan.of_packet(flags)):
                self._packet_rules(rules, side, item, frame[start:end], flags)
            if start >= end:
                continue
            payload = frame[start:end]
            if sequence == side.next and side.stream is None:
                side.next = (sequence + end - start) % MODULUS
            else:
                payload = self._reordered(side, sequence, payload)
                if not payload:
                    continue
            decoder = flow.decoder
            if decoder is None or decoder.broken:
                self._undecided(side, item, payload, flags)
                continue
            if decoder.done or (self.shed and self._left_out(flow)):
                if plan.raw is not None:
                    self._raw(side, item, payload, flags)
                continue
            try:
                messages = decoder.feed(side.up, payload)
            except (IndexError, ValueError, struct.error):
                self._fault(flow)
                continue
            for message in messages:
                if message.kind == REQUEST:
                    flow.requests += 1
                    if message.writes:
                        flow.writes += 1
                else:
                    flow.responses += 1
                if message.calm != epoch:
                    self._message(side, item, message, payload, flags)
            if plan.raw is not None:
                self._raw(side, item, payload, flags)
            side.last = item
            if decoder.broken:
                self._broken(side, item)
        if frames:
            self.frames += len(frames)
            self.bytes += octets
            self.now = frames[-1][0] / SECOND
            if self.baseline.state == "learning" and self.baseline.on_time(self.now):
                self.take_back()

    # ------------------------------------------------------------ frames off the beaten path

    def _slowly(self, table: _Zone, item: Item) -> None:
        """Anything: ARP, tags, options, fragments, first frames, handshakes, other protocols."""
        at, frame = item
        packet = decode(frame)
        if packet is None:
            self.undecoded += 1
        elif isinstance(packet, Arp):
            self._arp(table.name, item, packet)
        elif packet.proto in (TCP, UDP) and packet.dport:
            side = self._side(table, item, packet)
            if not side.packets:
                self._host(table.name, packet.src, packet.mac, at / SECOND)
            side.packets += 1
            side.bytes += len(frame)
            side.seen = at
            if packet.proto == TCP:
                self._segment(side, item, packet)
            else:
                self._datagram(side, item, packet.payload)
        else:
            self._portless(table, item, packet)

    def _arp(self, zone: str, item: Item, arp: Arp) -> None:
        at = item[0] / SECOND
        self.alerts.before, self.alerts.current = None, item
        self.watch.on_arp(at, zone, dotted(arp.sender), arp.mac.hex(":"), dotted(arp.target), arp.asks)
        self._host(zone, arp.sender, arp.mac, at, sure=True)

    def _host(self, zone: str, address: bytes, mac: bytes, at: float, *, sure: bool = False) -> None:
        fresh = self.inventory.sees(zone, address, mac, at, sure=sure)
        if fresh and self.baseline.state == "locked" and not self._expected(address):
            self.watch.on_new_asset(at, zone, dotted(address), mac.hex(":"))

    def _expected(self, address: bytes) -> bool:
        name = dotted(address)
        return name in self.policy.assets or name in self.baseline.hosts

    def _portless(self, table: _Zone, item: Item, packet: Packet) -> None:
        at, frame = item
        self._host(table.name, packet.src, packet.mac, at / SECOND)
        key = (packet.src, packet.dst, packet.proto)
        flow = table.other.get(key)
        if flow is None:
            if len(table.other) > MOST_CONVERSATIONS:
                table.other.clear()
            flow = table.other[key] = Flow(table.name, packet.src, 0, packet.dst, 0, packet.proto)
            flow.up.plan = self.book.plan(packet.proto, packet.src, 0, packet.dst, 0, True)
        side = flow.up
        side.packets += 1
        side.bytes += len(frame)
        side.seen = at
        plan = side.plan
        if plan.packet and (rules := plan.of_packet(0)):
            self._packet_rules(rules, side, item, packet.payload, 0)
        if plan.raw is not None and packet.payload:
            self._raw(side, item, packet.payload, 0)

    def _knock(self, table: _Zone, item: Item) -> None:
        """A request to open a conversation that is not known."""
        at, frame = item
        key = frame[26:38]
        knock = table.knocks.get(key)
        src, dst, sport, dport = frame[26:30], frame[30:34], frame[34] << 8 | frame[35], frame[36] << 8 | frame[37]
        seconds = at / SECOND
        if knock is None:
            if len(table.knocks) >= MOST_CONVERSATIONS:
                self._fold(table, at)
            knock = table.knocks[key] = [0, 0, 0, item]
            self._host(table.name, src, frame[6:12], seconds)
        knock[0] += 1
        knock[1] += len(frame)
        knock[2] = at
        self.alerts.before, self.alerts.current = None, item
        self.watch.on_syn(seconds, table.name, src, dst, dport)
        plan = self.book.plan(TCP, src, sport, dst, dport, True)
        if plan.packet and (rules := plan.of_packet(frame[47])):
            sight = Sight(seconds, True, None, src, dst, b"", None, frame[47], 0)
            for rule in self.book.matches(rules, sight):
                packet = decode(frame)
                assert isinstance(packet, Packet)
                self._say(rule, self._side(table, item, packet), item)

    def _fold(self, table: _Zone, before: int) -> None:
        """Unanswered requests not repeated since are forgotten; what they counted is kept for the next report."""
        for key in [key for key, knock in table.knocks.items() if knock[2] <= before]:
            knock = table.knocks.pop(key)
            if knock[0]:
                self._count_knock(table.name, key, knock, self._folded)

    def _count_knock(
        self, zone: str, key: bytes, knock: list[Any], flows: dict[tuple[str, bytes, bytes, int, int], list[int]]
    ) -> None:
        counts = flows.setdefault((zone, key[:4], key[4:8], TCP, key[10] << 8 | key[11]), [0, 0, 0])
        counts[0] += knock[0]
        counts[1] += knock[1]
        knock[0] = knock[1] = 0

    def _side(self, table: _Zone, item: Item, packet: Packet) -> Side:
        key = packet.src + packet.dst + struct.pack(">HH", packet.sport, packet.dport)
        sides = table.tcp if packet.proto == TCP else table.udp
        side = sides.get(key)
        if side is None and packet.proto == TCP and table.knocks:
            side = self._answered(table, item, packet, key)
        starts = packet.flags & (SYN | ACK) == SYN
        if side is None or (starts and side.flow.answered and not side.up):
            if len(sides) > 2 * MOST_CONVERSATIONS:
                forget(sides, sorted(one.seen for one in sides.values())[len(sides) // 2])
            side = self._open(table, sides, item, packet)
        return side

    def _answered(self, table: _Zone, item: Item, packet: Packet, key: bytes) -> Side | None:
        """The side of a packet that follows a request: the conversation begins now, with what the request counted."""
        forward = key in table.knocks
        knock = table.knocks.pop(key, None) or table.knocks.pop(key[4:8] + key[:4] + key[10:] + key[8:10], None)
        if knock is None:
            return None
        first = decode(knock[3][1])
        assert isinstance(first, Packet)
        up = self._open(table, table.tcp, knock[3], first)
        flow = up.flow
        up.packets, up.bytes, up.seen, up.last = knock[0], knock[1], knock[2], knock[3]
        up.next = (first.sequence + 1) % MODULUS
        flow.whole = True
        if forward:  # the client goes on: its request was answered where nobody saw it
            flow.answered = True
        return up if forward else flow.down

    def _open(self, table: _Zone, sides: dict[bytes, Side], item: Item, packet: Packet) -> Side:
        """A new conversation. Joined in the middle, the port that a protocol has is the service's, else the lower one.

        Some protocols' ports lie among those that Linux gives to clients (32768-60999): EtherNet/IP's, BACnet's.
        """
        known = registry.TCP if packet.proto == TCP else registry.UDP
        up = packet.dport <= packet.sport
        if (packet.dport in known) is not (packet.sport in known):
            up = packet.dport in known
        if packet.proto == TCP and packet.flags & SYN:
            up = not packet.flags & ACK
        here, there = (packet.src, packet.sport), (packet.dst, packet.dport)
        (client, cport), (server, port) = (here, there) if up else (there, here)
        flow = Flow(table.name, client, cport, server, port, packet.proto)
        flow.client_name, flow.server_name = dotted(client), dotted(server)
        flow.answered = packet.proto == TCP and not packet.flags & SYN  # it must have been, before we listened
        for side, a, b in ((flow.up, (client, cport), (server, port)), (flow.down, (server, port), (client, cport))):
            side.plan = self.book.plan(packet.proto, a[0], a[1], b[0], b[1], side.up)
            sides[a[0] + b[0] + struct.pack(">HH", a[1], b[1])] = side
        return flow.up if up else flow.down

    def _segment(self, side: Side, item: Item, packet: Packet) -> None:
        flow, flags = side.flow, packet.flags
        if flow.unacknowledged is not None:
            self._acknowledges(side, packet.acknowledged)
        if flags & SYN:
            self._handshake(side, item, packet)
        plan = side.plan
        if plan.packet and (rules := plan.of_packet(flags)):
            self._packet_rules(rules, side, item, packet.payload, flags)
        payload = packet.payload
        if flags & SYN or not payload:
            return
        if packet.sequence == side.next and side.stream is None:
            side.next = (packet.sequence + len(payload)) % MODULUS
        else:
            payload = self._reordered(side, packet.sequence, payload)
        if payload:
            self._payload(side, item, payload, flags)

    def _handshake(self, side: Side, item: Item, packet: Packet) -> None:
        flow = side.flow
        at = item[0] / SECOND
        self.alerts.before, self.alerts.current = side.last, item
        if side.up and not packet.flags & ACK:
            if flow.answered:  # the same ports again: a new conversation
                flow.begin()
            flow.whole = True
            self.watch.on_syn(at, flow.zone, flow.client, flow.server, flow.port)
        elif not flow.answered:
            flow.answered = True
            flow.established += 1
            self.alerts.before = flow.up.last
            self.watch.on_established(at, flow.zone, flow.client_name, flow.server_name, flow.port)
        side.next, side.stream = (packet.sequence + 1) % MODULUS, None
        side.last = item

    def _reordered(self, side: Side, sequence: int, payload: bytes) -> bytes:
        """What is in order now; bytes seen before are nothing."""
        if side.next < 0:  # joined in the middle
            side.next = (sequence + len(payload)) % MODULUS
            return payload
        stream = side.stream
        if stream is None:
            if after(sequence + len(payload), side.next) <= 0:
                return b""
            stream = side.stream = Stream(side.next)
        holes = stream.holes
        ready = stream.push(sequence, payload)
        if stream.holes != holes:
            self.holes += stream.holes - holes
            stream.holes = 0
            if side.flow.decoder is not None:
                side.flow.decoder.lose(side.up)
            side.flow.whole = False
        side.next = stream.next
        if not stream.waiting:
            side.stream = None
        return ready

    # ------------------------------------------------------------ what is said

    def _payload(self, side: Side, item: Item, payload: bytes, flags: int) -> None:
        """The same as the end of the loop in `feed`, for what came here another way."""
        flow = side.flow
        decoder = flow.decoder
        if decoder is None or decoder.broken:
            self._undecided(side, item, payload, flags)
            return
        plan = side.plan
        if not decoder.done and not (self.shed and self._left_out(flow)):
            try:
                messages = decoder.feed(side.up, payload)
            except (IndexError, ValueError, struct.error):
                self._fault(flow)
                return
            for message in messages:
                self._count(flow, message)
                if message.calm != self._epoch:
                    self._message(side, item, message, payload, flags)
        if plan.raw is not None:
            self._raw(side, item, payload, flags)
        side.last = item
        if decoder.broken:
            self._broken(side, item)

    def _count(self, flow: Flow, message: Message) -> None:
        if message.kind == REQUEST:
            flow.requests += 1
            flow.writes += message.writes
        else:
            flow.responses += 1

    def _undecided(self, side: Side, item: Item, payload: bytes, flags: int) -> None:
        """No decoder yet, or one that gave up: find one, once; signatures look in any case."""
        flow = side.flow
        if flow.decoder is not None and not flow.whole and flow.app and side.up:
            # joined in the middle of a message: a later segment begins with one
            flow.decoder.lose(True)
            flow.decoder.lose(False)
            if not flow.decoder.broken:
                self._payload(side, item, payload, flags)
                return
        if flow.decoder is None and not flow.looked:
            found = registry.TCP.get(flow.port)
            if found is None and side.up:
                found = registry.look(payload)
            flow.looked = side.up or found is not None
            if found is not None:
                self._choose(flow, found)
                self._payload(side, item, payload, flags)
                return
        if side.plan.raw is not None:
            self._raw(side, item, payload, flags)
        side.last = item

    def _choose(self, flow: Flow, found: tuple[str, registry.Maker]) -> None:
        flow.app, make = found
        flow.decoder = make()
        flow.looked = True

    def _datagram(self, side: Side, item: Item, payload: bytes) -> None:
        flow = side.flow
        plan = side.plan
        if not side.up:
            flow.answered = True
        if plan.packet and (rules := plan.of_packet(0)):
            self._packet_rules(rules, side, item, payload, 0)
        if not payload:
            return
        decoder = flow.decoder
        if decoder is None and not flow.looked:
            flow.looked = True
            found = registry.UDP.get(flow.port) or registry.UDP.get(flow.cport)
            if found is not None:
                self._choose(flow, found)
                decoder = flow.decoder
        if decoder is not None and not (self.shed and self._left_out(flow)):
            try:
                messages = decoder.feed(side.up, payload)
            except (IndexError, ValueError, struct.error):
                self._fault(flow)
                return
            for message in messages:
                if flow.app in registry.EITHER_ASKS:
                    self._count_symmetric(side, message)
                else:
                    self._count(flow, message)
                if message.calm != self._epoch:
                    self._message(side, item, message, payload, 0)
            decoder.broken = False  # every datagram begins anew
        if plan.raw is not None:
            self._raw(side, item, payload, 0)
        side.last = item

    def _ends(self, side: Side, message: Message) -> tuple[str, str, bytes, bytes]:
        """(client, server) of a message, as text and as bytes: who asks, and who is asked."""
        flow = side.flow
        if flow.app in registry.EITHER_ASKS and (message.kind == REQUEST) is not side.up:
            return flow.server_name, flow.client_name, flow.server, flow.client
        return flow.client_name, flow.server_name, flow.client, flow.server

    def _count_symmetric(self, side: Side, message: Message) -> None:
        flow = side.flow
        _, _, client, server = self._ends(side, message)
        if server[3] == 255 or client[3] == 255:  # to everybody: nobody's poll
            return
        counts = self._symmetric.setdefault((flow.zone, flow.app, client, server, flow.port), [0, 0, 0, 0])
        if message.kind == REQUEST:
            counts[0] += 1
            counts[3] += message.writes
        else:
            counts[1] += 1
            counts[2] += message.error != 0

    def _message(self, side: Side, item: Item, message: Message, payload: bytes, flags: int) -> None:
        """A message that may matter: policy, allow-list, inventory, signatures."""
        flow = side.flow
        at = item[0] / SECOND
        alerts = self.alerts
        alerts.current = item
        other = flow.down if side.up else flow.up
        alerts.before = other.last
        client, server, asker, asked = self._ends(side, message)
        proto = message.proto
        self.messages[proto] = self.messages.get(proto, 0) + 1
        calm = True
        if message.kind == REQUEST:
            if proto in registry.POLLED:
                calm = self.watch.on_request(at, flow.zone, client, server, message)
                if self.baseline.state != "off":
                    deviation = self.baseline.judge(client, server, message)
                    if deviation is not None:
                        self.watch.on_deviation(at, flow.zone, client, server, message, deviation)
                    calm = calm and deviation is None and self.baseline.state == "locked"
            if not flow.told or message.identity:
                self.inventory.speaks(flow.zone, asker, proto, "client")
        else:
            if message.error and proto in registry.CONTROL:
                calm = False
                flow.exceptions += flow.app not in registry.EITHER_ASKS
                self.watch.on_refusal(at, flow.zone, client, server, message)
            if not flow.told:
                flow.told = True
                self.inventory.speaks(flow.zone, asker, proto, "client")
                self.inventory.speaks(flow.zone, asked, proto, "server")
        if message.identity:
            calm = False
            self.inventory.tells(flow.zone, flow.client if side.up else flow.server, message.identity)
        if proto == "mqtt" and side.up and message.function == 3 and not message.fields["qos"]:
            self._awaits(side)
            calm = False
        matching = side.plan.of(proto).candidates(message.function)
        if matching and self.shed and proto not in registry.CONTROL:
            calm = False
            self.shed_matching += 1
        elif matching:
            calm = False
            sight = Sight(at, side.up, flow, *self._pair(side), payload, message, flags, len(payload))
            for rule in self.book.matches(matching, sight):
                self._say(rule, side, item)
        if calm:
            message.calm = self._epoch

    def _awaits(self, side: Side) -> None:
        """An MQTT message of quality 0 is answered by TCP alone: its acknowledgement counts as the answer."""
        flow = side.flow
        if flow.unacknowledged is None:
            flow.unacknowledged = []
        if len(flow.unacknowledged) < UNACKNOWLEDGED_LIMIT:
            flow.unacknowledged.append(side.next)

    def _acknowledges(self, side: Side, acknowledged: int) -> None:
        flow = side.flow
        if side.up or not flow.unacknowledged:
            return
        left = [end for end in flow.unacknowledged if after(end, acknowledged) > 0]
        flow.responses += len(flow.unacknowledged) - len(left)
        flow.unacknowledged = left

    def _pair(self, side: Side) -> tuple[bytes, bytes]:
        flow = side.flow
        return (flow.client, flow.server) if side.up else (flow.server, flow.client)

    # ------------------------------------------------------------ signatures

    def _packet_rules(self, rules: Sequence[Rule], side: Side, item: Item, payload: bytes, flags: int) -> None:
        sight = Sight(item[0] / SECOND, side.up, side.flow, *self._pair(side), payload, None, flags, len(payload))
        for rule in self.book.matches(rules, sight):
            self._say(rule, side, item)

    def _raw(self, side: Side, item: Item, payload: bytes, flags: int) -> None:
        if self.shed and side.flow.app not in registry.CONTROL:
            self.shed_matching += 1
            return
        rules = side.plan.raw.candidates(payload)
        if rules:
            self._packet_rules(rules, side, item, payload, flags)

    def _say(self, rule: Rule, side: Side, item: Item) -> None:
        flow = side.flow
        src, dst = self._pair(side)
        other = flow.down if side.up else flow.up
        self.signature_alerts += 1
        more: dict[str, Any] = {"sid": rule.sid, "rev": rule.rev, "line": rule.line, "port": flow.port}
        if rule.classtype:
            more["classtype"] = rule.classtype
        if flow.app:
            more["protocol"] = flow.app
        if rule.references:
            more["references"] = list(rule.references)
        self.alerts.raise_alert(
            f"sid:{rule.sid}", rule.severity, rule.technique, item[0] / SECOND, flow.zone, dotted(src), dotted(dst),
            rule.msg or f"sid {rule.sid}", source="rules", more=more,
            frames=[one for one in (other.last, item) if one is not None],
        )  # fmt: skip

    # ------------------------------------------------------------ what goes wrong

    def _left_out(self, flow: Flow) -> bool:
        """Under heavy load only the control protocols are read; what is left out is counted."""
        if self.shed < READING or flow.app in registry.CONTROL:
            return False
        self.shed_payloads += 1
        flow.whole = False  # what comes after begins in the middle, and is not blamed for it
        if flow.decoder is not None:
            flow.decoder.lose(True)
            flow.decoder.lose(False)
        return True

    def _fault(self, flow: Flow) -> None:
        """A decoder stumbled: it starts anew and the payload is counted as unread."""
        self.faults += 1
        if flow.decoder is not None:
            flow.decoder.lose(True)
            flow.decoder.lose(False)

    def _broken(self, side: Side, item: Item) -> None:
        flow = side.flow
        if flow.whole and flow.app in registry.POLLED and not flow.accused:
            flow.accused = True
            label = LABELS.get(flow.app, flow.app)
            self.alerts.current, self.alerts.before = item, None
            self.alerts.raise_alert(
                f"not_{flow.app}", 2, "T0869", item[0] / SECOND, flow.zone, flow.client_name, flow.server_name,
                f"{flow.client_name} 与 {flow.server_name} 在 {flow.port} 端口上说的不是 {label}",
            )  # fmt: skip

    # ------------------------------------------------------------ commands and reports

    def take_back(self) -> None:
        """Every message is looked at again: the allow-list or the rules have changed."""
        self._epoch += 1

    def set_book(self, book: Book) -> None:
        """Other rules from now on; conversations go on."""
        self.book = book
        for zone in self._zones.values():
            for sides, proto in ((zone.tcp, TCP), (zone.udp, UDP)):
                for side in sides.values():
                    a, b = self._pair(side)
                    ports = (side.flow.cport, side.flow.port) if side.up else (side.flow.port, side.flow.cport)
                    side.plan = book.plan(proto, a, ports[0], b, ports[1], side.up)
            zone.other.clear()
        self.take_back()

    def report(self, now: float | None = None) -> dict[str, Any]:
        """{"polls", "flows", "alerts", "assets", "counters"}: counts since the last report, counters since the start."""
        at = self.now if now is None else now
        flows, self._folded = self._folded, {}
        polls = self._symmetric
        self._symmetric = {}
        for zone in self._zones.values():
            for sides in (zone.tcp, zone.udp):
                for side in sides.values():
                    if side.up:
                        self._collect(side.flow, flows, polls)
            for flow in zone.other.values():
                self._collect(flow, flows, polls)
            for key, knock in zone.knocks.items():
                if knock[0]:
                    self._count_knock(zone.name, key, knock, flows)
            self._fold(zone, int((at - UNANSWERED) * SECOND))
            for sides in (zone.tcp, zone.udp):
                forget(sides, int((at - IDLE) * SECOND))
        self.watch.on_time(at)
        return {
            "polls": [
                {"zone": zone, "client": dotted(client), "server": dotted(server), "port": port, "proto": app,
                 "requests": n[0], "responses": n[1], "exceptions": n[2], "writes": n[3]}
                for (zone, app, client, server, port), n in polls.items()
            ],
            "flows": [
                {"zone": zone, "src": dotted(src), "dst": dotted(dst), "proto": PROTOCOLS.get(proto, str(proto)),
                 "port": port, "packets": n[0], "bytes": n[1], "established": n[2]}
                for (zone, src, dst, proto, port), n in flows.items()
            ],
            "alerts": [alert.as_dict() for alert in self.alerts.drain()],
            "assets": self.inventory.drain(),
            "counters": self.counters(),
        }  # fmt: skip

    def _collect(
        self,
        flow: Flow,
        flows: dict[tuple[str, bytes, bytes, int, int], list[int]],
        polls: dict[tuple[str, str, bytes, bytes, int], list[int]],
    ) -> None:
        up, down = flow.up, flow.down
        if up.packets or down.packets:
            counts = flows.setdefault((flow.zone, flow.client, flow.server, flow.proto, flow.port), [0, 0, 0])
            counts[0] += up.packets + down.packets
            counts[1] += up.bytes + down.bytes
            counts[2] += flow.established
            up.packets = up.bytes = down.packets = down.bytes = flow.established = 0
            self.inventory.touch(flow.zone, flow.client, up.seen / SECOND)
            self.inventory.touch(flow.zone, flow.server, down.seen / SECOND)
        if flow.requests or flow.responses:
            if flow.app in registry.POLLED:
                counts = polls.setdefault((flow.zone, flow.app, flow.client, flow.server, flow.port), [0, 0, 0, 0])
                counts[0] += flow.requests
                counts[1] += flow.responses
                counts[2] += flow.exceptions
                counts[3] += flow.writes
                if flow.app == "modbus":
                    self.modbus_requests += flow.requests
                    self.modbus_writes += flow.writes
                if flow.responses > flow.exceptions:
                    self.watch.answered(down.seen / SECOND, flow.zone, flow.client_name, flow.server_name, flow.app)
            flow.requests = flow.responses = flow.exceptions = flow.writes = 0

    def counters(self) -> dict[str, int]:
        return {
            "frames": self.frames, "bytes": self.bytes, "modbus_requests": self.modbus_requests,
            "modbus_writes": self.modbus_writes, "undecoded": self.undecoded, "stream_holes": self.holes,
            "decoder_faults": self.faults, "shed_payloads": self.shed_payloads,
            "shed_matching": self.shed_matching, "rules": len(self.book.rules),
            "rule_problems": len(self.book.problems), "rule_alerts": self.signature_alerts, **self.alerts.counters,
        }  # fmt: skip


def forget(sides: dict[bytes, Side], before: int) -> None:
    """Drops conversations of which neither side was seen since."""
    gone = [key for key, side in sides.items() if side.flow.up.seen < before and side.flow.down.seen < before]
    for key in gone:
        del sides[key]
