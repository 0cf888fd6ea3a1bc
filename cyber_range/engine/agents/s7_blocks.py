"""Blocks of an S7 controller as they travel: a 36-byte head, the code, a 36-byte tail.

Names are those of the program (controller_program): OB1, FC3, FB10; a DB is the bytes of a data block. The address of a
block in requests is `_0800001P`: type in two hexadecimal digits, number in five, then A (active), P (passive) or B.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

LETTERS = {"08": "OB", "0A": "DB", "0B": "SDB", "0C": "FC", "0D": "SFC", "0E": "FB", "0F": "SFB"}
SUBTYPES = {"OB": 0x08, "DB": 0x0A, "SDB": 0x0B, "FC": 0x0C, "SFC": 0x0D, "FB": 0x0E, "SFB": 0x0F}
TYPE_CODES = {kind: ord(f"{subtype:X}") for kind, subtype in SUBTYPES.items()}  # as user data carries them: '8', 'A', …
LANGUAGES = {"OB": 2, "DB": 5, "FC": 2, "FB": 2}  # 1 STL, 2 LAD, 5 DB
NAME = re.compile(r"(OB|DB|SDB|FC|SFC|FB|SFB)(\d{1,5})\Z")
HEAD = ">2sBBBBHIIIHIHHHHH"
HEAD_SIZE = TAIL_SIZE = 36
LARGEST_CODE = 0xFFFF  # bytes: the head's length field


@dataclass(frozen=True, slots=True)
class BlockName:
    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}{self.number}"

    @property
    def address(self) -> bytes:
        """`0800001`, without prefix and file system."""
        return f"{SUBTYPES[self.kind]:02X}{self.number:05d}".encode()


def parse_name(text: str) -> BlockName:
    found = NAME.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no block name; like OB1, FC3, FB10, DB1")
    return BlockName(found[1], int(found[2]))


def parse_address(raw: bytes) -> BlockName:
    """From `_0800001P` or `0800001P`; ValueError for anything else."""
    text = raw.decode("ascii", "replace").removeprefix("_")
    if len(text) != 8 or text[:2] not in LETTERS or not text[2:7].isdigit():
        raise ValueError(f"{text!r} is no block address")
    return BlockName(LETTERS[text[:2]], int(text[2:7]))


def pack(name: BlockName, code: bytes) -> bytes:
    size = HEAD_SIZE + len(code) + TAIL_SIZE
    head = struct.pack(
        HEAD, b"pp", 1, 1, LANGUAGES.get(name.kind, 1), SUBTYPES[name.kind], name.number, size, 0,
        0x03A1B2C3, 0x36A5, 0x03A1B2C3, 0x36A5, 0, 0, 0, len(code),
    )  # fmt: skip
    tail = struct.pack(">8s8s8sBBH8s", b"HENGDA", b"LINE", str(name).encode(), 0x10, 0, checksum(code), b"")
    return head + code + tail


def unpack(raw: bytes) -> tuple[BlockName | None, bytes]:
    """(name from the head, code). Bytes without a head are code alone."""
    if raw[:2] != b"pp":
        return None, raw
    if len(raw) < HEAD_SIZE:
        raise ValueError("the block is shorter than its head")
    subtype, number = struct.unpack_from(">BH", raw, 5)
    length = struct.unpack_from(">H", raw, 34)[0]
    kind = next((kind for kind, code in SUBTYPES.items() if code == subtype), None)
    if kind is None or HEAD_SIZE + length > len(raw):
        raise ValueError("the block's head does not fit its contents")
    return BlockName(kind, number), raw[HEAD_SIZE : HEAD_SIZE + length]


def checksum(code: bytes) -> int:
    return zlib.crc32(code) & 0xFFFF


def info(name: BlockName, code: bytes) -> bytes:
    """What "block info" answers: 78 bytes."""
    size = HEAD_SIZE + len(code) + TAIL_SIZE
    return struct.pack(
        ">BBHH2sBBBBHII6s6sHHHH8s8s8sBBHII", 1, TYPE_CODES[name.kind], 74, 0x22, b"pp", 1, 1, LANGUAGES.get(name.kind, 1),
        SUBTYPES[name.kind], name.number, size, 0, bytes.fromhex("03a1b2c336a5"), bytes.fromhex("03a1b2c336a5"),
        0, 0, 0, len(code), b"HENGDA", b"LINE", str(name).encode(), 0x10, 0, checksum(code), 0, 0,
    )  # fmt: skip
