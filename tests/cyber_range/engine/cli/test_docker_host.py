"""Docker nodes outlive a killed range-host: the next one takes them over and the plant has not noticed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cyber_range.engine.drivers import registry
from cyber_range.engine.host.client import Client
from tests.conftest import NEEDS, skip_or_fail
from tests.cyber_range.engine.cli.test_cli import place, serve

__all__ = ["place"]


@pytest.mark.docker
@pytest.mark.slow
async def test_a_killed_host_loses_no_docker_range(place: Path) -> None:
    if not (await registry.probe("docker")).usable:
        skip_or_fail(NEEDS["docker"])
    process = serve(place, "docker")
    client = Client(place / "s.sock")
    range_id = client.call("launch", scenario="tiny", seed="s", team="t")["range_id"]
    time.sleep(3)
    client.call("hint", range_id=range_id, hint="look", session="p", seat="blue")
    before = client.call("status", range_id=range_id)
    bottles = _bottles(client, range_id)
    events = client.call("events", range_id=range_id, limit=5000)["events"]
    process.kill()
    process.wait(10)

    process = serve(place, "docker")
    try:
        after = client.call("status", range_id=range_id)
        time.sleep(2)
        later = _bottles(client, range_id)
        page = client.call("events", range_id=range_id, limit=5000)["events"]
    finally:
        process.terminate()
        process.wait(60)
        client.close()

    assert (before["state"], after["state"]) == ("ready", "ready")
    assert after["clock"]["at"] > before["clock"]["at"]
    assert after["score"] == before["score"]
    assert later > bottles
    assert page[: len(events)] == events
    assert [event["number"] for event in page] == list(range(1, len(page) + 1))


def _bottles(client: Client, range_id: str) -> float:
    variables = client.call("telemetry", range_id=range_id)["variables"]
    return float(next(one["value"] for one in variables if one["name"] == "bottles_good") or 0)
