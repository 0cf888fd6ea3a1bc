"""A patched frame is byte for byte the one scapy would have built."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from cyber_range.engine.traffic.patch import renumbered

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def built(identification: int, sport: int, data: bytes) -> bytes:
    return bytes(
        ETHER / IP(src="10.1.2.3", dst="10.1.2.15", id=identification) / UDP(sport=sport, dport=514) / Raw(data)
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 65535), st.integers(1, 65535), st.integers(0, 65535), st.integers(1, 65535), st.binary(max_size=40)
)
def test_renumbered_equals_built(id1: int, port1: int, id2: int, port2: int, data: bytes) -> None:
    assert renumbered(built(id1, port1, data), id2, port2) == built(id2, port2, data)


def test_other_frames_are_left_alone() -> None:
    arp = bytes(ETHER / ARP(psrc="10.1.2.3", pdst="10.1.2.4"))
    tcp = bytes(ETHER / IP(src="10.1.2.3", dst="10.1.2.4", id=1) / TCP(sport=7, dport=8))

    assert renumbered(arp, 5, 6) == arp
    assert renumbered(tcp, 5, 6) == bytes(ETHER / IP(src="10.1.2.3", dst="10.1.2.4", id=5) / TCP(sport=7, dport=8))
