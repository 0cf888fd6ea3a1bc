"""The attack: a graph of steps that reacts to what the defenders do.

| state | means |
|---|---|
| waiting | its conditions do not hold yet |
| running | its program works on it |
| done | the program said done |
| blocked | the program said blocked, or did not answer in time; its replacement is tried |
| failed | the program is broken: a fault of the range, not a success of the team |
| skipped | it can no longer happen (what it waits for ended otherwise) |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cyber_range.engine.agents.context import Clock
from cyber_range.engine.errors import RangeError
from cyber_range.engine.scenario.model import Step

OVER = frozenset({"done", "blocked", "failed", "skipped"})

Ask = Callable[[str, str, dict[str, Any], float], Awaitable[dict[str, Any]]]  # node, program, command, wall seconds
Tell = Callable[["StepState"], None]


@dataclass(slots=True)
class StepState:
    """Where one step stands. `reply` is what its program said last."""

    step: Step
    state: str = "waiting"
    tries: int = 0
    started: float | None = None
    ended: float | None = None
    ready_since: float | None = None  # scenario time since when its conditions hold
    reply: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.step.id, "technique": self.step.technique, "title": self.step.title.model_dump(),
            "node": self.step.node, "state": self.state, "tries": self.tries, "started": self.started,
            "ended": self.ended, "reply": self.reply,
        }  # fmt: skip


def resolved(states: Mapping[str, StepState], step_id: str) -> bool | None:
    """Whether what follows a step may start: True when it is done, or blocked with a replacement that is; None: not yet."""
    state = states[step_id]
    if state.state == "done":
        return True
    if state.state == "blocked":
        return resolved(states, state.step.on_blocked) if state.step.on_blocked else False
    if state.state in ("failed", "skipped"):
        return False
    return None


def may_start(states: Mapping[str, StepState], step: Step) -> bool | None:
    """True: now (its delay aside); False: never; None: not yet. Pure."""
    # A replacement that also names what it replaces under `after` means: after that was blocked.
    replaced = _replaced(states, step.id)
    needs: list[bool | None] = [resolved(states, other) for other in step.after if other not in replaced]
    replaces = [other for other in states.values() if other.step.on_blocked == step.id]
    if replaces:
        if any(other.state == "blocked" for other in replaces):
            needs.append(True)
        elif all(_for_good(other) for other in replaces):
            needs.append(False)
        else:
            needs.append(None)
    if any(need is False for need in needs):
        return False
    return None if any(need is None for need in needs) else True


def _for_good(state: StepState) -> bool:
    """Whether this step can no longer be blocked: a repeated one that went through may meet a closed door next time."""
    return state.state in OVER and not (state.state == "done" and state.tries < state.step.times)


def _replaced(states: Mapping[str, StepState], step_id: str) -> set[str]:
    """Every step that this one stands in for, directly or over other replacements."""
    found: set[str] = set()
    front = {step_id}
    while front:
        front = {name for name, state in states.items() if state.step.on_blocked in front} - found
        found |= front
    return found


class Campaign:
    """Runs the steps on the scenario's clock. One task; steps run beside each other where the graph allows."""

    def __init__(self, steps: tuple[Step, ...], clock: Clock, ask: Ask, tell: Tell) -> None:
        self.states: dict[str, StepState] = {step.id: StepState(step) for step in steps}
        self._clock, self._ask, self._tell = clock, ask, tell
        self._task: asyncio.Task[None] | None = None
        self._running: dict[str, asyncio.Task[None]] = {}

    @property
    def started(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Starting a running campaign changes nothing."""
        if not self.started and self.states:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """No new step begins; running ones are given up and can be started again."""
        tasks = [task for task in (self._task, *self._running.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None
        self._running.clear()
        for state in self.states.values():
            if state.state == "running":
                state.state = "waiting"

    def run_now(self, step_id: str) -> None:
        """The white cell's hand: this step now, whatever it waits for."""
        if step_id not in self.states:
            raise RangeError(
                f"there is no campaign step {step_id!r}", remedy=f"There is: {', '.join(self.states) or 'none'}"
            )
        self._begin(self.states[step_id])

    def done_by_hand(self, step_id: str, reply: Mapping[str, Any]) -> None:
        """Red did this one itself: what waits for it may begin. A repeated step of a running script goes on by itself."""
        state = self.states[step_id]
        if step_id in self._running or (self.started and state.step.times > 1):
            return
        now = self._clock.now()
        state.state, state.started, state.ended, state.tries = "done", now, now, state.tries + 1
        state.reply = {**reply, "by_hand": True}
        self._tell(state)

    async def _run(self) -> None:
        while True:
            now = self._clock.now()
            for state in self.states.values():
                if state.state != "waiting":
                    continue
                allowed = may_start(self.states, state.step)
                if allowed is False:
                    state.state, state.ended = "skipped", now
                    self._tell(state)
                elif allowed:
                    state.ready_since = now if state.ready_since is None else state.ready_since
                    if now >= state.ready_since + float(state.step.delay):
                        self._begin(state)
            if all(state.state in OVER for state in self.states.values()) and not self._running:
                return
            await asyncio.sleep(min(0.25, 0.5 / max(1.0, self._clock.speed)))

    def _begin(self, state: StepState) -> None:
        if state.step.id in self._running:
            return
        state.state, state.started, state.ended = "running", self._clock.now(), None
        self._tell(state)
        task = asyncio.get_running_loop().create_task(self._perform(state))
        self._running[state.step.id] = task
        task.add_done_callback(lambda _: self._running.pop(state.step.id, None))

    async def _perform(self, state: StepState) -> None:
        step = state.step
        for attempt in range(step.times):
            if attempt:
                await self._clock.sleep(step.every)
            state.tries += 1
            outcome = await self._once(step, state)
            previous, state.state = state.state, outcome
            state.ended = self._clock.now()
            if attempt == 0 or outcome != previous:
                self._tell(state)
        # A repeated step that was stopped on its way (blue closed the path) ends as what it was last.

    async def _once(self, step: Step, state: StepState) -> str:
        # Protocols stay real: however fast the clock, a program gets ten wall seconds.
        patience = max(10.0, step.timeout / max(self._clock.speed, 0.01))
        command = {"kind": "step", "step": step.step, "args": step.args, "timeout": patience}
        try:
            reply = await self._ask(step.node, step.program, command, min(patience, 600.0))
        except TimeoutError:
            state.reply = {"reason": f"no answer in {patience:.0f} s"}
            return "blocked"
        except RangeError as exc:
            state.reply = {"error": str(exc)}
            return "failed"
        state.reply = {key: value for key, value in reply.items() if key not in ("kind", "id")}
        if reply.get("error"):
            return "failed"
        result = reply.get("result", "done")
        return result if result in ("done", "blocked", "failed") else "failed"

    # ------------------------------------------------------------ over a restart

    def snapshot(self) -> dict[str, Any]:
        return {
            name: {"state": "waiting" if s.state == "running" else s.state, "tries": s.tries, "started": s.started, "ended": s.ended, "reply": s.reply}
            for name, s in self.states.items()
        }  # fmt: skip

    def restore(self, saved: Mapping[str, Any]) -> None:
        for name, was in saved.items():
            if name in self.states:
                state = self.states[name]
                state.state, state.tries = was["state"], was["tries"]
                state.started, state.ended, state.reply = was["started"], was["ended"], was["reply"]
