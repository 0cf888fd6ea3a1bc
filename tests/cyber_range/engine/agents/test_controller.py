"""What all controllers do alike, seen through the Modbus one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.agents.controller_program import BadBlock, Program, original, parse
from cyber_range.engine.agents.modbus_link import ModbusLink
from cyber_range.engine.process.controllers import TankLogic
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs
from tests.cyber_range.engine.agents.plc_specs import modbus

ALARM_TAGS = {
    "level_high_limit": {"address": 10}, "level_low_limit": {"address": 11}, "level_high_alarm": {"address": 10},
    "level_low_alarm": {"address": 11}, "level_alarm_off": {"address": 10},
}  # fmt: skip
SYSTEM_TAGS = {
    "cpu_run": {"address": 12}, "cpu_uptime": {"address": 12}, "cpu_restarts": {"address": 13},
    "scan_ms": {"address": 14},
}  # fmt: skip


def plc(net: int, **more: object) -> Running:
    spec = modbus()
    spec["tags"] = {**spec["tags"], **ALARM_TAGS, **SYSTEM_TAGS}
    alarms = {"level": {"high": 90, "low": 10, "band": 2}}
    return Running("plc", "modbus_plc", f"127.{net}.0.3", {**spec, "alarms": alarms, **more})


async def link(net: int) -> ModbusLink:
    return await ModbusLink.connect(LoopbackNet(f"127.{net}.0.9"), f"127.{net}.0.3")


async def test_alarm_limits_are_registers_that_a_master_may_move_or_silence() -> None:
    controller = plc(90)
    async with programs(controller):
        low = await controller.until(lambda m: m["kind"] == "device_alarm" and m["state"] == "on")
        master = await link(90)
        shown = [await master.read("discrete", 11), await master.read("holding", 10, 2)]
        await master.write("coil", 10, [1])
        await controller.until(lambda m: m["kind"] == "device_alarm" and m["state"] == "off")
        await master.write("coil", 10, [0])
        await master.write("holding", 11, [0])
        state = await controller.ask("read", tags=["level_low_limit", "level_low_alarm"])
        master.close()

    assert (low["name"], low["value"], low["limit"]) == ("level_low_alarm", 0, 10.0)
    assert shown == [[1], [900, 100]]
    assert state["values"][0] == 0.0


async def test_the_mode_coil_stops_and_starts_the_controller() -> None:
    controller = plc(91)
    async with programs(controller):
        master = await link(91)
        await master.write("coil", 12, [0])
        stopped = [await master.read("coil", 12), (await controller.ask("state"))["mode"]]
        await master.write("coil", 12, [1])
        started = [await master.read("coil", 12), (await controller.ask("state"))["mode"]]
        master.close()

    assert (stopped, started) == ([[0], "stop"], [[1], "run"])


async def test_restart_communications_restarts_keeps_set_points_and_counts() -> None:
    controller = plc(92)
    async with programs(controller):
        master = await link(92)
        await master.write("holding", 0, [450])
        await master.write("coil", 3, [0])
        answer = await master.request(bytes.fromhex("080001ff00"))
        await controller.until("restarted")
        again = await link(92)
        after = [await again.read("holding", 0), await again.read("coil", 3), await again.read("input", 13)]
        uptime = await again.read("input", 12)
        again.close()

    assert answer[:3] == bytes.fromhex("080001")
    assert after == [[450], [1], [1]]
    assert uptime[0] < 60


async def test_server_identification_is_the_devices_own() -> None:
    controller = plc(93)
    async with programs(controller):
        master = await link(93)
        answer = await master.request(b"\x11")
        master.close()

    assert (
        answer
        == b"\x11" + bytes((len(b"Hengda Automation HD-C310 V2.08") + 1,)) + b"Hengda Automation HD-C310 V2.08\xff"
    )


async def test_a_slower_task_scans_less_often() -> None:
    controller = plc(94)
    async with programs(controller):
        master = await link(94)
        await master.write("holding", 14, [60000])
        state = await controller.ask("state")
        before = await master.read("discrete", 10)
        await master.write("holding", 10, [0xFFF0])  # the alarm is judged in the next scan, a minute from now
        after = await master.read("discrete", 10)
        master.close()

    assert (state["scan_ms"], before, after) == (60000, [0], [0])


def test_a_program_is_the_same_bytes_for_the_same_machine_and_hashes_each_block() -> None:
    code = original("tank", TankLogic().tags, "1")
    program = Program({"OB1": code, "FC1": b"LIMIT x 0 1\n"})

    program.load("FC1", b"LIMIT x 0 2\n")

    assert program.sha256("OB1") == hashlib.sha256(code).hexdigest()
    assert program.sha256("FC1") == hashlib.sha256(b"LIMIT x 0 2\n").hexdigest()
    assert (program.sha256("FC9"), program.changed, code) == (None, 1, original("tank", TankLogic().tags, "1"))


def test_instructions_change_outputs_and_indications_in_their_order() -> None:
    program = Program({"OB1": b"FORCE a 10\nSCALE a 2\nLIMIT b 0 5\nSHOW t 7\nSET s 3\nFORCE none 1\n"})
    tags, outputs = {"t": 1.0, "s": 1.0}, {"a": 1.0, "b": 9.0}

    program.before(tags)
    program.after(outputs, tags)

    assert (tags, outputs) == ({"t": 7.0, "s": 3.0}, {"a": 20.0, "b": 5.0})


@pytest.mark.parametrize("code", [b"JUMP a 1\n", b"FORCE a\n", b"FORCE a x\n", b"\xff\xfe", b"FORCE a 1 2\n"])
def test_what_is_no_instruction_is_refused_and_changes_nothing(code: bytes) -> None:
    program = Program({"OB1": b"FORCE a 1\n"})

    with pytest.raises(BadBlock):
        program.load("OB1", code)

    assert (program.blocks, program.changed) == ({"OB1": b"FORCE a 1\n"}, 0)


@given(st.binary(max_size=200))
def test_no_block_is_worse_than_refused(code: bytes) -> None:
    try:
        parse(code)
    except BadBlock as refused:
        assert str(refused)  # noqa: PT017 - comments and empty lines are taken
