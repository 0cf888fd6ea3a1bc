"""A DNP3 outstation and its master on real sockets, and opendnp3 as the master."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.agents.dnp3_frames import LinkFrame, pack_link, segments
from cyber_range.engine.agents.dnp3_link import Dnp3Link
from cyber_range.engine.agents.dnp3_objects import (
    ALL,
    COUNT_8,
    INDEX_8,
    INDEX_16,
    RANGE_8,
    RANGE_16,
    Fragment,
    Function,
    Header,
    Iin,
    Item,
    Status,
    pack_fragment,
    unpack_fragment,
)
from cyber_range.engine.agents.dnp3_station import Done, Points, Session
from cyber_range.engine.process.controllers import TankLogic
from tests.cyber_range.engine.agents import stations
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs
from tests.cyber_range.engine.agents.test_iec104 import real_client, shows

OPENDNP3 = Path(__file__).parent / "clients" / "opendnp3_client.py"


SEEN = {  # by opendnp3_client.py, without the uptime counter
    "read": True,
    "first": {
        "Group1Var2/0": False, "Group1Var2/1": False, "Group10Var2/0": True, "Group10Var2/1": True,
        "Group30Var5/0": 0.0, "Group30Var5/1": 0.0, "Group30Var5/3": 0.0,
        "Group40Var3/0": 60.0, "Group40Var3/1": 0.0,
    },
    "ranges": True, "int": 600.0,
}  # fmt: skip


async def test_the_opendnp3_master_reads_and_restarts() -> None:
    pytest.importorskip("pydnp3", reason="dnp3-python is only built for CPython 3.11 on x86_64")
    unit = Running("rtu", "dnp3_outstation", "127.41.0.4", stations.outstation())
    async with programs(unit):
        seen = await real_client(OPENDNP3, "127.41.0.4", "20000")
        await unit.until("clock_set")
        await unit.until("restarted")

    uptime = seen["first"].pop("Group20Var1/0")
    assert uptime >= 0
    assert seen == SEEN


@pytest.mark.parametrize(
    ("command", "tag", "value", "point"),
    [
        ("setpoint", "level_setpoint", 44.5, "setpoint 0"),
        ("output", "auto", 0.0, "output 0"),
        ("direct", "valve_manual", 7.0, "setpoint 1"),
    ],
)
async def test_the_opendnp3_master_commands(command: str, tag: str, value: float, point: str) -> None:
    pytest.importorskip("pydnp3", reason="dnp3-python is only built for CPython 3.11 on x86_64")
    unit = Running("rtu", "dnp3_outstation", "127.48.0.4", stations.outstation())
    async with programs(unit):
        await died(OPENDNP3, "127.48.0.4", "20000", command)
        written = await unit.until("written")
        inside = await unit.ask("read", tag=tag)

    assert written["writes"] == [{"tag": tag, "value": value, "point": point, "source": "127.0.0.1"}]
    assert inside["values"] == [value]


async def died(script: Path, *arguments: str) -> None:
    """Waits for a client that dies of its library's fault."""
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), *arguments, stdout=quiet, stderr=quiet, cwd="/tmp"
    )
    assert await asyncio.wait_for(process.wait(), 120) == -signal.SIGABRT


@pytest.mark.parametrize("unsolicited", [False, True])
async def test_the_master_sees_events_and_commands(unsolicited: bool) -> None:
    net = 42 + unsolicited
    unit = Running("rtu", "dnp3_outstation", f"127.{net}.0.4", stations.outstation(unsolicited=unsolicited))
    spec = stations.dnp3_master(f"127.{net}.0.4", device={"unsolicited": unsolicited}, cycle=20 if unsolicited else 0.2)
    master = Running("master", "dnp3_master", f"127.{net}.0.5", spec)
    async with programs(unit, master):
        await master.until(shows("level_setpoint", 60.0))
        done = await master.ask("operate", device="station", tag="level_setpoint", value=31)
        await master.ask("operate", device="station", tag="auto", value=0)
        refused = await master.ask("operate", device="station", tag="level", value=1)
        await master.until(shows("level_setpoint", 31.0), 15)
        await master.until(shows("auto", 0.0), 15)
        await unit.until("clock_set")

    assert done["confirmed"] is True
    assert "takes no control for 'level'" in refused["error"]


