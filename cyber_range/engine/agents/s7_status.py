"""System status lists (SZL) of an S7 controller: who it is, what it does, what happened to it.

Lists answered: 0000 0011/0111 0013 0014 0019 001C/011C 0074 00A0/01A0 0124/0424 0131 0132 0232; layouts as in the
vendor's public reference manual "System Software for S7-300/400, System and Standard Functions".
"""

from __future__ import annotations

import collections
import datetime
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from cyber_range.engine.agents.controller import Controller

NO_LIST, NO_INDEX = 0xD401, 0xD402  # error codes of the user data answer
RUN, STOP = 0x08, 0x04
# event ids of the diagnostic buffer
POWER_ON, STOP_BY_TOOL, TO_STARTUP, TO_RUN, BLOCK_LOADED = 0x4300, 0x4303, 0x4301, 0x4302, 0x5981
KEPT_EVENTS = 10
DEFAULT_IDENTITY = {
    "order_code": "HD7 314-6EH04-0AB0", "hardware": 4, "firmware": "3.3.8", "name": "HD300/Line", "module": "CPU 314E-2",
    "plant": "", "copyright": "Original Hengda Equipment", "serial": "S C-H4K913772019", "type": "CPU 314E-2 PN",
    "card": "MMC 5C017F11",
}  # fmt: skip


