"""A control centre: connects to remote terminal units by IEC 60870-5-104, interrogates, listens, commands.

Spec: `devices` [{name, host, port? (2404), common? (1), points: [{tag, ioa, command?, type? (C_SC_NA_1 or C_SE_NC_1 by
its monitored type), scale? (1)}], select? (select before operate, true)}], `interrogate_every` (s, 30), `clock_every`
(s, 0: never), `timing` {t1, t2, t3, k, w}, `utc_offset` (h, 8); and that of every supervisor (operator_view.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.iec104_frames import (
    BY_NAME,
    GENERAL,
    SELECT,
    Asdu,
    Body,
    Cause,
    Element,
    FrameError,
    Kind,
    unpack_asdu,
)
from cyber_range.engine.agents.iec104_link import Link, Timing
from cyber_range.engine.agents.operator_view import Heard, backoff, supervise

ANSWER_WITHIN = 5.0  # s for a confirmation
COUNTERS_GENERAL = 5
REASONS = {44: "unknown type", 45: "unknown cause", 46: "unknown common address", 47: "unknown information object"}


class NotConfirmed(Exception):
    """The station refused a command, or did not answer it."""


class Outstation:
    """One supervised station (`operator_view.Device`, and owner of its connection)."""

    def __init__(self, node: NodeContext, config: Mapping[str, Any]) -> None:
        self._node, self._config = node, config
        self.name = str(config["name"])
        self.heard = Heard([str(point["tag"]) for point in config["points"]])
        self._points = {str(point["tag"]): point for point in config["points"]}
        self._at = {int(point["ioa"]): (str(point["tag"]), float(point.get("scale", 1))) for point in config["points"]}
        self._common = int(config.get("common", 1))
        self._timing = Timing(**(node.spec.get("timing") or {}))
        self._kinds: dict[str, Kind] = {}  # how the station reports a tag
        self._link: Link | None = None
        self._started = asyncio.Event()
        self._over = asyncio.Event()
        self._waiting: dict[tuple[int, int], asyncio.Future[Asdu]] = {}  # (type, address) -> next confirmation
        self._turn = asyncio.Lock()

    async def serve(self) -> None:
        failures = 0
        while True:
            begun = time.monotonic()
            try:
                host, port = str(self._config["host"]), int(self._config.get("port", 2404))
                await self._node.net.create_connection(
                    lambda: Link(self, controlling=True, timing=self._timing), host, port, timeout=3.0
                )
                await asyncio.wait_for(self._started.wait(), self._timing.t1)
                await self._keep_interrogating()
            except (OSError, TimeoutError, NotConfirmed):
                pass  # a silent station is the picture's age, not an error
            finally:
                if self._link is not None:
                    self._link.close()
            failures = 1 if time.monotonic() - begun > 10 else failures + 1
            await asyncio.sleep(backoff(failures, 0.5))

    async def _keep_interrogating(self) -> None:
        """General interrogation and counters on a fixed period; returns when the connection has ended."""
        spec = self._node.spec
        every, clock_every = float(spec.get("interrogate_every", 30)), float(spec.get("clock_every", 0))
        clock_due = time.monotonic()
        while not self._over.is_set():
            if clock_every and time.monotonic() >= clock_due:
                clock_due = time.monotonic() + clock_every
                now = int((time.time() + float(spec.get("utc_offset", 8)) * 3600) * 1000)
                await self._ask("C_CS_NA_1", Element(0, time=now))
            await self._ask("C_IC_NA_1", Element(0, GENERAL))
            with contextlib.suppress(NotConfirmed):  # a station without counters refuses
                await self._ask("C_CI_NA_1", Element(0, COUNTERS_GENERAL))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), every)

    async def operate(self, tag: str, value: float) -> Mapping[str, Any]:
        point = self._points.get(tag)
        if point is None or "command" not in point:
            commandable = sorted(name for name, known in self._points.items() if "command" in known)
            raise LookupError(f"{self.name} takes no command for {tag!r}; it does for: {', '.join(commandable)}")
        kind = BY_NAME[str(point.get("type") or self._command_kind(tag))]
        said: float = value * float(point.get("scale", 1))
        if kind.body is Body.DOUBLE:
            said = 2 if value else 1
        elif kind.body is Body.SINGLE:
            said = int(bool(value))
        element = Element(int(point["command"]), said)
        async with self._turn:
            if self._config.get("select", True):
                await self._ask(kind.name, dataclasses.replace(element, flags=SELECT))
            await self._ask(kind.name, element)
        return {"confirmed": True, "type": kind.name}

    def _command_kind(self, tag: str) -> str:
        body = self._kinds[tag].body if tag in self._kinds else Body.SINGLE
        names = {Body.DOUBLE: "C_DC_NA_1", Body.FLOAT: "C_SE_NC_1", Body.SCALED: "C_SE_NB_1"}
        return {**names, Body.NORMALIZED: "C_SE_NA_1"}.get(body, "C_SC_NA_1")

    async def _ask(self, kind: str, element: Element) -> Asdu:
        """Sends an activation and waits for its confirmation."""
        if self._link is None or not self._link.started:
            raise NotConfirmed(f"{self.name} is not connected")
        asked = Asdu(BY_NAME[kind], Cause.ACTIVATION, self._common, (element,))
        key = (asked.kind.number, element.address)
        future = self._waiting[key] = asyncio.get_running_loop().create_future()
        self._link.send(asked)
        try:
            answer = await asyncio.wait_for(future, ANSWER_WITHIN)
        except TimeoutError:
            raise NotConfirmed(f"{self.name} did not confirm {kind} within {ANSWER_WITHIN:g} s") from None
        finally:
            self._waiting.pop(key, None)
        if answer.negative:
            raise NotConfirmed(f"{self.name} refused {kind}: {REASONS.get(answer.cause, 'negative confirmation')}")
        return answer

    # the connection's owner

    def link_opened(self, link: Link) -> None:
        self._link = link
        self._over.clear()
        self._started.clear()

    def link_started(self, link: Link, started: bool) -> None:
        self.heard.alive()
        if started:
            self._started.set()

    def link_asdu(self, link: Link, data: bytes) -> None:
        try:
            asdu = unpack_asdu(data)
        except FrameError:  # a type we do not know says nothing to us
            return
        self.heard.alive()
        if asdu.kind.number >= 45:
            waiting = self._waiting.get((asdu.kind.number, asdu.first.address))
            final = asdu.cause in (Cause.ACTIVATION_CON, Cause.DEACTIVATION_CON) or asdu.negative
            if waiting is not None and not waiting.done() and final:
                waiting.set_result(asdu)
            return
        for element in asdu.elements:
            known = self._at.get(element.address)
            if known is None or asdu.common != self._common:
                continue
            tag, scale = known
            self._kinds[tag] = asdu.kind
            value = float(element.value == 2) if asdu.kind.body is Body.DOUBLE else element.value
            self.heard.tell(tag, value / scale)

    def link_closed(self, link: Link) -> None:
        if link is self._link:
            self._link = None
            self._over.set()
            self._started.set()  # whoever waits for a start hears of the end
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(NotConfirmed(f"{self.name} closed the connection"))
            self._waiting.clear()


async def run(node: NodeContext) -> None:
    await supervise(node, {str(config["name"]): Outstation(node, config) for config in node.spec["devices"]})
