"""Four bots on every packaged scenario: the solver wins; idling, pulling the plug and copying win no defence objective.

On the memory driver; the same on netns and docker is the tour's and CI's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cyber_range.engine.cli.ranges import SCENARIOS
from cyber_range.engine.drivers.memory import MemoryDriver
from cyber_range.engine.lab.addresses import AddressPool, Block
from cyber_range.engine.lab.campaign import OVER
from cyber_range.engine.lab.compile import block_prefix
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.lab.solver import solve, unsolved
from cyber_range.engine.scenario.load import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NAMES = sorted(path.parent.name for path in SCENARIOS.glob("*/scenario.yml"))
SPEED = 20.0
PATIENCE = 90.0  # wall seconds


@pytest.fixture(params=NAMES)
async def launch(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Lab]]]:
    driver = MemoryDriver()
    scenario = load(SCENARIOS / request.param)
    block = AddressPool((Block("10.213.0.0/16"),), used_by_host=dict).take("x", block_prefix(scenario))
    lab = Lab(
        scenario, range_id="0123456789ab", seed=f"bots {request.param}", team="bots", block=block, driver=driver,
        folder=tmp_path, speed=SPEED, campaign="auto",
    )  # fmt: skip

    async def make() -> Lab:
        await lab.launch()
        return lab

    yield make
    await lab.destroy()
    await lab.spool.close()
    await driver.aclose()


def won_defences(lab: Lab) -> list[str]:
    states = lab.objectives.states.values()
    return [one.objective.id for one in states if one.objective.kind == "defence" and one.verified_at is not None]


async def attack_over(lab: Lab) -> None:
    """Until no step waits any more (a repeated last one may still run)."""
    async with asyncio.timeout(PATIENCE):
        while not all(one.state in OVER or one.tries > 1 for one in lab.campaign.states.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def test_solver_wins_everything(launch: Callable[[], Awaitable[Lab]]) -> None:
    lab = await launch()

    done = await solve(lab)
    await lab.evaluate()

    assert [(one.action, one.said) for one in done if not one.ok] == []
    assert unsolved(lab) == []


async def test_idler_wins_nothing(launch: Callable[[], Awaitable[Lab]]) -> None:
    lab = await launch()

    await attack_over(lab)
    await asyncio.sleep(5)

    assert won_defences(lab) == []
    assert lab.status()["score"]["points"] == 0


async def test_plug_puller_wins_nothing(launch: Callable[[], Awaitable[Lab]]) -> None:
    """Everything is dropped at every firewall."""
    lab = await launch()
    async with asyncio.timeout(PATIENCE):
        while lab.objectives.production_alive is not True or not any(  # noqa: ASYNC110
            one.state in OVER for one in lab.campaign.states.values()
        ):
            await asyncio.sleep(0.5)

    for node in lab.compiled.scenario.nodes:
        if node.role == "firewall" and node.shell:
            assert (await lab.exec(node.name, ["lb-fw", "block", "any"])).code == 0
    await asyncio.sleep(25)

    assert won_defences(lab) == []