async def test_identity_frozen_counters_and_unknown_objects_over_the_wire() -> None:
    unit = Running("rtu", "dnp3_outstation", "127.44.0.4", stations.outstation())
    async with programs(unit):
        link = await Dnp3Link.connect(LoopbackNet("127.44.0.9"), "127.44.0.4", station=10)
        identity = await link.request(Function.READ, Header(0, 254, RANGE_8, first=0, last=0))
        await link.request(Function.FREEZE, Header(20, 0, ALL))
        frozen = await link.request(Function.READ, Header(21, 0, ALL))
        unknown = await link.request(Function.READ, Header(110, 0, ALL))
        function = await link.request(22)  # assign class: not one of ours
        link.close()

    assert [item.text for h in identity[0].headers for item in h.items] == [
        b"2.4", b"20260713", b"HD-R20", b"Hengda Automation",
    ]  # fmt: skip
    assert [(h.group, h.variation, len(h.items)) for h in frozen[0].headers] == [(21, 1, 1)]
    assert Iin(unknown[0].iin or 0) & Iin.UNKNOWN_OBJECT
    assert Iin(function[0].iin or 0) & Iin.NO_FUNCTION


async def test_others_than_the_masters_of_the_spec_are_not_served() -> None:
    unit = Running("rtu", "dnp3_outstation", "127.45.0.4", stations.outstation(masters=["127.45.0.5"], master=3))
    async with programs(unit):
        stranger = await Dnp3Link.connect(LoopbackNet("127.45.0.9"), "127.45.0.4", station=10)
        with pytest.raises((ConnectionError, TimeoutError)):
            await stranger.request(Function.READ, Header(60, 1, ALL), timeout=1)
        wrong = await Dnp3Link.connect(LoopbackNet("127.45.0.5"), "127.45.0.4", own=1, station=10)
        with pytest.raises(TimeoutError):
            await wrong.request(Function.READ, Header(60, 1, ALL), timeout=1)
        right = await Dnp3Link.connect(LoopbackNet("127.45.0.5"), "127.45.0.4", own=3, station=10)
        answer = await right.request(Function.READ, Header(60, 1, ALL))
        right.close()

    assert answer[0].headers


# ------------------------------------------------------------ the session itself


class Tags:
    def __init__(self) -> None:
        self.tags = {tag.name: tag.start for tag in TankLogic.tags}

    def write(self, tag: str, value: float) -> None:
        self.tags[tag] = value


def session(count: int = 0, **more: Any) -> tuple[Session, Tags]:
    memory = Tags()
    placed = {name: where for name, where in stations.outstation()["tags"].items() if name != "cpu_uptime"}
    made = Session(Points(TankLogic.tags, placed), memory, **more)
    made.look(0)
    return made, memory


def ask(
    unit: Session, function: int, *headers: Header, sequence: int = 0, now: float = 0
) -> tuple[Fragment | None, Done]:
    answer, done = unit.answer(pack_fragment(Fragment(function, sequence, headers)), now, 1000)
    return (None if answer is None else unpack_fragment(answer)), done


def statuses(answer: Fragment | None) -> list[int]:
    return [item.flags for header in answer.headers for item in header.items] if answer else []


def test_operate_needs_the_same_select_just_before() -> None:
    unit, memory = session()
    order = Header(41, 3, INDEX_16, (Item(0, 12.5),))
    other = Header(41, 3, INDEX_16, (Item(0, 13.5),))

    said = [
        statuses(ask(unit, function, header, sequence=sequence, now=now)[0])
        for function, header, sequence, now in [
            (Function.OPERATE, order, 1, 0),
            (Function.SELECT, order, 2, 0),
            (Function.OPERATE, other, 3, 0),
            (Function.SELECT, order, 4, 0),
            (Function.OPERATE, order, 6, 0),  # a number is missing
            (Function.SELECT, order, 7, 0),
            (Function.OPERATE, order, 8, 11),  # too late
            (Function.SELECT, order, 9, 20),
            (Function.OPERATE, order, 10, 21),
        ]
    ]

    ok, no = [Status.SUCCESS], [Status.NO_SELECT]
    assert said == [no, ok, no, ok, no, ok, [Status.TIMEOUT], ok, ok]
    assert memory.tags["level_setpoint"] == 12.5


def test_a_retry_is_answered_again_and_not_done_again() -> None:
    unit, memory = session()
    order = Header(12, 1, INDEX_8, (Item(0, 4, pulse=(1, 0, 0)),))

    first, done = ask(unit, Function.DIRECT_OPERATE, order, sequence=5)
    memory.tags["auto"] = 1
    again, nothing = ask(unit, Function.DIRECT_OPERATE, order, sequence=5)

    assert first == again
    assert (done.writes, nothing.writes) == ([("auto", 0.0, "output 0")], [])
    assert memory.tags["auto"] == 1


