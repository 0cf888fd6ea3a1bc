"""Frames that scapy builds, read back field by field."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from cyber_range.engine.sensor import decode as d

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
MAC = bytes.fromhex("020000000001")
SRC, DST = bytes([10, 1, 2, 3]), bytes([10, 1, 2, 4])
ADDRESSES = IP(src="10.1.2.3", dst="10.1.2.4")


@pytest.mark.parametrize("tag", [None, Dot1Q(vlan=7)])
def test_tcp_is_read_with_numbers_flags_and_payload(tag: Dot1Q | None) -> None:
    inner = (
        ADDRESSES / TCP(sport=4000, dport=502, seq=7, ack=9, flags="PA", options=[("NOP", None)] * 4) / Raw(b"modbus")
    )
    frame = bytes(ETHER / tag / inner if tag else ETHER / inner)

    assert d.decode(frame) == d.Packet(MAC, SRC, DST, 6, 4000, 502, 7, 9, d.PSH | d.ACK, b"modbus")


def test_padding_of_short_frames_is_no_payload() -> None:
    frame = bytes(ETHER / ADDRESSES / UDP(sport=1, dport=2) / Raw(b"ab")).ljust(60, b"\0")

    assert d.decode(frame) == d.Packet(MAC, SRC, DST, 17, 1, 2, payload=b"ab")


def test_icmp_and_later_fragments_have_no_ports() -> None:
    echo = d.decode(bytes(ETHER / ADDRESSES / ICMP()))
    fragment = d.decode(bytes(ETHER / IP(src="10.1.2.3", dst="10.1.2.4", proto=6, frag=100) / Raw(b"\x01\xf6" * 20)))

    assert isinstance(echo, d.Packet)
    assert isinstance(fragment, d.Packet)
    assert (echo.proto, echo.dport, fragment.dport) == (1, 0, 0)


@pytest.mark.parametrize(("op", "asks"), [(1, True), (2, False)])
def test_arp_is_read(op: int, asks: bool) -> None:
    frame = bytes(ETHER / ARP(op=op, hwsrc="02:00:00:00:00:01", psrc="10.1.2.3", pdst="10.1.2.4"))

    assert d.decode(frame) == d.Arp(MAC, SRC, DST, asks)


@pytest.mark.parametrize("frame", [b"", b"\0" * 20, bytes(ETHER / IPv6()), bytes(ETHER / ADDRESSES)[:30]])
def test_what_it_cannot_read_is_none(frame: bytes) -> None:
    assert d.decode(frame) is None
