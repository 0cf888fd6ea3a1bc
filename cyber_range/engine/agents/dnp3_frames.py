"""DNP3 below the application layer: link frames with their CRCs, transport segments (IEEE 1815-2012, clauses 8 and 9).

Pure. Bytes that are no frame are skipped up to the next start, as a receiver on a noisy line does.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

START = b"\x05\x64"
HEADER = 10  # octets with their CRC
MAX_DATA = 250  # user data octets of one frame
MAX_SEGMENT = 249  # of them behind the transport octet
BLOCK = 16  # data octets per CRC
DIRECTION, PRIMARY, COUNT_BIT, COUNT_VALID = 0x80, 0x40, 0x20, 0x10
RESET_LINK, TEST_LINK, CONFIRMED, UNCONFIRMED, REQUEST_STATUS = 0, 2, 3, 4, 9  # of a primary station
ACK, NACK, LINK_STATUS, NOT_SUPPORTED = 0, 1, 11, 15  # of a secondary station
BROADCASTS = frozenset({0xFFFD, 0xFFFE, 0xFFFF})
FINAL, FIRST = 0x80, 0x40  # bits of the transport octet


def _table() -> tuple[int, ...]:
    """CRC-16/DNP: x16+x13+x12+x11+x10+x8+x6+x5+x2+1, reflected."""
    found = []
    for octet in range(256):
        value = octet
        for _ in range(8):
            value = value >> 1 ^ 0xA6BC if value & 1 else value >> 1
        found.append(value)
    return tuple(found)


TABLE = _table()


def crc(data: bytes | bytearray | memoryview) -> bytes:
    value = 0
    for octet in data:
        value = value >> 8 ^ TABLE[(value ^ octet) & 0xFF]
    return struct.pack("<H", ~value & 0xFFFF)


@dataclass(frozen=True, slots=True)
class LinkFrame:
    control: int
    destination: int
    source: int
    data: bytes = b""

    @property
    def function(self) -> int:
        return self.control & 0x0F

    @property
    def primary(self) -> bool:
        return bool(self.control & PRIMARY)


def pack_link(frame: LinkFrame) -> bytes:
    if len(frame.data) > MAX_DATA:
        raise ValueError(f"a link frame holds {MAX_DATA} octets, not {len(frame.data)}")
    head = START + struct.pack("<BBHH", 5 + len(frame.data), frame.control, frame.destination, frame.source)
    parts = [head, crc(head)]
    for at in range(0, len(frame.data), BLOCK):
        block = frame.data[at : at + BLOCK]
        parts += [block, crc(block)]
    return b"".join(parts)


def take_link(buffer: bytearray) -> LinkFrame | None:
    """Removes the next whole, right frame and everything before it; None when there is none yet."""
    while True:
        at = buffer.find(START)
        if at < 0:
            del buffer[: -1 if buffer.endswith(START[:1]) else len(buffer)]
            return None
        del buffer[:at]
        if len(buffer) < HEADER:
            return None
        length = buffer[2]
        if length < 5 or crc(buffer[:8]) != buffer[8:10]:
            del buffer[:1]
            continue
        size = length - 5
        whole = HEADER + size + 2 * -(-size // BLOCK)
        if len(buffer) < whole:
            return None
        data = bytearray()
        right = True
        for start in range(HEADER, whole, BLOCK + 2):
            block = buffer[start : min(start + BLOCK + 2, whole)]
            right = right and crc(block[:-2]) == block[-2:]
            data += block[:-2]
        control, destination, source = struct.unpack_from("<BHH", buffer, 3)
        if not right:
            del buffer[:1]
            continue
        del buffer[:whole]
        return LinkFrame(control, destination, source, bytes(data))


def segments(fragment: bytes, sequence: int) -> list[bytes]:
    """An application fragment as transport segments; the next one's sequence is `sequence` plus their number."""
    found: list[bytes] = []
    for at in range(0, max(len(fragment), 1), MAX_SEGMENT):
        last = at + MAX_SEGMENT >= len(fragment)
        head = FINAL * last | FIRST * (at == 0) | sequence + len(found) & 0x3F
        found.append(bytes((head,)) + fragment[at : at + MAX_SEGMENT])
    return found


class Reassembler:
    """Collects the segments of one sender; a gap or a repeat throws away what was begun."""

    LIMIT = 4096  # octets of one fragment

    def __init__(self) -> None:
        self._parts: bytearray | None = None
        self._next = 0

    def feed(self, segment: bytes) -> bytes | None:
        """The whole fragment once its last segment is there."""
        if len(segment) < 2:
            return None
        head, body = segment[0], segment[1:]
        sequence = head & 0x3F
        if head & FIRST:
            self._parts = bytearray()
        elif self._parts is None or sequence != self._next or len(self._parts) > self.LIMIT:
            self._parts = None
            return None
        self._parts += body
        self._next = sequence + 1 & 0x3F
        if not head & FINAL:
            return None
        whole, self._parts = bytes(self._parts), None
        return whole
