"""DNS messages as bytes: questions, answers, and nothing that a lab's resolver does not need (RFC 1035; EDNS is not offered)."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

A, NS, CNAME, SOA, PTR, TXT, AAAA, ANY = 1, 2, 5, 6, 12, 16, 28, 255
TYPES = {A: "A", NS: "NS", CNAME: "CNAME", PTR: "PTR", TXT: "TXT", AAAA: "AAAA", ANY: "ANY"}
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NAME_ERROR, NOT_IMPLEMENTED, REFUSED = range(6)
LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a query. `name` in lower case without the last dot."""

    ident: int
    name: str
    kind: int
    recursion: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    name: str
    kind: int
    data: bytes
    ttl: int = 60


def address(name: str, ip: str, ttl: int = 60) -> Record:
    return Record(name, A, ipaddress.IPv4Address(ip).packed, ttl)


def text(name: str, value: bytes, ttl: int = 0) -> Record:
    """TXT: strings of at most 255 bytes each (RFC 1035, 3.3.14)."""
    pieces = [value[i : i + 255] for i in range(0, len(value), 255)] or [b""]
    return Record(name, TXT, b"".join(bytes([len(piece)]) + piece for piece in pieces), ttl)


def encode_name(name: str) -> bytes:
    """ValueError for a label that is empty or longer than 63 bytes, or a name longer than 253."""
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a name of {len(name)} characters is longer than {LONGEST_NAME}")
    out = b""
    for label in name.split(".") if name else []:
        raw = label.encode("idna") if not label.isascii() else label.encode()
        if not 1 <= len(raw) <= 63:
            raise ValueError(f"the label {label!r} has {len(raw)} bytes; 1 to 63 are allowed")
        out += bytes([len(raw)]) + raw
    return out + b"\0"


def decode_name(message: bytes, at: int) -> tuple[str, int]:
    """(name, offset behind it). ValueError for pointers that run in circles or out of the message."""
    labels: list[str] = []
    end, jumps = -1, 0
    while True:
        if at >= len(message):
            raise ValueError("a name runs out of the message")
        length = message[at]
        if length & 0xC0 == 0xC0:
            if at + 1 >= len(message) or jumps > 16:
                raise ValueError("a name's pointers run in circles")
            end = at + 2 if end < 0 else end
            at = struct.unpack_from(">H", message, at)[0] & 0x3FFF
            jumps += 1
            continue
        if length & 0xC0:
            raise ValueError("a label of unknown form")
        at += 1
        if length == 0:
            return ".".join(labels).lower(), at if end < 0 else end
        labels.append(message[at : at + length].decode("latin-1"))
        at += length


def query(question: Question) -> bytes:
    head = struct.pack(">HHHHHH", question.ident, 0x0100 if question.recursion else 0, 1, 0, 0, 0)
    return head + encode_name(question.name) + struct.pack(">HH", question.kind, 1)


def read_query(message: bytes) -> Question:
    """ValueError for what is no query with one question."""
    if len(message) < 12:
        raise ValueError("shorter than a header")
    ident, flags, questions = struct.unpack_from(">HHH", message)
    if flags & 0x8000 or questions != 1:
        raise ValueError("no query with one question")
    name, at = decode_name(message, 12)
    if len(message) < at + 4:
        raise ValueError("the question is cut off")
    kind, _ = struct.unpack_from(">HH", message, at)
    return Question(ident, name, kind, bool(flags & 0x0100))


def response(
    question: Question, records: Sequence[Record] = (), code: int = NO_ERROR, *, authoritative: bool = True
) -> bytes:
    flags = 0x8080 | (0x0400 if authoritative else 0) | (0x0100 if question.recursion else 0) | code
    out = struct.pack(">HHHHHH", question.ident, flags, 1, len(records), 0, 0)
    out += encode_name(question.name) + struct.pack(">HH", question.kind, 1)
    for one in records:
        owner = b"\xc0\x0c" if one.name == question.name else encode_name(one.name)
        out += owner + struct.pack(">HHIH", one.kind, 1, one.ttl, len(one.data)) + one.data
    return out


def read_response(message: bytes) -> tuple[int, int, list[Record]]:
    """(id, response code, answers). ValueError for what is none."""
    if len(message) < 12 or not message[2] & 0x80:
        raise ValueError("no response")
    ident, flags, questions, answers = struct.unpack_from(">HHHH", message)
    at = 12
    for _ in range(questions):
        at = decode_name(message, at)[1] + 4
    found = []
    for _ in range(answers):
        name, at = decode_name(message, at)
        if len(message) < at + 10:
            raise ValueError("an answer is cut off")
        kind, _, ttl, size = struct.unpack_from(">HHIH", message, at)
        at += 10
        found.append(Record(name, kind, message[at : at + size], ttl))
        at += size
    return ident, flags & 0xF, found


def texts_of(record: Record) -> bytes:
    """The strings of a TXT record, joined."""
    out, at = b"", 0
    while at < len(record.data):
        length = record.data[at]
        out += record.data[at + 1 : at + 1 + length]
        at += 1 + length
    return out
