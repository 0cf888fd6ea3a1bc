"""Four bots that prove a scenario: the solver wins everything; idling, pulling the plug and copying win no defence.

Each has a range of its own, all at once on one driver. They may do what a blue seat may, no more. The plug-puller drops
everything at every firewall a trainee holds and then plays the scenario's `plug` script (it stops the controllers); the
copier hands in what is right for the solver's team.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cyber_range.engine.drivers.base import Driver
from cyber_range.engine.errors import RangeError
from cyber_range.engine.lab.addresses import AddressPool
from cyber_range.engine.lab.campaign import OVER
from cyber_range.engine.lab.compile import block_prefix
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.lab.solver import perform, solve, unsolved
from cyber_range.engine.lab.submissions import is_right
from cyber_range.engine.scenario.model import Scenario, SolverExec, SubmissionCheck

PATIENCE = 120.0  # wall seconds until the attack is over
SETTLE = 3.0  # wall seconds in which an objective that is about to be won by doing nothing would be
PULLED = 12.0  # wall seconds the plug stays out
# Bots that play at the same time. A container costs the machine far more to start than a namespace does: with four ranges
# of fifteen containers coming up at once on two cores, some node is still not ready when its patience ends.
AT_ONCE = {"docker": 2, "capsule": 2}


@dataclass(slots=True)
class Outcome:
    """How one bot did. `faults`: sentences; none means it did as it should."""

    bot: str
    points: int = 0
    possible: int = 0
    defences: list[str] = field(default_factory=list)  # ids of verified defence objectives
    cheats: int = 0
    seconds: float = 0.0  # wall, from launched to judged
    faults: list[str] = field(default_factory=list)


async def prove(
    scenario: Scenario,
    driver: Driver,
    folder: Path,
    *,
    speed: float,
    seed: str,
    bots: tuple[str, ...] = ("solver", "idle", "plug", "copier"),
    pool: AddressPool | None = None,
) -> dict[str, Outcome]:
    """Plays the bots, as many at once as AT_ONCE says (all by default). RangeError when a range cannot be launched."""
    pool = pool or AddressPool()
    labs: dict[str, Lab] = {}
    room = asyncio.Semaphore(AT_ONCE.get(driver.name, len(bots)))

    async def turn(bot: str) -> Outcome:
        async with room:
            try:
                return await _play(bot, labs)
            finally:
                await labs[bot].destroy("the proof is over")

    def owner(lab: Lab, objective: str, value: Any) -> str | None:
        others = (other for other in labs.values() if other is not lab)
        return next((other.team for other in others if right_in(other, objective, value)), None)

    try:
        for bot in bots:
            range_id = secrets.token_hex(6)
            labs[bot] = Lab(
                scenario, range_id=range_id, seed=seed, team=bot, driver=driver, folder=folder / bot, speed=speed,
                block=await asyncio.to_thread(pool.take, range_id, block_prefix(scenario)), campaign="auto",
                on_wrong=owner,
            )  # fmt: skip
        return dict(zip(labs, await asyncio.gather(*(turn(bot) for bot in labs)), strict=True))
    finally:
        for lab in labs.values():
            await lab.destroy("the proof is over")
            await lab.spool.close()
            pool.give_back(lab.range_id)


def right_in(lab: Lab, objective: str, value: Any) -> bool:
    """Whether this value answers the same question in that team's range."""
    checks = lab.compiled.scenario.objective(objective).checks
    return any(is_right(one, value) for one in checks if isinstance(one, SubmissionCheck))


def answers_of(lab: Lab) -> dict[str, Any]:
    """Objective id -> the value its team would hand in. A list of right answers gives the first."""
    found: dict[str, Any] = {}
    for objective in lab.compiled.scenario.objectives:
        for one in objective.checks:
            if isinstance(one, SubmissionCheck):
                several = isinstance(one.answer, list | tuple) and one.match != "set"
                found[objective.id] = one.answer[0] if several else one.answer
    return found


