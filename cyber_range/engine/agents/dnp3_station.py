"""What a DNP3 outstation answers: reads of static data and events, controls with select before operate, time, restarts.

Pure: one master's session, application fragments in and out. Values come from and go to a `Memory`; time is given.
Subset level 2 of IEEE 1815-2012 and of level 3 what masters really use (frozen counters by group, unsolicited
responses, device attributes).

Points: {tag: {index, kind?, class?, deadband?}}. `kind`: binary, output (binary), analog, setpoint (analog output) or
counter; by default what the tag's table says. `class`: event class 1, 2, 3, or 0 for none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from cyber_range.engine.agents.dnp3_objects import (
    ATTRIBUTE,
    COUNT_8,
    INDEX_8,
    INDEX_16,
    MAX_FRAGMENT,
    ONLINE,
    RANGE_8,
    TEXT,
    Fragment,
    Function,
    Header,
    Iin,
    Item,
    ObjectError,
    Status,
    pack_fragment,
    pack_header,
    runs,
    unpack_fragment,
)
from cyber_range.engine.process.controllers import Tag

Kind = Literal["binary", "output", "analog", "setpoint", "counter"]
KIND_OF_TABLE: dict[str, Kind] = {"discrete": "binary", "coil": "output", "input": "analog", "holding": "setpoint"}
STATIC = {"binary": 1, "output": 10, "counter": 20, "analog": 30, "setpoint": 40}  # groups
EVENT = {"binary": 2, "output": 11, "counter": 22, "analog": 32, "setpoint": 42}
DEFAULT_CLASS = {"binary": 1, "output": 2, "analog": 2, "setpoint": 2, "counter": 3}
EVENT_VARIATION = {2: 2, 11: 2, 22: 5, 32: 7, 42: 7}  # with time; analogs as floats
STATIC_VARIATION = {1: 2, 10: 2, 20: 1, 21: 1, 30: 5, 40: 3}
FROZEN, CLASSES, TIME, DELAY, INDICATIONS, CROB, ANALOG_ORDER = 21, 60, 50, 52, 80, 12, 41
QUIET = Iin(0)
LONGEST_SELECT = 10.0  # s from select to operate
EVENT_LIMIT = 500  # of one session; beyond it the oldest go and IIN2.3 is set
ROOM = MAX_FRAGMENT - 64  # octets of objects in one fragment
CLASS_BITS = {1: Iin.CLASS_1, 2: Iin.CLASS_2, 3: Iin.CLASS_3}
NULL, PULSE_ON, PULSE_OFF, LATCH_ON, LATCH_OFF = 0, 1, 2, 3, 4
CLOSE, TRIP = 0x40, 0x80
ATTRIBUTES = {  # group 0 variation -> key of `identity`
    242: "revision", 243: "hardware", 245: "location", 246: "id", 247: "name", 248: "serial", 250: "product", 252: "vendor",
}  # fmt: skip
LIST_OF_ATTRIBUTES, ALL_ATTRIBUTES = 255, 254


class Memory(Protocol):
    """The controller behind the outstation, in engineering units."""

    tags: dict[str, float]

    def write(self, tag: str, value: float) -> None: ...


@dataclass(slots=True)
class Point:
    tag: Tag
    kind: Kind
    index: int
    event_class: int
    deadband: float

    @property
    def binary(self) -> bool:
        return self.kind in ("binary", "output")


@dataclass(slots=True)
class Event:
    event_class: int
    group: int
    item: Item
    scale: float
    offered: bool = False  # in a response that waits for its confirmation


@dataclass(slots=True)
class Done:
    """What a master asked for, besides its answer."""

    writes: list[tuple[str, float, str]] = field(default_factory=list)  # (tag, value, point)
    pulses: list[tuple[str, float, float]] = field(default_factory=list)  # (tag, value afterwards, s)
    clock: int | None = None  # milliseconds since 1970 UTC
    restart: Literal["", "cold", "warm"] = ""


class Points:
    """The point list: one for the station, whatever the number of masters."""

    def __init__(self, tags: Iterable[Tag], placed: Mapping[str, Mapping[str, Any]]) -> None:
        self.all: list[Point] = []
        self._at: dict[tuple[str, int], Point] = {}
        for tag in tags:
            if tag.name not in placed:
                continue
            where = placed[tag.name]
            kind: Kind = where.get("kind", KIND_OF_TABLE[tag.table])
            if kind not in STATIC:
                raise ValueError(f"tag {tag.name!r}: no kind of point {kind!r}; there are: {', '.join(sorted(STATIC))}")
            if kind in ("output", "setpoint") and not tag.operator:
                raise ValueError(f"tag {tag.name!r} is computed by the controller and cannot be an {kind}")
            index = int(where["index"])
            if not 0 <= index <= 65535:
                raise ValueError(f"tag {tag.name!r}: index {index} is outside 0..65535")
            if (other := self._at.get((kind, index))) is not None:
                raise ValueError(f"{kind} {index} of tag {tag.name!r} is taken by {other.tag.name!r}")
            deadband = float(where.get("deadband", 0 if kind in ("binary", "output") else 1 / tag.scale))
            point = Point(tag, kind, index, int(where.get("class", DEFAULT_CLASS[kind])), deadband)
            self._at[kind, index] = point
            self.all.append(point)
        self.all.sort(key=lambda point: point.index)

    def of(self, kind: str) -> list[Point]:
        return [point for point in self.all if point.kind == kind]

    def at(self, kind: str, index: int) -> Point | None:
        return self._at.get((kind, index))


class Session:
    """The station as one master knows it: its events, its selection, its indications, the response it waits for."""

    def __init__(
        self,
        points: Points,
        memory: Memory,
        *,
        identity: Mapping[str, str] | None = None,
        need_time: bool = False,
        unsolicited: bool = False,
        restart_ms: int = 2000,
    ) -> None:
        self._points, self._memory = points, memory
        self._identity = dict(identity or {})
        self._restart_ms = restart_ms
        self._speaks_by_itself = unsolicited
        self._last: tuple[bytes, bytes | None] | None = None  # newest request that was no read, and its answer
        self.indications = Iin.RESTART | (Iin.NEED_TIME if need_time else Iin(0))
        self.events: list[Event] = []
        self._told: dict[int, float] = {}  # id of a point -> last value that made an event
        self._selected: tuple[tuple[Header, ...], int, float] | None = None  # (what, sequence, until)
        self._parts: list[list[Header]] = []  # of a long response, still to be sent
        self._awaited: int | None = None  # sequence of the response whose confirmation is awaited
        self._frozen: dict[int, float] = {}
        self._cleared: dict[int, float] = {}
        self._recorded: float | None = None  # when "record current time" came, s
        self.unsolicited_classes: set[int] = set()
        self._unsolicited_awaited: int | None = None
        self._unsolicited_sequence = 0
        self.greeted = False  # the null unsolicited response was confirmed

    # ------------------------------------------------------------ events

    def look(self, now_ms: int) -> None:
        """Makes an event of every change; the first look only learns."""
        for point in self._points.all:
            value, key = self._value(point), id(point)
            before = self._told.get(key)
            if before is None:
                self._told[key] = value
                continue
            moved = value != before and (abs(value - before) >= point.deadband * (1 - 1e-9) or not value or not before)
            if not moved:
                continue
            self._told[key] = value
            if point.event_class:
                item = Item(point.index, value, ONLINE, now_ms)
                self.events.append(Event(point.event_class, EVENT[point.kind], item, point.tag.scale))
        if len(self.events) > EVENT_LIMIT:
            del self.events[: len(self.events) - EVENT_LIMIT]
            self.indications |= Iin.OVERFLOW

    def _value(self, point: Point) -> float:
        value = self._memory.tags[point.tag.name]
        if point.kind == "counter":
            return float(round(value - self._cleared.get(id(point), 0)) % (1 << 32))
        return float(bool(value)) if point.binary else value

    # ------------------------------------------------------------ requests

    def answer(self, data: bytes, now: float, now_ms: int, *, broadcast: bool = False) -> tuple[bytes | None, Done]:
        """The response fragment, or None where the protocol has none."""
        done = Done()
        if broadcast:
            self.indications |= Iin.BROADCAST
        try:
            asked = unpack_fragment(data)
        except ObjectError as exc:
            if exc.iin and len(data) >= 2 and data[1] in tuple(Function) and data[1] < Function.RESPONSE:
                return self._respond(data[0] & 0x0F, [], exc.iin), done
            return None, done
        function, sequence = asked.function, asked.sequence
        if function == Function.CONFIRM:
            return self._confirmed(sequence, unsolicited=asked.unsolicited), done
        if function >= Function.RESPONSE or not asked.first or not asked.final:
            return None, done
        self._parts, self._awaited = [], None  # a new request ends the wait for an old confirmation
        for event in self.events:
            event.offered = False
        if function == Function.READ:
            self._last = None
            return self._read(asked), done
        if self._last is not None and self._last[0] == data:  # a master's retry is answered, not done again (4.2.2.4)
            return self._last[1], done
        iin, headers = self._do(asked, now, now_ms, done)
        silent = function in (
            Function.DIRECT_OPERATE_NO_ANSWER,
            Function.FREEZE_NO_ANSWER,
            Function.FREEZE_CLEAR_NO_ANSWER,
        )
        response = None if silent or broadcast else self._respond(sequence, headers, iin)
        self._last = (data, response)
        return response, done

    def _do(self, asked: Fragment, now: float, now_ms: int, done: Done) -> tuple[Iin, list[Header]]:
        function = asked.function
        if function == Function.WRITE:
            return self._write(asked.headers, now, done), []
        if function in (Function.SELECT, Function.OPERATE):
            return self._two_steps(asked, now, done)
        if function in (Function.DIRECT_OPERATE, Function.DIRECT_OPERATE_NO_ANSWER):
            return self._control(asked.headers, done)
        if function in (Function.FREEZE, Function.FREEZE_NO_ANSWER):
            return self._freeze(asked.headers, clear=False), []
        if function in (Function.FREEZE_CLEAR, Function.FREEZE_CLEAR_NO_ANSWER):
            return self._freeze(asked.headers, clear=True), []
        if function in (Function.COLD_RESTART, Function.WARM_RESTART):
            done.restart = "cold" if function == Function.COLD_RESTART else "warm"
            return Iin(0), [Header(DELAY, 2, COUNT_8, (Item(0, self._restart_ms),))]
        if function in (Function.ENABLE_UNSOLICITED, Function.DISABLE_UNSOLICITED):
            classes = {h.variation - 1 for h in asked.headers if h.group == CLASSES and 2 <= h.variation <= 4}
            wrong = len(classes) != len(asked.headers)
            if function == Function.ENABLE_UNSOLICITED:
                if not self._speaks_by_itself:
                    return Iin.NO_FUNCTION, []
                self.unsolicited_classes |= classes
            else:
                self.unsolicited_classes -= classes
            return (Iin.BAD_PARAMETER if wrong else Iin(0)), []
        if function == Function.DELAY_MEASUREMENT:
            return Iin(0), [Header(DELAY, 2, COUNT_8, (Item(0, 0),))]
        if function == Function.RECORD_TIME:
            self._recorded = now
            return Iin(0), []
        return Iin.NO_FUNCTION, []

    def _write(self, headers: Sequence[Header], now: float, done: Done) -> Iin:
        iin = Iin(0)
        for header in headers:
            if (header.group, header.variation) == (INDICATIONS, 1):
                for item in header.items:
                    if item.index == 7 and not item.value:
                        self.indications &= ~Iin.RESTART
                    else:
                        iin |= Iin.BAD_PARAMETER
            elif header.group == TIME and len(header.items) == 1 and header.items[0].time is not None:
                late = 0.0
                if header.variation == 3:
                    if self._recorded is None:
                        iin |= Iin.BAD_PARAMETER
                        continue
                    late = now - self._recorded
                done.clock = header.items[0].time + round(late * 1000)
                self.indications &= ~Iin.NEED_TIME
            else:
                iin |= Iin.UNKNOWN_OBJECT
        return iin

    # ------------------------------------------------------------ controls

    def _two_steps(self, asked: Fragment, now: float, done: Done) -> tuple[Iin, list[Header]]:
        if asked.function == Function.SELECT:
            iin, headers = self._control(asked.headers, None)
            well = all(item.flags == Status.SUCCESS for header in headers for item in header.items)
            self._selected = (asked.headers, asked.sequence, now + LONGEST_SELECT) if well and not iin else None
            return iin, headers
        selected, self._selected = self._selected, None
        if selected is None or selected[0] != asked.headers or (selected[1] + 1) & 0x0F != asked.sequence:
            return Iin(0), [with_status(header, Status.NO_SELECT) for header in asked.headers]
        if now > selected[2]:
            return Iin(0), [with_status(header, Status.TIMEOUT) for header in asked.headers]
        return self._control(asked.headers, done)

    def _control(self, headers: Sequence[Header], done: Done | None) -> tuple[Iin, list[Header]]:
        """Carries out controls, or with no `done` only says whether they could be; echoes them with their status."""
        iin, echoed = Iin(0), []
        for header in headers:
            if header.group not in (CROB, ANALOG_ORDER):
                return Iin.UNKNOWN_OBJECT, []
            if header.qualifier not in (INDEX_8, INDEX_16):
                return Iin.BAD_PARAMETER, []
            items = []
            for item in header.items:
                status = self._crob(item, done) if header.group == CROB else self._order(item, done)
                items.append(dataclasses.replace(item, flags=status))
                iin |= Iin.BAD_PARAMETER if status == Status.NOT_SUPPORTED else Iin(0)
            echoed.append(dataclasses.replace(header, items=tuple(items)))
        return iin, echoed

    def _crob(self, item: Item, done: Done | None) -> Status:
        point = self._points.at("output", item.index)
        code = int(item.value)
        operation, trip_close = code & 0x0F, code & 0xC0
        if point is None or trip_close == CLOSE | TRIP or operation > LATCH_OFF:
            return Status.NOT_SUPPORTED
        count, on_ms, off_ms = item.pulse or (1, 0, 0)
        if done is None or operation == NULL or count == 0:
            return Status.SUCCESS
        value = float(operation in (PULSE_ON, LATCH_ON))
        if trip_close:
            value = float(trip_close == CLOSE)
        done.writes.append((point.tag.name, value, f"output {item.index}"))
        self._memory.write(point.tag.name, value)
        if operation in (PULSE_ON, PULSE_OFF) and not trip_close:
            done.pulses.append((point.tag.name, 1 - value, (on_ms if operation == PULSE_ON else off_ms) / 1000))
        return Status.SUCCESS

    def _order(self, item: Item, done: Done | None) -> Status:
        point = self._points.at("setpoint", item.index)
        if point is None:
            return Status.NOT_SUPPORTED
        if item.value != item.value or abs(item.value) == float("inf"):
            return Status.OUT_OF_RANGE
        if done is not None:
            done.writes.append((point.tag.name, item.value, f"setpoint {item.index}"))
            self._memory.write(point.tag.name, item.value)
        return Status.SUCCESS

    def _freeze(self, headers: Sequence[Header], *, clear: bool) -> Iin:
        iin = Iin(0)
        for header in headers:
            if header.group != STATIC["counter"]:
                iin |= Iin.UNKNOWN_OBJECT
                continue
            for point in self._points.of("counter"):
                if header.wants(point.index):
                    self._frozen[id(point)] = self._value(point)
                    if clear:
                        self._cleared[id(point)] = float(round(self._memory.tags[point.tag.name]))
        return iin

    # ------------------------------------------------------------ reads

    def _read(self, asked: Fragment) -> bytes:
        iin, headers = Iin(0), list[Header]()
        for header in asked.headers:
            found = self._wanted(header)
            if found is None:
                iin |= Iin.UNKNOWN_OBJECT
            else:
                headers += found
        return self._respond(asked.sequence, headers, iin)

    def _wanted(self, header: Header) -> list[Header] | None:
        group, variation = header.group, header.variation
        if group == CLASSES and 1 <= variation <= 4:
            if variation == 1:
                return [found for kind in STATIC for found in self._static(kind, Header(STATIC[kind], 0, 6)) or ()]
            return self._offer([e for e in self.events if e.event_class == variation - 1], header.count)
        for kind, number in STATIC.items():
            if group == number:
                return self._static(kind, header)
        if group == FROZEN:
            return self._static("counter", header)
        for number in EVENT.values():
            if group == number:
                if variation and variation not in EVENT_LAYOUTS[number]:
                    return None
                return self._offer([e for e in self.events if e.group == number], header.count, variation)
        if group == ATTRIBUTE:
            return self._attributes(variation)
        if (group, variation) == (INDICATIONS, 1):
            now = self._indications()
            return [Header(INDICATIONS, 1, RANGE_8, tuple(Item(n, now >> n & 1) for n in range(16)))]
        return None

    def _static(self, kind: str, header: Header) -> list[Header] | None:
        group = header.group
        variation = header.variation or STATIC_VARIATION[group]
        if variation not in STATIC_LAYOUTS[group]:
            return None
        items = []
        for point in self._points.of(kind):
            if not header.wants(point.index):
                continue
            value = self._frozen.get(id(point), 0.0) if group == FROZEN else self._value(point)
            if group in (30, 40) and whole(group, variation):
                value = value * point.tag.scale
            items.append(Item(point.index, value, ONLINE))
        return runs(group, variation, items)

    def _offer(self, events: list[Event], limit: int, variation: int = 0) -> list[Header]:
        """Events as headers by index, in the order they happened within a group."""
        events = [event for event in events if not event.offered]
        events = events[:limit] if limit else events
        found: list[Header] = []
        for group in dict.fromkeys(event.group for event in events):
            form = variation or EVENT_VARIATION[group]
            items = []
            for event in (event for event in events if event.group == group):
                event.offered = True
                value = event.item.value
                if group in (32, 42) and whole(group, form):
                    value = value * event.scale
                items.append(dataclasses.replace(event.item, value=value))
            for at in range(0, len(items), 100):
                found.append(Header(group, form, INDEX_16, tuple(items[at : at + 100])))
        return found

    def _attributes(self, variation: int) -> list[Header] | None:
        known = {number: self._identity[key] for number, key in ATTRIBUTES.items() if self._identity.get(key)}
        wanted = sorted(known) if variation in (ALL_ATTRIBUTES, LIST_OF_ATTRIBUTES) else [variation]
        if variation == LIST_OF_ATTRIBUTES:
            content = b"".join(bytes((number, 0)) for number in wanted)
            return [Header(ATTRIBUTE, LIST_OF_ATTRIBUTES, RANGE_8, (Item(0, flags=254, text=content),))]
        if not all(number in known for number in wanted):
            return None
        return [
            Header(ATTRIBUTE, number, RANGE_8, (Item(0, flags=TEXT, text=known[number].encode()[:255]),))
            for number in wanted
        ]

    # ------------------------------------------------------------ responses

    def _indications(self) -> Iin:
        iin = self.indications
        for event in self.events:
            if not event.offered:
                iin |= CLASS_BITS[event.event_class]
        return iin

    def _respond(self, sequence: int, headers: list[Header], iin: Iin) -> bytes:
        """The first fragment of the response; the others wait for its confirmation."""
        self._parts = split(headers)
        return self._next_part(sequence, iin, first=True)

    def _next_part(self, sequence: int, iin: Iin = QUIET, *, first: bool = False) -> bytes:
        part = self._parts.pop(0) if self._parts else []
        final = not self._parts
        confirm = not final or any(header.group in EVENT.values() for header in part)
        self._awaited = sequence if confirm else None
        iin |= self._indications()
        self.indications &= ~Iin.BROADCAST
        return pack_fragment(Fragment(Function.RESPONSE, sequence, tuple(part), first, final, confirm, iin=int(iin)))

    def _confirmed(self, sequence: int, *, unsolicited: bool) -> bytes | None:
        if unsolicited:
            if sequence == self._unsolicited_awaited:
                self._unsolicited_awaited = None
                self._unsolicited_sequence = self._unsolicited_sequence + 1 & 0x0F
                if self.greeted:
                    self._forget_offered()
                self.greeted = True
            return None
        if sequence != self._awaited:
            return None
        self._awaited = None
        if self._parts:
            return self._next_part(sequence + 1 & 0x0F)
        self._forget_offered()
        return None

    def _forget_offered(self) -> None:
        self.events = [event for event in self.events if not event.offered]
        self.indications &= ~Iin.OVERFLOW

    # ------------------------------------------------------------ without being asked

    def unsolicited(self, *, again: bool = False) -> bytes | None:
        """The next unsolicited response: empty to greet, then events of enabled classes. `again`: none confirmed it."""
        if self._unsolicited_awaited is not None and not again:
            return None
        if self._awaited is not None:
            return None  # a solicited response is on its way
        for event in self.events:
            event.offered = False
        headers: list[Header] = []
        if self.greeted:
            headers = self._offer([e for e in self.events if e.event_class in self.unsolicited_classes], 100)
            if not headers:
                self._unsolicited_awaited = None
                return None
        self._unsolicited_awaited = self._unsolicited_sequence
        return pack_fragment(
            Fragment(
                Function.UNSOLICITED,
                self._unsolicited_sequence,
                tuple(headers),
                confirm=True,
                unsolicited=True,
                iin=int(self._indications()),
            )
        )


STATIC_LAYOUTS = {1: {1, 2}, 10: {1, 2}, 20: {1, 2, 5, 6}, 21: {1, 2, 9, 10}, 30: {1, 2, 3, 4, 5, 6}, 40: {1, 2, 3, 4}}
EVENT_LAYOUTS = {2: {1, 2}, 11: {1, 2}, 22: {1, 2, 5, 6}, 32: set(range(1, 9)), 42: set(range(1, 9))}


def whole(group: int, variation: int) -> bool:
    """Whether this variation of an analog is a whole number: raw counts then, engineering units otherwise."""
    return variation in ({1, 2} if group == 40 else {1, 2, 3, 4})


def with_status(header: Header, status: Status) -> Header:
    return dataclasses.replace(header, items=tuple(dataclasses.replace(item, flags=status) for item in header.items))


def split(headers: list[Header]) -> list[list[Header]]:
    """Headers in as few fragments as hold them, in order."""
    parts: list[list[Header]] = []
    room = 0
    for header in headers:
        size = len(pack_header(header, carrying=True))
        if not parts or size > room:
            parts.append([])
            room = ROOM
        parts[-1].append(header)
        room -= size
    return parts
