"""One rule asked about packets: the shortest way from a rule's text to what it says."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from cyber_range.engine.sensor.monitor import Monitor
from cyber_range.engine.sensor.policy import Policy
from cyber_range.engine.sensor.rules.book import Book, load
from tests.cyber_range.engine.sensor.talk import Talk, Wire

CLIENT, SERVER = "10.0.2.5", "10.0.2.9"
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def head(options: str, *, header: str = "tcp any any -> any any", sid: int = 1) -> str:
    return f'alert {header} (msg:"x"; {options} sid:{sid};)'


class Counting(Monitor):
    """A monitor that notes every rule that speaks, before alerts are gathered."""

    def __init__(self, text: str) -> None:
        rules, problems = load(text, "test.rules")
        assert problems == []
        super().__init__(Policy(), book=Book(rules))
        self.spoken: list[int] = []

    def _say(self, rule, side, item) -> None:  # type: ignore[no-untyped-def]
        self.spoken.append(rule.sid)


def spoken(text: str, wire: Wire) -> list[int]:
    monitor = Counting(text)
    monitor.feed("z", wire.frames)
    return monitor.spoken


def said_of(
    data: bytes, options: str, *, port: int = 9000, up: bool = True, header: str = "tcp any any -> any any"
) -> bool:
    """Whether one rule matches one TCP payload of an open conversation."""
    wire = Wire()
    Talk(wire, CLIENT, SERVER, port=port).open().segment(up, "PA", data)
    return bool(spoken(head(options, header=header), wire))


def datagram(data: bytes, port: int = 9000, src: str = CLIENT) -> Wire:
    wire = Wire()
    wire.put(ETHER / IP(src=src, dst=SERVER) / UDP(sport=40000, dport=port) / Raw(data))
    return wire


def segment(flags: str, port: int = 9000, src: str = CLIENT) -> Wire:
    wire = Wire()
    wire.put(ETHER / IP(src=src, dst=SERVER) / TCP(sport=40000, dport=port, flags=flags))
    return wire


def ping(kind: int = 8, code: int = 0) -> Wire:
    wire = Wire()
    wire.put(ETHER / IP(src=CLIENT, dst=SERVER) / ICMP(type=kind, code=code))
    return wire