@pytest.mark.parametrize(
    ("code", "status", "writes", "pulses"),
    [
        (3, Status.SUCCESS, [("auto", 1.0)], []),
        (4, Status.SUCCESS, [("auto", 0.0)], []),
        (0x41, Status.SUCCESS, [("auto", 1.0)], []),
        (0x81, Status.SUCCESS, [("auto", 0.0)], []),
        (1, Status.SUCCESS, [("auto", 1.0)], [("auto", 0.0, 0.5)]),
        (0xC1, Status.NOT_SUPPORTED, [], []),
        (9, Status.NOT_SUPPORTED, [], []),
    ],
)
def test_control_codes(code: int, status: int, writes: list[Any], pulses: list[Any]) -> None:
    unit, _ = session()

    answer, done = ask(unit, Function.DIRECT_OPERATE, Header(12, 1, INDEX_8, (Item(0, code, pulse=(1, 500, 0)),)))

    assert statuses(answer) == [status]
    assert [(tag, value) for tag, value, _ in done.writes] == writes
    assert done.pulses == pulses


def test_events_stay_until_they_are_confirmed() -> None:
    unit, memory = session()
    memory.tags |= {"level": 55.0, "level_high": 1}
    unit.look(5000)
    memory.tags |= {"level": 56.0}
    unit.look(6000)
    poll = [Header(60, number, ALL) for number in (2, 3, 4)]

    first, _ = ask(unit, Function.READ, *poll, sequence=1)
    again, _ = ask(unit, Function.READ, *poll, sequence=2)
    ask(unit, Function.CONFIRM, sequence=2)
    empty, _ = ask(unit, Function.READ, *poll, sequence=3)

    assert first is not None
    assert again is not None
    assert empty is not None
    assert (first.confirm, again.confirm, empty.confirm) == (True, True, False)
    assert first.headers == again.headers
    assert first.headers == (
        Header(2, 2, INDEX_16, (Item(0, 1, 1, 5000),)),
        Header(32, 7, INDEX_16, (Item(0, 55.0, 1, 5000), Item(0, 56.0, 1, 6000))),
    )
    assert empty.headers == ()


def test_indications_tell_restart_events_and_overflow() -> None:
    unit, memory = session(need_time=True)
    fresh, _ = ask(unit, Function.READ, Header(60, 1, ALL))
    ask(unit, Function.WRITE, Header(80, 1, RANGE_8, (Item(7, 0),)))
    ask(unit, Function.WRITE, Header(50, 1, COUNT_8, (Item(0, time=1_700_000_000_000),)))
    for number in range(600):
        memory.tags["level"] = float(number + 1)
        unit.look(number)
    full, _ = ask(unit, Function.READ, Header(30, 5, RANGE_8, first=0, last=0))

    assert Iin(fresh.iin or 0) == Iin.RESTART | Iin.NEED_TIME  # type: ignore[union-attr]
    assert Iin(full.iin or 0) == Iin.CLASS_2 | Iin.OVERFLOW  # type: ignore[union-attr]


def test_a_long_answer_comes_in_fragments_each_confirmed() -> None:
    unit, memory = session()
    for number in range(400):
        memory.tags["level"] = float(number + 1)
        unit.look(number)
    parts = [ask(unit, Function.READ, Header(60, 3, ALL), sequence=15)[0]]
    while parts[-1] is not None and not parts[-1].final:
        parts.append(ask(unit, Function.CONFIRM, sequence=parts[-1].sequence)[0])
    ask(unit, Function.CONFIRM, sequence=parts[-1].sequence)  # type: ignore[union-attr]

    found = [item.value for part in parts if part for header in part.headers for item in header.items]
    assert found == [float(number + 1) for number in range(400)]
    assert [(p.sequence, p.first, p.final) for p in parts if p][:2] == [(15, True, False), (0, False, False)]
    assert unit.events == []


@settings(max_examples=300)
@given(st.binary(max_size=300), st.booleans())
def test_any_fragment_is_answered_or_ignored(data: bytes, broadcast: bool) -> None:
    unit, _ = session()

    answer, _ = unit.answer(data, 0, 0, broadcast=broadcast)

    assert answer is None or unpack_fragment(answer).function == Function.RESPONSE


async def test_any_bytes_leave_the_outstation_serving() -> None:
    unit = Running("rtu", "dnp3_outstation", "127.46.0.4", stations.outstation())
    async with programs(unit):
        link = await Dnp3Link.connect(LoopbackNet("127.46.0.9"), "127.46.0.4", station=10)
        for noise in (b"\x05" * 400, b"\x05\x64\xff" * 100, pack_link(LinkFrame(0xC4, 10, 1, b"\xc0")), b"\0" * 1000):
            link._transport.write(noise)  # type: ignore[union-attr]
        lying = Fragment(Function.READ, 3, (Header(30, 0, RANGE_16, first=9, last=9),))
        for segment in segments(pack_fragment(lying)[:-3], 1):
            link._transport.write(pack_link(LinkFrame(0xC4, 10, 1, segment)))  # type: ignore[union-attr]
        answer = await link.request(Function.READ, Header(60, 1, ALL))
        link.close()

    assert answer[-1].headers