class Status:
    """`clock` gives the controller's own date and time."""

    def __init__(self, controller: Controller, identity: Mapping[str, Any], protection: int) -> None:
        self._controller = controller
        self.identity = {**DEFAULT_IDENTITY, **identity}
        self.protection = protection
        self.offset = datetime.timedelta()
        self.events: collections.deque[tuple[int, bytes]] = collections.deque(maxlen=KEPT_EVENTS)
        self.happened(POWER_ON)
        if controller.mode == "run":
            self.happened(TO_RUN)
        self._lists = {
            0x0011: self._module, 0x0111: self._module, 0x0013: self._memory, 0x0014: self._areas,
            0x0019: self._leds, 0x0074: self._leds, 0x001C: self._component, 0x011C: self._component,
            0x0424: self._mode, 0x0124: self._mode, 0x0131: self._communication, 0x0132: self._connections,
            0x0232: self._protection, 0x00A0: self._diagnosis, 0x01A0: self._diagnosis,
        }  # fmt: skip

    def now(self) -> datetime.datetime:
        return datetime.datetime.now() + self.offset  # noqa: DTZ005 - such clocks know no time zone

    def happened(self, event: int) -> None:
        self.events.appendleft((event, bcd_time(self.now())[2:]))

    def list(self, number: int, index: int) -> tuple[bytes, int]:
        """(list with its head, 0), or (nothing, error code)."""
        if number == 0x0000:
            records = [struct.pack(">H", each) for each in (0x0000, *sorted(self._lists))]
        elif number in self._lists:
            records = list(self._lists[number](index))
            if number in (0x0111, 0x011C):  # one record, by its index
                records = [record for record in records if struct.unpack_from(">H", record)[0] == index]
        else:
            return b"", NO_LIST
        if not records:
            return b"", NO_INDEX
        return struct.pack(">HHHH", number, index, len(records[0]), len(records)) + b"".join(records), 0

    def _module(self, _: int) -> Iterable[bytes]:
        code = text(self.identity["order_code"], 20, b" ")
        version = [int(part) for part in str(self.identity["firmware"]).split(".")][:3]
        hardware = int(self.identity["hardware"])
        yield struct.pack(">H20sHHH", 1, code, 0x00C0, hardware, 1)
        yield struct.pack(">H20sHHH", 6, code, 0x00C0, hardware, 1)
        yield struct.pack(">H20sHBBBB", 7, code, 0x00C0, ord("V"), *version)
        yield struct.pack(">H20sHBBBB", 0x81, text("Boot Loader", 20, b" "), 0, ord("A"), 32, 12, 12)

    def _memory(self, _: int) -> Iterable[bytes]:
        for index, size in ((1, 128 * 1024), (2, 512 * 1024)):  # work memory, load memory
            yield struct.pack(">HHIIIIII8s", index, 1, size, 0, size // 4, size // 8, 0, 0, b"")

    def _areas(self, _: int) -> Iterable[bytes]:
        for index, (number, retained) in enumerate(
            ((1024, 0), (1024, 0), (2048, 16), (256, 0), (256, 8), (1024, 0), (32768, 0), (6144, 0)), 1
        ):
            yield struct.pack(">HHHH", index, 1, min(number, 0xFFFF), retained)

    def _leds(self, _: int) -> Iterable[bytes]:
        run = self._controller.running
        for led, on in ((1, 0), (2, 0), (3, 0), (4, run), (5, not run), (6, 0)):  # SF INTF EXTF RUN STOP FRCE
            yield struct.pack(">HBB", led, int(on), 0)

    def _component(self, _: int) -> Iterable[bytes]:
        said = self.identity
        for index, key, length in (
            (1, "name", 24), (2, "module", 24), (3, "plant", 32), (4, "copyright", 26), (5, "serial", 24),
            (7, "type", 32), (8, "card", 32),
        ):  # fmt: skip
            yield struct.pack(">H32s", index, text(str(said[key]), length, b"\0"))
        yield struct.pack(">HHHH26s", 9, 0x002A, 0xF600, 1, b"")  # manufacturer, profile
        yield struct.pack(">H32s", 0x0B, b"")  # location

    def _mode(self, _: int) -> Iterable[bytes]:
        mode = RUN if self._controller.running else STOP
        at = self.events[0][1]
        yield struct.pack(">HBB4xBBBB8s", TO_RUN if mode == RUN else STOP_BY_TOOL, 0xFF, mode, 0, 0, 0, 0, at)

    def _communication(self, index: int) -> Iterable[bytes]:
        if index == 1:  # general: PDU size, connections, transmission rates
            yield struct.pack(">HHHII26s", 1, 480, 8, 187500, 100_000_000, b"")

    def _connections(self, index: int) -> Iterable[bytes]:
        if index == 4:
            yield next(iter(self._protection(4)))

    def _protection(self, index: int) -> Iterable[bytes]:
        if index == 4:
            level, selector = self.protection, 1 if self._controller.running else 3
            yield struct.pack(">HHHHHH28s", 4, 1, level if level > 1 else 0, level, selector, 0, b"")

    def _diagnosis(self, _: int) -> Iterable[bytes]:
        for event, at in self.events:
            yield struct.pack(">HBBHHHH8s", event, 0xFF, 0x00, 0, 0, 0, 0, at)


def text(said: str, length: int, fill: bytes) -> bytes:
    return said.encode("latin-1", "replace")[:length].ljust(length, fill)


def bcd(number: int) -> int:
    return number // 10 << 4 | number % 10


def bcd_time(when: datetime.datetime) -> bytes:
    """DATE_AND_TIME with two leading bytes, as the clock functions carry it."""
    milliseconds = when.microsecond // 1000
    day = when.isoweekday() % 7 + 1  # 1 is Sunday
    digits = (when.year % 100, when.month, when.day, when.hour, when.minute, when.second, milliseconds // 10)
    return bytes((0, bcd(when.year // 100), *map(bcd, digits), milliseconds % 10 << 4 | day))


def read_bcd_time(data: bytes) -> datetime.datetime:
    """ValueError for what is no date."""
    if len(data) < 10:
        raise ValueError("a clock has ten bytes")
    year, month, day, hour, minute, second = ((b >> 4) * 10 + (b & 15) for b in data[2:8])
    return datetime.datetime((2000 if year < 90 else 1900) + year, month, day, hour, minute, second)  # noqa: DTZ001
