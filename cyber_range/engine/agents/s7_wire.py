"""Bytes of the S7 protocol, without I/O: TPKT (RFC 1006), COTP class 0 (ISO 8073) and S7 PDUs.

A PDU is header (10 bytes, 12 in answers), parameters, data. Names of fields follow Wireshark's dissector.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

JOB, ACK, ACK_DATA, USERDATA = 1, 2, 3, 7
CR, CC, DT, DR = 0xE0, 0xD0, 0xF0, 0x80
READ, WRITE, SETUP = 0x04, 0x05, 0xF0
REQUEST_DOWNLOAD, DOWNLOAD_BLOCK, DOWNLOAD_ENDED = 0x1A, 0x1B, 0x1C
START_UPLOAD, UPLOAD, END_UPLOAD = 0x1D, 0x1E, 0x1F
PI_SERVICE, PLC_STOP = 0x28, 0x29
WIDTHS = {0x01: 1, 0x02: 1, 0x03: 1, 0x04: 2, 0x05: 2, 0x06: 4, 0x07: 4, 0x08: 4, 0x1C: 2, 0x1D: 2}  # bytes per element
BIT, REAL_SIZE, COUNTER_SIZE, TIMER_SIZE = 0x01, 0x08, 0x1C, 0x1D
OK, DENIED, BAD_ADDRESS, BAD_TYPE, NO_OBJECT = 0xFF, 0x03, 0x05, 0x06, 0x0A  # return codes of items
LARGEST_TPKT = 8192


class Malformed(ValueError):
    """Bytes that are not this protocol; the connection ends."""


@dataclass(frozen=True, slots=True)
class Pdu:
    kind: int
    reference: int
    parameters: bytes
    data: bytes
    error: int = 0  # class and code of an answer; 0: none

    def pack(self) -> bytes:
        head = struct.pack(">BBHHHH", 0x32, self.kind, 0, self.reference, len(self.parameters), len(self.data))
        if self.kind in (ACK, ACK_DATA):
            head += struct.pack(">H", self.error)
        return head + self.parameters + self.data


def unpack(raw: bytes) -> Pdu:
    if len(raw) < 10 or raw[0] != 0x32:
        raise Malformed("no S7 header")
    kind, reference, parameters, data = raw[1], *struct.unpack_from(">HHH", raw, 4)
    begin = 12 if kind in (ACK, ACK_DATA) else 10
    if len(raw) < begin + parameters + data:
        raise Malformed("lengths beyond the packet")
    error = struct.unpack_from(">H", raw, 10)[0] if begin == 12 else 0
    return Pdu(
        kind, reference, raw[begin : begin + parameters], raw[begin + parameters : begin + parameters + data], error
    )


def tpkt(cotp: bytes) -> bytes:
    return struct.pack(">BBH", 3, 0, len(cotp) + 4) + cotp


def data_packet(pdu: bytes) -> bytes:
    return tpkt(bytes((2, DT, 0x80)) + pdu)


def take_tpkt(buffer: bytearray) -> bytes | None:
    """The COTP part of the first whole packet (removed from the buffer), or None while it is not whole."""
    if len(buffer) < 4:
        return None
    version, _, length = struct.unpack_from(">BBH", buffer)
    if version != 3 or not 7 <= length <= LARGEST_TPKT:
        raise Malformed("no TPKT header")
    if len(buffer) < length:
        return None
    cotp = bytes(buffer[4:length])
    del buffer[:length]
    if cotp[0] + 1 > len(cotp):
        raise Malformed("COTP header beyond the packet")
    return cotp


@dataclass(frozen=True, slots=True)
class Connect:
    """A COTP connection request or confirm."""

    source: int
    calling: bytes = b"\x01\x00"
    called: bytes = b"\x01\x02"
    size: int = 0x0A  # TPDU size code: 2^10 bytes

    def request(self) -> bytes:
        return self._pack(CR, 0, self.source)

    def confirm(self, own: int) -> bytes:
        return self._pack(CC, self.source, own)

    def _pack(self, kind: int, destination: int, source: int) -> bytes:
        options = bytes((0xC0, 1, self.size))
        options += bytes((0xC1, len(self.calling))) + self.calling + bytes((0xC2, len(self.called))) + self.called
        head = struct.pack(">BHHB", kind, destination, source, 0)
        return tpkt(bytes((len(head) + len(options),)) + head + options)


def read_connect(cotp: bytes) -> Connect:
    """What a connection request asks for."""
    if len(cotp) < 7:
        raise Malformed("short connection request")
    source = struct.unpack_from(">H", cotp, 4)[0]
    found, at = {}, 7
    while at + 2 <= len(cotp):
        code, length = cotp[at], cotp[at + 1]
        found[code] = cotp[at + 2 : at + 2 + length]
        at += 2 + length
    size = found.get(0xC0, b"\x0a")[0:1] or b"\x0a"
    return Connect(source, found.get(0xC1, b"\x01\x00"), found.get(0xC2, b"\x01\x00"), min(size[0], 0x0A))


def disconnect(destination: int) -> bytes:
    return tpkt(struct.pack(">BBHHB", 6, DR, destination, 0, 0x80))


@dataclass(frozen=True, slots=True)
class Item:
    """One variable of a read or write request (syntax id S7ANY)."""

    size: int  # transport size code
    count: int
    db: int
    area: int
    address: int  # bits; number of the counter or timer for those

    def pack(self) -> bytes:
        return struct.pack(">BBBBHHB", 0x12, 10, 0x10, self.size, self.count, self.db, self.area) + (
            self.address.to_bytes(3, "big")
        )

    @property
    def length(self) -> int:
        """Bytes of its value."""
        return WIDTHS[self.size] * self.count


def read_items(parameters: bytes) -> list[Item | None]:
    """Items after function and count; None for one whose syntax is not spoken here."""
    if len(parameters) < 2:
        raise Malformed("no item count")
    items: list[Item | None] = []
    at = 2
    for _ in range(parameters[1]):
        if at + 2 > len(parameters) or at + 2 + parameters[at + 1] > len(parameters):
            raise Malformed("items beyond the parameters")
        length = parameters[at + 1]
        if parameters[at] == 0x12 and length == 10 and parameters[at + 2] == 0x10:
            size, count, db, area = struct.unpack_from(">BHHB", parameters, at + 3)
            items.append(Item(size, count, db, area, int.from_bytes(parameters[at + 9 : at + 12], "big")))
        else:
            items.append(None)
        at += 2 + length
    return items


def value(code: int, size: int, data: bytes) -> bytes:
    """One item of a read answer or write request: return code, transport size, length, bytes."""
    if code not in (OK, 0):
        return struct.pack(">BBH", code, 0, 0)
    if size == BIT:
        return struct.pack(">BBH", code, 0x03, 1) + data[:1]
    if size == REAL_SIZE:
        return struct.pack(">BBH", code, 0x07, len(data)) + data
    if size in (COUNTER_SIZE, TIMER_SIZE):
        return struct.pack(">BBH", code, 0x09, len(data)) + data
    return struct.pack(">BBH", code, 0x04, 8 * len(data)) + data


def join(values: Sequence[bytes]) -> bytes:
    """Values one after the other, each but the last filled to an even length."""
    return b"".join(v + (b"\0" if len(v) % 2 and i < len(values) - 1 else b"") for i, v in enumerate(values))


def read_values(data: bytes, count: int) -> list[tuple[int, bytes]]:
    """(return code, bytes) of each item of a read answer or write request."""
    found, at = [], 0
    for _ in range(count):
        if at + 4 > len(data):
            raise Malformed("values beyond the data")
        code, size, length = struct.unpack_from(">BBH", data, at)
        if size in (0x03, 0x04, 0x05):
            length = -(-length // 8)  # said in bits
        if at + 4 + length > len(data):
            raise Malformed("values beyond the data")
        found.append((code, data[at + 4 : at + 4 + length]))
        at += 4 + length + length % 2
    return found


def userdata_answer(request: bytes, data: bytes, *, error: int = 0, unit: int = 0, more: bool = False) -> bytes:
    """Parameters of the answer to a user data request: its group and function, sequence, fragment, error."""
    group, function, sequence = request[5] & 0x0F, request[6], request[7] or 1
    return struct.pack(
        ">BBBBBBBBBBH", 0, 1, 0x12, 8, 0x12, 0x80 | group, function, sequence, unit, int(more), error
    )  # fmt: skip


def octets(data: bytes, code: int = OK) -> bytes:
    """The data part of user data: an octet string, or only a return code."""
    return struct.pack(">BBH", code, 0x09 if data or code == OK else 0, len(data)) + data
