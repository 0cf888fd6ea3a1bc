"""Objectives: from measurements over time to verified or not.

| state | means |
|---|---|
| waiting | a step of the attack it is about was not tried yet |
| open | can be achieved, is not |
| holding | all checks hold, since less than `hold_seconds` |
| verified | they held long enough |
| lost | was verified, and a defence objective does not hold any more |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cyber_range.engine.agents.context import Clock
from cyber_range.engine.errors import RangeError, Refused
from cyber_range.engine.lab.campaign import StepState
from cyber_range.engine.lab.checks import ACTIVE, Measured, Measuring
from cyber_range.engine.lab.submissions import LONGEST, is_right
from cyber_range.engine.scenario.model import Check, Objective, Production, SubmissionCheck

log = logging.getLogger(__name__)

EVERY = 0.5  # wall seconds between two looks
AFTER_FAULT = 10.0
LOST_AFTER = 4.0  # wall seconds a verified defence must fail: one late poll on a busy machine is no loss
ACTIVE_EVERY = 2.0  # wall seconds between two tries of a check that sends something


@dataclass(slots=True)
class ObjectiveState:
    objective: Objective
    state: str = "waiting"
    since: float = 0.0
    holding_since: float | None = None
    failing_since: float | None = None  # loop time
    verified_at: float | None = None
    tries: int = 0
    answered: Measured | None = None
    credited: list[dict[str, str]] = field(default_factory=list)  # who handed in the right answer
    evidence: list[Measured] = field(default_factory=list)

    @property
    def submission(self) -> SubmissionCheck | None:
        return next((c for c in self.objective.checks if isinstance(c, SubmissionCheck)), None)

    @property
    def tries_left(self) -> int | None:
        asked = self.submission
        return max(0, asked.tries - self.tries) if asked and asked.tries else None

    def as_dict(self, now: float, credit: Sequence[str]) -> dict[str, Any]:
        asked, form = self.submission, self.objective
        return {
            "id": form.id, "title": form.title.model_dump(), "text": form.text.model_dump() if form.text else None,
            "kind": form.kind, "points": form.points, "credit": list(form.credit or credit),
            "requirements": list(form.requirements), "state": self.state, "since": self.since,
            "verified_at": self.verified_at, "hold_seconds": form.hold_seconds, "par_minutes": form.par_minutes,
            "held": round(now - self.holding_since, 2) if self.holding_since is not None else 0.0,
            "tries": self.tries, "tries_left": self.tries_left,
            "submission": {
                "prompt": asked.prompt.model_dump(), "match": asked.match,
                "choices": [choice.model_dump() for choice in asked.choices],
            } if asked else None,
            "evidence": [one.as_dict() for one in self.evidence],
        }  # fmt: skip


class Objectives:
    """All objectives of a range. `tell(state)` is called when one changes its state."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        production: Production | None,
        measuring: Measuring,
        clock: Clock,
        steps: Callable[[], Mapping[str, StepState]],
        tell: Callable[[ObjectiveState], None],
        tell_production: Callable[[bool, list[Measured]], None],
        warn: Callable[[str, str], None],
    ) -> None:
        self.states = {objective.id: ObjectiveState(objective) for objective in objectives}
        self.production_alive: bool | None = None
        self.production_evidence: list[Measured] = []
        self._production, self._measuring, self._clock = production, measuring, clock
        self._steps, self._tell, self._tell_production, self._warn = steps, tell, tell_production, warn
        self._tried: dict[tuple[str, int], tuple[float, Measured]] = {}
        self._locks = {objective.id: asyncio.Lock() for objective in objectives}

    async def run(self, paused: Callable[[], bool]) -> None:
        """Looks again and again, each objective at its own pace, until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._production is not None:
                group.create_task(self._again_and_again("production", self._look_at_production, paused))
            for name in self.states:
                group.create_task(self._again_and_again(f"objective {name}", partial(self.evaluate, name), paused))

    async def _again_and_again(self, what: str, look: Callable[[], Awaitable[Any]], paused: Callable[[], bool]) -> None:
        """One fault in a check may not end the others: it is said, and tried again more slowly."""
        while True:
            wait = EVERY
            if not paused():
                try:
                    await look()
                except Exception as exc:
                    log.exception("%s", what)
                    self._warn(
                        f"{what} could not be measured: {type(exc).__name__}: {exc}", "Report it with the scenario"
                    )
                    wait = AFTER_FAULT
            await asyncio.sleep(wait)

    async def _look_at_production(self) -> None:
        for poll in self._production.polls if self._production else ():
            self._measuring.learn(poll)
        await self.measure_production()

    async def measure_production(self) -> bool | None:
        """Is the plant alive: the legitimate master polls and the plant produces. None while not measured."""
        if self._production is None:
            return None
        checks: list[Check] = [*self._production.polls, *self._production.produces]
        self.production_evidence = [await self._measuring.measure(check) for check in checks]
        alive = _all(self.production_evidence)
        if alive is not None and alive != self.production_alive:
            self._tell_production(alive, self.production_evidence)
        self.production_alive = alive
        return alive

    async def evaluate(self, objective_id: str, *, fresh: bool = False) -> ObjectiveState:
        """Measures one objective now and moves its state. `fresh` repeats what was tried moments ago."""
        state = self._state(objective_id)
        async with self._locks[objective_id]:
            if state.state == "waiting" and not self._is_open(state.objective):
                return state
            if state.state == "waiting":
                self._move(state, "open")
            if state.state == "verified" and state.objective.kind != "defence":
                return state  # an answer stays right
            held = await self._holds(state, fresh=fresh)
            self._judge(state, held)
        return state

    def _is_open(self, objective: Objective) -> bool:
        steps = self._steps()
        return all(steps[step].state in ("done", "blocked") for step in objective.opens_after)

    async def _holds(self, state: ObjectiveState, *, fresh: bool) -> bool | None:
        checks = list(enumerate(state.objective.checks))
        active = [(index, check) for index, check in checks if isinstance(check, ACTIVE)]
        # What costs nothing first: nothing is sent into the range for an objective that fails anyway.
        evidence = [
            await self._measuring.measure(check, state.answered) for _, check in checks if not isinstance(check, ACTIVE)
        ]
        if active and (fresh or _all(evidence) is not False):
            name = state.objective.id  # a try mostly waits: all of them together
            evidence += await asyncio.gather(*(self._tried_lately(name, *one, fresh=fresh) for one in active))
        if state.objective.kind == "defence":
            if fresh:
                await self.measure_production()
            evidence += self.production_evidence
            if not self.production_evidence or self.production_alive is None:
                state.evidence = evidence
                return None if _all(evidence) is not False else False
        if state.state not in ("verified",) or _all(evidence) is not True:
            state.evidence = evidence  # the evidence of the moment it was verified is kept
        return _all(evidence)

    async def _tried_lately(self, objective: str, index: int, check: Check, *, fresh: bool) -> Measured:
        loop = asyncio.get_running_loop()
        known = self._tried.get((objective, index))
        if known is not None and not fresh and loop.time() - known[0] < ACTIVE_EVERY:
            return known[1]
        measured = await self._measuring.measure(check)
        self._tried[objective, index] = (loop.time(), measured)
        return measured

    def _judge(self, state: ObjectiveState, holds: bool | None) -> None:
        now = self._clock.now()
        if holds:
            state.failing_since = None
            if state.holding_since is None:
                state.holding_since = now
            if now - state.holding_since >= state.objective.hold_seconds:
                if state.state != "verified":
                    state.verified_at = now if state.verified_at is None else state.verified_at
                    self._move(state, "verified")
            elif state.state == "open":
                self._move(state, "holding")
            return
        if holds is None and state.state == "verified":
            return  # not measured for a moment is no loss
        if state.state == "verified":
            wall = asyncio.get_running_loop().time()
            state.failing_since = wall if state.failing_since is None else state.failing_since
            if wall - state.failing_since < LOST_AFTER:
                return
            self._move(state, "lost")
        elif state.state == "holding":
            self._move(state, "open")
        state.holding_since = None

    def _move(self, state: ObjectiveState, to: str) -> None:
        state.state, state.since = to, self._clock.now()
        self._tell(state)

    def _state(self, objective_id: str) -> ObjectiveState:
        try:
            return self.states[objective_id]
        except KeyError:
            raise RangeError(
                f"there is no objective {objective_id!r}", remedy=f"There is: {', '.join(self.states) or 'none'}"
            ) from None

    def submit(self, objective_id: str, value: Any, *, session: str, seat: str) -> bool:
        """Judges an answer. Refused when no tries are left, when it is solved, or when nothing is asked."""
        state = self._state(objective_id)
        asked = state.submission
        if asked is None:
            raise Refused(f"objective {objective_id} asks for no answer", remedy="It is measured in the range itself")
        if len(str(value)) > LONGEST:
            raise Refused(f"an answer has at most {LONGEST} characters", remedy="Hand in the value alone")
        if state.answered is not None:
            raise Refused(f"objective {objective_id} is answered", remedy="Nothing more is needed here")
        if state.tries_left == 0:
            raise Refused(f"no tries are left for objective {objective_id}", remedy="Ask the white cell")
        state.tries += 1
        right = is_right(asked, value)
        if right:
            state.answered = Measured(
                "submission", True, str(value), "a right answer", f"seat {seat}", self._clock.now(),
                self._measuring.unix(), {"session": session, "seat": seat, "tries": state.tries},
            )  # fmt: skip
            state.credited.append({"session": session, "seat": seat})
        return right

    def answer_of(self, objective_id: str) -> SubmissionCheck | None:
        return self.states[objective_id].submission if objective_id in self.states else None

    # ------------------------------------------------------------ over a restart

    def snapshot(self) -> dict[str, Any]:
        return {
            name: {
                "state": "open" if s.state == "holding" else s.state, "since": s.since, "verified_at": s.verified_at,
                "tries": s.tries, "credited": s.credited,
                "answered": s.answered.as_dict() if s.answered else None,
            }
            for name, s in self.states.items()
        }  # fmt: skip

    def restore(self, saved: Mapping[str, Any]) -> None:
        for name, was in saved.items():
            if name not in self.states:
                continue
            state = self.states[name]
            state.state, state.since, state.verified_at = was["state"], was["since"], was["verified_at"]
            state.tries, state.credited = was["tries"], was["credited"]
            if was["answered"]:
                said = dict(was["answered"])
                fixed = {key: said.pop(key) for key in ("check", "holds", "measured", "wanted", "where", "at", "time")}
                state.answered = Measured(**fixed, facts=said)


def _all(evidence: Sequence[Measured]) -> bool | None:
    """False beats unknown beats True; nothing measured is unknown."""
    if any(one.holds is False for one in evidence):
        return False
    if not evidence or any(one.holds is None for one in evidence):
        return None
    return True
