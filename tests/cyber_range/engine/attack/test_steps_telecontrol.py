"""Steps against telecontrol stations, building controllers, brokers and OPC UA servers."""

from __future__ import annotations

import io
from typing import Any

from cyber_range.engine.agents.tools import plc
from tests.cyber_range.engine.agents import plc_specs, stations
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs
from tests.cyber_range.engine.attack.playing import did, inside, intruder


async def test_iec104_is_interrogated_and_commanded() -> None:
    rtu, attacker = Running("rtu", "iec104_rtu", "127.111.0.4", stations.rtu()), intruder(111)
    async with programs(rtu, attacker):
        await inside(attacker)
        points = await did(attacker, "iec104_interrogate", host="127.111.0.4", common=7)
        off = await did(
            attacker, "iec104_command", host="127.111.0.4", common=7, ioa=6004, value=0, before=1, select=True
        )
        setpoint = await did(
            attacker, "iec104_command", host="127.111.0.4", common=7, ioa=6006, type="C_SE_NC_1", value=77.5
        )
        changed = (await rtu.ask("read", tags=["interlock", "valve_manual"]))["values"]
        nothing = await did(attacker, "iec104_command", host="127.111.0.4", common=7, ioa=999, value=1)
        other = await did(attacker, "iec104_interrogate", host="127.111.0.4", common=9)
        await did(attacker, "undo")
        after = (await rtu.ask("read", tag="interlock"))["values"]

    assert points["points"]["1004"] == ["M_SP_NA_1", 1.0]
    assert {"1001", "4001", "4005"} <= set(points["points"])
    assert (off["result"], setpoint["result"], changed, after) == ("done", "done", [0.0, 77.5], [1.0])
    assert (nothing["result"], other["result"]) == ("blocked", "blocked")
    assert "unknown information object" in nothing["reason"]


async def test_iec104_is_restarted_and_its_control_centre_is_shut_out_until_undo() -> None:
    rtu = Running("rtu", "iec104_rtu", "127.112.0.4", stations.rtu(restart_seconds=1))
    centre = Running("centre", "iec104_master", "127.112.0.5", stations.centre("127.112.0.4"))
    attacker = intruder(112)
    async with programs(rtu, centre, attacker):
        await inside(attacker)
        await centre.until(lambda m: m["kind"] == "view" and age(m) is not None and age(m) < 2, 30)
        taken = await did(attacker, "iec104_block", host="127.112.0.4", common=7, seconds=120, patience=40)
        started_before = len([m for m in rtu.of("master") if m["address"] == "127.112.0.5" and m["started"]])
        blind = await centre.until(lambda m: m["kind"] == "view" and (age(m) or 0) > 3, 40)
        started_then = len([m for m in rtu.of("master") if m["address"] == "127.112.0.5" and m["started"]])
        undone = await did(attacker, "undo")
        centre.messages.clear()
        await centre.until(lambda m: m["kind"] == "view" and age(m) is not None and age(m) < 2, 40)

    assert (taken["result"], taken["connections"]) == ("done", 8)
    assert started_then == started_before
    assert (age(blind) or 0) > 3
    assert {"target": "127.112.0.4", "connections": 8} in undone["restored"]


def age(view: dict[str, Any]) -> float | None:
    found: float | None = view["devices"]["station"]["age"]
    return found


async def test_dnp3_is_polled_controlled_silenced_and_restarted() -> None:
    station, attacker = Running("rtu", "dnp3_outstation", "127.113.0.4", stations.outstation()), intruder(113)
    async with programs(station, attacker):
        await inside(attacker)
        points = await did(attacker, "dnp3_poll", host="127.113.0.4")
        off = await did(attacker, "dnp3_control", host="127.113.0.4", index=1, value=0)
        level = await did(
            attacker, "dnp3_control", host="127.113.0.4", kind="setpoint", index=0, value=91, select=False
        )
        changed = (await station.ask("read", tags=["interlock", "level_setpoint"]))["values"]
        silent = await did(attacker, "dnp3_silence", host="127.113.0.4")
        nothing = await did(attacker, "dnp3_control", host="127.113.0.4", index=77, value=1)
        await did(attacker, "undo")
        after = (await station.ask("read", tags=["interlock", "level_setpoint"]))["values"]
        await inside(attacker)
        restart = await did(attacker, "dnp3_restart", host="127.113.0.4")
        await station.until("restarted")

    assert points["points"]["output/1"] == 1.0
    assert (off["result"], off.get("reason")) == ("done", None)
    assert (off["before"], level["before"]) == (1.0, after[1])
    assert (changed, after[0]) == ([0.0, 91.0], 1.0)
    assert (silent["result"], nothing["result"], restart["result"]) == ("done", "blocked", "done")


