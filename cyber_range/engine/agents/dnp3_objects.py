"""DNP3's application layer on the wire: fragments, object headers, objects (IEEE 1815-2012, clauses 4 and 11, annex A).

Pure. Variations are those that controllers of this size speak; a request for another is answered with IIN2.1.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

FIRST, FINAL, CONFIRM, UNSOLICITED = 0x80, 0x40, 0x20, 0x10  # bits of the application control octet
MAX_FRAGMENT = 2048  # octets every master must take


class Function(enum.IntEnum):
    CONFIRM = 0
    READ = 1
    WRITE = 2
    SELECT = 3
    OPERATE = 4
    DIRECT_OPERATE = 5
    DIRECT_OPERATE_NO_ANSWER = 6
    FREEZE = 7
    FREEZE_NO_ANSWER = 8
    FREEZE_CLEAR = 9
    FREEZE_CLEAR_NO_ANSWER = 10
    COLD_RESTART = 13
    WARM_RESTART = 14
    ENABLE_UNSOLICITED = 20
    DISABLE_UNSOLICITED = 21
    DELAY_MEASUREMENT = 23
    RECORD_TIME = 24
    RESPONSE = 129
    UNSOLICITED = 130


class Iin(enum.IntFlag):
    """Internal indications; IIN1 is the low octet."""

    BROADCAST = 0x0001
    CLASS_1 = 0x0002
    CLASS_2 = 0x0004
    CLASS_3 = 0x0008
    NEED_TIME = 0x0010
    LOCAL_CONTROL = 0x0020
    TROUBLE = 0x0040
    RESTART = 0x0080
    NO_FUNCTION = 0x0100
    UNKNOWN_OBJECT = 0x0200
    BAD_PARAMETER = 0x0400
    OVERFLOW = 0x0800


class Status(enum.IntEnum):
    """Of one control in the answer to select, operate and direct operate."""

    SUCCESS = 0
    TIMEOUT = 1
    NO_SELECT = 2
    FORMAT_ERROR = 3
    NOT_SUPPORTED = 4
    ALREADY_ACTIVE = 5
    OUT_OF_RANGE = 12


ONLINE, RESTARTED = 0x01, 0x02  # quality bits
STATE = 0x80  # of a binary's flag octet

RANGE_8, RANGE_16, ALL, COUNT_8, COUNT_16, INDEX_8, INDEX_16 = 0x00, 0x01, 0x06, 0x07, 0x08, 0x17, 0x28
QUALIFIERS = frozenset({RANGE_8, RANGE_16, ALL, COUNT_8, COUNT_16, INDEX_8, INDEX_16})

# Fields of an object in order: F flags, i/h/I/H/f/d a value, T 48-bit milliseconds, C the rest of a CROB, S status,
# R 16-bit relative time. A layout of "b" is one bit of a packed run.
LAYOUTS: dict[tuple[int, int], str] = {
    (1, 1): "b", (1, 2): "F", (2, 1): "F", (2, 2): "FT", (2, 3): "FR",
    (10, 1): "b", (10, 2): "F", (11, 1): "F", (11, 2): "FT", (12, 1): "BCS",
    (20, 1): "FI", (20, 2): "FH", (20, 5): "I", (20, 6): "H",
    (21, 1): "FI", (21, 2): "FH", (21, 5): "FIT", (21, 6): "FHT", (21, 9): "I", (21, 10): "H",
    (22, 1): "FI", (22, 2): "FH", (22, 5): "FIT", (22, 6): "FHT",
    (30, 1): "Fi", (30, 2): "Fh", (30, 3): "i", (30, 4): "h", (30, 5): "Ff", (30, 6): "Fd",
    (32, 1): "Fi", (32, 2): "Fh", (32, 3): "FiT", (32, 4): "FhT", (32, 5): "Ff", (32, 6): "Fd", (32, 7): "FfT",
    (32, 8): "FdT",
    (40, 1): "Fi", (40, 2): "Fh", (40, 3): "Ff", (40, 4): "Fd",
    (41, 1): "iS", (41, 2): "hS", (41, 3): "fS", (41, 4): "dS",
    (42, 1): "Fi", (42, 2): "Fh", (42, 3): "FiT", (42, 4): "FhT", (42, 5): "Ff", (42, 6): "Fd", (42, 7): "FfT",
    (42, 8): "FdT",
    (50, 1): "T", (50, 3): "T", (51, 1): "T", (52, 1): "H", (52, 2): "H",
    (80, 1): "b",
}  # fmt: skip
SIZES = {"F": 1, "B": 1, "i": 4, "I": 4, "f": 4, "h": 2, "H": 2, "d": 8, "T": 6, "R": 2, "C": 9, "S": 1}
LIMITS = {"i": (-(1 << 31), (1 << 31) - 1), "I": (0, (1 << 32) - 1), "h": (-32768, 32767), "H": (0, 65535)}
ATTRIBUTE = 0  # group of device attributes: type octet, length octet, content
TEXT = 1  # data type of an attribute
CARRYING = frozenset({
    Function.WRITE, Function.SELECT, Function.OPERATE, Function.DIRECT_OPERATE, Function.DIRECT_OPERATE_NO_ANSWER,
    Function.RESPONSE, Function.UNSOLICITED,
})  # fmt: skip  # functions whose objects carry data


class ObjectError(ValueError):
    """A fragment that cannot be understood; `iin` is what the answer says about it."""

    def __init__(self, iin: Iin, what: str) -> None:
        self.iin = iin
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Item:
    """One object. `value`: the measured or commanded value, the state of a binary, the code of a CROB.

    `flags`: quality, or the status of a control. `time`: milliseconds since 1970 UTC (of a relative time: ms).
    `pulse`: count, on-time and off-time (ms) of a CROB. `text`: content of a device attribute.
    """

    index: int = 0
    value: float = 0
    flags: int = 0
    time: int | None = None
    pulse: tuple[int, int, int] | None = None
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Header:
    """Objects of one group and variation. Without data (READ) `items` is empty and the range is in first/last/count."""

    group: int
    variation: int
    qualifier: int
    items: tuple[Item, ...] = ()
    first: int = 0
    last: int = 0
    count: int = 0
    indices: tuple[int, ...] = ()  # of a request by index

    def wants(self, index: int) -> bool:
        """Whether a request's range covers this point."""
        if self.qualifier in (RANGE_8, RANGE_16):
            return self.first <= index <= self.last
        if self.qualifier in (INDEX_8, INDEX_16):
            return index in self.indices
        return True


