"""The scripted blue team: does on the consoles what a trainee could do, and hands in the answers.

It sees the filled scenario; it may not touch anything a seat could not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cyber_range.engine.errors import RangeError
from cyber_range.engine.lab.campaign import OVER
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.scenario.model import (
    SolverAction,
    SolverExec,
    SolverSubmit,
    SolverWait,
    SolverWaitObjective,
    SolverWaitStep,
)

LEAST_WALL = 90.0  # wall seconds a wait gets however fast the clock: real protocols on a busy machine take real time


@dataclass(frozen=True, slots=True)
class Done:
    """One action and how it went."""

    action: SolverAction
    ok: bool
    said: str


def acting_seat(lab: Lab, action: SolverAction) -> str:
    """The blue seat that does it: the one with the console, else the first."""
    blue = [seat for seat in lab.compiled.scenario.seats if seat.cell == "blue"]
    if isinstance(action, SolverExec):
        for seat in blue:
            if action.node in seat.consoles:
                return seat.id
        raise RangeError(
            f"no blue seat has a console on {action.node}", remedy="Add it to the seat's consoles, or change the solver"
        )
    if not blue:
        raise RangeError("the scenario has no blue seat", remedy="Add one under seats")
    return blue[0].id


async def solve(lab: Lab, report: Callable[[Done], None] = lambda done: None) -> list[Done]:
    """Performs the whole script; goes on after an action that failed, so that the report shows all of them."""
    done: list[Done] = []
    for action in lab.compiled.scenario.solver:
        try:
            ok, said = await perform(lab, action)
        except RangeError as exc:
            ok, said = False, str(exc)
        done.append(Done(action, ok, said))
        report(done[-1])
    return done


async def perform(lab: Lab, action: SolverAction) -> tuple[bool, str]:
    seat = acting_seat(lab, action)
    if isinstance(action, SolverExec):
        lab.refuse_console(action.node, seat)
        ended = await lab.exec(action.node, action.argv, stdin=action.stdin.encode(), seconds=action.timeout)
        output = (ended.stdout + ended.stderr).decode(errors="replace").strip()
        right = not ended.timed_out and action.code in (None, ended.code)
        return right, output if right else f"exit code {ended.code}: {output}"
    if isinstance(action, SolverSubmit):
        return lab.submit(action.objective, action.value, session="solver", seat=seat)["right"], str(action.value)
    if isinstance(action, SolverWaitStep):
        return await _until(
            lab, action.timeout, lambda: lab.campaign.states[action.step].state in OVER, f"step {action.step}"
        )
    if isinstance(action, SolverWaitObjective):
        state = lab.objectives.states[action.objective]
        return await _until(lab, action.timeout, lambda: state.state == "verified", f"objective {action.objective}")
    assert isinstance(action, SolverWait)
    await lab.clock.sleep(action.seconds)
    return True, f"{action.seconds:g} s"


async def _until(lab: Lab, seconds: float, holds: Callable[[], bool], what: str) -> tuple[bool, str]:
    end, loop = lab.clock.now() + seconds, asyncio.get_running_loop()
    least = loop.time() + min(LEAST_WALL, seconds)
    began = lab.clock.now()
    while not holds():
        if lab.clock.now() >= end and loop.time() >= least:
            return False, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.1)
    return True, f"{what} after {lab.clock.now() - began:.1f} s"


def unsolved(lab: Lab) -> list[str]:
    """Objectives that are not verified."""
    return [name for name, state in lab.objectives.states.items() if state.state != "verified"]


def actions_of(lab: Lab) -> list[dict[str, Any]]:
    """The filled script as JSON, for a bot on the other side of the socket. Holds answers: for the white cell alone."""
    return [
        {**action.model_dump(mode="json"), "seat": acting_seat(lab, action)} for action in lab.compiled.scenario.solver
    ]
