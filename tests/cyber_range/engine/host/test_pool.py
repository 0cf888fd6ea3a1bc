"""Warm pools of a range-host, on the memory driver."""

from __future__ import annotations

from typing import Any

import pytest

from cyber_range.engine.errors import Refused
from cyber_range.engine.host.wire import BadRequest
from tests.cyber_range.engine.host.conftest import Running
from tests.cyber_range.engine.host.test_host import until


async def filled(host: Running, ready: int) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        (pool,) = (await host.client.call("pool"))["pools"]
        return pool if pool["ready"] >= ready else None

    found: dict[str, Any] = await until(look)
    return found


async def test_a_pool_fills_to_its_minimum_with_ranges_that_stand_still(host: Running) -> None:
    await host.client.call("pool", scenario="tiny", minimum=2, maximum=2)

    pool = await filled(host, 2)
    ranges = (await host.client.call("list"))["ranges"]

    assert pool == {
        "scenario": "tiny", "driver": "memory", "minimum": 2, "maximum": 2, "ready": 2, "making": 0, "claimed": 0,
        "missed": 0, "trouble": "",
    }  # fmt: skip
    assert {(one["state"], one["labels"]["lianbing.pool"]) for one in ranges} == {("paused", "warm")}


async def test_claiming_gives_a_running_range_to_the_team_and_the_pool_makes_another(host: Running) -> None:
    await host.client.call("pool", scenario="tiny", minimum=1, maximum=1)
    await filled(host, 1)
    (warm,) = (await host.client.call("list"))["ranges"]

    got = await host.client.call(
        "launch", scenario="tiny", seed="unused", team="red pandas", claim=True, labels={"drill": "7"}, speed=10
    )
    pool = await filled(host, 1)
    told = (await host.client.call("events", range_id=got["range_id"]))["events"]
    ranges = {one["range_id"]: one for one in (await host.client.call("list"))["ranges"]}

    assert (got["range_id"], got["state"], got["team"], got["labels"]) == (
        warm["range_id"], "ready", "red pandas", {"drill": "7"},
    )  # fmt: skip
    assert (got["clock"]["speed"], got["clock"]["at"] < 5) == (10, True)
    assert (pool["claimed"], pool["missed"], len(ranges)) == (1, 0, 2)
    assert [event["data"]["state"] for event in told if event["kind"] == "state"] == [
        "launching", "ready", "paused", "ready",
    ]  # fmt: skip


async def test_an_empty_pool_launches_and_counts_it(host: Running) -> None:
    got = await host.client.call("launch", scenario="tiny", seed="s", team="t", claim=True)

    assert (got["state"], got["team"]) == ("ready", "t")


async def test_the_draws_of_a_claimed_range_survive_a_reset(host: Running) -> None:
    await host.client.call("pool", scenario="tiny", minimum=1, maximum=1)
    await filled(host, 1)
    got = await host.client.call("launch", scenario="tiny", seed="unused", team="t", claim=True)
    before = await host.client.call("solver", range_id=got["range_id"])

    again = await host.client.call("reset", range_id=got["range_id"])

    assert (again["state"], again["team"]) == ("ready", "t")
    assert await host.client.call("solver", range_id=got["range_id"]) == before


async def test_a_pool_ends_with_zero(host: Running) -> None:
    await host.client.call("pool", scenario="tiny", minimum=1, maximum=1)
    await filled(host, 1)

    said = await host.client.call("pool", scenario="tiny", minimum=0)
    ranges = (await host.client.call("list"))["ranges"]

    assert (said["pools"], [one for one in ranges if one["state"] != "gone"]) == ([], [])


async def test_what_cannot_be_is_said(host: Running) -> None:
    with pytest.raises(Refused, match="max-ranges"):
        await host.client.call("pool", scenario="tiny", minimum=200, maximum=200)
    with pytest.raises(Refused, match="below its minimum"):
        await host.client.call("pool", scenario="tiny", minimum=2, maximum=1)
    with pytest.raises(BadRequest, match="id of its own"):
        await host.client.call("launch", scenario="tiny", seed="s", team="t", claim=True, range_id="00000000000a")