async def test_bacnet_is_found_commanded_spoofed_silenced_and_restarted() -> None:
    unit, attacker = Running("cold", "bacnet_device", "127.114.0.4", stations.cold_store()), intruder(114)
    where = {"host": "127.114.0.4"}
    async with programs(unit, attacker):
        found = await did(attacker, "bacnet_whois", hosts=["127.114.0.4"], seconds=1)
        points = await did(attacker, "bacnet_points", **where)
        write = await did(attacker, "bacnet_write", **where, object="analog-value,1", value=12.5)
        changed = (await unit.ask("read", tag="level_setpoint"))["values"]
        lie = await did(attacker, "bacnet_spoof", **where, object="analog-input,1", value=42)
        refused = await did(attacker, "bacnet_write", **where, object="analog-input,2", value=42)
        wrong = await did(attacker, "bacnet_silence", **where, password="guess")
        silent = await did(attacker, "bacnet_silence", **where, password="open sesame", minutes=1)
        state = await unit.ask("communication")
        unheard = await did(attacker, "bacnet_points", **where)
        undone = await did(attacker, "undo")
        heard = await did(attacker, "bacnet_points", **where)
        restart = await did(attacker, "bacnet_restart", **where, password="open sesame")
        await unit.until("restarted")

    assert found["devices"]["3401"]["address"] == "127.114.0.4"
    assert found["devices"]["3401"]["vendor"] == "Hengda Automation"
    assert points["points"]["analog-value,1"] == {"name": "level_setpoint", "value": 60.0}
    assert (write["before"], write["after"], changed) == (60.0, 12.5, [12.5])
    assert (lie["after"], refused["result"], wrong["result"]) == (42.0, "blocked", "blocked")
    assert (silent["result"], state["communication"], unheard["result"]) == ("done", "disable", "blocked")
    assert len(undone["restored"]) == 3
    assert heard["points"]["analog-value,1"]["value"] == 60.0
    assert heard["points"]["analog-input,1"]["value"] != 42.0
    assert restart["result"] == "done"


async def test_bacnet_from_elsewhere_goes_through_a_broadcast_manager_until_it_registers_nobody() -> None:
    unit = Running("cold", "bacnet_device", "127.139.0.4", stations.cold_store(bbmd={}))
    attacker = intruder(139)
    where = {"bbmd": "127.139.0.4", "seconds": 1}
    said = io.StringIO()
    async with programs(unit, attacker):
        found = await did(attacker, "bacnet_whois", **where)
        table = await unit.ask("bbmd")
        command = "bacnet write 127.139.0.4 network-port,1 false --property bbmd-accept-fd-registrations"
        closed = await plc.main(command.split(), LoopbackNet("127.139.0.9"), said)
        await unit.until("bbmd")
        refused = await did(attacker, "bacnet_whois", **where)

    assert found["devices"]["3401"]["address"] == "127.139.0.4"
    assert [entry.partition(":")[0] for entry in table["foreign"]] == ["127.139.0.7"]
    assert (closed, said.getvalue()) == (0, "network-port,1: 1.0 → 0.0\n")
    assert refused["result"] == "blocked"


async def test_mqtt_is_overheard_commanded_and_lied_to() -> None:
    broker = Running("broker", "mqtt_broker", "127.115.0.2", stations.broker())
    machine = Running("machine", "mqtt_device", "127.115.0.4", stations.mqtt_machine("127.115.0.2"))
    panel = Running("panel", "mqtt_panel", "127.115.0.5", stations.mqtt_panel("127.115.0.2"))
    attacker = intruder(115)
    login = {"host": "127.115.0.2", "user": "panel", "password": "p-secret"}
    async with programs(broker, machine, panel, attacker):
        await inside(attacker)
        stranger = await did(attacker, "mqtt_listen", host="127.115.0.2", seconds=1)
        heard = await did(attacker, "mqtt_listen", **login, topics=["factory/#"], seconds=2)
        order = await did(
            attacker, "mqtt_command", **login, topic="factory/tank/set/level_setpoint", payload="93",
            restore=[{"topic": "factory/tank/set/level_setpoint", "payload": "60"}],
        )  # fmt: skip
        await machine.until("written")
        changed = (await machine.ask("read", tag="level_setpoint"))["values"]
        lie = await did(
            attacker, "mqtt_spoof", **login, topic="factory/tank/tags/level", payload="51.25", every=0.05, times=2000
        )
        await panel.until(lambda m: m["kind"] == "view" and "51.25" in str(m), 30)
        await did(attacker, "undo")
        await machine.until(lambda m: m["kind"] == "written" and m["writes"][-1]["value"] == 60, 20)

    assert (stranger["result"], heard["result"]) == ("blocked", "done")
    assert "factory/tank/tags/level" in heard["topics"]
    assert (order["orders"], changed) == ([{"topic": "factory/tank/set/level_setpoint", "payload": "93"}], [93.0])
    assert lie["topics"] == ["factory/tank/tags/level"]


async def test_opcua_is_browsed_written_and_its_methods_are_called() -> None:
    plc, attacker = Running("plc", "opcua_server", "127.116.0.4", plc_specs.opcua()), intruder(116)
    login = {"host": "127.116.0.4", "user": "op", "password": "secret"}
    async with programs(plc, attacker):
        await inside(attacker)
        variables = await did(attacker, "opcua_browse", host="127.116.0.4")
        stranger = await did(attacker, "opcua_write", host="127.116.0.4", node="ns=2;s=Line1.Level_SP", value=90)
        wrong = await did(attacker, "opcua_browse", host="127.116.0.4", user="op", password="guess")
        write = await did(attacker, "opcua_write", **login, node="ns=2;s=Line1.Level_SP", value=90)
        await plc.until("written")
        changed = (await plc.ask("read", tag="level_setpoint"))["values"]
        stop = await did(
            attacker, "opcua_call", **login, node="ns=2;s=Line1.Control.Stop", back="ns=2;s=Line1.Control.Start"
        )
        mode = (await plc.ask("state"))["mode"]
        await did(attacker, "undo")
        state, after = await plc.ask("state"), (await plc.ask("read", tag="level_setpoint"))["values"]

    assert "ns=2;s=Line1.Level_SP" in variables["variables"]
    assert (stranger["result"], wrong["result"]) == ("blocked", "blocked")
    assert (write["before"], changed, after) == (60.0, [90.0], [60.0])
    assert (stop["result"], mode, state["mode"]) == ("done", "stop", "run")
