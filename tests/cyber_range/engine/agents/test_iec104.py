"""A remote terminal unit and its control centre on real sockets, and the c104 library as the centre."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.agents import iec104_frames as frames
from cyber_range.engine.agents.iec104_frames import BY_NAME, SELECT, Asdu, Cause, Element, FrameError
from cyber_range.engine.agents.iec104_link import Link, Timing
from cyber_range.engine.agents.iec104_station import Station, packed
from cyber_range.engine.process.controllers import TankLogic
from tests.cyber_range.engine.agents import stations
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs

C104 = Path(__file__).parent / "clients" / "c104_client.py"


TYPES = (1, 3, 9, 11, 13, 100)
SEEN = {  # by c104_client.py, besides the types
    "connected": True, "interrogated": True, "clock": True, "counters": True, "read": True, "set": True,
    "switched": True, "refused": False, "test": True,
    "first": {"level": 0.0, "setpoint": 600.0, "high": False, "auto": "Double.ON"},
    "second": {"setpoint": 425.0, "auto": "Double.OFF"},
}  # fmt: skip


async def real_client(script: Path, *arguments: str) -> dict[str, Any]:
    """What a client program printed as its last line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()
    return dict(json.loads(out.splitlines()[-1]))


async def test_the_c104_client_interrogates_reads_and_commands() -> None:
    unit = Running("rtu", "iec104_rtu", "127.31.0.4", stations.rtu())
    async with programs(unit):
        seen = await real_client(C104, "127.31.0.4", "2404")
        inside = await unit.ask("read", tags=["level_setpoint", "auto"])
        written = await unit.until("written")

    assert set(TYPES) <= set(seen.pop("types"))
    assert seen == SEEN
    assert inside["values"] == [42.5, 0.0]
    assert written["writes"][0] == {"tag": "level_setpoint", "value": 42.5, "ioa": 6005, "source": "127.0.0.1"}


async def test_the_centre_shows_what_changes_by_itself_and_commands_with_selection() -> None:
    unit = Running("rtu", "iec104_rtu", "127.32.0.4", stations.rtu(select=True, masters=["127.32.0.5"]))
    master = Running("centre", "iec104_master", "127.32.0.5", stations.centre("127.32.0.4"))
    async with programs(unit, master):
        await master.until(shows("level_setpoint", 60.0))
        done = await master.ask("operate", device="station", tag="level_setpoint", value=33.5)
        double = await master.ask("operate", device="station", tag="auto", value=0)
        refused = await master.ask("operate", device="station", tag="level", value=1)
        await master.until(shows("level_setpoint", 33.5))
        view = await master.until(shows("auto", 0.0))
        inside = await unit.ask("read", tags=["level_setpoint", "auto"])

    assert (done["type"], double["type"]) == ("C_SE_NB_1", "C_DC_NA_1")
    assert "takes no command for 'level'" in refused["error"]
    assert inside["values"] == [33.5, 0.0]
    assert all(age is not None for age in view["devices"]["station"]["ages"].values())


async def test_a_restarted_station_comes_back_and_the_centre_finds_it() -> None:
    unit = Running("rtu", "iec104_rtu", "127.33.0.4", stations.rtu())
    master = Running("centre", "iec104_master", "127.33.0.5", stations.centre("127.33.0.4"))
    async with programs(unit, master):
        await master.until(shows("level_setpoint", 60.0))
        probe = await connected("127.33.0.9", "127.33.0.4")
        probe.link.send(Asdu(BY_NAME["C_RP_NA_1"], Cause.ACTIVATION, 7, (Element(0, 1),)))
        confirmed = await probe.answer("C_RP_NA_1")
        restarted = await unit.until("restarted")
        await master.ask("view")
        known = len(master.messages)
        await master.until(lambda m: m in master.messages[known:] and shows("level_setpoint", 60.0, fresh=0.5)(m), 30)

    assert (confirmed.cause, confirmed.negative) == (Cause.ACTIVATION_CON, False)
    assert restarted == {"kind": "restarted", "restarts": 1, "source": "127.33.0.9"}


async def test_only_named_masters_stay_connected() -> None:
    unit = Running("rtu", "iec104_rtu", "127.34.0.4", stations.rtu(masters=["127.34.0.5"]))
    async with programs(unit):
        probe = await connected("127.34.0.9", "127.34.0.4", start=False)
        async with asyncio.timeout(10):
            await probe.over.wait()

    assert probe.asdus == []


