"""The OPC UA controller on real sockets with asyncua's own client, and the operator station over all four protocols."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.cyber_range.engine.agents.loopback import Running, programs
from tests.cyber_range.engine.agents.plc_specs import enip, hmi, modbus, opcua, s7

pytest.importorskip("asyncua")
CLIENT = Path(__file__).parent / "clients" / "asyncua_client.py"
SLOW = 60.0  # s: asyncua takes one or two to load and build, on a loaded machine ten
SEEN = {
    "endpoints": [True], "objects": ["Server", "Line1"],
    "tags": ["Level_SP", "valve_manual", "auto", "interlock", "level", "inlet_flow", "outlet_flow", "valve",
             "level_high", "level_low"],
    "setpoint": 60.0, "unit": ["%", 20529, 0.0, 100.0], "type": 2368, "description": "液位设定值", "state": 0,
    "product": "HD-UA Line Server", "viewer": "BadUserAccessDenied", "changes": [60.0, 72.5], "written": 72.5,
    "read_only": "BadUserAccessDenied", "modes": ["stop", "run"], "wrong_password": "BadUserAccessDenied",
}  # fmt: skip


async def test_asyncua_browses_reads_writes_subscribes_and_calls() -> None:
    controller = Running("plc", "opcua_server", "127.80.0.3", opcua())
    await controller.until("ready", SLOW)
    async with programs(controller):
        client = await asyncio.create_subprocess_exec(
            sys.executable, str(CLIENT), "127.80.0.3", "4840", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(client.communicate(), 60)
        values = await controller.ask("read", tags=["level_setpoint", "level"])
        written = await controller.until("written")

    assert json.loads(out) == SEEN
    assert values["values"] == [72.5, 0.0]
    assert written["writes"] == [
        {"where": "ns=2;s=Line1.Level_SP", "tag": "level_setpoint", "value": 72.5, "source": "op"}
    ]


async def test_one_station_polls_four_protocols_and_operates_them() -> None:
    hosts = {"modbus": "127.81.0.3", "s7": "127.81.0.4", "enip": "127.81.0.5", "opcua": "127.81.0.6"}
    controllers = {
        "modbus": Running("plc1", "modbus_plc", hosts["modbus"], modbus()),
        "s7": Running("plc2", "s7_plc", hosts["s7"], s7()),
        "enip": Running("plc3", "enip_plc", hosts["enip"], enip()),
        "opcua": Running("plc4", "opcua_server", hosts["opcua"], opcua()),
    }
    station = Running("hmi", "hmi", "127.81.0.9", hmi(hosts))

    def shows(setpoint: float, auto: float) -> object:
        wanted = {"setpoint": setpoint, "auto": auto}
        return lambda m: m["kind"] == "view" and all(d["values"] == wanted for d in m["devices"].values())

    await controllers["opcua"].until("ready", SLOW)
    async with programs(*controllers.values(), station):
        await station.until(shows(60.0, 1.0), 30)
        for kind in hosts:
            assert "error" not in await station.ask("operate", device=kind, tag="setpoint", value=45.5)
            assert "error" not in await station.ask("operate", device=kind, tag="auto", value=0)
        await station.until(shows(45.5, 0.0), 30)
        inside = {kind: await c.ask("read", tags=["level_setpoint", "auto"]) for kind, c in controllers.items()}
        unknown = await station.ask("operate", device="s7", tag="nosuch", value=1)

    assert {kind: reply["values"] for kind, reply in inside.items()} == {kind: [45.5, 0.0] for kind in hosts}
    assert unknown["error"] == "LookupError: s7 shows no tag 'nosuch'"


@pytest.mark.parametrize("kind", ["s7", "enip", "opcua"])
async def test_a_station_finds_its_controller_again_after_a_restart(kind: str) -> None:
    number = {"s7": 82, "enip": 83, "opcua": 84}[kind]
    host = f"127.{number}.0.3"
    use, spec = {"s7": ("s7_plc", s7()), "enip": ("enip_plc", enip()), "opcua": ("opcua_server", opcua())}[kind]
    controller = Running("plc", use, host, spec)
    station = Running("hmi", "hmi", f"127.{number}.0.9", hmi({kind: host}))
    await controller.until("ready", SLOW)
    async with programs(controller, station):
        await station.until(lambda m: m["kind"] == "view" and m["devices"][kind]["values"]["setpoint"] == 60.0, 30)
        controller.inbox.put_nowait(None)
        await controller.task
        await station.until(lambda m: m["kind"] == "view" and (m["devices"][kind]["age"] or 0) > 1, 30)
        told = len(station.messages)
        again = Running("plc", use, host, spec)
        await again.until("ready", SLOW)
        async with programs(again):
            await station.until(
                lambda m: (
                    m["kind"] == "view" and (m["devices"][kind]["age"] or 9) < 1 and station.messages.index(m) > told
                ),
                60,
            )
