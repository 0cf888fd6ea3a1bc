"""scapy layers that scapy has not: TPKT, COTP, S7comm, CIP, DNP3, BACnet/IP. Building only; tshark checks them.

Sources: RFC 1006 (TPKT), ISO 8073 (COTP), ODVA CIP volume 1 and 2, IEEE 1815-2012 (DNP3), ASHRAE 135 annex J (BACnet/IP).
S7comm is not published; its fields are named as public dissectors name them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from scapy.fields import (
    BitEnumField,
    BitField,
    ByteField,
    LEShortField,
    PacketField,
    ShortField,
    StrField,
    StrLenField,
    XByteField,
    XShortField,
)
from scapy.packet import Packet, Raw


class Tpkt(Packet):
    fields_desc: ClassVar[list[Any]] = [ByteField("version", 3), ByteField("reserved", 0), ShortField("length", None)]

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        if self.length is None:
            pkt = pkt[:2] + (4 + len(pay)).to_bytes(2, "big")
        return pkt + pay


class CotpConnect(Packet):
    """CR (0xE0) and CC (0xD0) with the three parameters S7 peers send: size, calling and called TSAP."""

    fields_desc: ClassVar[list[Any]] = [
        ByteField("li", 17), XByteField("pdu", 0xE0), XShortField("dst_ref", 0), XShortField("src_ref", 1),
        ByteField("option", 0), XByteField("p1", 0xC0), ByteField("l1", 1), ByteField("size", 10),
        XByteField("p2", 0xC1), ByteField("l2", 2), XShortField("calling", 0x0100),
        XByteField("p3", 0xC2), ByteField("l3", 2), XShortField("called", 0x0102),
    ]  # fmt: skip


class CotpData(Packet):
    fields_desc: ClassVar[list[Any]] = [ByteField("li", 2), XByteField("pdu", 0xF0), XByteField("tpdu", 0x80)]


class S7(Packet):
    """Job 1, ack 2, ack-data 3 (with error bytes), userdata 7."""

    fields_desc: ClassVar[list[Any]] = [
        XByteField("magic", 0x32), ByteField("rosctr", 1), ShortField("reserved", 0), ShortField("pdu_ref", 0),
        StrField("parameter", b""), StrField("data", b""), BitField("error", None, 16),
    ]  # fmt: skip

    def self_build(self, *args: Any, **kwargs: Any) -> bytes:
        head = bytes([self.magic, self.rosctr]) + self.reserved.to_bytes(2, "big") + self.pdu_ref.to_bytes(2, "big")
        head += len(self.parameter).to_bytes(2, "big") + len(self.data).to_bytes(2, "big")
        if self.rosctr in (2, 3):
            head += (self.error or 0).to_bytes(2, "big")
        return head + bytes(self.parameter) + bytes(self.data)


class Cip(Packet):
    """A CIP request or response: service, path (requests) or status (responses), data."""

    fields_desc: ClassVar[list[Any]] = [XByteField("service", 0x0E), StrField("path", b""), StrField("body", b"")]

    def self_build(self, *args: Any, **kwargs: Any) -> bytes:
        if self.service & 0x80:
            return bytes([self.service, 0, 0, 0]) + bytes(self.body)
        path = bytes(self.path)
        return bytes([self.service, len(path) // 2]) + path + bytes(self.body)


class Dnp3(Packet):
    """Link frame with its CRCs; the payload is cut in blocks of 16 bytes (IEEE 1815, 9.2). CRCs are left at zero where
    `crc` is off, for templates whose varying bytes decide them."""

    fields_desc: ClassVar[list[Any]] = [
        XShortField("start", 0x0564), ByteField("length", None), XByteField("control", 0xC4),
        LEShortField("destination", 10), LEShortField("source", 1), StrField("user", b""), BitField("crc", 1, 8),
    ]  # fmt: skip

    def self_build(self, *args: Any, **kwargs: Any) -> bytes:
        head = self.start.to_bytes(2, "big") + bytes([5 + len(self.user), self.control])
        head += self.destination.to_bytes(2, "little") + self.source.to_bytes(2, "little")
        found = head + dnp3_crc(head).to_bytes(2, "little")
        for at in range(0, len(self.user), 16):
            block = self.user[at : at + 16]
            found += block + (dnp3_crc(block).to_bytes(2, "little") if self.crc else b"\0\0")
        return found


def dnp3_crc(data: bytes) -> int:
    """CRC-16/DNP: polynomial 0x3D65 reflected, complemented (IEEE 1815, annex E)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA6BC if crc & 1 else 0)
    return crc ^ 0xFFFF


class Bvlc(Packet):
    """BACnet virtual link control (ASHRAE 135, J.2)."""

    fields_desc: ClassVar[list[Any]] = [
        XByteField("type", 0x81),
        XByteField("function", 0x0A),
        ShortField("length", None),
    ]

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        return pkt[:2] + (4 + len(pay)).to_bytes(2, "big") + pay


class Npdu(Packet):
    """Network layer (6.2): `control` 0x04 expects a reply, 0x20 carries a destination network (a global broadcast)."""

    fields_desc: ClassVar[list[Any]] = [
        ByteField("version", 1), XByteField("control", 0), StrLenField("addressing", b"", length_from=lambda pkt: 0),
    ]  # fmt: skip


class Apdu(Packet):
    """A service's bytes; `kind` is the PDU type of the upper nibble (20.1)."""

    fields_desc: ClassVar[list[Any]] = [
        BitEnumField("kind", 0, 4, {0: "confirmed", 1: "unconfirmed", 2: "simple ack", 3: "complex ack"}),
        BitField("flags", 0, 4), StrField("body", b""), PacketField("more", Raw(), Raw),
    ]  # fmt: skip


def s7_telegram(rosctr: int, parameter: bytes, data: bytes = b"", reference: int = 0) -> Packet:
    return Tpkt() / CotpData() / S7(rosctr=rosctr, parameter=parameter, data=data, pdu_ref=reference)
