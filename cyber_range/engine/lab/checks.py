"""Measuring one check of an objective against the real state of the range.

Everything is asked of the plant, of the bridges, or of nodes nobody holds. A check that could not be measured is None,
never True: an objective does not pass on missing knowledge.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cyber_range.engine.agents.context import Clock
from cyber_range.engine.errors import RangeError
from cyber_range.engine.lab.bridge import BridgeFacts
from cyber_range.engine.lab.compile import PROBE, Compiled
from cyber_range.engine.lab.plant import PlantView
from cyber_range.engine.scenario.model import (
    Check,
    CounterCheck,
    FileHashCheck,
    FlowAliveCheck,
    FlowBlockedCheck,
    LoginCheck,
    PlantBandCheck,
    PlantCountCheck,
    PollAliveCheck,
    RegisterValueCheck,
    StateCheck,
    SubmissionCheck,
    ViewTrueCheck,
)

CONNECT_SECONDS = 1.5
SETTLE_SECONDS = 5.0  # wall seconds from the first answer until a rate counts as normal: masters catch up at first
LEARN_SECONDS = 8.0  # wall seconds the normal poll rate is taken from in the end
ACTIVE = (FlowBlockedCheck, LoginCheck, RegisterValueCheck, FileHashCheck)  # those that send something

Ask = Callable[[str, str, dict[str, Any], float], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement: what it was, what it should be, where and when. `holds` None = could not be measured."""

    check: str
    holds: bool | None
    measured: Any
    wanted: str
    where: str
    at: float
    time: float
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "check": self.check, "holds": self.holds, "measured": self.measured, "wanted": self.wanted,
            "where": self.where, "at": round(self.at, 2), "time": self.time, **self.facts,
        }  # fmt: skip


