"""One suite, every driver: what a lab may rely on, whichever driver it runs on.

Uses the node programs that run on all of them: a controller (Modbus on 502), the tester that tries connections, and the
sensor's taps. A driver that cannot work here is skipped with its own reason and remedy.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from cyber_range.engine.drivers.base import AgentMessage, Driver
from cyber_range.engine.drivers.registry import load
from cyber_range.engine.errors import DriverError, Refused, UnknownRange
from cyber_range.engine.plan import (
    CreateNode,
    CreateZone,
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
from tests.conftest import skip_or_fail

SECONDS = 30.0  # for one awaited thing; the slowest driver takes a tenth of it
LIMITS = Limits(memory_mib=768)


@pytest.fixture(
    params=[
        "memory",
        pytest.param("netns", marks=pytest.mark.netns),
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow]),
        pytest.param("capsule", marks=[pytest.mark.docker, pytest.mark.slow]),
    ]
)
async def driver(request: pytest.FixtureRequest) -> AsyncIterator[Driver]:
    kind = load(request.param)
    probe = await kind.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    made = kind()
    try:
        yield made
    finally:
        await made.aclose()


def controller(name: str = "plc") -> ProgramPlan:
    """A controller without a plant: its registers answer and hold what is written."""
    tags = {tag.name: {"address": index} for index, tag in enumerate(LOGICS["tank"].tags)}
    spec = {"logic": "tank", "controller": "tank", "tags": tags, "plant": "10.0.0.1", "identity": {"vendor": "test"}}
    return ProgramPlan(name, "modbus_plc", spec)


def small_range(range_id: str = "c0ffee000001", block: int = 41) -> RangePlan:
    """Two zones and a firewall-less gap between them: office (10.<block>.1) and workshop (10.<block>.2)."""
    office = ZonePlan("office", f"10.{block}.1.0/24", f"lb{range_id[-6:]}a", 4.0)
    shop = ZonePlan("shop", f"10.{block}.2.0/24", f"lb{range_id[-6:]}b", 1.0)

    def leg(zone: int, host: int, ifname: str = "eth0") -> InterfacePlan:
        return InterfacePlan(
            ("office", "shop")[zone - 1],
            ifname,
            f"10.{block}.{zone}.{host}",
            24,
            f"02:4c:{block:02x}:00:{zone:02x}:{host:02x}",
        )

    hosts = ((f"10.{block}.2.10", "plc"), (f"10.{block}.2.20", "tester"))
    return RangePlan(
        range_id,
        (office, shop),
        (
            NodePlan("plc", (leg(2, 10),), (controller(),), hosts=hosts),
            NodePlan("tester", (leg(2, 20),), (ProgramPlan("probe", "probe", {}),), shell=True, hosts=hosts),
            NodePlan("desk", (leg(1, 30),), (ProgramPlan("probe", "probe", {}),), hosts=hosts),
        ),
        LIMITS,
    )


class Launched:
    """A range on a driver with its messages, for arranging and asking."""

    def __init__(self, driver: Driver, plan: RangePlan) -> None:
        self.driver, self.plan, self.id = driver, plan, plan.range_id
        self.numbers = iter(range(1, 10_000))

    async def launch(self) -> Launched:
        await self.driver.open(self.id, self.plan.limits)
        self.messages = self.driver.messages(self.id)
        await self.driver.apply(self.id, converge(self.plan, Observed()))
        waiting = {(node.name, program.name) for node in self.plan.nodes for program in node.programs}
        while waiting:
            message = await self.next("ready")
            waiting.discard((message.node, message.program))
        return self

    async def next(self, kind: str, **wanted: Any) -> AgentMessage:
        async with asyncio.timeout(SECONDS):
            while True:
                message = await anext(self.messages)
                if message.body["kind"] == "error":
                    raise AssertionError(message)
                if message.body["kind"] == kind and wanted.items() <= message.body.items():
                    return message

    async def ask(self, node: str, program: str, kind: str, **args: Any) -> dict[str, Any]:
        number = next(self.numbers)
        await self.driver.send(self.id, node, program, {"kind": kind, "id": number, **args})
        body = dict((await self.next("reply", id=number)).body)
        return {key: value for key, value in body.items() if key not in ("kind", "id")}

    async def close(self) -> None:
        await self.driver.close(self.id)


@pytest.fixture
async def lab(driver: Driver) -> AsyncIterator[Launched]:
    launched = await Launched(driver, small_range()).launch()
    yield launched
    await launched.close()


async def test_launched_range_is_what_the_plan_says(lab: Launched) -> None:
    observed = await lab.driver.observe(lab.id)

    assert observed == Observed(
        frozenset({"office", "shop"}),
        frozenset({"plc", "tester", "desk"}),
        frozenset({("plc", "plc"), ("tester", "probe"), ("desk", "probe")}),
    )
    assert converge(lab.plan, observed) == []


async def test_doing_everything_twice_changes_nothing(lab: Launched) -> None:
    before = await lab.driver.observe(lab.id)

    await lab.driver.open(lab.id, lab.plan.limits)
    await lab.driver.apply(lab.id, converge(lab.plan, Observed()))
    await lab.driver.apply(lab.id, converge(lab.plan, await lab.driver.observe(lab.id)))

    assert await lab.driver.observe(lab.id) == before
    assert (await lab.ask("tester", "probe", "try_connect", host="plc", port=502))["open"] is True


async def test_neighbours_in_a_zone_meet_and_zones_do_not(lab: Launched) -> None:
    plc = lab.plan.node("plc").interfaces[0].ip

    near = await lab.ask("tester", "probe", "try_connect", host=plc, port=502)
    closed = await lab.ask("tester", "probe", "try_connect", host=plc, port=81)
    far = await lab.ask("desk", "probe", "try_connect", host=plc, port=502)

    assert (near["open"], closed["open"], far["open"]) == (True, False, False)


async def test_a_program_speaks_real_modbus_and_answers_commands(lab: Launched) -> None:
    read = await lab.ask("plc", "plc", "read", table="holding", address=300, count=2)
    over_tcp = await lab.ask("tester", "probe", "read_modbus", host="plc", table="holding", address=300, count=2)

    assert read == over_tcp == {"values": [0, 0]}


async def test_exec_runs_the_tools_of_every_driver(lab: Launched) -> None:
    written = await lab.driver.exec(lab.id, "tester", ["lb-modbus", "write", "plc", "holding", "300", "77"])
    found = await lab.driver.exec(lab.id, "tester", ["lb-scan", "10.41.2.10", "--ports", "502,503"])
    read = await lab.ask("plc", "plc", "read", table="holding", address=300)

    assert (written.code, written.timed_out) == (0, False), written
    assert found.code == 0, found
    assert b"502" in found.stdout, found
    assert read == {"values": [77]}


async def test_exec_says_what_does_not_exist(lab: Launched) -> None:
    result = await lab.driver.exec(lab.id, "tester", ["no-such-command"])

    assert (result.code, result.timed_out) == (127, False)
    assert b"no-such-command" in result.stderr + result.stdout


async def test_shell_is_for_nodes_that_have_one(lab: Launched) -> None:
    with pytest.raises(Refused):
        await lab.driver.shell(lab.id, "plc")


async def test_shell_answers_and_ends_with_its_close(lab: Launched) -> None:
    pty = await lab.driver.shell(lab.id, "tester", columns=100, rows=30)
    seen = b""

    await pty.write(b"lb-scan --help\r")
    async with asyncio.timeout(SECONDS):
        while b"--ports" not in seen:
            chunk = await pty.read()
            assert chunk, seen
            seen += chunk
    await pty.resize(120, 40)
    await pty.close()
    rest = await pty.read()

    assert rest == b""


async def test_stop_and_start_of_a_node(lab: Launched) -> None:
    wanted = lab.plan
    without = dataclasses.replace(wanted, nodes=tuple(node for node in wanted.nodes if node.name != "plc"))

    await lab.driver.apply(lab.id, converge(without, await lab.driver.observe(lab.id)))
    gone = await lab.driver.observe(lab.id)
    refused = await lab.ask("tester", "probe", "try_connect", host="plc", port=502)
    await lab.driver.apply(lab.id, converge(wanted, gone))
    await lab.next("ready")
    back = await lab.ask("tester", "probe", "try_connect", host="plc", port=502, timeout=5)

    assert (gone.nodes, refused["open"], back["open"]) == (frozenset({"tester", "desk"}), False, True)
    assert converge(wanted, await lab.driver.observe(lab.id)) == []


async def test_exit_of_a_program_is_told_last_and_converging_starts_it_again(lab: Launched) -> None:
    bad = ProgramPlan("bad", "modbus_plc", {"logic": "no such logic"})
    node = lab.plan.node("desk")
    wanted = dataclasses.replace(node, programs=(*node.programs, bad))
    plan = dataclasses.replace(lab.plan, nodes=tuple(wanted if n.name == "desk" else n for n in lab.plan.nodes))

    kinds = []
    await lab.driver.apply(lab.id, converge(plan, await lab.driver.observe(lab.id)))
    async with asyncio.timeout(SECONDS):
        async for message in lab.messages:
            assert (message.range_id, message.node, message.program) == (lab.id, "desk", "bad")
            kinds.append((message.body["kind"], message.body.get("code")))
            if message.body["kind"] == "exit":
                break
    left = converge(plan, await lab.driver.observe(lab.id))

    assert kinds == [("error", None), ("exit", 1)]
    assert [action.program for action in left] == [bad]  # type: ignore[union-attr]


async def test_send_to_nobody_is_an_error_that_names_it(lab: Launched) -> None:
    with pytest.raises(DriverError, match="nobody"):
        await lab.driver.send(lab.id, "plc", "nobody", {"kind": "read"})


async def test_a_paused_range_stands_still_and_goes_on(lab: Launched) -> None:
    await lab.driver.pause(lab.id)
    await lab.driver.send(lab.id, "plc", "plc", {"kind": "read", "id": 4711, "table": "holding", "address": 0})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.6):
            await lab.next("reply", id=4711)
    while_paused = await lab.driver.observe(lab.id)
    await lab.driver.resume(lab.id)
    # the waiting above was cancelled inside the driver's iterator: a new one goes on where it stood
    lab.messages = lab.driver.messages(lab.id)

    assert converge(lab.plan, while_paused) == []
    assert (await lab.next("reply", id=4711)).body["values"]


async def test_messages_end_when_the_range_is_closed(driver: Driver) -> None:
    lab = await Launched(driver, small_range()).launch()

    await lab.close()
    async with asyncio.timeout(SECONDS), aclosing(lab.messages) as rest:  # type: ignore[type-var]
        left = [message.body["kind"] async for message in rest]

    assert set(left) <= {"exit", "telemetry", "written"}


async def test_closing_is_final_and_idempotent(driver: Driver) -> None:
    lab = await Launched(driver, small_range()).launch()

    await lab.close()
    await lab.close()

    assert await driver.observe(lab.id) == Observed()
    with pytest.raises(UnknownRange):
        await driver.exec(lab.id, "tester", ["true"])
    with pytest.raises(UnknownRange):
        await driver.apply(lab.id, [])


async def test_a_reopened_range_is_fresh_and_nothing_of_the_old_one_is_heard(lab: Launched) -> None:
    old = lab.messages
    await lab.driver.exec(lab.id, "tester", ["lb-modbus", "write", "plc", "holding", "300", "77"])
    pty = await lab.driver.shell(lab.id, "tester")

    await lab.driver.reopen(lab.id, lab.plan.limits)
    empty = await lab.driver.observe(lab.id)
    await lab.launch()
    async with asyncio.timeout(SECONDS):
        rest = {message.body["kind"] async for message in old}
        while await pty.read():
            pass
    read = await lab.ask("plc", "plc", "read", table="holding", address=300)
    met = await lab.ask("tester", "probe", "try_connect", host="plc", port=502)
    observed = await lab.driver.observe(lab.id)

    assert (empty, read, met["open"]) == (Observed(), {"values": [0]}, True)
    assert rest <= {"exit", "telemetry", "written", "ready", "reply"}
    assert converge(lab.plan, observed) == []


async def test_a_paused_range_is_reopened_too_and_closing_ends_old_and_new(driver: Driver) -> None:
    lab = await Launched(driver, small_range()).launch()
    await driver.pause(lab.id)

    await driver.reopen(lab.id, lab.plan.limits)
    await driver.reopen(lab.id, lab.plan.limits)
    await lab.launch()
    await lab.close()
    left = await driver.sweep()

    assert (await driver.observe(lab.id), dict(left.removed)) == (Observed(), {})


async def test_reopening_what_is_not_there_opens_it(driver: Driver) -> None:
    lab = Launched(driver, small_range())

    await driver.reopen(lab.id, lab.plan.limits)
    await lab.launch()
    observed = await driver.observe(lab.id)
    await lab.close()

    assert converge(lab.plan, observed) == []


async def test_two_ranges_with_the_same_addresses_do_not_meet(driver: Driver) -> None:
    one, two = Launched(driver, small_range("c0ffee000001")), Launched(driver, small_range("c0ffee000002"))
    if driver.name == "docker":  # one engine cannot have two networks of one subnet; the address plan never asks it to
        two = Launched(driver, small_range("c0ffee000002", block=42))
    await asyncio.gather(one.launch(), two.launch())

    await one.driver.exec(one.id, "tester", ["lb-modbus", "write", "plc", "holding", "300", "11"])
    values = [await lab.ask("plc", "plc", "read", table="holding", address=300) for lab in (one, two)]
    await one.close()
    alive = await two.ask("tester", "probe", "try_connect", host="plc", port=502)
    await two.close()

    assert values == [{"values": [11]}, {"values": [0]}]
    assert alive["open"] is True


async def test_sweep_keeps_what_it_is_told_and_removes_the_rest(driver: Driver) -> None:
    kept, dropped = Launched(driver, small_range("c0ffee000003", 43)), Launched(driver, small_range("c0ffee000004", 44))
    await asyncio.gather(kept.launch(), dropped.launch())

    swept = await driver.sweep(keep=frozenset({kept.id}))
    observed = [await driver.observe(lab.id) for lab in (kept, dropped)]
    again = await driver.sweep(keep=frozenset({kept.id}))
    await kept.close()

    assert (converge(kept.plan, observed[0]), observed[1]) == ([], Observed())
    assert sum(swept.removed.values()) > 0
    assert dict(again.removed) == {}


async def test_a_hub_program_sees_the_frames_of_visible_zones(driver: Driver) -> None:
    base = small_range("c0ffee000005", 45)
    hidden = ZonePlan("wiring", "10.45.3.0/24", "lb000005c", 0.0, hidden=True)
    taps = {zone.name: zone.bridge for zone in base.zones}
    sensor = NodePlan("sensor", (), (ProgramPlan("sensor", "sensor", {"taps": taps}),), placement="hub")
    lab = await Launched(
        driver, dataclasses.replace(base, zones=(*base.zones, hidden), nodes=(*base.nodes, sensor))
    ).launch()

    async def poll() -> None:
        while True:
            await lab.driver.exec(lab.id, "tester", ["lb-modbus", "read", "plc", "holding", "300", "1"])
            await asyncio.sleep(0.2)

    polling = asyncio.create_task(poll())
    try:
        said = (await lab.next("polls")).body["polls"]
        while not said:
            said = (await lab.next("polls")).body["polls"]
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        await lab.close()

    assert (said[0]["zone"], said[0]["server"], said[0]["port"]) == ("shop", "10.45.2.10", 502)


async def test_zones_without_nodes_are_observed(driver: Driver) -> None:
    plan = small_range("c0ffee000006", 46)
    await driver.open(plan.range_id, plan.limits)

    await driver.apply(plan.range_id, [CreateZone(zone) for zone in plan.zones])
    empty = await driver.observe(plan.range_id)
    await driver.apply(plan.range_id, [CreateNode(dataclasses.replace(plan.node("desk"), programs=()))])
    one = await driver.observe(plan.range_id)
    await driver.close(plan.range_id)

    assert empty == Observed(frozenset({"office", "shop"}))
    assert one == Observed(frozenset({"office", "shop"}), frozenset({"desk"}))


def test_the_suite_leaves_no_descriptor_behind() -> None:
    """Runs last in this file: descriptors of ours, sockets of closed ranges would show here."""
    assert len(os.listdir("/proc/self/fd")) < 60
