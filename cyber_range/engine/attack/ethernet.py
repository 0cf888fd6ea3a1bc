"""Frames as an intruder in the segment makes and changes them: ARP, IPv4, TCP and UDP. Pure bytes.

Checksums are always made anew: frames between virtual legs carry unfinished ones (the kernel leaves them to hardware
that is not there), and a receiver drops what a relay would hand on unchanged.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

BROADCAST = b"\xff" * 6
ARP, IPV4 = b"\x08\x06", b"\x08\x00"
ASKS, ANSWERS = 1, 2  # ARP operations (RFC 826)
TCP, UDP = 6, 17
SYN, RST, PSH, ACK = 0x02, 0x04, 0x08, 0x10
LARGEST = 1514  # bytes of a frame without its check sequence


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def mac_text(raw: bytes) -> str:
    return raw.hex(":")


def arp(operation: int, sender: tuple[bytes, str], target: tuple[bytes, str], to: bytes) -> bytes:
    """`sender` and `target` are (MAC, address)."""
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
    body += sender[0] + IPv4Address(sender[1]).packed + target[0] + IPv4Address(target[1]).packed
    return (to + sender[0] + ARP + body).ljust(60, b"\0")


@dataclass(frozen=True, slots=True)
class Arp:
    operation: int
    mac: bytes
    ip: str
    target: str


def read_arp(frame: bytes) -> Arp | None:
    if frame[12:14] != ARP or len(frame) < 42:
        return None
    operation = struct.unpack_from(">H", frame, 20)[0]
    return Arp(operation, frame[22:28], str(IPv4Address(frame[28:32])), str(IPv4Address(frame[38:42])))


@dataclass(frozen=True, slots=True)
class Segment:
    """An IPv4 packet with TCP or UDP inside; `l4` is the header behind the addresses, options included."""

    src_mac: bytes
    dst_mac: bytes
    ip_head: bytes
    l4: bytes
    payload: bytes

    @property
    def proto(self) -> int:
        return self.ip_head[9]

    @property
    def src(self) -> str:
        return str(IPv4Address(self.ip_head[12:16]))

    @property
    def dst(self) -> str:
        return str(IPv4Address(self.ip_head[16:20]))

    @property
    def sport(self) -> int:
        return int(struct.unpack_from(">H", self.l4)[0])

    @property
    def dport(self) -> int:
        return int(struct.unpack_from(">H", self.l4, 2)[0])

    @property
    def seq(self) -> int:
        return int(struct.unpack_from(">I", self.l4, 4)[0])

    @property
    def flags(self) -> int:
        return self.l4[13] if self.proto == TCP else 0

    def pack(self) -> bytes:
        """The frame with right lengths and checksums."""
        size = len(self.l4) + len(self.payload)
        head = bytearray(self.ip_head)
        struct.pack_into(">H", head, 2, len(head) + size)
        struct.pack_into(">H", head, 10, 0)
        struct.pack_into(">H", head, 10, checksum(bytes(head)))
        l4 = bytearray(self.l4)
        at = 16 if self.proto == TCP else 6
        if self.proto == UDP:
            struct.pack_into(">H", l4, 4, size)
        struct.pack_into(">H", l4, at, 0)
        pseudo = bytes(head[12:20]) + struct.pack(">BBH", 0, self.proto, size)
        total = checksum(pseudo + bytes(l4) + self.payload)
        struct.pack_into(">H", l4, at, total or (0xFFFF if self.proto == UDP else 0))
        return self.dst_mac + self.src_mac + IPV4 + bytes(head) + bytes(l4) + self.payload

    def pieces(self) -> Iterator[Segment]:
        """Itself, or as many as fit the wire: a local stack hands over segments that were not cut yet."""
        room = LARGEST - 14 - len(self.ip_head) - len(self.l4)
        if self.proto != TCP or len(self.payload) <= room:
            yield self
            return
        for at in range(0, len(self.payload), room):
            l4 = bytearray(self.l4)
            struct.pack_into(">I", l4, 4, self.seq + at & 0xFFFFFFFF)
            yield replace(self, l4=bytes(l4), payload=self.payload[at : at + room])


def read_segment(frame: bytes) -> Segment | None:
    """None for anything but an unfragmented IPv4 packet of TCP or UDP."""
    if frame[12:14] != IPV4 or len(frame) < 34 or frame[14] >> 4 != 4:
        return None
    header = (frame[14] & 15) * 4
    length, _, fragment = struct.unpack_from(">HHH", frame, 16)
    end = 14 + length
    if header < 20 or fragment & 0x3FFF or end > len(frame):
        return None
    l4 = frame[14 + header : end]
    if frame[23] == TCP and len(l4) >= 20 and 20 <= (size := (l4[12] >> 4) * 4) <= len(l4):
        inner = size
    elif frame[23] == UDP and len(l4) >= 8:
        inner = 8
    else:
        return None
    return Segment(frame[6:12], frame[:6], frame[14 : 14 + header], l4[:inner], l4[inner:])


def segment(
    macs: tuple[bytes, bytes], ips: tuple[str, str], ports: tuple[int, int], *, proto: int = TCP, flags: int = SYN,
    seq: int = 0, ack: int = 0, payload: bytes = b"", ident: int = 0, ttl: int = 64,
) -> Segment:  # fmt: skip
    """One made from nothing; pairs are (source, destination)."""
    head = struct.pack(">BBHHHBBH", 0x45, 0, 0, ident, 0x4000, ttl, proto, 0)
    head += IPv4Address(ips[0]).packed + IPv4Address(ips[1]).packed
    if proto == UDP:
        l4 = struct.pack(">HHHH", *ports, 0, 0)
    else:
        l4 = struct.pack(">HHIIBBHHH", *ports, seq, ack, 5 << 4, flags, 64240, 0, 0)
    return Segment(*macs, head, l4, payload)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
