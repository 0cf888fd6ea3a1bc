"""The sensor where it really stands: on the bridge of a range of real pymodbus nodes, on netns and Docker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cyber_range.engine.drivers.registry import load
from cyber_range.engine.plan import (
    InterfacePlan,
    Limits,
    NodePlan,
    Observed,
    ProgramPlan,
    RangePlan,
    ZonePlan,
    converge,
)
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.sensor.suricata import probe
from tests.conftest import skip_or_fail

HMI, PLC = "10.77.0.5", "10.77.0.9"
RULE = 'alert modbus any any -> any any (msg:"轮询"; modbus: function 3; flow:to_server; sid:7;)'


def plan(range_id: str) -> RangePlan:
    tags = {tag.name: {"address": index} for index, tag in enumerate(LOGICS["tank"].tags)}
    plc = {"logic": "tank", "controller": "tank", "tags": tags, "plant": "10.77.0.1", "identity": {"vendor": "bench"}}
    hmi = {"cycle": 0.2, "devices": [
        {"name": "tank", "host": PLC, "blocks": [{"table": "holding", "address": 0, "count": 2}], "tags": []}
    ]}  # fmt: skip
    sensor = {"rules": RULE, "suricata": True}
    return RangePlan(
        range_id,
        (ZonePlan("ot", "10.77.0.0/24", "lbsens0", 1.0),),
        (
            NodePlan(
                "plc",
                (InterfacePlan("ot", "eth0", PLC, 24, "00:1c:06:00:00:09"),),
                (ProgramPlan("plc", "modbus_plc", plc),),
            ),
            NodePlan(
                "hmi",
                (InterfacePlan("ot", "eth0", HMI, 24, "02:be:00:00:00:05"),),
                (ProgramPlan("hmi", "modbus_hmi", hmi),),
            ),
            NodePlan(
                "sensor", (), (ProgramPlan("sensor", "sensor", sensor),), placement="hub", caps=frozenset({"net_raw"})
            ),
        ),
        Limits(memory_mib=2048),
    )


@pytest.mark.parametrize(
    "name", [pytest.param("netns", marks=pytest.mark.netns), pytest.param("docker", marks=pytest.mark.docker)]
)
async def test_it_sees_polls_assets_and_alerts_on_the_bridge(name: str) -> None:
    kind = load(name)
    found = await kind.probe()
    if not found.usable:
        skip_or_fail(f"{name}: {found.reason}. {found.remedy}")
    driver = kind()
    range_id = "5e0000000001"
    await driver.open(range_id, plan(range_id).limits)
    messages = driver.messages(range_id)
    # Docker's image has no Suricata; netns shows the nodes what the host has
    beside = name == "netns" and probe().usable
    said: list[dict[str, Any]] = []

    def missing() -> set[str]:
        kinds = {body["kind"] for body in said if body["kind"] != "polls" or body["polls"]}
        sources = {f"alert of {body['source']}" for body in said if body["kind"] == "alert"}
        wanted = {"polls", "asset", "counters", "pcap", "suricata", "alert of rules"}
        return (wanted | ({"alert of suricata"} if beside else set())) - kinds - sources

    try:
        await driver.apply(range_id, converge(plan(range_id), Observed()))
        async with asyncio.timeout(120):
            async for message in messages:
                assert message.body["kind"] not in ("error", "exit"), message.body
                if message.node == "sensor":
                    said.append(message.body)
                    if not missing():
                        break
    except TimeoutError:
        last = {body["kind"]: body for body in said if body["kind"] in ("counters", "suricata")}
        pytest.fail(f"the sensor never told: {missing()}; last heard: {last}")
    finally:
        await driver.close(range_id)
        await driver.aclose()

    polls = [poll for body in said if body["kind"] == "polls" for poll in body["polls"]]
    assert {(p["client"], p["server"], p["port"], p["proto"]) for p in polls} == {(HMI, PLC, 502, "modbus")}
    assert sum(p["responses"] for p in polls) > 0
    assets = {body["ip"]: body for body in said if body["kind"] == "asset"}
    assert assets[PLC]["vendor"] == "Siemens"
    state = next(body["state"] for body in said if body["kind"] == "suricata")
    assert state == ("running" if beside else "missing")
    counters = [body["values"] for body in said if body["kind"] == "counters"][-1]
    assert (counters["decoder_faults"], counters["shed_frames"]) == (0, 0)