async def test_windows_and_timers_are_kept() -> None:
    """k=4: the station stops after four frames that nobody acknowledges, and gives up after t1."""
    timing = {"t1": 1.0, "t2": 0.3, "t3": 0.6, "k": 4, "w": 2}
    unit = Running("rtu", "iec104_rtu", "127.35.0.4", stations.rtu(timing=timing, cyclic=0))
    async with programs(unit):
        reader, writer = await asyncio.open_connection("127.35.0.4", 2404)
        writer.write(bytes.fromhex("680407000000"))
        started = await reader.readexactly(6)
        writer.write(bytes.fromhex("680e0000000064010600070000000014"))  # interrogation, and never an acknowledgement
        rest = bytearray(await asyncio.wait_for(reader.read(), 10))
        writer.close()
    numbers = []
    controls = []
    while (frame := frames.take_frame(rest)) is not None:
        if frame.send is not None:
            numbers.append(frame.send)
        else:
            controls.append(frame.control)

    assert started.hex() == "68040b000000"
    assert numbers == [0, 1, 2, 3]
    assert set(controls) <= {frames.TESTFR_ACT}


@pytest.mark.parametrize(
    "wrong",
    [
        "00", "6803000000", "6804070000", "680443000000" * 2 + "ff",
        "680e0000000064010600070000000014",  # data before STARTDT
        "680407000000" + "680401001000",  # acknowledges what was never sent
        "680407000000" + "680e0200000064010600070000000014",  # a number is missing
        "680407000000" + "680e0000000064020600070000000014",  # two objects promised, one there
    ],
)  # fmt: skip
async def test_a_peer_that_breaks_the_rules_loses_its_connection(wrong: str) -> None:
    unit = Running("rtu", "iec104_rtu", "127.36.0.4", stations.rtu(timing={"t1": 1.0, "t3": 0.6}))
    async with programs(unit):
        reader, writer = await asyncio.open_connection("127.36.0.4", 2404)
        writer.write(bytes.fromhex(wrong))
        await asyncio.wait_for(reader.read(), 10)
        writer.close()
        good = await connected("127.36.0.9", "127.36.0.4")
        good.link.close()


# ------------------------------------------------------------ the station itself


class Tags:
    def __init__(self) -> None:
        self.tags = {tag.name: tag.start for tag in TankLogic.tags}
        self.tags["level"] = 51.5

    def write(self, tag: str, value: float) -> None:
        self.tags[tag] = value


def station(**more: Any) -> tuple[Station, Tags]:
    memory = Tags()
    placed = {name: where for name, where in stations.rtu()["tags"].items() if name != "cpu_uptime"}
    return Station(memory, TankLogic.tags, placed, common=7, **more), memory


def ask(kind: str, element: Element, cause: int = Cause.ACTIVATION, common: int = 7) -> bytes:
    return frames.pack_asdu(Asdu(BY_NAME[kind], cause, common, (element,)))


def causes(answers: list[Asdu | bytes]) -> list[tuple[str, int, bool]]:
    return [(a.kind.name, int(a.cause), a.negative) for a in answers if isinstance(a, Asdu)]


def test_select_before_operate() -> None:
    unit, memory = station(select=True)
    select, execute = Element(6005, 250, SELECT), Element(6005, 250)
    one, other = "one master", "another"

    said = [
        causes(unit.answer(ask("C_SE_NB_1", element, cause), master, at)[0])
        for element, cause, master, at in [
            (execute, Cause.ACTIVATION, one, 0),  # nothing was selected
            (select, Cause.ACTIVATION, one, 0),
            (select, Cause.ACTIVATION, other, 1),  # taken
            (execute, Cause.ACTIVATION, other, 1),
            (execute, Cause.ACTIVATION, one, 1),
            (execute, Cause.ACTIVATION, one, 1),  # a selection is for one execution
            (select, Cause.ACTIVATION, one, 2),
            (execute, Cause.DEACTIVATION, one, 3),
            (execute, Cause.ACTIVATION, one, 3),
            (select, Cause.ACTIVATION, one, 4),
            (execute, Cause.ACTIVATION, one, 15),  # too late
        ]
    ]

    yes, no = [("C_SE_NB_1", 7, False)], [("C_SE_NB_1", 7, True)]
    assert said == [
        no, yes, no, no, [*yes, ("C_SE_NB_1", 10, False)], no, yes, [("C_SE_NB_1", 9, False)], no, yes, no,
    ]  # fmt: skip
    assert memory.tags["level_setpoint"] == 25.0


