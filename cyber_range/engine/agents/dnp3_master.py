"""A DNP3 master: integrity polls, event polls, controls, time.

Spec: `devices` [{name, host, port? (20000), address? (10), own? (1), points: [{tag, kind, index, scale? (1)}],
select? (select before operate, true), unsolicited? (enables it, false)}], `cycle` (s between event polls, 1),
`integrity_every` (s, 60); and that of every supervisor (operator_view.py). `kind`: binary, output, analog, setpoint,
counter; outputs and setpoints are commanded.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.dnp3_link import Dnp3Link
from cyber_range.engine.agents.dnp3_objects import (
    ALL,
    COUNT_8,
    INDEX_16,
    RANGE_8,
    Fragment,
    Function,
    Header,
    Iin,
    Item,
    Status,
)
from cyber_range.engine.agents.dnp3_station import ANALOG_ORDER, CLASSES, CROB, EVENT, INDICATIONS, STATIC, TIME, whole
from cyber_range.engine.agents.operator_view import Heard, backoff, supervise

KIND_OF_GROUP = {group: kind for table in (STATIC, EVENT) for kind, group in table.items()}
LATCH_ON, LATCH_OFF = 3, 4
FLOAT_ORDER = 3  # variation of an analog output command
EVENTS = tuple(Header(CLASSES, number, ALL) for number in (2, 3, 4))
EVERYTHING = (*EVENTS, Header(CLASSES, 1, ALL))


class Refused(Exception):
    """The outstation answered a control with another status than success."""


class Outstation:
    """One polled outstation (`operator_view.Device`)."""

    def __init__(self, node: NodeContext, config: Mapping[str, Any]) -> None:
        self._node, self._config = node, config
        self.name = str(config["name"])
        self._points = {str(point["tag"]): point for point in config["points"]}
        self._at = {(str(p["kind"]), int(p["index"])): tag for tag, p in self._points.items()}
        self.heard = Heard(list(self._points))
        self._link: Dnp3Link | None = None

    async def serve(self) -> None:
        cycle = float(self._node.spec.get("cycle", 1))
        failures = 0
        while True:
            begun = time.monotonic()
            try:
                await self._poll(cycle)
            except (OSError, TimeoutError):
                pass  # a silent outstation is the picture's age, not an error
            finally:
                if self._link is not None:
                    self._link.close()
            failures = 1 if time.monotonic() - begun > 10 else failures + 1
            await asyncio.sleep(backoff(failures, cycle))

    async def _poll(self, cycle: float) -> None:
        """Integrity once and then every so often, events in between, on a fixed grid; ends with the connection."""
        config = self._config
        self._link = link = await Dnp3Link.connect(
            self._node.net,
            str(config["host"]),
            int(config.get("port", 20000)),
            own=int(config.get("own", 1)),
            station=int(config.get("address", 10)),
            on_unsolicited=self._take,
        )
        every = float(self._node.spec.get("integrity_every", 60))
        due = begun = time.monotonic()
        number, enabled = 0, not config.get("unsolicited", False)
        while link.open:
            integrity = time.monotonic() >= due
            if integrity:
                due = time.monotonic() + every
            fragments = await link.request(Function.READ, *(EVERYTHING if integrity else EVENTS))
            for fragment in fragments:
                self._take(fragment)
            await self._settle(link, Iin(fragments[-1].iin or 0))
            if not enabled:
                enabled = True
                await link.request(Function.ENABLE_UNSOLICITED, *EVENTS)
            number += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(link.over.wait(), max(0.01, begun + number * cycle - time.monotonic()))
            if time.monotonic() - begun - number * cycle > cycle:  # held up: go on from here, do not race
                begun, number = time.monotonic(), 0

    async def _settle(self, link: Dnp3Link, iin: Iin) -> None:
        """Does what the indications ask for."""
        if iin & Iin.RESTART:
            await link.request(Function.WRITE, Header(INDICATIONS, 1, RANGE_8, (Item(7, 0),)))
        if iin & Iin.NEED_TIME:
            now = Item(0, time=int(time.time() * 1000))
            await link.request(Function.WRITE, Header(TIME, 1, COUNT_8, (now,)))

    def _take(self, fragment: Fragment) -> None:
        self.heard.alive()
        for header in fragment.headers:
            kind = KIND_OF_GROUP.get(header.group)
            if kind is None:
                continue
            for item in header.items:
                tag = self._at.get((kind, item.index))
                if tag is not None:
                    analog = header.group in (30, 32, 40, 42) and whole(header.group, header.variation)
                    self.heard.tell(tag, item.value / float(self._points[tag].get("scale", 1) if analog else 1))

    async def operate(self, tag: str, value: float) -> Mapping[str, Any]:
        point = self._points.get(tag)
        if point is None or point["kind"] not in ("output", "setpoint"):
            there = sorted(name for name, known in self._points.items() if known["kind"] in ("output", "setpoint"))
            raise LookupError(f"{self.name} takes no control for {tag!r}; it does for: {', '.join(there)}")
        index = int(point["index"])
        if point["kind"] == "output":
            item = Item(index, LATCH_ON if value else LATCH_OFF, pulse=(1, 0, 0))
            header = Header(CROB, 1, INDEX_16, (item,))
        else:
            header = Header(ANALOG_ORDER, FLOAT_ORDER, INDEX_16, (Item(index, value),))
        if self._link is None or not self._link.open:
            raise ConnectionResetError(f"{self.name} is not connected")
        answer = await self._link.control(header, select=bool(self._config.get("select", True)))
        statuses = [item.flags for part in answer[-1].headers for item in part.items]
        if statuses != [Status.SUCCESS]:
            raise Refused(f"{self.name} answered the control of {tag!r} with status {statuses}")
        return {"confirmed": True}


async def run(node: NodeContext) -> None:
    await supervise(node, {str(config["name"]): Outstation(node, config) for config in node.spec["devices"]})
