"""What a controlled station of IEC 60870-5-104 answers: interrogations, reads, clock, commands with select before operate.

Pure: an ASDU and the master it came from in, ASDUs out. Values come from and go to a `Memory`; time is given.

Points: {tag: {ioa, type?, deadband?, command?, group?}}. `type` is a monitored type without time; by default a coil or
discrete is M_SP_NA_1, an input or holding M_ME_NC_1. A tag with `command` (an information object address) can be
commanded with the type that belongs to its own. M_IT_NA_1 makes a counter of an input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cyber_range.engine.agents.iec104_frames import (
    BY_NAME,
    GENERAL,
    MAX_ASDU,
    SELECT,
    WITH_TIME,
    Asdu,
    Body,
    Cause,
    Element,
    FrameError,
    Kind,
    unknown_type,
    unpack_asdu,
)
from cyber_range.engine.process.controllers import Tag

SELECTED_FOR = 10.0  # s that a selection waits for its execution
COMMANDS = {  # monitored type -> the command types that may write it
    "M_SP_NA_1": ("C_SC_NA_1", "C_SC_TA_1"),
    "M_DP_NA_1": ("C_DC_NA_1", "C_DC_TA_1"),
    "M_ME_NA_1": ("C_SE_NA_1", "C_SE_TA_1"),
    "M_ME_NB_1": ("C_SE_NB_1", "C_SE_TB_1"),
    "M_ME_NC_1": ("C_SE_NC_1", "C_SE_TC_1"),
}
SYSTEM = frozenset({"C_IC_NA_1", "C_CI_NA_1", "C_CS_NA_1", "C_RP_NA_1", "C_TS_NA_1", "C_TS_TA_1"})
COUNTER_SEQUENCE = 0x1F
DOUBLE_OFF, DOUBLE_ON = 1, 2


class Memory(Protocol):
    """The controller behind the station, in engineering units."""

    tags: dict[str, float]

    def write(self, tag: str, value: float) -> None: ...


@dataclass(slots=True)
class Point:
    tag: Tag
    kind: Kind
    address: int
    deadband: float
    command: int | None = None
    group: int = 0
    told: float | None = None  # last value sent spontaneously
    frozen: int = 0  # a counter's reading
    sequence: int = 0

    def element(self, value: float, *, flags: int = 0) -> Element:
        if self.kind.body is Body.DOUBLE:
            return Element(self.address, DOUBLE_ON if value else DOUBLE_OFF, flags)
        if self.kind.body is Body.SINGLE:
            return Element(self.address, int(bool(value)), flags)
        if self.kind.body is Body.COUNTER:
            return Element(self.address, self.frozen, self.sequence & COUNTER_SEQUENCE)
        if self.kind.body is Body.NORMALIZED:
            return Element(self.address, value * self.tag.scale / 32768, flags)
        if self.kind.body is Body.SCALED:
            return Element(self.address, round(value * self.tag.scale), flags)
        return Element(self.address, value, flags)

    def commanded(self, kind: Kind, value: float) -> float | None:
        """The engineering value a command means; None when it means none."""
        if kind.body is Body.DOUBLE:
            return {DOUBLE_OFF: 0.0, DOUBLE_ON: 1.0}.get(int(value))
        if kind.body is Body.NORMALIZED:
            return value * 32768 / self.tag.scale
        if kind.body is Body.SCALED:
            return value / self.tag.scale
        return value if value == value and abs(value) != float("inf") else None


@dataclass(frozen=True, slots=True)
class Selection:
    master: object
    command: int
    until: float


@dataclass(slots=True)
class Done:
    """What a master asked for, besides its answers."""

    writes: list[tuple[str, float, int]] = field(default_factory=list)  # (tag, value, command address)
    clock: int | None = None  # milliseconds since 1970, on the station's clock from now on
    restart: bool = False


class Station:
    """One controlled station. `select` demands a selection before every execution."""

    def __init__(
        self,
        memory: Memory,
        tags: Iterable[Tag],
        placed: Mapping[str, Mapping[str, Any]],
        *,
        common: int = 1,
        select: bool = False,
    ) -> None:
        self.common = common
        self._memory = memory
        self._select = select
        self._selected: Selection | None = None
        self.points: list[Point] = []
        self._at: dict[int, Point] = {}
        self._commands: dict[int, Point] = {}
        for tag in tags:
            if tag.name in placed:
                self._place(tag, placed[tag.name])
        self.points.sort(key=lambda point: (point.kind.number, point.address))

    def _place(self, tag: Tag, where: Mapping[str, Any]) -> None:
        binary = tag.table in ("coil", "discrete")
        name = str(where.get("type", "M_SP_NA_1" if binary else "M_ME_NC_1"))
        if name not in WITH_TIME:
            raise ValueError(f"tag {tag.name!r}: no monitored type {name!r}; there are: {', '.join(sorted(WITH_TIME))}")
        command = where.get("command")
        if command is not None and (not tag.operator or name not in COMMANDS):
            raise ValueError(f"tag {tag.name!r} cannot be commanded: it is computed by the controller or a counter")
        least = 0.0 if binary else 1 / tag.scale
        point = Point(
            tag,
            BY_NAME[name],
            int(where["ioa"]),
            float(where.get("deadband", least)),
            None if command is None else int(command),
            int(where.get("group", 0)),
        )
        for address, known in ((point.address, self._at), (point.command, self._commands)):
            if address is None:
                continue
            if not 1 <= address < 1 << 24:
                raise ValueError(f"tag {tag.name!r}: information object address {address} is outside 1..16777215")
            if (other := self._at.get(address) or self._commands.get(address)) is not None:
                raise ValueError(f"information object {address} of tag {tag.name!r} is taken by {other.tag.name!r}")
            known[address] = point
        self.points.append(point)

    # ------------------------------------------------------------ without being asked

    def changes(self, now: int, *, timed: bool, cause: Cause = Cause.SPONTANEOUS) -> list[Asdu]:
        """One ASDU per kind of what differs from what was told last; the first call tells nothing."""
        changed = []
        for point in self.points:
            if point.kind.body is Body.COUNTER:
                continue
            value = self._memory.tags[point.tag.name]
            if point.told is None:
                point.told = value
            elif value != point.told and (
                abs(value - point.told) >= point.deadband * (1 - 1e-9) or (not value) != (not point.told)
            ):
                point.told = value
                changed.append(point)
        return self._tell(changed, cause, timed=now if timed else None)

    def cyclic(self) -> list[Asdu]:
        """All measured values, as a station set to periodic transmission sends them."""
        measured = [p for p in self.points if p.kind.body in (Body.FLOAT, Body.SCALED, Body.NORMALIZED)]
        return self._tell(measured, Cause.CYCLIC)

    def _tell(self, points: Iterable[Point], cause: int, *, timed: int | None = None) -> list[Asdu]:
        by_kind: dict[Kind, list[Element]] = {}
        for point in points:
            kind = point.kind if timed is None else BY_NAME[WITH_TIME[point.kind.name]]
            element = point.element(self._memory.tags[point.tag.name])
            by_kind.setdefault(kind, []).append(element if timed is None else dataclasses.replace(element, time=timed))
        return [asdu for kind, elements in by_kind.items() for asdu in packed(kind, cause, self.common, elements)]

    # ------------------------------------------------------------ asked

    def answer(self, data: bytes, master: object, now: float) -> tuple[list[Asdu | bytes], Done]:
        """Answers and what is to be done. FrameError for an ASDU that is none."""
        done = Done()
        try:
            asked = unpack_asdu(data)
        except FrameError as exc:
            if str(exc).startswith("type "):
                return [unknown_type(data)], done
            raise
        if asked.common not in (self.common, 0xFFFF):
            return [refused(asked, Cause.UNKNOWN_COMMON)], done
        asked = dataclasses.replace(asked, common=self.common)
        name = asked.kind.name
        if name == "C_RD_NA_1":
            return self._read(asked), done
        if name in SYSTEM:
            return self._system(asked, done), done
        if not name.startswith("C_"):
            return [dataclasses.replace(asked, cause=Cause.UNKNOWN_TYPE, negative=True)], done
        return self._command(asked, master, now, done), done

    def _read(self, asked: Asdu) -> list[Asdu | bytes]:
        if asked.cause != Cause.REQUEST:
            return [refused(asked, Cause.UNKNOWN_CAUSE)]
        point = self._at.get(asked.first.address)
        if point is None:
            return [refused(asked, Cause.UNKNOWN_OBJECT)]
        return list(self._tell([point], Cause.REQUEST))

    def _system(self, asked: Asdu, done: Done) -> list[Asdu | bytes]:
        if asked.first.address != 0:
            return [refused(asked, Cause.UNKNOWN_OBJECT)]
        if asked.cause == Cause.DEACTIVATION and asked.kind.name in ("C_IC_NA_1", "C_CI_NA_1"):
            return [refused(asked, Cause.DEACTIVATION_CON)]  # ours are over before anybody could stop them
        if asked.cause != Cause.ACTIVATION:
            return [refused(asked, Cause.UNKNOWN_CAUSE)]
        confirmed = dataclasses.replace(asked, cause=Cause.ACTIVATION_CON)
        ended = dataclasses.replace(asked, cause=Cause.ACTIVATION_TERM)
        qualifier = int(asked.first.value)
        if asked.kind.name == "C_IC_NA_1":
            points = [p for p in self.points if p.kind.body is not Body.COUNTER]
            if qualifier != GENERAL:
                points = [p for p in points if p.group and p.group == qualifier - GENERAL]
            if not points:
                return [dataclasses.replace(confirmed, negative=True)]
            return [confirmed, *self._tell(points, qualifier), ended]
        if asked.kind.name == "C_CI_NA_1":
            return self._counters(qualifier, confirmed, ended)
        if asked.kind.name == "C_CS_NA_1":
            if asked.first.flawed:
                return [dataclasses.replace(confirmed, negative=True)]
            done.clock = asked.first.time
        elif asked.kind.name == "C_RP_NA_1":
            if qualifier != 1:  # 1: general reset of process
                return [dataclasses.replace(confirmed, negative=True)]
            done.restart = True
        return [confirmed]

    def _counters(self, qualifier: int, confirmed: Asdu, ended: Asdu) -> list[Asdu | bytes]:
        """QCC: request in bits 0..5 (5 general, 1..4 groups), freeze in bits 6 and 7."""
        request, freeze = qualifier & 0x3F, qualifier >> 6
        points = [p for p in self.points if p.kind.body is Body.COUNTER and request in (5, p.group or 5)]
        if not points or not 1 <= request <= 5:
            return [dataclasses.replace(confirmed, negative=True)]
        for point in points:
            if freeze in (0, 1, 2):
                point.frozen = wrapped(round(self._memory.tags[point.tag.name]))
            if freeze in (1, 2):
                point.sequence = point.sequence + 1 & COUNTER_SEQUENCE
        if freeze:
            return [confirmed]
        cause = Cause.COUNTERS if request == 5 else Cause.COUNTERS + request
        return [confirmed, *self._tell(points, cause), ended]

    def _command(self, asked: Asdu, master: object, now: float, done: Done) -> list[Asdu | bytes]:
        point = self._commands.get(asked.first.address)
        if point is None:
            return [refused(asked, Cause.UNKNOWN_OBJECT)]
        if asked.kind.name not in COMMANDS[point.kind.name] or len(asked.elements) != 1:
            return [refused(asked, Cause.UNKNOWN_TYPE)]
        chosen = self._selected
        own = chosen is not None and chosen.master is master and chosen.command == point.command and now < chosen.until
        if asked.cause == Cause.DEACTIVATION:
            if own:
                self._selected = None
            return [dataclasses.replace(asked, cause=Cause.DEACTIVATION_CON, negative=not own)]
        if asked.cause != Cause.ACTIVATION:
            return [refused(asked, Cause.UNKNOWN_CAUSE)]
        confirmed = dataclasses.replace(asked, cause=Cause.ACTIVATION_CON)
        no = [dataclasses.replace(confirmed, negative=True)]
        value = point.commanded(asked.kind, asked.first.value)
        if value is None:
            return list(no)
        if asked.first.flags & SELECT:
            if chosen is not None and now < chosen.until and not own:
                return list(no)  # somebody else is about to operate
            self._selected = Selection(master, asked.first.address, now + SELECTED_FOR)
            return [confirmed]
        if (self._select and not own) or (chosen is not None and now < chosen.until and not own):
            return list(no)
        self._selected = None
        done.writes.append((point.tag.name, value, asked.first.address))
        self._memory.write(point.tag.name, value)
        returned = []
        if point.told is not None and self._memory.tags[point.tag.name] != point.told:
            point.told = self._memory.tags[point.tag.name]
            returned = self._tell([point], Cause.REMOTE_COMMAND)
        return [confirmed, *returned, dataclasses.replace(confirmed, cause=Cause.ACTIVATION_TERM)]

    def forget(self, master: object) -> None:
        """Its connection ended; so does its selection."""
        if self._selected is not None and self._selected.master is master:
            self._selected = None


def initialized(common: int, *, cause: int = 2) -> Asdu:
    """M_EI_NA_1, the end of initialisation; COI 0 local power on, 1 local reset, 2 remote reset."""
    return Asdu(BY_NAME["M_EI_NA_1"], Cause.INITIALIZED, common, (Element(0, cause),))


def refused(asked: Asdu, cause: Cause) -> Asdu:
    return dataclasses.replace(asked, cause=cause, negative=True)


def wrapped(count: int) -> int:
    """A counter's reading in 32 bits with sign."""
    return (count + (1 << 31)) % (1 << 32) - (1 << 31)


def packed(kind: Kind, cause: int, common: int, elements: list[Element]) -> list[Asdu]:
    """As few ASDUs as hold the elements: a run of consecutive addresses without time tags writes its address once."""
    found: list[Asdu] = []
    at = 0
    while at < len(elements):
        run = 1
        while at + run < len(elements) and elements[at + run].address == elements[at].address + run:
            run += 1
        if run > 1 and not kind.timed:
            count = min(run, 127, (MAX_ASDU - 9) // kind.size)
            found.append(Asdu(kind, cause, common, tuple(elements[at : at + count]), sequence=True))
        else:
            count = 1
            room = min(127, (MAX_ASDU - 6) // (3 + kind.size))
            while (
                count < room
                and at + count < len(elements)
                and (
                    kind.timed
                    or at + count + 1 >= len(elements)
                    or elements[at + count + 1].address != elements[at + count].address + 1
                )
            ):
                count += 1
            found.append(Asdu(kind, cause, common, tuple(elements[at : at + count])))
        at += count
    return found