async def _play(bot: str, labs: Mapping[str, Lab]) -> Outcome:
    lab = labs[bot]
    await lab.launch()
    began = time.monotonic()
    outcome = await BOTS[bot](lab, labs)
    await lab.evaluate()
    states = lab.objectives.states.values()
    outcome.defences = [
        one.objective.id for one in states if one.objective.kind == "defence" and one.verified_at is not None
    ]
    score = lab.status()["score"]
    outcome.points, outcome.possible = score["points"], sum(one.objective.points for one in states)
    outcome.cheats = lab.counts["cheats"]
    outcome.seconds = time.monotonic() - began
    if bot == "solver":
        outcome.faults += [f"objective {name} is not verified" for name in unsolved(lab)]
    else:
        outcome.faults += [f"objective {name} was won by the {bot} bot" for name in outcome.defences]
    return outcome


async def _solver(lab: Lab, labs: Mapping[str, Lab]) -> Outcome:
    done = await solve(lab)
    failed = [f"{one.action.model_dump(mode='json')}: {one.said}" for one in done if not one.ok]
    return Outcome("solver", faults=failed)


async def _idle(lab: Lab, labs: Mapping[str, Lab]) -> Outcome:
    await attack_over(lab)
    await asyncio.sleep(SETTLE)
    return Outcome("idle", faults=[] if lab.status()["score"]["points"] == 0 else ["idling scored points"])


async def _plug(lab: Lab, labs: Mapping[str, Lab]) -> Outcome:
    outcome = Outcome("plug")
    await _until(lambda: lab.objectives.production_alive is True and any(map(_over, lab.campaign.states.values())))
    scenario = lab.compiled.scenario
    consoles = {console for seat in scenario.seats if seat.cell == "blue" for console in seat.consoles}
    for action in scenario.plug:  # first, while the network still carries it
        ok, said = await perform(lab, action)
        if isinstance(action, SolverExec) and not ok:
            outcome.faults.append(f"{' '.join(action.argv)}: {said}")
    for node in scenario.nodes:
        if node.role == "firewall" and node.name in consoles:
            ended = await lab.exec(node.name, ["lb-fw", "block", "any"])
            if ended.code:
                outcome.faults.append(
                    f"the firewall {node.name} did not block: {ended.stderr.decode(errors='replace')}"
                )
    await asyncio.sleep(PULLED)
    return outcome


async def _copier(lab: Lab, labs: Mapping[str, Lab]) -> Outcome:
    victim = labs.get("solver") or next(other for name, other in labs.items() if name != "copier")
    outcome = Outcome("copier")
    copied = {
        objective: value for objective, value in answers_of(victim).items() if not right_in(lab, objective, value)
    }
    if not copied:
        outcome.faults.append("no answer differs between two teams: nothing to copy, nothing to notice")
    await attack_over(lab)
    for objective, value in copied.items():
        if lab.submit(objective, value, session="copier", seat=_blue(lab))["right"]:
            outcome.faults.append(f"another team's value was right for {objective}")
    await asyncio.sleep(SETTLE)
    if lab.counts["cheats"] != len(copied):
        outcome.faults.append(f"{lab.counts['cheats']} cheat alarms for {len(copied)} copied answers")
    return outcome


BOTS: Mapping[str, Callable[[Lab, Mapping[str, Lab]], Awaitable[Outcome]]] = {
    "solver": _solver, "idle": _idle, "plug": _plug, "copier": _copier,
}  # fmt: skip


def _blue(lab: Lab) -> str:
    for seat in lab.compiled.scenario.seats:
        if seat.cell == "blue":
            return seat.id
    raise RangeError("the scenario has no blue seat", remedy="Add one under seats")


def _over(state: Any) -> bool:
    return state.state in OVER or state.tries > 1


async def attack_over(lab: Lab) -> None:
    """Until no step waits any more; a repeated one counts from its second turn, a replacement may wait for ever."""
    states = lab.campaign.states
    spare = {state.step.on_blocked for state in states.values()}
    await _until(lambda: all(_over(state) for name, state in states.items() if name not in spare))


async def _until(holds: Callable[[], bool]) -> None:
    """A bot that waits in vain goes on: what it then scores says enough."""
    end = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < end:  # noqa: ASYNC110  # figures that come with messages
        await asyncio.sleep(0.3)
