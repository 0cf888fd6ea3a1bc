"""Plant, controllers, operator station and historian together on real sockets."""

from __future__ import annotations

import asyncio
import json

import pytest

from cyber_range.engine.agents.http_door import fetch
from cyber_range.engine.agents.modbus_link import ModbusError, ModbusLink
from cyber_range.engine.process.controllers import FillerLogic
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs
from tests.cyber_range.engine.agents.plans import IDENTITY, filler, hmi, plant, tags, tank

MASTER = "127.20.0.9"


async def test_a_written_set_point_reaches_the_bottles_and_the_hmi_shows_it() -> None:
    line, station = plant(20), hmi(20)
    async with programs(line, tank(20), filler(20), station):
        line.inbox.put_nowait({"kind": "clock", "speed": 10})
        link = await ModbusLink.connect(LoopbackNet(MASTER), "127.20.0.4")
        await link.write("holding", 0, [640])
        link.close()

        over = await line.until(lambda m: m["kind"] == "telemetry" and m["values"]["bottles_over"] > 3)
        alarm = await line.until(lambda m: m["kind"] == "alarm" and m["name"] == "last_fill_high")
        await station.until(
            lambda m: m["kind"] == "view" and m["devices"]["filler"]["values"]["fill_setpoint"] == 640.0
        )

    assert over["values"]["spill"] > 0
    assert (alarm["state"], alarm["limit"]) == ("on", 510.0)
    assert 510 < alarm["value"] <= 640
    assert line.of("variables")[0]["variables"][0]["title"] == {"zh": "缓冲罐液位", "en": "Buffer tank level"}


async def test_an_operator_command_writes_the_controller() -> None:
    station, controller = hmi(21), filler(21)
    async with programs(controller, station):
        reply = await station.ask("operate", device="filler", tag="fill_setpoint", value=480)
        unknown = await station.ask("operate", device="filler", tag="nosuch", value=1)
        inside = await controller.ask("read", table="holding", address=0, count=2)
        written = await controller.until("written")

    assert reply["written"] == 480
    assert unknown["error"] == "LookupError: filler shows no tag 'nosuch'"
    assert inside["values"] == [480, 60]
    assert written["writes"] == [{"table": "holding", "address": 0, "value": 480, "tag": "fill_setpoint"}]


async def test_the_controller_speaks_whole_modbus() -> None:
    controller = filler(22, base=10)
    async with programs(controller):
        link = await ModbusLink.connect(LoopbackNet("127.22.0.9"), "127.22.0.4")
        identity = await link.identify()
        await link.write("coil", 30, [1, 0, 1])
        await link.write("holding", 300, [7, 65535])
        read = {
            "coils": await link.read("coil", 9, 4), "plain coils": await link.read("coil", 29, 5),
            "discretes": await link.read("discrete", 10, 4), "holdings": await link.read("holding", 10, 2),
            "inputs": await link.read("input", 10, 7), "plain": await link.read("holding", 299, 4),
            "other unit": await link.read("holding", 10, 1, unit=17),
        }  # fmt: skip
        with pytest.raises(ModbusError, match="illegal data address"):
            await link.read("holding", 510, 5)
        link.close()

    assert identity == {0: IDENTITY["vendor"], 1: IDENTITY["code"], 2: IDENTITY["revision"]}
    assert read == {
        "coils": [0, 1, 1, 0], "plain coils": [0, 1, 0, 1, 0], "discretes": [1, 0, 0, 0], "holdings": [500, 60],
        "inputs": [0] * 7, "plain": [0, 7, 65535, 0], "other unit": [500],
    }  # fmt: skip


async def test_two_controllers_in_one_process_keep_their_own_identity() -> None:
    one, two = filler(23), tank(23, identity={"vendor": "Other", "code": "X", "revision": "1"})
    async with programs(one, two):
        found = []
        for address in ("127.23.0.4", "127.23.0.3"):
            link = await ModbusLink.connect(LoopbackNet("127.23.0.9"), address)
            found.append((await link.identify())[0])
            link.close()

    assert found == ["Hengda Automation", "Other"]


async def test_a_tag_that_meets_another_is_refused_by_name() -> None:
    controller = filler(24)
    spec = {"fill_setpoint": {"address": 1}}
    clash = Running(
        "x", "modbus_plc", "127.24.0.8",
        {"logic": "filler", "controller": "filler", "plant": "127.24.0.2", "tags": {**tags(FillerLogic()), **spec}},
    )  # fmt: skip
    controller.inbox.put_nowait(None)

    with pytest.raises(AssertionError, match="holding 1 of tag 'speed_setpoint' is taken by 'fill_setpoint'"):
        await clash.until("ready")
    await controller.task


async def test_polls_keep_their_rate() -> None:
    """Ten requests a second (two blocks, cycle 0.2 s) whatever the jitter: the 95 % rule stands on this."""
    requests = 0
    station, controller = hmi(25, jitter=0.3), filler(25)
    async with programs(controller, station):
        await asyncio.sleep(0.5)
        link_reads = ModbusLink.read

        async def counted(self: ModbusLink, *args: object, **kw: object) -> list[int]:
            nonlocal requests
            requests += 1
            return await link_reads(self, *args, **kw)  # type: ignore[arg-type]

        ModbusLink.read = counted  # type: ignore[method-assign, assignment]
        try:
            await asyncio.sleep(3)
        finally:
            ModbusLink.read = link_reads  # type: ignore[method-assign]

    assert requests == pytest.approx(30, abs=2)


async def test_a_controller_that_dies_leaves_the_plant_safe_and_the_hmi_with_an_age() -> None:
    line, controller, station = plant(26), filler(26), hmi(26)
    async with programs(line, tank(26), controller, station):
        await station.until(lambda m: m["kind"] == "view" and m["devices"]["filler"]["age"] is not None)
        controller.inbox.put_nowait(None)
        await controller.task

        stopped = await line.until(lambda m: m["kind"] == "telemetry" and m["values"]["conveyor_speed"] == 0, 15)
        stale = await station.until(lambda m: m["kind"] == "view" and (m["devices"]["filler"]["age"] or 0) > 1)

    assert stopped["values"]["fill_setpoint"] == 0
    assert stale["devices"]["filler"]["values"]["fill_setpoint"] == 500.0


async def test_the_historian_keeps_what_the_hmi_shows_and_answers_questions() -> None:
    station, controller = hmi(27, feed_port=8900), filler(27)
    spec = {"source": {"host": "127.27.0.5", "port": 8900}, "every": 0.1, "users": {"u": "p"}}
    historian = Running("historian", "historian", "127.27.0.6", spec)
    client = LoopbackNet("127.27.0.9")
    async with programs(controller, station, historian):
        await asyncio.sleep(1.0)
        refused, _ = await fetch(client, "127.27.0.6", 8086, "/api/last")
        status, last = await fetch(client, "127.27.0.6", 8086, "/api/last", login=("u", "p"))
        _, series = await fetch(
            client, "127.27.0.6", 8086, "/api/series?device=filler&tag=fill_setpoint&last=60", login=("u", "p")
        )
        _, export = await fetch(client, "127.27.0.6", 8086, "/api/export", login=("u", "p"))

    assert (refused, status) == (401, 200)
    assert json.loads(last)["devices"]["filler"]["fill_setpoint"] == 500.0
    assert {value for _, value in json.loads(series)} == {500.0}
    assert export.startswith(b"time,device,tag,value\n")
