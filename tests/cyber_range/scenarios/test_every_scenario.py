"""Every packaged scenario is proved by four bots on every driver; on netns with two more seeds, too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cyber_range.engine.cli.ranges import SCENARIOS
from cyber_range.engine.drivers import registry
from cyber_range.engine.lab.addresses import AddressPool
from cyber_range.engine.lab.bots import BOTS, Outcome, prove
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import Scenario
from tests.conftest import skip_or_fail

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NAMES = sorted(path.parent.name for path in SCENARIOS.glob("*/scenario.yml"))
SPEED = 20.0  # scenario seconds in a real one; protocols stay real
ALL = tuple(BOTS)
PLAYS = {  # driver -> (seed, bots); as many bots at once as the driver carries
    "memory": [("memory-1", ("solver",))],
    "netns": [("netns-1", ALL), ("netns-2", ("solver",)), ("netns-3", ("solver",))],
    "docker": [("docker-1", ALL)],
}


async def play(scenario: Scenario, driver_name: str, folder: Path) -> dict[str, Outcome]:
    probe = await registry.probe(driver_name)
    if not probe.usable:
        skip_or_fail(f"driver {driver_name} cannot work here: {probe.reason}. {probe.remedy}")
    driver, pool = registry.load(driver_name)(), AddressPool()
    try:
        found = await asyncio.gather(
            *(
                prove(scenario, driver, folder / seed, speed=SPEED, seed=seed, bots=bots, pool=pool)
                for seed, bots in PLAYS[driver_name]
            )
        )
    finally:
        await driver.aclose()
    return {
        f"{seed}/{bot}": one
        for (seed, _), outcomes in zip(PLAYS[driver_name], found, strict=True)
        for bot, one in outcomes.items()
    }


# The memory twin is one process: one scenario shows that the bots work there, too.
PAIRS = [pytest.param("filling_line", "memory")] + [
    pytest.param(name, driver, marks=getattr(pytest.mark, driver)) for driver in ("netns", "docker") for name in NAMES
]


@pytest.mark.parametrize(("name", "driver_name"), PAIRS)
async def test_four_bots_prove_it(name: str, driver_name: str, tmp_path: Path) -> None:
    outcomes = await play(load(SCENARIOS / name), driver_name, tmp_path)

    assert {who: one.faults for who, one in outcomes.items() if one.faults} == {}
    assert {one.points for who, one in outcomes.items() if who.endswith("/solver")} == {
        one.possible for one in outcomes.values()
    }
    assert all(one.cheats > 0 for who, one in outcomes.items() if who.endswith("/copier"))
