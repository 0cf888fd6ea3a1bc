"""Bytes of the packets that the memory network pretends to have sent: IPv4 with TCP, UDP or ICMP, and ARP.

Headers follow RFC 791, 793, 768, 792 and 826; checksums are always right, because captures of a memory range are
read by the same sensor, by tshark and by trainees.
"""

from __future__ import annotations

import array
import struct
import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import IPv4Address

ETH_IP, ETH_ARP = b"\x08\x00", b"\x08\x06"
ICMP, TCP, UDP = 1, 6, 17
PROTOCOL_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp"}
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
TTL = 64  # what Linux starts with
MSS = 1460  # bytes of payload in one segment on Ethernet
WINDOW = 64240  # what Linux announces first
SYN_OPTIONS = struct.pack("!BBHBBBB", 2, 4, MSS, 1, 1, 4, 2)  # MSS, padding, SACK permitted


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\x00"
    words = array.array("H", data)
    total = sum(words)
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    folded = ~total & 0xFFFF
    return ((folded & 0xFF) << 8 | folded >> 8) if sys.byteorder == "little" else folded


@lru_cache(4096)
def packed_ip(ip: str) -> bytes:
    return IPv4Address(ip).packed


@lru_cache(4096)
def packed_mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def text_mac(raw: bytes) -> str:
    return raw.hex(":")


@dataclass
class Packet:
    """One IPv4 packet on its way. `l4` is the whole transport part; a router changes nothing but `ttl`.

    `sport` and `dport` are 0 for ICMP errors; for ICMP echo both are the identifier, so that a connection
    tracker can treat the pair like a UDP one.
    """

    src: str
    dst: str
    proto: int
    sport: int = 0
    dport: int = 0
    flags: int = 0
    seq: int = 0
    ack: int = 0
    payload: bytes = b""
    icmp: tuple[int, int] = (0, 0)  # type and code
    ident: int = 0
    ttl: int = TTL
    raw_l4: bytes | None = None  # as a node sent it by hand, right or wrong
    about: Packet | None = None  # the packet an ICMP error complains about

    @cached_property
    def l4(self) -> bytes:
        if self.raw_l4 is not None:
            return self.raw_l4
        if self.proto == ICMP:
            rest = struct.pack("!HH", self.sport, self.seq) if self.icmp[0] in (0, 8) else b"\x00" * 4
            body = struct.pack("!BBH", *self.icmp, 0) + rest + self.payload
            return body[:2] + struct.pack("!H", checksum(body)) + body[4:]
        if self.proto == TCP:
            options = SYN_OPTIONS if self.flags & SYN else b""
            words = (20 + len(options)) // 4
            head = struct.pack(
                "!HHIIBBHHH",
                self.sport,
                self.dport,
                self.seq & 0xFFFFFFFF,
                self.ack & 0xFFFFFFFF,
                words << 4,
                self.flags,
                0 if self.flags & RST else WINDOW,
                0,
                0,
            )
            body, at = head + options + self.payload, 16
        else:
            body, at = struct.pack("!HHHH", self.sport, self.dport, 8 + len(self.payload), 0) + self.payload, 6
        pseudo = packed_ip(self.src) + packed_ip(self.dst) + struct.pack("!BBH", 0, self.proto, len(body))
        total = checksum(pseudo + body)
        if self.proto == UDP and total == 0:
            total = 0xFFFF
        return body[:at] + struct.pack("!H", total) + body[at + 2 :]

    @property
    def size(self) -> int:
        """Bytes of the IP packet, as a firewall counts them; no bytes are made for it."""
        if self.raw_l4 is not None:
            return 20 + len(self.raw_l4)
        head = 8 if self.proto != TCP else 20 + (len(SYN_OPTIONS) if self.flags & SYN else 0)
        return 20 + head + len(self.payload)

    def ip_bytes(self, ttl: int | None = None) -> bytes:
        head = struct.pack(
            "!BBHHHBBH4s4s",
            0x45,
            0,
            20 + len(self.l4),
            self.ident,
            0x4000,
            self.ttl if ttl is None else ttl,
            self.proto,
            0,
            packed_ip(self.src),
            packed_ip(self.dst),
        )
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + self.l4

    def frame(self, src_mac: str, dst_mac: str, ttl: int | None = None) -> bytes:
        return packed_mac(dst_mac) + packed_mac(src_mac) + ETH_IP + self.ip_bytes(ttl)


def arp_frame(operation: int, sender: tuple[str, str], target: tuple[str, str], dst_mac: str) -> bytes:
    """`sender` and `target` are (mac, ip); operation 1 asks, 2 answers. A request's target mac is zero."""
    body = struct.pack(
        "!HHBBH6s4s6s4s",
        1,
        0x0800,
        6,
        4,
        operation,
        packed_mac(sender[0]),
        packed_ip(sender[1]),
        packed_mac(target[0]),
        packed_ip(target[1]),
    )
    return packed_mac(dst_mac) + packed_mac(sender[0]) + ETH_ARP + body + bytes(18)  # to Ethernet's 60 bytes


def icmp_error(kind: int, code: int, by: str, about: Packet) -> Packet:
    """What a router or host says about a packet it does not carry: its header and first eight bytes go back."""
    quoted = about.ip_bytes()[:28]
    return Packet(src=by, dst=about.src, proto=ICMP, icmp=(kind, code), payload=quoted, about=about)


@dataclass(frozen=True, slots=True)
class Arp:
    operation: int
    sender_mac: str
    sender_ip: str
    target_ip: str


def parse(frame: bytes) -> Packet | Arp | None:
    """What a kernel would make of a frame sent by hand; None for what no stack here answers (IPv6, fragments, junk)."""
    kind = frame[12:14]
    if kind == ETH_ARP and len(frame) >= 42:
        operation = struct.unpack("!H", frame[20:22])[0]
        return Arp(operation, text_mac(frame[22:28]), str(IPv4Address(frame[28:32])), str(IPv4Address(frame[38:42])))
    if kind != ETH_IP or len(frame) < 34 or frame[14] >> 4 != 4:
        return None
    header = (frame[14] & 15) * 4
    length, ident, fragment = struct.unpack("!HHH", frame[16:22])
    if header < 20 or length < header or 14 + length > len(frame):
        return None
    if fragment & 0x3FFF or checksum(frame[14 : 14 + header]):
        return None
    l4 = frame[14 + header : 14 + length]
    packet = Packet(
        src=str(IPv4Address(frame[26:30])),
        dst=str(IPv4Address(frame[30:34])),
        proto=frame[23],
        ident=ident,
        ttl=frame[22],
        raw_l4=l4,
    )
    if packet.proto == TCP and len(l4) >= 20:
        packet.sport, packet.dport, packet.seq, packet.ack, offset, packet.flags = struct.unpack("!HHIIBB", l4[:14])
        packet.payload = l4[(offset >> 4) * 4 :]
    elif packet.proto == UDP and len(l4) >= 8:
        packet.sport, packet.dport = struct.unpack("!HH", l4[:4])
        packet.payload = l4[8:]
    elif packet.proto == ICMP and len(l4) >= 8:
        packet.icmp = (l4[0], l4[1])
        if l4[0] in (0, 8):
            packet.sport, packet.seq = struct.unpack("!HH", l4[4:8])
            packet.dport = packet.sport
        packet.payload = l4[8:]
    else:
        return None
    return packet
