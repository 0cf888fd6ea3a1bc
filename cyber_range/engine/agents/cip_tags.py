"""The named tags a CIP controller shows: their types, values as bytes, and their place in the symbol list.

Every tag of the controller is shown under its own name or `name` of its spec, as BOOL (coils, discretes), DINT or REAL
(REAL where the register of a Modbus device would need a scale), or as `type` says. `io` outputs are REAL tags that
override the output until the next scan; `arrays` {name: {type, size, values?}} are plain memory, such as recipes.
Inputs and discretes are read-only from the network.
"""

from __future__ import annotations

import collections
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.agents.enip_wire import (
    BEYOND_END,
    GENERAL,
    NO_PRIVILEGE,
    TOO_LITTLE,
    WRONG_TYPE,
    CipError,
    string,
)

TYPES = {"BOOL": 0xC1, "SINT": 0xC2, "INT": 0xC3, "DINT": 0xC4, "LINT": 0xC5, "REAL": 0xCA, "LREAL": 0xCB}
FORMATS = {0xC1: "B", 0xC2: "b", 0xC3: "h", 0xC4: "i", 0xC5: "q", 0xCA: "f", 0xCB: "d"}
RANGES = {0xC2: 7, 0xC3: 15, 0xC4: 31, 0xC5: 63}  # bits of magnitude
READ_WRITE, READ_ONLY = 0, 2  # external access
BASE_TAG = 1 << 26  # software control: no alias
SYSTEM_SYMBOL = 0x1000
PROGRAM, TASK, ROUTINE = 0x1068, 0x1070, 0x106D


@dataclass(frozen=True, slots=True)
class Symbol:
    """One row of the symbol list. `size` 0 is a single value."""

    instance: int
    name: str
    type: int
    size: int = 0
    writable: bool = True
    read: Callable[[], list[float]] = list
    write: Callable[[int, list[float]], None] = lambda _first, _values: None

    @property
    def width(self) -> int:
        return struct.calcsize(FORMATS[self.type])

    @property
    def count(self) -> int:
        return self.size or 1

    def encode(self, first: int, count: int) -> bytes:
        """Values from one element on; CipError when there are not so many."""
        if first < 0 or count < 1 or first + count > self.count:
            raise CipError(GENERAL, BEYOND_END)
        return b"".join(
            struct.pack("<" + FORMATS[self.type], self._fits(v)) for v in self.read()[first : first + count]
        )

    def _fits(self, value: float) -> float | int:
        if self.type == 0xC1:
            return 0xFF if value else 0  # as such controllers send a BOOL
        if self.type == 0xCA:
            return max(-3.4e38, min(3.4e38, value))
        if self.type == 0xCB:
            return value
        bits = RANGES[self.type]
        return max(-(1 << bits), min((1 << bits) - 1, round(value)))

    def decode(self, first: int, raw: bytes) -> None:
        """Writes elements from bytes."""
        if not self.writable:
            raise CipError(NO_PRIVILEGE)
        if not raw or len(raw) % self.width:
            raise CipError(TOO_LITTLE)
        count = len(raw) // self.width
        if first < 0 or first + count > self.count:
            raise CipError(GENERAL, BEYOND_END)
        values = struct.unpack(f"<{count}{FORMATS[self.type]}", raw)
        self.write(first, [float(bool(v)) if self.type == 0xC1 else float(v) for v in values])

    def attribute(self, number: int) -> bytes | None:
        """Of the symbol object, as the instance attribute list asks for them."""
        code = self.type | (0x2000 if self.size else 0)
        return {
            1: string(self.name),
            2: struct.pack("<H", code),
            3: struct.pack("<I", 0x0600_0000 + 4 * self.instance),
            5: struct.pack("<I", 0x0700_0000 + 4 * self.instance),
            6: struct.pack("<I", BASE_TAG),
            7: struct.pack("<H", self.width if code & SYSTEM_SYMBOL == 0 and self.type in FORMATS else 4),
            8: struct.pack("<III", self.size, 0, 0),
            10: bytes((READ_WRITE if self.writable else READ_ONLY,)),
        }.get(number)


class Tags:
    def __init__(self, controller: Controller, spec: Mapping[str, Any]) -> None:
        self._controller = controller
        self.symbols: list[Symbol] = []
        for name, kind in (("Program:MainProgram", PROGRAM), ("Task:MainTask", TASK)):
            self._add(name, kind, writable=False)
        placed = spec.get("tags") or {}
        for tag in controller.tag_list:
            config = placed.get(tag.name) or {}
            usual = "BOOL" if tag.table in ("coil", "discrete") else ("DINT" if tag.scale == 1 else "REAL")
            self._add(
                str(config.get("name", tag.name)), _type(str(config.get("type", usual))), writable=tag.operator,
                read=lambda name=tag.name: [controller.tags[name]],
                write=lambda _, values, name=tag.name: controller.write(name, values[0]),
            )  # fmt: skip
        io = spec.get("io") or {}
        for name, config in (io.get("outputs") or {}).items():
            if name not in controller.outputs:
                raise ValueError(f"this controller has no output {name!r}; there are: {', '.join(controller.outputs)}")
            self._add(
                str((config or {}).get("name", name)), TYPES["REAL"],
                read=lambda name=name: [self._output(name)],
                write=lambda _, values, name=name: controller.override(name, values[0]),
            )  # fmt: skip
        for name, config in (io.get("inputs") or {}).items():
            self._add(
                str((config or {}).get("name", name)), TYPES["REAL"], writable=False,
                read=lambda name=name: [controller.inputs.get(name, 0.0)],
            )  # fmt: skip
        for name, config in (spec.get("arrays") or {}).items():
            values = [float(value) for value in config.get("values", ())]
            values += [0.0] * (int(config["size"]) - len(values))
            self._add(
                name, _type(str(config["type"])), size=len(values), writable=bool(config.get("writable", True)),
                read=lambda values=values: values,
                write=lambda first, new, values=values: values.__setitem__(slice(first, first + len(new)), new),
            )  # fmt: skip
        self._by_name = {symbol.name.lower(): symbol for symbol in self.symbols}
        names = collections.Counter(symbol.name.lower() for symbol in self.symbols)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"two tags of this controller are called {twice[0]!r}")

    def _output(self, name: str) -> float:
        controller = self._controller
        return (controller.outputs if controller.running else controller.safe_outputs()).get(name, 0.0)

    def _add(self, name: str, kind: int, **more: Any) -> None:
        self.symbols.append(Symbol(len(self.symbols) + 1, name, kind, **more))

    def by_name(self, name: str) -> Symbol | None:
        """Tag names know no case."""
        found = self._by_name.get(name.lower())
        return found if found is not None and found.type in FORMATS else None

    def by_instance(self, number: int) -> Symbol | None:
        found = self.symbols[number - 1] if 0 < number <= len(self.symbols) else None
        return found if found is not None and found.type in FORMATS else None

    def listed(self, program: str, first: int) -> Iterator[Symbol]:
        """Rows of the symbol list from one instance on; a program holds its routine alone."""
        if program:
            if first <= 1:
                yield Symbol(1, "Routine:MainRoutine", ROUTINE, writable=False)
            return
        yield from (symbol for symbol in self.symbols if symbol.instance >= first)


def _type(name: str) -> int:
    code = TYPES.get(name.upper())
    if code is None:
        raise ValueError(f"{name!r} is no tag type; there are: {', '.join(TYPES)}")
    return code


def same_type(symbol: Symbol, code: int) -> None:
    """CipError when a write names another type than the tag has."""
    if code != symbol.type:
        raise CipError(GENERAL, WRONG_TYPE)