@dataclass(frozen=True, slots=True)
class Fragment:
    function: int
    sequence: int
    headers: tuple[Header, ...] = ()
    first: bool = True
    final: bool = True
    confirm: bool = False
    unsolicited: bool = False
    iin: int | None = None  # of responses


def pack_fragment(fragment: Fragment) -> bytes:
    control = FIRST * fragment.first | FINAL * fragment.final | CONFIRM * fragment.confirm
    control |= UNSOLICITED * fragment.unsolicited | fragment.sequence & 0x0F
    head = struct.pack("<BB", control, fragment.function)
    if fragment.iin is not None:
        head += struct.pack("<H", fragment.iin)
    carrying = fragment.function in CARRYING
    return head + b"".join(pack_header(header, carrying=carrying) for header in fragment.headers)


def pack_header(header: Header, *, carrying: bool) -> bytes:
    head = bytes((header.group, header.variation, header.qualifier))
    items = header.items if carrying else ()
    if header.qualifier in (RANGE_8, RANGE_16):
        first, last = (items[0].index, items[-1].index) if items else (header.first, header.last)
        head += struct.pack("<BB" if header.qualifier == RANGE_8 else "<HH", first, last)
    elif header.qualifier in (COUNT_8, COUNT_16, INDEX_8, INDEX_16):
        count = len(items) or len(header.indices) or header.count
        head += struct.pack("<B" if header.qualifier in (COUNT_8, INDEX_8) else "<H", count)
    prefix = {INDEX_8: "<B", INDEX_16: "<H"}.get(header.qualifier)
    if not carrying:
        return head + b"".join(struct.pack(prefix, index) for index in header.indices if prefix)
    if header.group == ATTRIBUTE:
        return head + b"".join(struct.pack("BB", item.flags, len(item.text)) + item.text for item in items)
    layout = LAYOUTS[header.group, header.variation] if items else ""
    if layout == "b":
        packed = bytearray(-(-len(items) // 8))
        for at, item in enumerate(items):
            packed[at // 8] |= bool(item.value) << at % 8
        return head + bytes(packed)
    return head + b"".join(
        (struct.pack(prefix, item.index) if prefix else b"") + pack_item(layout, item) for item in items
    )


def pack_item(layout: str, item: Item) -> bytes:
    binary = layout in ("F", "FT", "FR")
    parts = []
    for part in layout:
        if part == "F":
            parts.append(bytes((item.flags & 0x7F | STATE * bool(item.value) if binary else item.flags,)))
        elif part == "S":
            parts.append(bytes((item.flags,)))
        elif part == "B":
            parts.append(bytes((int(item.value),)))
        elif part == "C":
            parts.append(struct.pack("<BII", *(item.pulse or (1, 0, 0))))
        elif part == "T":
            parts.append(((item.time or 0) & (1 << 48) - 1).to_bytes(6, "little"))
        elif part == "R":
            parts.append(struct.pack("<H", item.time or 0))
        elif part in LIMITS:
            low, high = LIMITS[part]
            parts.append(struct.pack(f"<{part}", max(low, min(high, round(item.value)))))
        else:
            parts.append(struct.pack(f"<{part}", single(item.value) if part == "f" else item.value))
    return b"".join(parts)


def single(value: float) -> float:
    largest = 3.4028234663852886e38
    return value if math.isnan(value) or math.isinf(value) else max(-largest, min(largest, value))


def unpack_fragment(data: bytes) -> Fragment:
    """ObjectError with what to answer. A fragment too short to have a sequence number is one with no indication."""
    if len(data) < 2:
        raise ObjectError(Iin(0), "a fragment has two octets at least")
    control, function = data[0], data[1]
    at, iin = 2, None
    if function in (Function.RESPONSE, Function.UNSOLICITED):
        if len(data) < 4:
            raise ObjectError(Iin(0), "a response has four octets at least")
        iin, at = struct.unpack_from("<H", data, 2)[0], 4
    headers = []
    while at < len(data):
        header, at = unpack_header(data, at, carrying=function in CARRYING)
        headers.append(header)
    return Fragment(
        function,
        control & 0x0F,
        tuple(headers),
        bool(control & FIRST),
        bool(control & FINAL),
        bool(control & CONFIRM),
        bool(control & UNSOLICITED),
        iin,
    )


def take(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise ObjectError(Iin.BAD_PARAMETER, "the fragment ends within an object")
    return data[at : at + size]


def unpack_header(data: bytes, at: int, *, carrying: bool) -> tuple[Header, int]:
    group, variation, qualifier = take(data, at, 3)
    at += 3
    first = last = count = 0
    if qualifier in (RANGE_8, RANGE_16):
        form = "<BB" if qualifier == RANGE_8 else "<HH"
        first, last = struct.unpack(form, take(data, at, struct.calcsize(form)))
        at += struct.calcsize(form)
        if last < first:
            raise ObjectError(Iin.BAD_PARAMETER, f"range {first}..{last}")
        count = last - first + 1
    elif qualifier in (COUNT_8, COUNT_16, INDEX_8, INDEX_16):
        size = 1 if qualifier in (COUNT_8, INDEX_8) else 2
        count = int.from_bytes(take(data, at, size), "little")
        at += size
    elif qualifier != ALL:
        raise ObjectError(Iin.BAD_PARAMETER, f"qualifier {qualifier:#04x}")
    prefix = {INDEX_8: 1, INDEX_16: 2}.get(qualifier, 0)
    if not carrying:
        raw = take(data, at, prefix * count)
        at += len(raw)
        found = tuple(int.from_bytes(raw[i : i + prefix], "little") for i in range(0, len(raw), prefix or 1))
        return Header(group, variation, qualifier, (), first, last, count, found), at
    items: list[Item] = []
    if group == ATTRIBUTE:
        for number in range(count):
            kind, length = take(data, at, 2)
            items.append(Item(first + number, flags=kind, text=take(data, at + 2, length)))
            at += 2 + length
        return Header(group, variation, qualifier, tuple(items)), at
    layout = LAYOUTS.get((group, variation))
    if layout is None:
        raise ObjectError(Iin.UNKNOWN_OBJECT, f"object {group} variation {variation}")
    if qualifier == ALL:
        raise ObjectError(Iin.BAD_PARAMETER, "objects with data and no count")
    if layout == "b":
        packed = take(data, at, -(-count // 8))
        items = [Item(first + n, packed[n // 8] >> n % 8 & 1) for n in range(count)]
        return Header(group, variation, qualifier, tuple(items)), at + len(packed)
    size = sum(SIZES[part] for part in layout)
    take(data, at, count * (prefix + size))  # before anything is made of a lying count
    for number in range(count):
        index = int.from_bytes(data[at : at + prefix], "little") if prefix else first + number
        items.append(unpack_item(layout, index, data, at + prefix))
        at += prefix + size
    return Header(group, variation, qualifier, tuple(items)), at


def unpack_item(layout: str, index: int, data: bytes, at: int) -> Item:
    binary = layout in ("F", "FT", "FR")
    value: float = 0
    flags, time, pulse = 0, None, None
    for part in layout:
        if part == "F":
            flags = data[at] & 0x7F if binary else data[at]
            value = data[at] >> 7 if binary else 0
        elif part == "S":
            flags = data[at]
        elif part == "B":
            value = data[at]
        elif part == "C":
            pulse = struct.unpack_from("<BII", data, at)
        elif part == "T":
            time = int.from_bytes(data[at : at + 6], "little")
        elif part == "R":
            time = struct.unpack_from("<H", data, at)[0]
        else:
            value = struct.unpack_from(f"<{part}", data, at)[0]
        at += SIZES[part]
    return Item(index, value, flags, time, pulse)


def runs(group: int, variation: int, items: Sequence[Item]) -> list[Header]:
    """Static objects as headers by range: one for each run of consecutive indices."""
    found: list[Header] = []
    at = 0
    while at < len(items):
        end = at + 1
        while end < len(items) and items[end].index == items[end - 1].index + 1 and end - at < 200:
            end += 1
        qualifier = RANGE_8 if items[end - 1].index < 256 else RANGE_16
        found.append(Header(group, variation, qualifier, tuple(items[at:end])))
        at = end
    return found
