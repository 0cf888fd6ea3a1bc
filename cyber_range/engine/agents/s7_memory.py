"""The memory areas of an S7 controller and the tags that lie in them.

Addresses are written as engineers of such controllers write them: DB1.DBD0, DB1.DBW4, DB1.DBX8.0, MW10, M10.0, IW64,
QW80, I0.0 (E and A for I and Q are understood). D is a REAL unless `type: dint` is said, W an INT, B a BYTE, X a BOOL.
A REAL holds the engineering value, whole numbers hold value times the tag's scale. Everything is big-endian.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cyber_range.engine.agents.controller import Controller

DB, INPUTS, OUTPUTS, FLAGS = 0x84, 0x81, 0x82, 0x83  # area codes on the wire
COUNTERS, TIMERS = 0x1C, 0x1D
LETTERS = {"I": INPUTS, "E": INPUTS, "Q": OUTPUTS, "A": OUTPUTS, "M": FLAGS}
AREA_SIZES = {INPUTS: 128, OUTPUTS: 128, FLAGS: 2048, COUNTERS: 512, TIMERS: 512}  # bytes
ADDRESS = re.compile(
    r"(?:DB(?P<db>\d{1,5})\.DB(?P<dsize>[XBWD])|(?P<area>[IEQAM])(?P<size>[BWD]?))(?P<byte>\d{1,5})(?:\.(?P<bit>[0-7]))?\Z"
)
FORMATS = {"real": ">f", "dint": ">i", "dword": ">I", "int": ">h", "word": ">H", "byte": ">B"}
TYPES = {"D": ("real", "dint", "dword"), "W": ("int", "word"), "B": ("byte",), "X": ("bool",)}
RANGES = {"dint": 31, "int": 15}  # bits of magnitude of the signed ones

Area = tuple[int, int]  # (area code, number of the data block or 0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one value lies; `bit` is -1 for all but BOOL."""

    area: Area
    byte: int
    bit: int
    type: str

    @property
    def size(self) -> int:
        return 1 if self.type == "bool" else struct.calcsize(FORMATS[self.type])

    def __str__(self) -> str:
        code, number = self.area
        name = f"DB{number}." if code == DB else {INPUTS: "I", OUTPUTS: "Q", FLAGS: "M"}[code]
        bit = f".{self.bit}" if self.bit >= 0 else ""
        letter = next(letter for letter, types in TYPES.items() if self.type in types)
        middle = f"DB{letter}" if code == DB else ("" if self.bit >= 0 else letter)
        return f"{name}{middle}{self.byte}{bit}"


def place(text: str, kind: str = "") -> Place:
    """ValueError for what is no address, or a type that does not fit its width."""
    found = ADDRESS.match(text.upper())
    if found is None:
        raise ValueError(f"{text!r} is no S7 address; like DB1.DBD0, DB1.DBX4.0, MW10, I0.1")
    width = found["dsize"] or found["size"] or "X"
    if (width == "X") != (found["bit"] is not None):
        raise ValueError(f"{text!r}: a bit number belongs to bits, and only to them")
    chosen = kind or TYPES[width][0]
    if chosen not in TYPES[width]:
        raise ValueError(f"{text!r} may be {' or '.join(TYPES[width])}, not {kind}")
    area = (DB, int(found["db"])) if found["db"] else (LETTERS[found["area"]], 0)
    return Place(area, int(found["byte"]), int(found["bit"]) if found["bit"] else -1, chosen)


def encode(of: Place, into: bytearray, value: float, scale: float) -> None:
    """Whole numbers are clipped to what their type holds."""
    if of.type == "bool":
        mask = 1 << of.bit
        into[of.byte] = into[of.byte] | mask if value else into[of.byte] & ~mask & 0xFF
        return
    if of.type == "real":
        raw: float = max(-3.4e38, min(3.4e38, value))
    else:
        bits = 8 * of.size
        low, high = (-(1 << RANGES[of.type]), (1 << RANGES[of.type]) - 1) if of.type in RANGES else (0, (1 << bits) - 1)
        raw = max(low, min(high, round(value * scale)))
    struct.pack_into(FORMATS[of.type], into, of.byte, raw)


def decode(of: Place, memory: bytes | bytearray, scale: float) -> float:
    if of.type == "bool":
        return float(memory[of.byte] >> of.bit & 1)
    raw: float = struct.unpack_from(FORMATS[of.type], memory, of.byte)[0]
    return raw if of.type == "real" else raw / scale


class OutOfRange(Exception):
    """The area is there, the address is not."""


