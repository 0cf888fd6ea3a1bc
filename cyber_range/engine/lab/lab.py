"""One range: its life, its clock, and everything that is measured in it.

| state | means | goes to |
|---|---|---|
| launching | nodes and programs are being made | ready, gone |
| ready | every program serves | paused, ill, launching (reset), closing |
| ill | a program fails again and again; the rest goes on | ready, closing |
| paused | programs are frozen and the clock stands | ready, closing |
| closing | being removed | gone |
| gone | nothing is left but captures, recordings and the spool | |
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cyber_range.engine.agents.context import Clock
from cyber_range.engine.drivers.base import AgentMessage, Driver, ExecResult, Pty
from cyber_range.engine.errors import RangeError, Refused
from cyber_range.engine.events import EventKind
from cyber_range.engine.lab import by_hand, picture
from cyber_range.engine.lab.bridge import BridgeFacts
from cyber_range.engine.lab.campaign import Campaign, StepState
from cyber_range.engine.lab.captures import CaptureStore
from cyber_range.engine.lab.checks import Measured, Measuring
from cyber_range.engine.lab.compile import Block, Compiled, compile_range
from cyber_range.engine.lab.health import Health
from cyber_range.engine.lab.objectives import Objectives, ObjectiveState
from cyber_range.engine.lab.plant import PlantView
from cyber_range.engine.lab.snapshots import About, Nodes, Snapshots
from cyber_range.engine.lab.spool import Spool
from cyber_range.engine.lab.views import Views
from cyber_range.engine.plan import Limits, Observed, converge
from cyber_range.engine.scenario.load import bundle, check, digest
from cyber_range.engine.scenario.model import PollAliveCheck, Scenario

log = logging.getLogger(__name__)

READY_SECONDS = 90.0
NORMAL_SECONDS = 15.0  # wall seconds an automatic campaign waits for the normal poll rate
SAVE_EVERY = 5.0  # wall seconds between two notes of the clock
EVENTS_PER_SECOND = 20  # per program and kind; more are counted and told as one
QUIET = frozenset(
    {"ready", "reply", "exit", "error", "telemetry", "variables", "polls", "flows", "counters", "pcap", "rates", "view"}
)
PLANT_EVENTS = {"alarm": EventKind.ALARM, "crossing": EventKind.CROSSING, "trip": EventKind.TRIP}
HUB_EVENTS = {"alert": EventKind.ALERT, "asset": EventKind.ASSET}

WrongAnswer = Callable[["Lab", str, Any], str | None]  # the team whose value it is, if any


class Lab:
    """One range. Made by `host`, by the command line and by tests; knows nothing of sockets."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        range_id: str,
        seed: str,
        team: str,
        block: Block,
        driver: Driver,
        folder: Path,
        limits: Limits | None = None,
        labels: Mapping[str, str] | None = None,
        speed: float = 1.0,
        ttl: float = 4 * 3600,
        campaign: str = "manual",
        on_wrong: WrongAnswer | None = None,
    ) -> None:
        self.source = scenario
        self.range_id, self.seed, self.team = range_id, seed, team
        self.drawn_for = team  # whose name went into the draws; a warm range is claimed by a team later
        self.block, self.driver, self.folder = block, driver, folder
        self.labels = dict(labels or {})
        self.speed = speed
        self.limits = limits
        self.campaign_mode = campaign
        self.expires = time.time() + ttl
        self.started = 0.0  # unix time of the first ready
        self.state, self.reason = "launching", ""
        self.counts = dict.fromkeys(("alerts", "submissions", "wrong", "cheats"), 0)
        self.alerts_of: dict[str, int] = {}
        self.hints_taken: dict[str, dict[str, str]] = {}
        self.views = Views()
        self._on_wrong = on_wrong
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.compiled: Compiled = compile_range(
            scenario, range_id=range_id, seed=seed, team=team, block=block, limits=limits
        )
        self.digest = digest(scenario)
        self.spool = Spool(folder / "events", range_id)
        legs = {leg.mac: node.name for node in self.compiled.plan.nodes for leg in node.interfaces}
        self.captures = CaptureStore(folder / "captures", on_roll=self._capture_rolled, nodes=legs)
        self.snapshots = Snapshots(folder / "snapshots")
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._asked = 0
        self._budget: dict[tuple[str, str, str], list[float]] = {}
        self._verb = asyncio.Lock()  # one verb that changes the life at a time
        self._begin()

    def _begin(self) -> None:
        """Everything that a reset starts anew. What happened stays in the spool."""
        scenario = self.compiled.scenario
        self.clock = Clock(speed=0.0)
        self.plant, self.bridge = PlantView(), BridgeFacts()
        self.health = Health(self.compiled.plan)
        self.measuring = Measuring(
            self.compiled, self.plant, self.bridge, self.clock, self.ask, time.time, view=self.views.of
        )
        self.campaign = Campaign(scenario.campaign, self.clock, self.ask, self._tell_step)
        self.objectives = Objectives(
            scenario.objectives, scenario.production, self.measuring, self.clock,
            lambda: self.campaign.states, self._tell_objective, self._tell_production, self.warn,
        )  # fmt: skip

    # ------------------------------------------------------------ events

    def tell(self, event: EventKind, /, **data: Any) -> None:
        """Appends to the spool; readers see it within some milliseconds."""
        self.spool.append(event, at=self.clock.now(), time=time.time(), data=data)
        self.spool.flush_soon()

    def _move(self, state: str, reason: str = "") -> None:
        if (state, reason) == (self.state, self.reason) and self.spool.last:
            return
        before, self.state, self.reason = self.state, state, reason
        try:
            self.tell(EventKind.STATE, state=state, before=before, reason=reason)
        except RangeError as exc:  # a full disk stops a launch; what runs goes on, and what ends must end
            if state == "launching":
                raise
            log.error("range %s is %s, which cannot be noted: %s", self.range_id, state, exc)
            self.reason = f"{reason}; {exc.what}" if reason else exc.what
        self.save()

    def _tell_step(self, state: StepState) -> None:
        step = state.step
        self.measuring.settle()
        self.tell(
            EventKind.STEP, step=step.id, technique=step.technique, title=step.title.model_dump(), node=step.node,
            state=state.state, tries=state.tries, reply=state.reply,
        )  # fmt: skip
        self.save()

    def _tell_objective(self, state: ObjectiveState) -> None:
        form = state.objective
        self.tell(
            EventKind.OBJECTIVE, objective=form.id, kind=form.kind, state=state.state, points=form.points,
            credit=list(form.credit) or picture.blue_seats(self.compiled.scenario), credited=list(state.credited),
            evidence=[one.as_dict() for one in state.evidence] if state.state in ("verified", "lost") else [],
        )  # fmt: skip
        self.save()

    def _tell_production(self, alive: bool, evidence: list[Measured]) -> None:
        self.tell(EventKind.PRODUCTION, alive=alive, evidence=[one.as_dict() for one in evidence])

    def _capture_rolled(self, zone: str, name: str, reason: str) -> None:
        self.tell(EventKind.CAPTURE, zone=zone, file=name, reason=reason)

    # ------------------------------------------------------------ life

    async def launch(self, *, ready_seconds: float = READY_SECONDS) -> None:
        """Makes the range and returns when every program serves. On failure everything is removed again."""
        async with self._verb:
            try:
                await self._make(ready_seconds)
                if self.campaign_mode == "auto":
                    self._spawn("campaign", self._attack_when_normal_is_known())
            except BaseException as exc:
                reason = str(exc) if isinstance(exc, RangeError) else f"{type(exc).__name__}: {exc}"
                await self._unmake(reason)
                raise

    async def adopt(self, saved: Mapping[str, Any]) -> None:
        """Takes over a range whose nodes outlived the daemon (docker). What runs goes on, what ended is started again.

        The nodes' clocks ran on while nobody listened, and so does ours; a paused range goes on as well.
        """
        async with self._verb:
            at = float(saved["at"])
            if saved["state"] == "paused":
                await self.driver.open(self.range_id, self.compiled.plan.limits)
                await self.driver.resume(self.range_id)
            else:
                at += max(0.0, time.time() - float(saved["saved"])) * self.speed
            try:
                await self._make(READY_SECONDS, at=at, reason="taken over after a restart of range-host")
                if saved.get("campaign_started"):
                    self.campaign.start()
            except BaseException as exc:
                await self._unmake(f"could not be taken over: {exc}")
                raise

    async def _make(
        self, ready_seconds: float, *, at: float = 0.0, reason: str = "", held: Mapping[str, Any] | None = None,
        anew: bool = False,
    ) -> None:  # fmt: skip
        """`held`: the content of a snapshot, put back before the clock runs. `anew`: in place of the nodes there are."""
        self._move("launching", reason)
        plan = self.compiled.plan
        await (self.driver.reopen if anew else self.driver.open)(self.range_id, plan.limits)
        self._spawn("messages", self._read_messages())
        observed = await self.driver.observe(self.range_id)
        self.health.started()
        for key in observed.programs:  # they said "ready" to whoever started them
            self.health.is_ready(key)
        await self.driver.apply(self.range_id, converge(plan, observed))
        await self.health.all_ready(ready_seconds)
        self.started = self.started or time.time()
        if held is not None:
            await self._put_back(held, at)
        self.clock.set(speed=self.speed, at=at)
        await self._send_clock()
        self._move("ready", reason if held is not None else "")
        self._spawn("objectives", self.objectives.run(lambda: self.state == "paused"))
        self._spawn("saving", self._save_now_and_then())

    async def _attack_when_normal_is_known(self) -> None:
        """An attack in the first second would be taken for the normal state; a plant that never runs is no reason to wait."""
        deadline = time.monotonic() + NORMAL_SECONDS
        production = self.compiled.scenario.production
        polls = [one for one in production.polls if isinstance(one, PollAliveCheck)] if production else []
        places = {self.measuring.poll_place(poll) for poll in polls}
        while not places <= set(self.measuring.baseline) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.2)  # figures that come with messages; a fifth of a second late is no matter
        self.campaign.start()

    async def _unmake(self, reason: str, *, keep: str = "") -> None:
        """`keep` names the task we are in."""
        self._move("closing", reason)
        await self._stop_watching(keep)
        try:
            await self.driver.close(self.range_id)
        except RangeError as exc:
            log.exception("closing range %s", self.range_id)
            with contextlib.suppress(RangeError):
                self.tell(EventKind.WARNING, what=exc.what, remedy=exc.remedy)
        await self._cancel("messages")
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()
        with contextlib.suppress(OSError):  # nothing that cannot be written may keep the range from ending
            self.captures.close()
        self._move("gone", reason)
        with contextlib.suppress(OSError):
            await self.spool.flush()

    async def destroy(self, reason: str = "") -> None:
        """Removes everything the range made. What was recorded stays."""
        async with self._verb:
            if self.state != "gone":
                await self._unmake(reason)
            self.snapshots.delete_all()

    async def abandon(self) -> None:
        """Lets go of the range without touching its nodes (range-host stops, Docker nodes stay)."""
        await self._stop_watching()
        await self._cancel("messages")
        self.captures.close()
        self.save()
        await self.spool.close()

    async def reset(self) -> None:
        """Back to the start, with the same id, seed, team and addresses."""
        async with self._verb:
            self._refuse_unless("ready", "ill", "paused", "gone")
            await self._clear()
            try:
                await self._make(READY_SECONDS, reason="reset", anew=True)
                if self.campaign_mode == "auto":
                    self._spawn("campaign", self._attack_when_normal_is_known())
            except BaseException as exc:
                await self._unmake(f"the reset failed: {exc}")
                raise

    async def _clear(self) -> None:
        """Nobody listens to the nodes any more and everything known of them is forgotten; spool and captures go on."""
        await self._stop_watching()
        await self._cancel("messages")  # before the end of them, which it would take for a loss
        self.captures.close()
        self.hints_taken.clear()
        self.counts = dict.fromkeys(self.counts, 0)
        self.alerts_of.clear()
        self.views.clear()
        self._begin()

    async def snapshot(self, name: str) -> About:
        """Notes how the range stands, under that name. The scenario's clock stands meanwhile, its programs run."""
        async with self._verb:
            self._refuse_unless("ready", "ill", "paused")
            self.snapshots.refuse_new(name)
            paused = self.state == "paused"
            if paused:
                await self.driver.resume(self.range_id)
            self.clock.set(speed=0.0)
            try:
                await self._send_clock()
                content = {
                    "lab": self.saved(), "alerts_of": self.alerts_of, "digest": self.digest,
                    "nodes": await self._nodes().take(),
                }  # fmt: skip
                about = About(name, time.time(), self.clock.now(), 0)
                return await asyncio.to_thread(self.snapshots.write, about, content)
            finally:
                if paused:
                    await self.driver.pause(self.range_id)
                elif self.state in ("ready", "ill"):
                    self.clock.set(speed=self.speed)
                    await self._send_clock()

    async def restore(self, name: str) -> None:
        """Makes the range anew and puts back what the snapshot holds; terminals and connections end as with a reset."""
        async with self._verb:
            self._refuse_unless("ready", "ill", "paused", "gone")
            about, content = await asyncio.to_thread(self.snapshots.read, name)
            if content["digest"] != self.digest:
                raise RangeError(f"snapshot {name!r} is of another version of the scenario", remedy="Delete it")
            await self._clear()
            saved = content["lab"]
            try:
                self._stand_as(saved, content)
                reason = f"restored to snapshot {name!r}"
                await self._make(READY_SECONDS, at=about.at, reason=reason, held=content["nodes"], anew=True)
                if saved["campaign_started"]:
                    self.campaign.start()
            except BaseException as exc:
                await self._unmake(f"the restore failed: {exc}")
                raise

    def _stand_as(self, saved: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        expires, started = self.expires, self.started  # of the range, not of what happened in it
        self._restore(saved)
        self.expires, self.started = expires, started
        self.alerts_of.update(content["alerts_of"])
        self.speed = float(saved["speed"])

    async def _put_back(self, held: Mapping[str, Any], at: float) -> None:
        self.clock.set(speed=0.0, at=at)
        await self._send_clock()
        for node in await self._nodes().put(held):
            self.warn(
                f"the rules of firewall {node} had been flushed when the snapshot was taken; it has the scenario's now",
                "Flush them again if they are to be gone",
            )
        self.plant.forget_history()

    def _nodes(self) -> Nodes:
        return Nodes(self.compiled.plan, self.driver, self.ask)

    async def claim(self, *, team: str, ttl: float, speed: float, labels: Mapping[str, str], campaign: str) -> None:
        """A range that was launched ahead and stood still becomes that team's. Its draws stay: nobody has seen them."""
        async with self._verb:
            self._refuse_unless("paused")
            self.team, self.labels, self.campaign_mode = team, dict(labels), campaign
            self.speed, self.expires, self.started = speed, time.time() + ttl, time.time()
            await self.driver.resume(self.range_id)
            self.bridge.forget_windows()
            self.clock.set(speed=speed, at=0.0)
            await self._send_clock()
            self._move("ready", "claimed from the warm pool")
            if campaign == "auto":
                self._spawn("campaign", self._attack_when_normal_is_known())

    async def pause(self) -> None:
        """Freezes programs and clock. Pausing a paused range changes nothing."""
        async with self._verb:
            if self.state == "paused":
                return
            self._refuse_unless("ready", "ill")
            self.clock.set(speed=0.0)
            await self._send_clock()
            await asyncio.sleep(0.1)  # programs read it before they are frozen
            await self.driver.pause(self.range_id)
            self._move("paused")

    async def resume(self) -> None:
        async with self._verb:
            if self.state in ("ready", "ill"):
                return
            self._refuse_unless("paused")
            await self.driver.resume(self.range_id)
            self.bridge.forget_windows()
            self.clock.set(speed=self.speed)
            await self._send_clock()
            self._move("ready")

    async def set_speed(self, speed: float) -> None:
        """How many scenario seconds pass in a real one. Protocols stay real."""
        if not 0.1 <= speed <= 100:
            raise RangeError(f"the clock cannot run at speed {speed:g}", remedy="Choose 0.1 to 100")
        async with self._verb:
            self._refuse_unless("ready", "ill", "paused")
            self.speed = speed
            if self.state != "paused":
                self.clock.set(speed=speed)
                await self._send_clock()
            self.tell(EventKind.CLOCK, speed=speed, paused=self.state == "paused")
            self.save()

    def extend(self, seconds: float) -> None:
        if not 0 < seconds <= 24 * 3600:
            raise RangeError(f"a range is extended by up to a day at once, not by {seconds:g} s", remedy="Choose fewer")
        self.expires += seconds
        self.tell(EventKind.EXTENDED, ends_in=round(self.expires - time.time()))
        self.save()

    def _refuse_unless(self, *states: str) -> None:
        if self.state not in states:
            raise Refused(
                f"range {self.range_id} is {self.state}", remedy=f"This works while it is {' or '.join(states)}",
                state=self.state,
            )  # fmt: skip

    # ------------------------------------------------------------ programs

    async def ask(self, node: str, program: str, command: dict[str, Any], seconds: float) -> dict[str, Any]:
        """One command to a program, and its reply. TimeoutError when it does not answer."""
        self._asked += 1
        name = f"{self.range_id}-{self._asked}"
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[name] = future
        try:
            await self.driver.send(self.range_id, node, program, {**command, "id": name})
            return await asyncio.wait_for(future, seconds)
        finally:
            self._waiting.pop(name, None)

    async def _send_clock(self, only: tuple[str, str] | None = None) -> None:
        message = {"kind": "clock", "speed": self.clock.speed, "at": self.clock.now(), "paused": self.clock.speed == 0}
        targets = [only] if only else [key for key, program in self.health.programs.items() if program.running]
        results = await asyncio.gather(
            *(self.driver.send(self.range_id, node, name, message) for node, name in targets), return_exceptions=True
        )
        for (node, name), result in zip(targets, results, strict=True):
            if isinstance(result, RangeError):
                log.warning("the clock did not reach %s on %s: %s", name, node, result)
            elif isinstance(result, BaseException):
                raise result

    async def _read_messages(self) -> None:
        messages: AsyncIterator[AgentMessage] = self.driver.messages(self.range_id)
        async for message in messages:
            try:
                self._take(message)
            except (KeyError, TypeError, ValueError) as exc:
                with contextlib.suppress(RangeError):
                    self._say_rarely(
                        message, EventKind.WARNING, "malformed",
                        what=f"program {message.program} of node {message.node} said something unreadable "
                        f"({message.body.get('kind')}: {exc})", remedy="Report it with the scenario's version",
                    )  # fmt: skip
            except RangeError as exc:  # the spool cannot be written: the range goes on, `status` says why
                log.error("an event of range %s was lost: %s", self.range_id, exc)
                self.reason = exc.what
        if self.state in ("ready", "ill", "paused"):
            # Nobody asked for this end: supervisor killed, Docker gone. Not in this task, which destroy would wait for.
            self._spawn("lost", self._lost())

    async def _lost(self) -> None:
        async with self._verb:
            if self.state in ("ready", "ill", "paused"):
                await self._unmake("the range ended by itself; reset it to have it made anew", keep="lost")

    def _take(self, message: AgentMessage) -> None:
        body, key = message.body, (message.node, message.program)
        kind = str(body["kind"])
        node = self.compiled.scenario.node(message.node)
        on_hub = node.placement == "hub"
        if kind == "ready":
            again = self.state not in ("launching", "closing", "gone")
            self.health.is_ready(key)
            if again:
                self._spawn(f"clock {key}", self._send_clock(key))
                self.tell(EventKind.NODE, node=message.node, program=message.program, health="ok")
                if self.state == "ill" and not any(self.health.given_up(k) for k in self.health.programs):
                    self._move("ready")
        elif kind == "reply":
            future = self._waiting.get(str(body.get("id")))
            if future is not None and not future.done():
                future.set_result(dict(body))
        elif kind == "exit":
            self._program_ended(message)
        elif kind == "gone":
            self._node_ended(message.node, str(body["why"]))
        elif kind == "watchdog":
            self._too_much_memory(message)
        elif kind == "error":
            self.health.says(key, str(body.get("what", "")))
            self._say_rarely(
                message, EventKind.WARNING, kind, what=f"{message.program} on {message.node}: {body.get('what')}",
                remedy="", where=str(body.get("where", ""))[-2000:],
            )  # fmt: skip
        elif kind == "telemetry" and node.role == "plant":
            self.plant.take(body["values"], at=float(body.get("t", self.clock.now())), time=time.time())
        elif kind == "variables" and node.role == "plant":
            self.plant.describe(body["variables"])
        elif kind == "view":
            self.views.take(message.node, message.program, body, time=time.time())
        elif kind in PLANT_EVENTS and node.role == "plant":
            if kind == "alarm":
                self.plant.alarms[str(body["name"])] = body.get("state") == "on"
            self._say_rarely(message, PLANT_EVENTS[kind], kind, **_without_kind(body))
        elif on_hub and kind == "polls":
            self.bridge.take_polls(body["polls"], time.time())
        elif on_hub and kind == "flows":
            self.bridge.take_flows(body["flows"], time.time())
        elif on_hub and kind == "pcap":
            self._take_pcap(message)
        elif on_hub and kind == "lost":
            zones = ", ".join(f"{zone}: {int(count)}" for zone, count in body["zones"].items())
            self._say_rarely(
                message, EventKind.WARNING, kind, what=f"the sensor was too slow, the kernel dropped frames ({zones}; "
                f"{int(body['total'])} in all)", remedy="Give this host more processors or fewer ranges",
            )  # fmt: skip
        elif on_hub and kind in HUB_EVENTS:
            self._take_alert_or_asset(message, HUB_EVENTS[kind])
        elif kind == "step_by_hand" and node.role == "attacker":
            self._take_hand(message)
        elif kind == "counters":
            self.bridge.take_counters(message.node, body["values"], self.clock.now())
        elif kind not in QUIET:
            self._say_rarely(
                message, EventKind.PROGRAM, kind, node=message.node, program=message.program, body=dict(body)
            )

    def _take_hand(self, message: AgentMessage) -> None:
        """A red person's deed: told as red's, and counted as the script's step when it is one."""
        order, result = message.body["order"], str(message.body.get("result", ""))
        step, args = str(order.get("step", "")), order.get("args") or {}
        script = ""
        if result == "done":
            script = by_hand.step_done(
                self.campaign.states.values(), node=message.node, program=message.program, step=step, args=args
            )
        seats = [
            seat.id for seat in self.compiled.scenario.seats if seat.cell == "red" and message.node in seat.consoles
        ]
        self._say_rarely(
            message, EventKind.HAND, "step_by_hand", node=message.node, seats=seats, step=step,
            techniques=by_hand.techniques_of(step), args=args, result=result, reason=str(message.body.get("reason", "")),
            script=script,
        )  # fmt: skip
        if script:
            self.campaign.done_by_hand(script, {"result": result})

    def _take_alert_or_asset(self, message: AgentMessage, kind: EventKind) -> None:
        data = _without_kind(message.body)
        for side in ("src", "dst"):
            node = self.compiled.node_at(str(data.get(side, "")))
            if node is not None:
                data[f"{side}_node"] = node
                if kind is EventKind.ALERT:
                    self.alerts_of[node] = self.alerts_of.get(node, 0) + 1
        if kind is EventKind.ALERT:
            self.counts["alerts"] += 1
        self._say_rarely(message, kind, str(data.get("rule", data.get("ip", ""))), **data)

    def _take_pcap(self, message: AgentMessage) -> None:
        zone = str(message.body["zone"])
        if zone not in {z.name for z in self.compiled.plan.zones if not z.hidden}:
            raise ValueError(f"zone {zone!r}")
        if self.state in ("closing", "gone"):
            return
        try:
            self.captures.take(zone, dict(message.body))
        except OSError as exc:
            self._say_rarely(
                message, EventKind.WARNING, "disk", what=f"the capture of zone {zone} cannot be written: {exc}",
                remedy="Make room on the disk of the state folder",
            )  # fmt: skip

    def _say_rarely(self, message: AgentMessage, event: EventKind, about: str, /, **data: Any) -> None:
        """Tells, but at most EVENTS_PER_SECOND of a program about one thing; how many were left out is told next time."""
        now = time.monotonic()
        key = (message.node, message.program, f"{event}:{about}")
        window = self._budget.setdefault(key, [now, 0.0, 0.0])
        if now - window[0] >= 1.0:
            window[0], window[1] = now, 0.0
        if window[1] >= EVENTS_PER_SECOND:
            window[2] += 1
            return
        window[1] += 1
        if window[2]:
            data["left_out"] = int(window[2])
            window[2] = 0.0
        self.tell(event, **data)

    def _program_ended(self, message: AgentMessage) -> None:
        key = (message.node, message.program)
        loop = asyncio.get_running_loop()
        code, last_words = int(message.body.get("code", -1)), str(message.body.get("log", ""))
        again = self.health.has_ended(key, code, loop.time(), last_words)
        if self.state not in ("ready", "ill", "paused"):
            return
        trouble = self.health.programs[key].trouble
        self.tell(EventKind.NODE, node=message.node, program=message.program, health="ill", reason=trouble)
        if again:
            self._spawn(f"heal {key}", self._heal())
        else:
            self._move("ill", f"{message.program} of node {message.node}: {trouble}")

    def _node_ended(self, node: str, why: str) -> None:
        if self.state in ("ready", "ill", "paused"):
            again = self.health.node_ended(node, why, asyncio.get_running_loop().time())
            self.tell(EventKind.NODE, node=node, program="", health="ill", reason=why)
            if again:
                self._spawn(f"heal {node}", self._heal())
            else:
                self._move("ill", f"node {node} ended again and again: {why}")

    def _too_much_memory(self, message: AgentMessage) -> None:
        """The driver's watchdog ends a process: a program's exit follows, another one's only shows here."""
        body = message.body
        what = (
            f"the range took {body['range_mib']} of {body['limit_mib']} MiB, so the process {body['process']!r} of node "
            f"{message.node} ({body['private_mib']} MiB) was ended"
        )
        if message.program:
            self.health.says((message.node, message.program), what)
        self._say_rarely(message, EventKind.WARNING, "watchdog", what=what, remedy="Launch with more memory")

    async def _heal(self) -> None:
        """Converges again: what ended is started anew."""
        await asyncio.sleep(1.0)
        async with self._verb:
            if self.state not in ("ready", "ill"):
                return
            observed = await self.driver.observe(self.range_id)
            # What the health knows as ended is not running, whatever a process list still shows.
            running = frozenset(
                k for k in observed.programs if self.health.programs.get(k) and self.health.programs[k].running
            )
            lost = self.health.lost_nodes()
            given_up = frozenset(k for k in self.health.programs if self.health.given_up(k) or k[0] in lost)
            seen = Observed(observed.zones, observed.nodes | lost, running | given_up)
            actions = converge(self.compiled.plan, seen)
            for key in self.health.programs:
                if key not in running and key not in given_up:
                    self.health.programs[key].running = True
            try:
                await self.driver.apply(self.range_id, actions)
            except RangeError as exc:
                self._move("ill", exc.what)
                return
            for node in set(self.health.gone) - lost:
                del self.health.gone[node]
                self.tell(EventKind.NODE, node=node, program="", health="ok")

    # ------------------------------------------------------------ verbs of people

    def submit(self, objective: str, value: Any, *, session: str, seat: str) -> dict[str, Any]:
        """Judges an answer; a value that is right for another team raises the cheat alarm."""
        self._refuse_unless("ready", "ill", "paused")
        self._seat(seat)
        right = self.objectives.submit(objective, value, session=session, seat=seat)
        state = self.objectives.states[objective]
        self.counts["submissions"] += 1
        self.tell(
            EventKind.SUBMISSION, objective=objective, session=session, seat=seat, right=right, tries=state.tries,
            **({"value": str(value)} if right else {}),
        )  # fmt: skip
        if not right:
            self.counts["wrong"] += 1
            owner = self._on_wrong(self, objective, value) if self._on_wrong else None
            if owner is not None:
                self.counts["cheats"] += 1
                self.tell(EventKind.CHEAT, objective=objective, session=session, seat=seat, owner=owner)
        self.save()
        return {"right": right, "tries": state.tries, "tries_left": state.tries_left}

    def take_hint(self, hint_id: str, *, session: str, seat: str) -> dict[str, Any]:
        self._refuse_unless("ready", "ill", "paused")
        self._seat(seat)
        try:
            hint = self.compiled.scenario.hint(hint_id)
        except KeyError:
            raise RangeError(f"there is no hint {hint_id!r}", remedy="Choose one that `status` lists") from None
        if hint_id not in self.hints_taken:
            self.hints_taken[hint_id] = {"session": session, "seat": seat}
            self.tell(
                EventKind.HINT, hint=hint_id, objective=hint.objective, cost=hint.cost, session=session, seat=seat
            )
            self.save()
        return {"hint": hint_id, "cost": hint.cost, "text": hint.text.model_dump()}

    async def steer_campaign(self, action: str, step: str | None = None) -> None:
        """start, stop, or one step now."""
        self._refuse_unless("ready", "ill")
        if action == "start":
            self.campaign.start()
        elif action == "stop":
            await self.campaign.stop()
        elif step is None:
            raise RangeError("which step?", remedy=f"There is: {', '.join(self.campaign.states)}")
        else:
            self.campaign.run_now(step)
        self.save()

    def tell_console(self, action: str, **data: Any) -> None:
        self.tell(EventKind.CONSOLE, action=action, **data)

    async def evaluate(self, objective: str | None = None) -> list[dict[str, Any]]:
        self._refuse_unless("ready", "ill")
        names = [objective] if objective else list(self.objectives.states)
        states = await asyncio.gather(*(self.objectives.evaluate(name, fresh=True) for name in names))
        blue = picture.blue_seats(self.compiled.scenario)
        return [state.as_dict(self.clock.now(), blue) for state in states]

    async def exec(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", seconds: float = 30) -> ExecResult:
        self._refuse_unless("ready", "ill")
        self._node(node)
        return await self.driver.exec(self.range_id, node, argv, stdin=stdin, timeout=seconds)

    async def shell(self, node: str, seat: str, *, columns: int, rows: int) -> Pty:
        self._refuse_unless("ready", "ill", "paused")
        self.refuse_console(node, seat)
        return await self.driver.shell(self.range_id, node, columns=columns, rows=rows)

    def refuse_console(self, node: str, seat: str) -> None:
        """Refused unless the seat has a console on that node."""
        self._node(node)
        if node not in self._seat(seat).consoles:
            raise Refused(
                f"seat {seat} has no console on node {node}", remedy="Choose a node of the seat", seat=seat, node=node
            )

    def _seat(self, seat: str) -> Any:
        try:
            return self.compiled.scenario.seat(seat)
        except KeyError:
            there = ", ".join(one.id for one in self.compiled.scenario.seats) or "none"
            raise Refused(
                f"there is no seat {seat!r} in scenario {self.source.id}", remedy=f"There is: {there}"
            ) from None

    def _node(self, node: str) -> None:
        if node not in {one.name for one in self.compiled.scenario.nodes}:
            raise RangeError(f"there is no node {node!r}", remedy=f"There is: {', '.join(self.health.as_dict())}")

    # ------------------------------------------------------------ over a restart

    def saved(self) -> dict[str, Any]:
        """What another daemon needs to go on with this range."""
        return {
            "range_id": self.range_id, "seed": self.seed, "team": self.team,
            "drawn_for": self.drawn_for, "block": str(self.block),
            "driver": self.driver.name, "labels": self.labels, "speed": self.speed, "expires": self.expires,
            "started": self.started, "state": self.state, "reason": self.reason, "at": self.clock.now(),
            "saved": time.time(), "campaign_mode": self.campaign_mode, "campaign_started": self.campaign.started,
            "campaign": self.campaign.snapshot(), "objectives": self.objectives.snapshot(), "counts": self.counts,
            "hints": self.hints_taken,
            "baseline": [[*place, rate] for place, rate in self.measuring.baseline.items()],
        }  # fmt: skip

    def save(self) -> None:
        """Writes `lab.json` whole or not at all (the scenario once beside it). With a full disk the range goes on."""
        try:
            if not (self.folder / "scenario.json").exists():
                self._write("scenario.json", bundle(self.source))
            self._write("lab.json", self.saved())
        except OSError:
            log.exception("the state of range %s could not be written", self.range_id)

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        aside = self.folder / f"{name}.new"
        aside.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        os.replace(aside, self.folder / name)

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.expires, self.started = float(saved["expires"]), float(saved["started"])
        self.counts.update(saved["counts"])
        self.hints_taken = dict(saved["hints"])
        self.campaign.restore(saved["campaign"])
        self.objectives.restore(saved["objectives"])
        for zone, client, server, port, rate in saved["baseline"]:
            self.measuring.baseline[zone, client, server, port] = rate
        self.measuring.settle()

    def recall(self, saved: Mapping[str, Any]) -> None:
        """A remembered range: how it stood when it was last noted."""
        self._restore(saved)
        self.state, self.reason = str(saved["state"]), str(saved["reason"])
        self.clock.set(speed=0.0, at=float(saved["at"]))

    def mark_gone(self, reason: str) -> None:
        """The nodes ended without us; says so once."""
        if self.state != "gone":
            self._move("gone", reason)

    def warn(self, what: str, remedy: str) -> None:
        self.tell(EventKind.WARNING, what=what, remedy=remedy)

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY)
            self.save()

    # ------------------------------------------------------------ tasks

    def _spawn(self, name: str, work: Any) -> None:
        old = self._tasks.pop(name, None)
        if old is not None:
            old.cancel()
        task = asyncio.get_running_loop().create_task(work, name=f"{self.range_id} {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._task_ended(name, done))

    def _task_ended(self, name: str, task: asyncio.Task[Any]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        log.error("task %s of range %s failed", name, self.range_id, exc_info=error)
        if self.state not in ("closing", "gone"):
            with contextlib.suppress(RangeError, OSError):
                self.tell(
                    EventKind.WARNING, what=f"{name} stopped: {type(error).__name__}: {error}", remedy="Reset the range"
                )

    async def _stop_watching(self, keep: str = "") -> None:
        await self.campaign.stop()
        for name in [name for name in self._tasks if name not in ("messages", keep)]:
            await self._cancel(name)

    async def _cancel(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        while task is not None and task is not asyncio.current_task() and not task.done():
            task.cancel()  # again, should wait_for have swallowed it (Python 3.11: the awaited thing came at the same moment)
            await asyncio.wait([task], timeout=1.0)

    # ------------------------------------------------------------ pictures

    def status(self) -> dict[str, Any]:
        return picture.status(self)

    def topology(self) -> dict[str, Any]:
        return picture.topology(self)

    def script(self) -> dict[str, Any]:
        return picture.script(self)

    def telemetry(self, *, history: float = 0, step: float = 0) -> dict[str, Any]:
        shown = self.plant.as_dict(history=min(history, 600), step=step)
        return {**shown, "views": self.views.as_dict()}


def saved_scenario(folder: Path) -> Scenario:
    """The scenario that a range's folder keeps."""
    return check(json.loads((folder / "scenario.json").read_text(encoding="utf-8")))


def _without_kind(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "kind"}
