"""Bytes of EtherNet/IP encapsulation and CIP messages, without I/O (CIP Networks Library, volumes 1 and 2).

Encapsulation: a 24-byte header, then a common packet format of typed items. CIP: service, padded path, data; answers
carry the service with its top bit set, a general status and perhaps extended status words. Little-endian throughout,
but for the socket address in an identity.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

PORT = 44818
NOP, LIST_SERVICES, LIST_IDENTITY, LIST_INTERFACES = 0x00, 0x04, 0x63, 0x64
REGISTER, UNREGISTER, SEND_RR, SEND_UNIT = 0x65, 0x66, 0x6F, 0x70
COMMANDS = frozenset({NOP, LIST_SERVICES, LIST_IDENTITY, LIST_INTERFACES, REGISTER, UNREGISTER, SEND_RR, SEND_UNIT})
BAD_COMMAND, BAD_DATA, BAD_SESSION, BAD_LENGTH, BAD_VERSION = 0x01, 0x03, 0x64, 0x65, 0x69
NULL_ADDRESS, CONNECTED_ADDRESS, CONNECTED_DATA, UNCONNECTED_DATA = 0x0000, 0x00A1, 0x00B1, 0x00B2
IDENTITY_ITEM, SERVICES_ITEM = 0x000C, 0x0100
HEADER = "<HHII8sI"
HEADER_SIZE = 24
LARGEST = 4096  # bytes of encapsulated data; the largest connection is 4000
# CIP services
GET_ALL, GET_LIST, SET_LIST, RESET, START, STOP = 0x01, 0x03, 0x04, 0x05, 0x06, 0x07
MULTIPLE, GET_SINGLE, SET_SINGLE = 0x0A, 0x0E, 0x10
READ_TAG, WRITE_TAG, MODIFY_TAG, READ_FRAGMENT, WRITE_FRAGMENT, LIST_INSTANCES = 0x4C, 0x4D, 0x4E, 0x52, 0x53, 0x55
FORWARD_OPEN, LARGE_FORWARD_OPEN, FORWARD_CLOSE, UNCONNECTED_SEND = 0x54, 0x5B, 0x4E, 0x52
# general status
OK, RESOURCES, BAD_SEGMENT, NO_DESTINATION, PARTIAL, NO_SERVICE, BAD_VALUE = 0, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09
NOT_SETTABLE, NO_PRIVILEGE, WRONG_STATE, TOO_LITTLE, NO_ATTRIBUTE, TOO_MUCH = 0x0E, 0x0F, 0x10, 0x13, 0x14, 0x15
NO_OBJECT, EMBEDDED, GENERAL = 0x16, 0x1E, 0xFF
BEYOND_END, WRONG_TYPE = 0x2105, 0x2107  # extended status of GENERAL in controllers with tags
# classes
IDENTITY, MESSAGE_ROUTER, CONNECTION_MANAGER, FILE = 0x01, 0x02, 0x06, 0x37
PROGRAM_NAME, SYMBOL, CLOCK, TCP_IP, ETHERNET_LINK = 0x64, 0x6B, 0x8B, 0xF5, 0xF6


class Malformed(ValueError):
    """Bytes that are not this protocol; `status` is the encapsulation's."""

    def __init__(self, why: str, status: int = BAD_DATA) -> None:
        self.status = status
        super().__init__(why)


class CipError(Exception):
    """A request that is answered with a general status, and extended words if any."""

    def __init__(self, status: int, *extended: int) -> None:
        self.status, self.extended = status, extended
        super().__init__(f"general status {status:#04x}" + "".join(f" {word:#06x}" for word in extended))


@dataclass(frozen=True, slots=True)
class Frame:
    command: int
    session: int = 0
    data: bytes = b""
    status: int = 0
    context: bytes = bytes(8)
    options: int = 0

    def pack(self) -> bytes:
        head = struct.pack(
            HEADER, self.command, len(self.data), self.session, self.status, self.context, self.options
        )  # fmt: skip
        return head + self.data

    def answer(self, data: bytes = b"", *, status: int = 0, session: int | None = None) -> Frame:
        return Frame(self.command, self.session if session is None else session, data, status, self.context)


def take_frame(buffer: bytearray) -> Frame | None:
    """The first whole frame (removed from the buffer), or None while it is not whole."""
    if len(buffer) < HEADER_SIZE:
        return None
    command, length, session, status, context, options = struct.unpack_from(HEADER, buffer)
    if length > LARGEST:
        raise Malformed("a frame of more than a connection holds", BAD_LENGTH)
    if len(buffer) < HEADER_SIZE + length:
        return None
    data = bytes(buffer[HEADER_SIZE : HEADER_SIZE + length])
    del buffer[: HEADER_SIZE + length]
    return Frame(command, session, data, status, context, options)


Items = list[tuple[int, bytes]]


def pack_items(items: Iterable[tuple[int, bytes]]) -> bytes:
    packed = [struct.pack("<HH", kind, len(data)) + data for kind, data in items]
    return struct.pack("<H", len(packed)) + b"".join(packed)


