"""Changing fields of a compiled IPv4/UDP frame with the checksums kept right (RFC 1624), without building it anew."""

from __future__ import annotations

import struct

IP_ID, UDP_SPORT = 18, 34
IP_CHECKSUM, UDP_CHECKSUM = 24, 40


def renumbered(frame: bytes, identification: int, sport: int | None = None) -> bytes:
    """The frame with another IP identification and, for UDP, another source port; other frames come back unchanged."""
    if frame[12:14] != b"\x08\x00" or frame[14] != 0x45:
        return frame
    changed = bytearray(frame)
    set_word(changed, IP_ID, identification, IP_CHECKSUM)
    if sport is not None and frame[23] == 17:
        has_checksum = frame[UDP_CHECKSUM : UDP_CHECKSUM + 2] != b"\0\0"  # zero means: none was made
        set_word(changed, UDP_SPORT, sport, UDP_CHECKSUM if has_checksum else None)
    return bytes(changed)


def set_word(frame: bytearray, at: int, value: int, checksum_at: int | None) -> None:
    """Puts 16 bits at an even offset and corrects the Internet checksum that covers them."""
    (old,) = struct.unpack_from(">H", frame, at)
    struct.pack_into(">H", frame, at, value & 0xFFFF)
    if checksum_at is None:
        return
    (checksum,) = struct.unpack_from(">H", frame, checksum_at)
    total = (~checksum & 0xFFFF) + (~old & 0xFFFF) + (value & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    fixed = ~total & 0xFFFF
    if checksum_at == UDP_CHECKSUM and fixed == 0:
        fixed = 0xFFFF
    struct.pack_into(">H", frame, checksum_at, fixed)
