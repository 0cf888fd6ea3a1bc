"""The campaign: a graph that goes round what is blocked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from cyber_range.engine.agents.context import Clock
from cyber_range.engine.errors import DriverError, RangeError, ScenarioError
from cyber_range.engine.lab.campaign import OVER, Campaign, StepState, may_start
from cyber_range.engine.scenario.load import check
from cyber_range.engine.scenario.model import Step


def step(name: str, **more: Any) -> Step:
    form = {"id": name, "technique": "T0846", "title": name, "node": "att", "step": name, **more}
    return Step.model_validate(form)


class Attacker:
    """Answers steps as told; what has no answer is done."""

    def __init__(self, **results: Any) -> None:
        self.results = results
        self.asked: list[str] = []

    async def __call__(self, node: str, program: str, command: dict[str, Any], seconds: float) -> dict[str, Any]:
        name = command["step"]
        self.asked.append(name)
        result = self.results.get(name, "done")
        if isinstance(result, list):
            result = result.pop(0) if len(result) > 1 else result[0]
        if isinstance(result, Exception):
            raise result
        return {"kind": "reply", "id": "x", "result": result, "packets": 3}


async def play(steps: list[Step], attacker: Attacker) -> tuple[dict[str, str], list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    campaign = Campaign(tuple(steps), Clock(speed=100.0), attacker, lambda s: told.append((s.step.id, s.state)))
    campaign.start()
    async with asyncio.timeout(20):
        while campaign.started:  # noqa: ASYNC110 - looks from outside, has no event to wait for
            await asyncio.sleep(0.005)
    return {name: state.state for name, state in campaign.states.items()}, told


async def test_steps_run_in_order() -> None:
    attacker = Attacker()

    states, told = await play([step("write", after=["scan"]), step("scan", delay=5)], attacker)

    assert states == {"scan": "done", "write": "done"}
    assert told == [("scan", "running"), ("scan", "done"), ("write", "running"), ("write", "done")]


async def test_a_blocked_path_tries_the_next_and_goes_on_from_there() -> None:
    steps = [step("vpn", on_blocked="web"), step("web"), step("write", after=["vpn"])]

    states, _ = await play(steps, Attacker(vpn="blocked"))

    assert states == {"vpn": "blocked", "web": "done", "write": "done"}


async def test_replacement_is_skipped_when_nothing_was_blocked() -> None:
    steps = [step("vpn", on_blocked="web"), step("web"), step("write", after=["vpn"])]

    states, _ = await play(steps, Attacker())

    assert states == {"vpn": "done", "web": "skipped", "write": "done"}


async def test_what_waits_for_a_blocked_step_without_replacement_is_skipped() -> None:
    states, _ = await play(
        [step("vpn"), step("write", after=["vpn"]), step("boast", after=["write"])], Attacker(vpn="blocked")
    )

    assert states == {"vpn": "blocked", "write": "skipped", "boast": "skipped"}


async def test_a_silent_program_counts_as_blocked_and_a_broken_one_as_failed() -> None:
    steps = [step("scan"), step("login"), step("write")]

    states, _ = await play(steps, Attacker(scan=TimeoutError(), login=DriverError("node att is gone"), write="strange"))

    assert states == {"scan": "blocked", "login": "failed", "write": "failed"}


async def test_a_repeated_step_ends_as_it_went_last() -> None:
    attacker = Attacker(write=["done", "blocked"])

    states, told = await play([step("write", every=1, times=4)], attacker)

    assert (states, attacker.asked) == ({"write": "blocked"}, ["write"] * 4)
    assert told == [("write", "running"), ("write", "done"), ("write", "blocked")]


async def test_the_white_cell_runs_a_step_now() -> None:
    attacker = Attacker()
    campaign = Campaign((step("scan", delay=10_000),), Clock(), attacker, lambda state: None)

    campaign.run_now("scan")
    await asyncio.sleep(0.01)

    assert attacker.asked == ["scan"]
    with pytest.raises(RangeError) as caught:
        campaign.run_now("nothing")
    assert str(caught.value) == "there is no campaign step 'nothing'. There is: scan"


async def test_states_survive_a_restart() -> None:
    campaign = Campaign(
        (step("scan"), step("write", after=["scan"])), Clock(speed=100.0), Attacker(), lambda state: None
    )
    campaign.start()
    await asyncio.sleep(0.1)
    saved = campaign.snapshot()
    await campaign.stop()
    again = Campaign((step("scan"), step("write", after=["scan"])), Clock(), Attacker(), lambda state: None)

    again.restore(saved)

    assert again.snapshot() == saved


def test_replacement_of_a_repeated_step_waits_while_it_may_still_be_blocked() -> None:
    steps = (step("send", on_blocked="upload", times=3, every=5), step("upload"))
    states = {one.id: StepState(one) for one in steps}
    sending = states["send"]

    seen = []
    for sending.state, sending.tries in (("done", 1), ("blocked", 2), ("done", 3)):
        seen.append(may_start(states, steps[1]))

    assert seen == [None, True, False]


@given(
    shape=st.lists(
        st.tuples(st.sets(st.integers(0, 7), max_size=3), st.one_of(st.none(), st.integers(0, 7))),
        min_size=1,
        max_size=8,
    ),
    ends=st.lists(st.sampled_from(["done", "blocked", "failed"]), min_size=8, max_size=8),
)
def test_every_campaign_the_loader_accepts_comes_to_an_end(shape: list, ends: list[str]) -> None:
    count = len(shape)
    form = {
        "campaign": [
            {
                "id": f"s{index}", "technique": "T0846", "title": "x", "node": "pc", "step": "scan",
                "after": [f"s{other}" for other in sorted(after) if other < count],
                "on_blocked": f"s{replacement}" if replacement is not None and replacement < count else None,
            }
            for index, (after, replacement) in enumerate(shape)
        ]
    }  # fmt: skip
    try:
        steps = check({**yaml.safe_load(SMALL), **form}).campaign
    except ScenarioError as exc:
        assume("waits for itself" not in exc.what)
        raise
    states = {one.id: StepState(one) for one in steps}

    for _ in range(count + 1):
        for index, state in enumerate(states.values()):
            if state.state == "waiting":
                allowed = may_start(states, state.step)
                if allowed is not None:
                    state.state = ends[index] if allowed else "skipped"
                    state.tries = state.step.times if allowed else 0

    assert {state.state for state in states.values()} <= OVER


SMALL = """
schema: 1
id: small
version: 1.0.0
title: 小
summary: 小
difficulty: 入门
duration: 10
incident_class: NAEXPLOIT
zones: [{name: office, title: 办公, purdue: 4}]
nodes: [{name: pc, title: 机, role: attacker, legs: [office], programs: [attack]}]
"""


async def test_a_replacement_may_name_what_it_replaces() -> None:
    steps = [step("vpn", on_blocked="web"), step("web", after=["vpn"]), step("write", after=["vpn"])]

    states, _ = await play(steps, Attacker(vpn="blocked"))

    assert states == {"vpn": "blocked", "web": "done", "write": "done"}