def read_items(data: bytes) -> Items:
    if len(data) < 2:
        raise Malformed("no items")
    found: Items = []
    at = 2
    for _ in range(struct.unpack_from("<H", data)[0]):
        if at + 4 > len(data):
            raise Malformed("items beyond the data")
        kind, length = struct.unpack_from("<HH", data, at)
        if at + 4 + length > len(data):
            raise Malformed("items beyond the data")
        found.append((kind, data[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


def command_data(items: Iterable[tuple[int, bytes]], timeout: int = 0) -> bytes:
    """Data of SendRRData and SendUnitData: interface handle 0 (CIP), timeout, items."""
    return struct.pack("<IH", 0, timeout) + pack_items(items)


# ---------------------------------------------------------------- paths


@dataclass(frozen=True, slots=True)
class Path:
    """A logical path: -1 for what it does not say; `symbols` are names, `elements` array indices after the last name."""

    class_id: int = -1
    instance: int = -1
    attribute: int = -1
    symbols: tuple[str, ...] = ()
    elements: tuple[int, ...] = ()
    ports: tuple[tuple[int, bytes], ...] = field(default=())

    def pack(self) -> bytes:
        """With its length in words before it."""
        raw = b""
        for name in self.symbols:
            text = name.encode("ascii", "replace")
            raw += bytes((0x91, len(text))) + text + b"\0" * (len(text) % 2)
        for kind, number in ((0x20, self.class_id), (0x24, self.instance), (0x30, self.attribute)):
            raw += logical(kind, number) if number >= 0 else b""
        for number in self.elements:
            raw += logical(0x28, number)
        return bytes((len(raw) // 2,)) + raw


def logical(kind: int, number: int) -> bytes:
    if number < 0x100:
        return bytes((kind, number))
    if number < 0x10000:
        return struct.pack("<BBH", kind | 1, 0, number)
    return struct.pack("<BBI", kind | 2, 0, number)


def read_path(raw: bytes) -> Path:
    """A padded path; CipError (path segment error) for segments that are not spoken here."""
    numbers = {0x20: -1, 0x24: -1, 0x30: -1}
    symbols: list[str] = []
    elements: list[int] = []
    ports: list[tuple[int, bytes]] = []
    at = 0
    try:
        while at < len(raw):
            kind = raw[at]
            if kind == 0x91:
                length = raw[at + 1]
                text = raw[at + 2 : at + 2 + length]
                if len(text) < length:
                    raise CipError(BAD_SEGMENT)
                symbols.append(text.decode("ascii", "replace"))
                at += 2 + length + length % 2
            elif kind & 0xE0 == 0x20 and kind & 0x03 != 0x03:
                width = (1, 2, 4)[kind & 0x03]
                begin = at + 1 if width == 1 else at + 2
                number = int.from_bytes(raw[begin : begin + width], "little")
                if begin + width > len(raw):
                    raise CipError(BAD_SEGMENT)
                if kind & 0xFC == 0x28:
                    elements.append(number)
                elif kind & 0xFC in numbers:
                    numbers[kind & 0xFC] = number
                elif kind & 0xFC != 0x2C:  # connection points stand in I/O paths only; passed over
                    raise CipError(BAD_SEGMENT)
                at = begin + width
            elif kind & 0xE0 == 0x00:  # a port on the way: one byte of link, or an extended one
                if kind & 0x10:
                    length = raw[at + 1]
                    ports.append((kind & 0x0F, raw[at + 2 : at + 2 + length]))
                    at += 2 + length + length % 2
                else:
                    ports.append((kind & 0x0F, raw[at + 1 : at + 2]))
                    at += 2
            elif kind == 0x34:  # electronic key: vendor, type, code, revision
                at += 2 + raw[at + 1] * 0 + 8
            else:
                raise CipError(BAD_SEGMENT)
    except IndexError:
        raise CipError(BAD_SEGMENT) from None
    return Path(numbers[0x20], numbers[0x24], numbers[0x30], tuple(symbols), tuple(elements), tuple(ports))


# ---------------------------------------------------------------- messages


@dataclass(frozen=True, slots=True)
class Request:
    service: int
    path: Path
    data: bytes = b""

    def pack(self) -> bytes:
        return bytes((self.service,)) + self.path.pack() + self.data


def read_request(raw: bytes) -> Request:
    if len(raw) < 2 or len(raw) < 2 + 2 * raw[1]:
        raise Malformed("a message shorter than its path")
    return Request(raw[0], read_path(raw[2 : 2 + 2 * raw[1]]), raw[2 + 2 * raw[1] :])


def reply(service: int, data: bytes = b"", status: int = OK, extended: Sequence[int] = ()) -> bytes:
    words = b"".join(struct.pack("<H", word) for word in extended)
    return struct.pack("<BBBB", service | 0x80, 0, status, len(extended)) + words + data


def read_reply(raw: bytes) -> tuple[int, bytes]:
    """(status, data); CipError for a status other than success and partial transfer."""
    if len(raw) < 4 or len(raw) < 4 + 2 * raw[3]:
        raise Malformed("an answer shorter than its head")
    extended = struct.unpack_from(f"<{raw[3]}H", raw, 4)
    if raw[2] not in (OK, PARTIAL):
        raise CipError(raw[2], *extended)
    return raw[2], raw[4 + 2 * raw[3] :]


def short_string(text: str) -> bytes:
    raw = text.encode("ascii", "replace")[:255]
    return bytes((len(raw),)) + raw


def string(text: str) -> bytes:
    raw = text.encode("ascii", "replace")
    return struct.pack("<H", len(raw)) + raw