class Measuring:
    """Measures checks of one range. `now` gives unix seconds."""

    def __init__(
        self,
        compiled: Compiled,
        plant: PlantView,
        bridge: BridgeFacts,
        clock: Clock,
        ask: Ask,
        now: Callable[[], float],
        view: Callable[[str], Mapping[str, Any] | None] = lambda node: None,
    ) -> None:
        """`view`: the newest picture that a node's supervising program showed, with the unix `time` it came at."""
        self._view = view
        self._compiled, self._plant, self._bridge = compiled, plant, bridge
        self._clock, self._ask, self._now = clock, ask, now
        self.baseline: dict[tuple[str, str, str, int], float] = {}
        self._learned: set[tuple[str, str, str, int]] = set()
        self._first_answer: dict[tuple[str, str, str, int], float] = {}

    def unix(self) -> float:
        """Wall time, as every measurement is stamped with."""
        return self._now()

    async def measure(self, check: Check, submitted: Measured | None = None) -> Measured:
        """`submitted` is the state of the objective's submission, which only the objective knows."""
        if isinstance(check, SubmissionCheck):
            return submitted or self._said(check, None, None, "a right answer", "submission")
        if isinstance(check, PlantBandCheck):
            return self._plant_band(check)
        if isinstance(check, PlantCountCheck):
            return self._plant_count(check)
        if isinstance(check, ViewTrueCheck):
            return self._view_true(check)
        if isinstance(check, PollAliveCheck):
            return self._poll_alive(check)
        if isinstance(check, FlowAliveCheck):
            return self._flow_alive(check)
        if isinstance(check, CounterCheck):
            return self._counter(check)
        try:
            if isinstance(check, FlowBlockedCheck):
                return await self._flow_blocked(check)
            if isinstance(check, LoginCheck):
                return await self._login(check)
            if isinstance(check, RegisterValueCheck):
                return await self._register(check)
            if isinstance(check, StateCheck):
                return await self._state(check)
            return await self._file(check)
        except (TimeoutError, RangeError) as exc:
            why = str(exc) or "no answer in time"
            return self._said(check, None, None, "", getattr(check, "node", getattr(check, "source", "")), error=why)

    def _said(self, check: Any, holds: bool | None, measured: Any, wanted: str, where: str, **facts: Any) -> Measured:
        return Measured(check.kind, holds, measured, wanted, where, self._clock.now(), self._now(), facts)

    # ------------------------------------------------------------ plant

    def _plant_band(self, check: PlantBandCheck) -> Measured:
        value = self._plant.values.get(check.variable)
        fresh = self._now() - self._plant.time < 5
        holds = None if value is None or not fresh else _between(value, check.low, check.high)
        return self._said(
            check, holds, value, _band(check.low, check.high), "plant", variable=check.variable,
            unit=self._plant.variables.get(check.variable, {}).get("unit", ""), sampled_at=round(self._plant.at, 2),
        )  # fmt: skip

    def _plant_count(self, check: PlantCountCheck) -> Measured:
        growth = self._plant.growth(check.variable, check.within)
        wanted = f"{_band(check.at_least, check.at_most)} in {check.within:g} s"
        if growth is None or self._now() - self._plant.time > 5:
            return self._said(check, None, None, wanted, "plant", variable=check.variable)
        grown, span = growth
        # A sample is a tenth of a wall second off at most; at speed that is scenario time: count per asked span.
        scaled = grown * check.within / span if span > 0 else grown
        return self._said(
            check, _between(scaled, check.at_least, check.at_most), round(scaled, 3), wanted, "plant",
            variable=check.variable, seconds=round(span, 2), total=self._plant.values.get(check.variable),
        )  # fmt: skip

    def _view_true(self, check: ViewTrueCheck) -> Measured:
        """The operator's picture against the plant: a lie, and a picture that stands still, are both no true view."""
        picture, truth = self._view(check.node), self._plant.values.get(check.variable)
        known = truth is not None and self._now() - self._plant.time < 5
        device = (picture or {}).get("devices", {}).get(check.device)
        wanted = f"{check.variable} within {check.within:g}"
        if picture is None or device is None or truth is None or not known:
            return self._said(check, None, None, wanted, check.node, device=check.device, tag=check.tag)
        shown, age = device["values"].get(check.tag), device["ages"].get(check.tag)
        age = None if age is None else age + self._now() - float(picture["time"])
        fresh = age is not None and age <= check.fresh
        holds = fresh and shown is not None and abs(float(shown) - truth) <= check.within + 1e-9
        return self._said(
            check, holds, shown, wanted, check.node, device=check.device, tag=check.tag, variable=check.variable,
            truth=truth, age=None if age is None else round(age, 2),
            unit=self._plant.variables.get(check.variable, {}).get("unit", ""),
        )  # fmt: skip

    # ------------------------------------------------------------ bridge

    def poll_place(self, check: PollAliveCheck) -> tuple[str, str, str, int]:
        """(zone, client address, server address, port) where a poll is counted."""
        client_zones = [leg.zone for leg in self._compiled.plan.node(check.client).interfaces]
        server_zones = [leg.zone for leg in self._compiled.plan.node(check.server).interfaces]
        hidden = {zone.name for zone in self._compiled.plan.zones if zone.hidden}
        shared = [zone for zone in server_zones if zone in client_zones and zone not in hidden]
        zone = check.zone or (shared[0] if shared else server_zones[0])
        client = self._compiled.address(check.client, zone if zone in client_zones else None)
        server = self._compiled.address(check.server, zone if zone in server_zones else None)
        return zone, client, server, int(check.port)

    def learn(self, check: PollAliveCheck | FlowAliveCheck) -> bool:
        """Keeps the normal rate up to date until the attack begins or it was watched long enough; True when known.

        The first seconds are left out: masters that started before their controllers poll slowly then.
        """
        if isinstance(check, FlowAliveCheck):
            return True  # its number stands in the scenario
        place = self.poll_place(check)
        if check.rate is not None:
            self.baseline[place] = check.rate
            return True
        if place in self._learned:
            return True
        now = self._now()
        answered = self._bridge.totals.get(place, {}).get("responses", 0) > 0
        since = self._first_answer.setdefault(place, now) if answered else now
        if now - since < SETTLE_SECONDS:
            return place in self.baseline
        whole = now - since >= SETTLE_SECONDS + LEARN_SECONDS
        rate = self._bridge.poll_rate(*place, within=LEARN_SECONDS if whole else check.within, time=now)
        if rate is not None and rate["responses"] > 0:
            self.baseline[place] = rate["responses"]
            if whole:
                self._learned.add(place)
        return place in self.baseline

    def settle(self) -> None:
        """The attack begins: what is known as normal now stays so."""
        self._learned.update(self.baseline)

    def _poll_alive(self, check: PollAliveCheck) -> Measured:
        place = self.poll_place(check)
        normal = self.baseline.get(place)
        rate = self._bridge.poll_rate(*place, within=check.within, time=self._now())
        where = f"bridge {place[0]}"
        totals = self._bridge.totals.get(place, {})
        facts = {"client": place[1], "server": place[2], "port": place[3], "answers_so_far": totals.get("responses", 0)}
        if normal is None or rate is None:
            return self._said(check, None, None, f"at least {check.ratio:.0%} of the normal rate", where, **facts)
        # Answers with an exception are answers of a controller that refuses: no production.
        good = rate["responses"] - rate["exceptions"]
        # One poll more or less at the edge of the window is no change of rate.
        slack = 1.0 / rate["seconds"]
        return self._said(
            check, good + slack >= check.ratio * normal, round(good, 3),
            f"at least {check.ratio * normal:.2f} answers/s ({check.ratio:.0%} of {normal:.2f})", where,
            **facts, normal=round(normal, 3), seconds=round(rate["seconds"], 2),
        )  # fmt: skip

    def _flow_alive(self, check: FlowAliveCheck) -> Measured:
        zone = check.zone or self._compiled.plan.node(check.server).interfaces[0].zone
        server = self._compiled.address(check.server, zone)
        clients = [leg.ip for leg in self._compiled.plan.node(check.client).interfaces]
        answered = self._bridge.answered(zone, clients, server, int(check.port), within=check.within, time=self._now())
        return self._said(
            check, None if answered is None else answered >= check.at_least, answered,
            f"at least {check.at_least} answered connections in {check.within:g} s", f"bridge {zone}",
            client=clients[0], server=server, port=int(check.port),
        )  # fmt: skip

    def _counter(self, check: CounterCheck) -> Measured:
        grown = self._bridge.counter_growth(check.node, check.counter, within=check.within, at=self._clock.now())
        holds = None if grown is None else _between(grown, check.at_least, check.at_most)
        return self._said(
            check, holds, grown, f"{_band(check.at_least, check.at_most)} in {check.within:g} s", check.node,
            counter=check.counter, total=self._bridge.counter(check.node, check.counter),
        )  # fmt: skip

    # ------------------------------------------------------------ tried from a node nobody holds

    async def _flow_blocked(self, check: FlowBlockedCheck) -> Measured:
        host = self._compiled.address(check.target, check.zone)
        zone = check.zone or self._compiled.plan.node(check.target).interfaces[0].zone
        port = int(check.port)
        started = self._now()
        way = "try_connect" if check.proto == "tcp" else "try_bacnet"
        before = self._answers(zone, check, host, port)
        command = {"kind": way, "host": host, "port": port, "timeout": CONNECT_SECONDS}
        reply = await self._ask(check.source, PROBE, command, CONNECT_SECONDS + 8)
        _refuse_error(reply)
        # The sensor speaks about once a second: give it the time to tell what it saw.
        await asyncio.sleep(1.2)
        seen = {
            leg.ip: self._bridge.established(zone, leg.ip, host, port, since=started)
            for leg in self._compiled.plan.node(check.source).interfaces
        }
        answered = sum(seen.values()) + self._answers(zone, check, host, port) - before
        opened = bool(reply.get("open"))
        return self._said(
            check, not opened and answered == 0, "open" if opened else ("answered" if answered else "blocked"), "blocked",
            f"bridge {zone}", source=next(iter(seen), ""), target=host, port=port, handshakes=answered,
            tried=round(started, 3),
        )  # fmt: skip

    def _answers(self, zone: str, check: FlowBlockedCheck, host: str, port: int) -> int:
        """Answers by UDP that the sensor has seen go back to the source: what a handshake is to TCP."""
        if check.proto == "tcp":
            return 0
        legs = [leg.ip for leg in self._compiled.plan.node(check.source).interfaces]
        return sum(int(self._bridge.totals.get((zone, ip, host, port), {}).get("responses", 0)) for ip in legs)

    async def _login(self, check: LoginCheck) -> Measured:
        host = self._compiled.address(check.target)
        command = {
            "kind": "try_login", "service": check.service, "host": host, "port": int(check.port), "user": check.user,
            "password": check.password, "path": check.path,
        }  # fmt: skip
        reply = await self._ask(check.source, PROBE, command, 20)
        _refuse_error(reply)
        works = bool(reply.get("ok"))
        reached = bool(reply.get("reached"))
        # An unreachable service proves nothing about the password.
        holds = works if check.kind == "login_works" else (not works if reached else None)
        return self._said(
            check, holds, "works" if works else ("refused" if reached else "not reached"),
            "works" if check.kind == "login_works" else "refused", f"{check.service}://{host}:{int(check.port)}",
            user=check.user, source=check.source,
        )  # fmt: skip

    # ------------------------------------------------------------ asked of the device itself

    async def _register(self, check: RegisterValueCheck) -> Measured:
        program = check.program or self._first_program(check.node)
        where: dict[str, Any] = {"tag": check.tag}
        if check.tag is None:
            where = {"table": check.table, "address": int(check.address or 0)}
        command = {"kind": "read", "count": 1, **where}
        reply = await self._ask(check.node, program, command, 5)
        _refuse_error(reply)
        value = (reply.get("values") or [None])[0]
        if value is None:
            holds = None
        elif check.equals is not None:
            holds = float(value) == float(check.equals)
        else:
            holds = _between(float(value), check.low, check.high)
        wanted = f"= {check.equals}" if check.equals is not None else _band(check.low, check.high)
        return self._said(check, holds, value, wanted, check.node, **where)

    async def _state(self, check: StateCheck) -> Measured:
        program = check.program or self._first_program(check.node)
        reply = await self._ask(check.node, program, {**check.args, "kind": check.ask}, 5)
        _refuse_error(reply)
        found = reply.get(check.field)
        return self._said(
            check, None if found is None else found == check.equals, found, f"= {check.equals}", check.node,
            asked=check.ask, field=check.field,
        )  # fmt: skip

    async def _file(self, check: FileHashCheck) -> Measured:
        program = check.program or self._first_program(check.node)
        wanted = check.sha256 or hashlib.sha256((check.content or "").encode()).hexdigest()
        reply = await self._ask(check.node, program, {"kind": "hash", "path": check.path}, 10)
        _refuse_error(reply)
        found = reply.get("sha256")
        return self._said(check, found == wanted, found, wanted, f"{check.node}:{check.path}", path=check.path)

    def _first_program(self, node: str) -> str:
        programs = self._compiled.plan.node(node).programs
        if not programs:
            raise RangeError(f"node {node} runs no program that could be asked", remedy="Name a node with one")
        return programs[0].name


def _refuse_error(reply: dict[str, Any]) -> None:
    if reply.get("error"):
        raise RangeError(f"the program said: {reply['error']}")


def _between(value: float, low: Any, high: Any) -> bool:
    return (low is None or value >= float(low) - 1e-9) and (high is None or value <= float(high) + 1e-9)


def _band(low: Any, high: Any) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"
