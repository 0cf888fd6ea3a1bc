"""The EtherNet/IP controller on real sockets: with pycomm3, with our own client, with hostile bytes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.agents import enip_wire as wire
from cyber_range.engine.agents.enip_link import EnipLink
from cyber_range.engine.agents.enip_wire import CipError, Frame, Request, read_path
from cyber_range.engine.agents.enip_wire import Path as CipPath
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs
from tests.cyber_range.engine.agents.plans import filler, plant
from tests.cyber_range.engine.agents.plc_specs import enip

CLIENT = Path(__file__).parent / "clients" / "pycomm3_client.py"
READ_WRITE, READ_ONLY = "Read/Write", "Read Only"
SEEN = {
    "listed": "HD-LX33E/A Line Controller",
    "info": ["HD-LX33E/A Line Controller", "REMOTE RUN", "LINE_MAIN", ["MainProgram"]],
    "tags": {
        "Level_SP": ["REAL", READ_WRITE], "valve_manual": ["REAL", READ_WRITE], "auto": ["BOOL", READ_WRITE],
        "interlock": ["BOOL", READ_WRITE], "level": ["REAL", READ_ONLY], "inlet_flow": ["REAL", READ_ONLY],
        "outlet_flow": ["REAL", READ_ONLY], "valve": ["REAL", READ_ONLY], "level_high": ["BOOL", READ_ONLY],
        "level_low": ["BOOL", READ_ONLY], "O_Valve": ["REAL", READ_WRITE], "I_Level": ["REAL", READ_ONLY],
        "Recipe": ["REAL", READ_WRITE], "Codes": ["DINT", READ_WRITE],
    },
    "read": [60.0, True, False, [0, 0, 0, 0]], "written": [None, None], "again": [72.5, False],
    "single": [None, [7, 8, 9, 0]], "long": [None, True], "read_only": "Permission denied", "bit": [None, 11],
    "small": [True, True], "stopped": "REMOTE PROG", "started": "REMOTE RUN",
}  # fmt: skip


def plc(net: int, **more: object) -> Running:
    return Running("plc", "enip_plc", f"127.{net}.0.3", enip(f"127.{net}.0.2", **more))


async def link(net: int) -> EnipLink:
    return await EnipLink.connect(LoopbackNet(f"127.{net}.0.9"), f"127.{net}.0.3")


async def test_pycomm3_identifies_lists_reads_writes_stops_and_starts() -> None:
    controller = plc(70)
    async with programs(controller):
        client = await asyncio.create_subprocess_exec(
            sys.executable, str(CLIENT), "127.70.0.3", "44818", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(client.communicate(), 60)
        values = await controller.ask("read", tags=["level_setpoint", "auto"])
        codes = await controller.ask("read", tag="Codes")
        written = await controller.until("written")

    assert json.loads(out) == SEEN
    assert values["values"] == [72.5, 0.0]
    assert codes["values"] == [7.0, 8.0, 11.0, 0.0]
    assert written["writes"][0] == {"where": "Level_SP", "tag": "Level_SP", "value": 72.5, "source": "127.0.0.1"}


async def test_a_downloaded_program_changes_hash_and_plant() -> None:
    line = plant(71)
    controller = Running("plc_tank", "enip_plc", "127.71.0.3", enip("127.71.0.2"))
    async with programs(line, filler(71), controller):
        tool = await link(71)
        original = await tool.upload()
        before = await controller.ask("hash", path="OB1")
        await tool.download(original + b"FORCE inlet_valve_pct 100\n")
        changed = await controller.ask("hash", path="OB1")
        await line.until(lambda m: m["kind"] == "telemetry" and m["values"]["inlet_flow"] > 50)
        with pytest.raises(CipError):
            await tool.download(b"OPEN THE GATES\n")
        await tool.download(original)
        restored = await controller.ask("hash", path="OB1")
        tool.close()

    assert before["sha256"] == hashlib.sha256(original).hexdigest() == restored["sha256"]
    assert changed["sha256"] == hashlib.sha256(original + b"FORCE inlet_valve_pct 100\n").hexdigest()


async def test_reset_of_the_identity_restarts_the_controller() -> None:
    controller = plc(72)
    async with programs(controller):
        tool = await link(72)
        states = [(await tool.identity())["state"]]
        await tool.stop()
        states.append((await tool.identity())["state"])
        await tool.reset()
        await controller.until("restarted")
        again = await link(72)
        states.append((await again.identity())["state"])
        state = await controller.ask("state")
        again.close()

    assert states == [3, 2, 3]
    assert (state["mode"], state["restarts"]) == ("run", 1)


async def test_our_client_reads_writes_and_lists_by_name() -> None:
    controller = plc(73)
    async with programs(controller):
        tool = await link(73)
        await tool.write("level_sp", 44)  # names know no case
        await tool.write("auto", 0)
        read = await tool.read(["Level_SP", "auto", "level_high"])
        names = await tool.tags()
        array = await tool.read_array("Recipe", 1500)
        with pytest.raises(CipError):
            await tool.read(["Level_SP", "NoSuch"])
        tool.close()

    assert read == [44.0, 0.0, 0.0]
    assert (names["Level_SP"], names["auto"], names["Recipe"], len(names)) == ("REAL", "BOOL", "REAL[]", 14)
    assert array == [0.0] * 1500


async def test_identity_is_told_over_udp_too() -> None:
    controller = plc(74)
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with programs(controller):
        udp = await LoopbackNet("127.74.0.9").udp(0, lambda data, _peer: heard.put_nowait(data))
        udp.send(Frame(wire.LIST_IDENTITY, context=b"12345678").pack(), "127.74.0.3", 44818)
        answer = wire.take_frame(bytearray(await asyncio.wait_for(heard.get(), 5)))
        udp.close()

    assert answer is not None
    kind, item = wire.read_items(answer.data)[0]
    assert (answer.command, answer.context, kind) == (wire.LIST_IDENTITY, b"12345678", 0x0C)
    assert struct.unpack_from(">HH4s", item, 2) == (2, 44818, bytes((127, 74, 0, 3)))
    assert item[33 : 33 + item[32]].decode() == "HD-LX33E/A Line Controller"


async def test_what_is_wrong_is_answered_with_the_right_status() -> None:
    controller = plc(75)
    async with programs(controller):
        tool = await link(75)

        async def status(request: Request) -> tuple[int, ...]:
            with pytest.raises(CipError) as refused:
                await tool.send(request)
            return refused.value.status, *refused.value.extended

        tag = CipPath(symbols=("Level_SP",))
        answers = {
            "service": await status(Request(0x3F, tag)),
            "object": await status(Request(wire.GET_ALL, CipPath(0x99, 1))),
            "tag": await status(Request(wire.READ_TAG, CipPath(symbols=("Nope",)), b"\1\0")),
            "type": await status(Request(wire.WRITE_TAG, tag, struct.pack("<HHi", 0xC4, 1, 5))),
            "end": await status(Request(wire.READ_TAG, CipPath(symbols=("Codes",), elements=(3,)), b"\2\0")),
            "short": await status(Request(wire.READ_TAG, tag, b"")),
            "attribute": await status(Request(wire.GET_SINGLE, CipPath(1, 1, 99))),
        }
        foreign = Frame(wire.SEND_RR, tool.session + 1, wire.command_data([]))
        tool.session = foreign.session
        with pytest.raises(ConnectionError, match="0x0064"):
            await tool.exchange(wire.SEND_RR, foreign.data)
        tool.close()

    assert answers == {
        "service": (0x08,), "object": (0x05,), "tag": (0x04,), "type": (0xFF, 0x2107), "end": (0xFF, 0x2105),
        "short": (0x13,), "attribute": (0x14,),
    }  # fmt: skip


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.0\r\n\r\n" + bytes(20),
        Frame(wire.REGISTER, data=b"\1\0\0\0").pack() + Frame(wire.SEND_RR, 1, b"\0" * 7).pack(),
        struct.pack(wire.HEADER, wire.SEND_RR, 60000, 1, 0, bytes(8), 0),
        Frame(0xFFFF, data=b"x").pack(),
    ],
)
async def test_garbage_hurts_nobody_else(garbage: bytes) -> None:
    controller = plc(76)
    async with programs(controller):
        reader, writer = await asyncio.open_connection("127.76.0.3", 44818)
        writer.write(garbage)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 10)
        writer.close()
        tool = await link(76)
        state = (await tool.identity())["state"]
        tool.close()

    assert state == 3


async def test_two_tags_of_one_name_are_refused() -> None:
    clash = Running("x", "enip_plc", "127.77.0.3", enip(arrays={"AUTO": {"type": "DINT", "size": 2}}))

    with pytest.raises(AssertionError, match="two tags of this controller are called 'auto'"):
        await clash.until("ready")
    await clash.task


names = st.text(st.characters(min_codepoint=65, max_codepoint=90), min_size=1, max_size=20)
numbers = st.integers(0, 0xFFFFFFFF)


@given(st.builds(CipPath, symbols=st.tuples(names), elements=st.tuples(numbers)))
def test_a_symbolic_path_survives_the_wire(path: CipPath) -> None:
    assert read_path(path.pack()[1:]) == path


@given(st.builds(CipPath, class_id=numbers, instance=numbers, attribute=numbers))
def test_a_logical_path_survives_the_wire(path: CipPath) -> None:
    assert read_path(path.pack()[1:]) == path


@given(st.binary(max_size=40))
def test_no_path_is_worse_than_refused(raw: bytes) -> None:
    try:
        read_path(raw)
    except CipError as refused:
        assert refused.status == wire.BAD_SEGMENT  # noqa: PT017 - most bytes are paths
