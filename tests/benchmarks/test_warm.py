"""Claiming a warm range beside the raw launch of the same run: from `WarmPools.claim` until every controller has answered."""

from __future__ import annotations

import asyncio
import statistics

import pytest

from cyber_range.engine.host.daemon import Daemon
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.scenario.model import Scenario
from tests.benchmarks.floors import docker_run_one, docker_run_ten
from tests.benchmarks.hosted import all_answer, range_host, ten_node_scenario, timed
from tests.benchmarks.test_launch import FEWER, ms, tell

pytestmark = pytest.mark.timeout(900)

FILL_SECONDS = 120.0
ROUNDS = {"netns": 7, "capsule": 5, "docker": 3}
WORDS = {"netns": "its own launch", "capsule": "one docker run", "docker": "docker run x10"}


async def claimed(daemon: Daemon, scenario: Scenario, driver: str) -> Lab:
    lab = await daemon.pools.claim(
        scenario, driver=driver, team="bench", ttl=600.0, speed=1.0, labels={}, campaign="manual"
    )
    assert lab is not None
    await all_answer(lab)
    return lab


async def filled(daemon: Daemon) -> None:
    async with asyncio.timeout(FILL_SECONDS):
        while not all(one["ready"] and not one["making"] for one in daemon.pools.as_list()):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "driver",
    [
        pytest.param("netns", marks=pytest.mark.netns),
        pytest.param("capsule", marks=pytest.mark.docker),
        pytest.param("docker", marks=pytest.mark.docker),
    ],
)
async def test_claim_beside_raw_launch(driver: str) -> None:
    scenario = ten_node_scenario()
    claims, floors = [], []
    async with range_host(driver) as daemon:
        await daemon.pools.set(scenario, driver, 1, 1)
        for _ in range(FEWER or ROUNDS[driver]):
            await filled(daemon)
            if driver == "netns":  # no container is its floor
                taken, made = await timed(daemon.launch(scenario, seed="s", team="t", driver=driver))
                await daemon.destroy(made.range_id)
                floors.append(taken)
            else:
                floors.append(await asyncio.to_thread(docker_run_one if driver == "capsule" else docker_run_ten))
            taken, lab = await timed(claimed(daemon, scenario, driver))
            claims.append(taken)
            await daemon.destroy(lab.range_id)
    ratio = statistics.median(claim / floor for claim, floor in zip(claims, floors, strict=True))
    tell(
        f"{driver} warm claim ÷ {WORDS[driver]}", ratio=f"{ratio:.3f} (goal 0.1)", claim=ms(statistics.median(claims)),
        floor=ms(statistics.median(floors)), best=f"{ms(min(claims))} ÷ {ms(min(floors))}",
    )  # fmt: skip
