"""Which packets a forwarding node takes for part of a known connection: nf_conntrack's rules, as far as a filter asks.

A connection is new until a packet of the other direction has passed; only what was let through is remembered.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from cyber_range.engine.drivers.memory.frames import ICMP, TCP, UDP, Packet

LIMIT = 65536  # entries; the oldest go first
IDLE_SECONDS = {TCP: 432000.0, UDP: 120.0, ICMP: 30.0}  # the Linux tracker's own limits
Flow = tuple[int, str, int, str, int]


@dataclass(slots=True)
class Connection:
    origin: tuple[str, int]
    last: float
    answered: bool = False


@dataclass(slots=True)
class Connections:
    table: dict[Flow, Connection] = field(default_factory=dict)

    def established(self, packet: Packet) -> bool:
        """Answers, everything after the first answer, and ICMP errors about a known packet ("related")."""
        connection = self.table.get(flow_of(packet.about or packet))
        if connection is None or time.monotonic() - connection.last > IDLE_SECONDS.get(packet.proto, 30.0):
            return False
        return packet.about is not None or connection.answered or (packet.src, packet.sport) != connection.origin

    def passed(self, packet: Packet) -> None:
        """This packet was let through."""
        if packet.about is not None:
            return
        flow, now = flow_of(packet), time.monotonic()
        connection = self.table.get(flow)
        if connection is None or now - connection.last > IDLE_SECONDS.get(packet.proto, 30.0):
            if len(self.table) >= LIMIT:
                del self.table[next(iter(self.table))]
            self.table[flow] = Connection((packet.src, packet.sport), now)
            return
        connection.last = now
        connection.answered |= (packet.src, packet.sport) != connection.origin

    def ended(self, packet: Packet) -> None:
        """A TCP connection is over; its ports may be used again."""
        self.table.pop(flow_of(packet), None)


def flow_of(packet: Packet) -> Flow:
    """One key for both directions."""
    one, other = (packet.src, packet.sport), (packet.dst, packet.dport)
    return (packet.proto, *one, *other) if one <= other else (packet.proto, *other, *one)
