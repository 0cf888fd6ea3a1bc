"""pcapng blocks: enough to write captures every reader knows, with nanosecond time stamps."""

from __future__ import annotations

import struct
from collections.abc import Iterable

SECTION, INTERFACE, ENHANCED = 0x0A0D0D0A, 1, 6
ETHERNET = 1


def block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def header(interface: str = "", application: str = "lianbing") -> bytes:
    """Section header and one Ethernet interface (number 0) with nanosecond resolution."""
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + option(4, application.encode()) + option(0, b"")
    options = (option(2, interface.encode()) if interface else b"") + option(9, b"\x09") + option(0, b"")
    return block(SECTION, section) + block(INTERFACE, struct.pack("<HHI", ETHERNET, 0, 0) + options)


def packets(frames: Iterable[tuple[int, bytes]]) -> bytes:
    """One enhanced packet block per (nanoseconds since the epoch, frame)."""
    parts = []
    for at, frame in frames:
        size = len(frame)
        total = 32 + size + -size % 4
        parts.append(struct.pack("<IIIIIII", ENHANCED, total, 0, at >> 32, at & 0xFFFFFFFF, size, size))
        parts.append(frame + bytes(-size % 4))
        parts.append(struct.pack("<I", total))
    return b"".join(parts)


def read(data: bytes) -> list[tuple[int, bytes]]:
    """The packets of a capture that `header` and `packets` wrote (one interface, little-endian, nanoseconds)."""
    found, at = [], 0
    while at + 12 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if size < 12 or at + size > len(data):
            raise ValueError(f"damaged capture: block at byte {at} claims {size} bytes")
        if kind == ENHANCED:
            _, high, low, captured = struct.unpack_from("<IIII", data, at + 8)
            found.append((high << 32 | low, data[at + 28 : at + 28 + captured]))
        at += size
    return found