class Memory:
    """Byte images of all areas. Tags and I/O images are put in before a read and taken out after a write."""

    def __init__(self, controller: Controller, spec: Mapping[str, Any]) -> None:
        self._controller = controller
        self.areas: dict[Area, bytearray] = {(code, 0): bytearray(size) for code, size in AREA_SIZES.items()}
        self.tags: dict[str, Place] = {}
        for name, config in (spec.get("tags") or {}).items():
            self.tags[name] = place(str(config["address"]), str(config.get("type", "")))
        if missing := [tag.name for tag in controller.tag_list if tag.name not in self.tags]:
            raise ValueError(f"tag {missing[0]!r} has no address in this controller's spec")
        io = spec.get("io") or {}
        self._inputs = {str(n): (place(str(c["address"]), str(c.get("type", ""))), float(c.get("scale", 1)))
                        for n, c in (io.get("inputs") or {}).items()}  # fmt: skip
        self._outputs = {str(n): (place(str(c["address"]), str(c.get("type", ""))), float(c.get("scale", 1)))
                         for n, c in (io.get("outputs") or {}).items()}  # fmt: skip
        if unknown := sorted(set(self._outputs) - set(controller.outputs)):
            there = ", ".join(sorted(controller.outputs))
            raise ValueError(f"this controller has no output {unknown[0]!r}; there are: {there}")
        sizes = {int(number): int(size) for number, size in (spec.get("dbs") or {}).items()}
        everything = [
            *self.tags.values(),
            *(p for p, _ in self._inputs.values()),
            *(p for p, _ in self._outputs.values()),
        ]
        for each in everything:
            code, number = each.area
            if code == DB:
                sizes[number] = max(sizes.get(number, 64), each.byte + each.size)
            elif each.byte + each.size > len(self.areas[each.area]):
                raise ValueError(f"{each} is outside this controller's memory")
        for number, size in sizes.items():
            self.areas[DB, number] = bytearray(size)
        self._refuse_overlaps()

    def _refuse_overlaps(self) -> None:
        taken: dict[tuple[Area, int], str] = {}
        for name, at in self.tags.items():
            bits = [at.byte * 8 + at.bit] if at.bit >= 0 else range(at.byte * 8, (at.byte + at.size) * 8)
            for bit in bits:
                other = taken.setdefault((at.area, bit), name)
                if other != name:
                    raise ValueError(f"{at} of tag {name!r} is taken by {other!r}")

    def refresh(self) -> None:
        """Tags and I/O images as they are now."""
        controller = self._controller
        outputs = controller.outputs if controller.running else controller.safe_outputs()
        for name, (at, scale) in self._inputs.items():
            encode(at, self.areas[at.area], controller.inputs.get(name, 0.0), scale)
        for name, (at, scale) in self._outputs.items():
            encode(at, self.areas[at.area], outputs.get(name, 0.0), scale)
        for name, at in self.tags.items():
            encode(at, self.areas[at.area], controller.tags[name], controller.by_name[name].scale)

    def read(self, area: Area, start: int, count: int) -> bytes:
        """Bytes; KeyError for an area that does not exist."""
        memory = self.areas[area]
        if start < 0 or start + count > len(memory):
            raise OutOfRange
        return bytes(memory[start : start + count])

    def write(self, area: Area, start: int, data: bytes, bit: int = -1) -> list[tuple[str, Place, float]]:
        """Bytes, or with `bit` one bit (data: 0 or 1). Gives the tags and outputs that got a value, with the value."""
        self.refresh()
        memory = self.areas[area]
        if start < 0 or start + len(data) > len(memory):
            raise OutOfRange
        if bit >= 0:
            memory[start] = memory[start] | 1 << bit if data[0] & 1 else memory[start] & ~(1 << bit) & 0xFF
        else:
            memory[start : start + len(data)] = data
        touched = []
        for name, at in self.tags.items():
            if self._meets(at, area, start, len(data), bit):
                value = decode(at, memory, self._controller.by_name[name].scale)
                self._controller.write(name, value)
                touched.append((name, at, value))
        for name, (at, scale) in self._outputs.items():
            if self._meets(at, area, start, len(data), bit):
                value = decode(at, memory, scale)
                self._controller.override(name, value)
                touched.append((name, at, value))
        return touched

    @staticmethod
    def _meets(at: Place, area: Area, start: int, length: int, bit: int) -> bool:
        if at.area != area or at.byte >= start + length or start >= at.byte + at.size:
            return False
        return bit < 0 or at.bit in (-1, bit)
