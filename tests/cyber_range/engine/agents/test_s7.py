"""The S7 controller on real sockets: with python-snap7, with our own client, with hostile bytes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
import sys
from pathlib import Path

import pytest

from cyber_range.engine.agents.s7_link import S7Error, S7Link, item_of
from cyber_range.engine.agents.s7_memory import DB, INPUTS, OUTPUTS, Place, place
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs
from tests.cyber_range.engine.agents.plans import filler, plant
from tests.cyber_range.engine.agents.plc_specs import S7_TAGS, s7

CLIENT = Path(__file__).parent / "clients" / "snap7_client.py"
SEEN = {
    "setpoint": 60.0, "inputs": "0000", "flags": "00", "order_code": "HD7 314-6EH04-0AB0", "name": "HD300/Line",
    "blocks": [1, 2], "dbs": [1, 2], "written": "429100000000000001", "program": "PROGRAM tank\n", "info": True,
    "downloaded": 55.0, "many": ["425c00", "00"], "no_db": True, "stopped": 4, "started": 8,
}  # fmt: skip


def plc(net: int, **more: object) -> Running:
    return Running("plc", "s7_plc", f"127.{net}.0.3", s7(f"127.{net}.0.2", **more))


async def link(net: int, **more: object) -> S7Link:
    return await S7Link.connect(LoopbackNet(f"127.{net}.0.9"), f"127.{net}.0.3", **more)  # type: ignore[arg-type]


async def test_snap7_reads_writes_lists_loads_stops_and_starts() -> None:
    controller = plc(60)
    async with programs(controller):
        client = await asyncio.create_subprocess_exec(
            sys.executable, str(CLIENT), "127.60.0.3", "20102", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(client.communicate(), 60)
        values = await controller.ask("read", tags=["level_setpoint", "interlock", "auto"])
        modes = [message["mode"] for message in controller.of("mode")]

    seen = json.loads(out)
    assert seen.pop("year") >= 2024
    assert seen == SEEN
    assert values["values"] == [55.0, 0.0, 1.0]
    assert modes == ["stop", "run"]


async def test_a_downloaded_block_changes_hash_and_plant_and_undoing_it_restores_both() -> None:
    line = plant(61)
    controller = Running("plc_tank", "s7_plc", "127.61.0.3", s7("127.61.0.2"))
    async with programs(line, filler(61), controller):
        tool = await link(61)
        original = await tool.upload("OB1")
        before = await controller.ask("hash", path="OB1")
        await tool.download("OB1", original + b"FORCE inlet_valve_pct 100\nSHOW level 60\n")
        changed = await controller.ask("hash", path="OB1")
        valve = await line.until(lambda m: m["kind"] == "telemetry" and m["values"]["inlet_flow"] > 50)
        shown = await tool.read([item_of(place("DB2.DBD0"))])
        image = await tool.read_bytes(OUTPUTS, 0, 80, 2)
        with pytest.raises(S7Error):
            await tool.download("OB1", b"OPEN THE GATES\n")
        refused = await controller.ask("hash", path="OB1")
        await tool.download("OB1", original)
        restored = await controller.ask("hash", path="OB1")
        tool.close()

    assert before["sha256"] == hashlib.sha256(original).hexdigest() == restored["sha256"]
    assert changed["sha256"] == refused["sha256"] != before["sha256"]
    assert valve["values"]["inlet_flow"] > 50
    assert struct.unpack(">f", shown[0])[0] == 60.0
    assert struct.unpack(">h", image)[0] == 10000


async def test_a_stopped_controller_lets_its_outputs_fall_and_goes_on_answering() -> None:
    line = plant(62)
    controller = Running("plc_tank", "s7_plc", "127.62.0.3", s7("127.62.0.2"))
    async with programs(line, filler(62), controller):
        await line.until(lambda m: m["kind"] == "telemetry" and m["values"]["inlet_flow"] > 10)
        tool = await link(62)
        await tool.stop()
        told = len(line.messages)
        await line.until(
            lambda m: m["kind"] == "telemetry" and m["values"]["inlet_flow"] < 1 and line.messages.index(m) > told
        )
        modes = [await tool.mode()]
        await tool.start()
        modes.append(await tool.mode())
        state = await controller.ask("state")
        tool.close()

    assert modes == ["stop", "run"]
    assert (state["mode"], state["restarts"]) == ("run", 0)


async def test_a_cold_start_ends_connections_and_counts() -> None:
    controller = plc(63, tags={**S7_TAGS, "cpu_restarts": {"address": "MW20"}})
    async with programs(controller):
        tool = await link(63)
        await tool.write(item_of(place("DB1.DBX8.1")), b"\0")
        await tool.write(item_of(place("DB1.DBD0")), struct.pack(">f", 44))
        await tool.start(cold=True)
        await controller.until("restarted")
        with pytest.raises((ConnectionError, TimeoutError)):
            await tool.mode()
        again = await link(63)
        kept = await controller.ask("read", tags=["level_setpoint", "interlock", "cpu_restarts"])
        count = await again.read_bytes(0x83, 0, 20, 2)
        again.close()

    assert kept["values"] == [44.0, 1.0, 1.0]
    assert count == b"\0\1"


async def test_an_output_written_past_the_logic_holds_for_one_scan() -> None:
    controller = plc(64)
    async with programs(controller):
        tool = await link(64)
        before = await tool.read_bytes(OUTPUTS, 0, 80, 2)
        await tool.write(item_of(place("QW80")), struct.pack(">h", 1234))
        written = await tool.read_bytes(OUTPUTS, 0, 80, 2)
        async with asyncio.timeout(5):
            while await tool.read_bytes(OUTPUTS, 0, 80, 2) != before:  # noqa: ASYNC110 - asked over the wire
                await asyncio.sleep(0.02)
        tool.close()

    assert before == struct.pack(">h", 10000)
    assert written in (struct.pack(">h", 1234), before)  # a scan may have come between


async def test_protection_wants_the_password_before_writing() -> None:
    controller = plc(65, protection=2, password="hd2024")
    async with programs(controller):
        tool = await link(65)
        readable = await tool.read_bytes(DB, 1, 0, 4)
        with pytest.raises(S7Error, match="0xd241"):
            await tool.stop()
        with pytest.raises(S7Error, match="0xd241"):
            await tool.download("OB1", b"")
        with pytest.raises(S7Error, match="0xd602"):
            await tool.password("guess")
        await tool.password("hd2024")
        await tool.stop()
        mode = await tool.mode()
        tool.close()

    assert (len(readable), mode) == (4, "stop")


async def test_slots_and_connections_are_as_many_as_it_has() -> None:
    controller = plc(66, slot=2, connections=2)
    async with programs(controller):
        with pytest.raises(ConnectionRefusedError):
            await link(66, slot=3)
        held = [await link(66), await link(66)]
        with pytest.raises((ConnectionError, TimeoutError)):
            await link(66)
        held.pop().close()
        async with asyncio.timeout(5):
            while True:
                try:
                    held.append(await link(66))
                    break
                except (ConnectionError, TimeoutError):
                    await asyncio.sleep(0.05)
        for each in held:
            each.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        bytes.fromhex("03000004"),
        bytes.fromhex("0300000702f080") * 3,
        bytes.fromhex("0300001611e00000001400c1020100c2020102c0010a") + bytes.fromhex("0300000c02f08032010000ff"),
        bytes.fromhex("0300001611e00000001400c1020100c2020102c0010a")
        + bytes.fromhex("0300001902f080320100000000ffff0000f0000001000101e0"),
    ],
)
async def test_garbage_ends_the_connection_and_nothing_else(garbage: bytes) -> None:
    controller = plc(67)
    async with programs(controller):
        reader, writer = await asyncio.open_connection("127.67.0.3", 20102)
        writer.write(garbage)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 10)
        writer.close()
        tool = await link(67)
        mode = await tool.mode()
        tool.close()

    assert mode == "run"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DB1.DBD0", Place((DB, 1), 0, -1, "real")),
        ("db12.dbx4.7", Place((DB, 12), 4, 7, "bool")),
        ("MW10", Place((0x83, 0), 10, -1, "int")),
        ("E0.1", Place((INPUTS, 0), 0, 1, "bool")),
        ("QB3", Place((OUTPUTS, 0), 3, -1, "byte")),
    ],
)
def test_addresses_are_read_as_engineers_write_them(text: str, expected: Place) -> None:
    assert place(text) == expected


@pytest.mark.parametrize("text", ["DB1.DBX0", "MW10.1", "DBD0", "M10", "X1.0", "DB1.DBX0.8"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"(no S7 address|bit number)"):
        place(text)


async def test_tags_that_overlap_are_refused_by_name() -> None:
    clash = Running("x", "s7_plc", "127.68.0.3", s7(tags={**S7_TAGS, "valve_manual": {"address": "DB1.DBD2"}}))

    with pytest.raises(AssertionError, match=r"DB1\.DBD2 of tag 'valve_manual' is taken by 'level_setpoint'"):
        await clash.until("ready")
    await clash.task
