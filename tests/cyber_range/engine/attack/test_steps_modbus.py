"""More of Modbus: outputs forced, restarts, a second master, alarms and interlocks, floods; each with its effect."""

from __future__ import annotations

from typing import Any

from cyber_range.engine.process.controllers import FillerLogic
from tests.cyber_range.engine.agents import plc_specs
from tests.cyber_range.engine.agents.loopback import Running, programs
from tests.cyber_range.engine.agents.plans import filler, tags
from tests.cyber_range.engine.attack.playing import did, inside, intruder


def controller(net: int) -> Running:
    """A filler with an alarm, an operating mode and a task in its registers."""
    placed: dict[str, Any] = dict(tags(FillerLogic()))
    placed |= {
        "cpu_run": {"address": 40}, "scan_ms": {"address": 50}, "last_fill_high_limit": {"address": 60},
        "last_fill_high_alarm": {"address": 61}, "last_fill_alarm_off": {"address": 62},
    }  # fmt: skip
    return filler(net, tags=placed, alarms={"last_fill": {"high": 520}}, restart_seconds=0.3)


async def test_coils_are_forced_by_the_dozen_and_put_back() -> None:
    plc, attacker = filler(121), intruder(121)
    async with programs(plc, attacker):
        await inside(attacker)
        before = (await plc.ask("read", table="coil", address=0, count=3))["values"]
        outcome = await did(attacker, "brute_force_io", host="127.121.0.4", first=0, last=2, times=5, pause=0.002)
        told = await plc.until("written")
        undone = await did(attacker, "undo")
        after = (await plc.ask("read", table="coil", address=0, count=3))["values"]

    assert (outcome["writes"], outcome["refused"]) == (15, 0)
    assert {write["table"] for write in told["writes"]} == {"coil"}
    assert after == before
    assert undone["restored"] == [{"target": "127.121.0.4", "first": 0, "values": before}]


async def test_an_output_is_held_against_its_owner() -> None:
    plc, attacker = filler(122), intruder(122)
    async with programs(plc, attacker):
        await inside(attacker)
        forced = await did(attacker, "force_io", host="127.122.0.4", address=1, value=0, every=0.02, seconds=1)
        await did(attacker, "write", host="127.122.0.4", table="coil", address=1, value=1)
        ended = await attacker.until("force_io_ended", 30)
        value = (await plc.ask("read", table="coil", address=1))["values"]

    assert (forced["before"], forced["after"], value) == (1, 0, [0])
    assert ended["writes"] > 3


async def test_a_controller_is_restarted_stopped_and_slowed_down() -> None:
    plc, attacker = controller(123), intruder(123)
    async with programs(plc, attacker):
        await inside(attacker)
        restart = await did(attacker, "modbus_restart", host="127.123.0.4")
        await plc.until("restarted")
        stop = await did(attacker, "modbus_mode", host="127.123.0.4", address=40)
        mode = (await plc.ask("state"))["mode"]
        task = await did(attacker, "scan_task", host="127.123.0.4", address=50, value=5000)
        scan = (await plc.ask("state"))["scan_ms"]
        await did(attacker, "undo")
        state = await plc.ask("state")

    assert (restart["result"], stop["result"], mode) == ("done", "done", "stop")
    assert (task["before"], scan) == (50, 5000)
    assert (state["mode"], state["scan_ms"]) == ("run", 50)


async def test_alarms_are_moved_and_silenced_and_an_interlock_is_switched_off() -> None:
    plc, attacker = controller(124), intruder(124)
    async with programs(plc, attacker):
        await inside(attacker)
        limit = await did(attacker, "alarm_limit", host="127.124.0.4", address=60, value=9000)
        silent = await did(attacker, "suppress_alarm", host="127.124.0.4", address=62)
        interlock = await did(attacker, "interlock_off", host="127.124.0.4", address=1)
        changed = await plc.ask("read", tags=["last_fill_high_limit", "last_fill_alarm_off", "interlock"])
        await did(attacker, "undo")
        after = await plc.ask("read", tags=["last_fill_high_limit", "last_fill_alarm_off", "interlock"])

    assert [one["result"] for one in (limit, silent, interlock)] == ["done"] * 3
    assert changed["values"][1:] == [1.0, 0.0]
    assert after["values"] == [520.0, 0.0, 1.0]
    assert changed["values"][0] > 520


async def test_a_second_master_polls_and_keeps_what_it_reads() -> None:
    plc, attacker = filler(125), intruder(125)
    async with programs(plc, attacker):
        await inside(attacker)
        polls = await did(
            attacker, "rogue_master", host="127.125.0.4", blocks=[{"address": 0, "count": 2}], every=0.05, seconds=0.5
        )
        ended = await attacker.until("rogue_master_ended", 30)

    assert polls["values"] == [[500, 60]]
    assert ended["polls"] >= 3


async def test_sessions_are_taken_until_there_is_none_left() -> None:
    plc = Running("plc", "s7_plc", "127.126.0.4", plc_specs.s7(connections=4))
    attacker = intruder(126)
    async with programs(plc, attacker):
        await inside(attacker)
        flood = await did(attacker, "flood_sessions", host="127.126.0.4", port=102, count=12, seconds=60)
        shut_out = await did(attacker, "s7_identify", host="127.126.0.4")
        await did(attacker, "undo")
        await inside(attacker)
        again = await did(attacker, "s7_identify", host="127.126.0.4")

    assert flood["opened"] >= 4
    assert (shut_out["result"], again["result"]) == ("blocked", "done")