def test_what_the_station_does_not_know_is_said_with_its_cause() -> None:
    unit, _ = station()

    said = [
        causes(unit.answer(data, "m", 0)[0])[0][1:]
        for data in [
            ask("C_SC_NA_1", Element(77, 1)),
            ask("C_SC_NA_1", Element(6004, 1), common=9),
            ask("C_SC_NA_1", Element(6004, 1), cause=Cause.SPONTANEOUS),
            ask("C_DC_NA_1", Element(6004, 1)),
            ask("C_DC_NA_1", Element(6003, 3)),
            ask("C_RD_NA_1", Element(4999), cause=Cause.REQUEST),
            ask("C_IC_NA_1", Element(0, 21)),
            ask("M_SP_NA_1", Element(6004, 1)),
        ]
    ]

    assert said == [
        (Cause.UNKNOWN_OBJECT, True), (Cause.UNKNOWN_COMMON, True), (Cause.UNKNOWN_CAUSE, True),
        (Cause.UNKNOWN_TYPE, True), (Cause.ACTIVATION_CON, True), (Cause.UNKNOWN_OBJECT, True),
        (Cause.ACTIVATION_CON, True), (Cause.UNKNOWN_TYPE, True),
    ]  # fmt: skip


def test_changes_are_told_once_beyond_the_deadband_with_the_time() -> None:
    unit, memory = station()
    before = unit.changes(1000, timed=True)

    memory.tags["level"] += 0.04
    small = unit.changes(2000, timed=True)
    memory.tags |= {"level": 52.0, "level_high": 1}
    told = unit.changes(3000, timed=True)
    again = unit.changes(4000, timed=True)

    assert (before, small, again) == ([], [], [])
    assert told == [
        Asdu(BY_NAME["M_SP_TB_1"], Cause.SPONTANEOUS, 7, (Element(1001, 1, 0, 3000),)),
        Asdu(BY_NAME["M_ME_TF_1"], Cause.SPONTANEOUS, 7, (Element(4001, 52.0, 0, 3000),)),
    ]


@given(st.sets(st.integers(1, 500), min_size=1, max_size=300), st.sampled_from(["M_SP_NA_1", "M_ME_NC_1", "M_ME_TF_1"]))
def test_packing_loses_no_element_and_fits(addresses: set[int], kind: str) -> None:
    wanted = [Element(address, 1, 0, 5 if BY_NAME[kind].timed else None) for address in sorted(addresses)]

    asdus = packed(BY_NAME[kind], 20, 1, wanted)

    assert [element for asdu in asdus for element in asdu.elements] == wanted
    assert all(len(frames.pack_asdu(asdu)) <= frames.MAX_ASDU for asdu in asdus)


@settings(max_examples=200)
@given(st.binary(min_size=6, max_size=249))
def test_any_asdu_is_answered_or_refused_never_more(data: bytes) -> None:
    unit, _ = station()

    try:
        answers, _ = unit.answer(data, "m", 0)
    except FrameError:
        return

    for answer in answers:
        if isinstance(answer, Asdu):
            frames.pack_asdu(answer)


# ------------------------------------------------------------ helpers


class Probe:
    """A bare controlling station that remembers what it heard."""

    def __init__(self) -> None:
        self.asdus: list[Asdu] = []
        self.started, self.over, self.news = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.link = Link(self, controlling=True, timing=Timing())

    def link_opened(self, link: Link) -> None:
        pass

    def link_started(self, link: Link, started: bool) -> None:
        self.started.set()

    def link_asdu(self, link: Link, data: bytes) -> None:
        self.asdus.append(frames.unpack_asdu(data))
        self.news.set()

    def link_closed(self, link: Link) -> None:
        self.over.set()

    async def answer(self, kind: str) -> Asdu:
        async with asyncio.timeout(10):
            while True:
                for asdu in self.asdus:
                    if asdu.kind.name == kind:
                        return asdu
                self.news.clear()
                await self.news.wait()


async def connected(own: str, host: str, *, start: bool = True) -> Probe:
    probe = Probe()
    await LoopbackNet(own).create_connection(lambda: probe.link, host, 2404)
    if start:
        async with asyncio.timeout(10):
            await probe.started.wait()
    return probe


def shows(tag: str, value: float, fresh: float = 1e9) -> Any:
    def test(message: dict[str, Any]) -> bool:
        if message["kind"] != "view":
            return False
        picture = message["devices"]["station"]
        return bool(picture["values"][tag] == value and picture["age"] is not None and picture["ages"][tag] <= fresh)

    return test
