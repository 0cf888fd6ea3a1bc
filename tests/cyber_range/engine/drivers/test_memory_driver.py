"""The memory driver beyond the common contract: speed, console, stores, and what it says of itself."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cyber_range.engine.drivers.memory import MemoryDriver
from cyber_range.engine.plan import (
    InterfacePlan,
    Limits,
    NodePlan,
    Observed,
    ProgramPlan,
    RangePlan,
    ZonePlan,
    converge,
)

RANGE = "5eed00000001"


def leg(host: int) -> InterfacePlan:
    return InterfacePlan("it", "eth0", f"10.9.0.{host}", 24, f"02:09:00:00:00:{host:02x}")


def plan(nodes: int = 12) -> RangePlan:
    probe = (ProgramPlan("probe", "probe", {}),)
    made = [NodePlan(f"n{at}", (leg(at),), probe, shell=at == 1) for at in range(1, nodes + 1)]
    return RangePlan(RANGE, (ZonePlan("it", "10.9.0.0/24", f"b{RANGE}00", 4.0),), tuple(made))


@pytest.fixture
async def driver() -> AsyncIterator[MemoryDriver]:
    made = MemoryDriver()
    await made.open(RANGE, Limits())
    await made.apply(RANGE, converge(plan(), Observed()))
    yield made
    await made.aclose()


async def test_probe_says_that_nothing_is_bounded() -> None:
    probe = await MemoryDriver.probe()

    assert (probe.usable, probe.unbounded) == (True, ("memory", "cpus", "pids", "store"))


async def test_twelve_nodes_open_within_the_blink_of_an_eye() -> None:
    warm, made = MemoryDriver(), MemoryDriver()
    await warm.open("5eed00000002", Limits())
    await warm.apply("5eed00000002", converge(plan(1), Observed()))
    await warm.aclose()

    start = time.process_time()
    await made.open(RANGE, Limits())
    await made.apply(RANGE, converge(plan(), Observed()))
    ready = [await anext(made.messages(RANGE)) for _ in range(12)]
    spent = time.process_time() - start
    await made.aclose()

    assert {message.body["kind"] for message in ready} == {"ready"}
    assert spent < 0.05  # seconds of processor time: the wall clock belongs to whoever shares the machine


async def spoken(driver: MemoryDriver, keys: bytes, until: str) -> str:
    pty = await driver.shell(RANGE, "n1")
    await pty.write(keys)
    seen = ""
    async with asyncio.timeout(5):
        while until not in seen:
            seen += (await pty.read()).decode()
    await pty.close()
    return seen


async def test_console_says_that_it_is_a_simulation(driver: MemoryDriver) -> None:
    assert "[内存模拟]" in await spoken(driver, b"", "n1# ")


async def test_console_edits_a_line_and_runs_it(driver: MemoryDriver) -> None:
    seen = await spoken(driver, b"echp\x7fo wo\x1b[Drd\r", "\r\nword\r\n")

    assert "\r\nword\r\n" in seen


async def test_console_recalls_and_interrupts(driver: MemoryDriver) -> None:
    seen = await spoken(driver, b"echo one\rsleep 60\r", "sleep 60\r\n")
    again = await spoken(driver, b"sleep 60\r\x03\recho free\r", "\r\nfree\r\n")

    assert "one" in seen
    assert "^C" in again


async def test_console_ends_with_exit(driver: MemoryDriver) -> None:
    pty = await driver.shell(RANGE, "n1")

    await pty.write(b"exit\r")
    while await pty.read():
        pass

    await pty.write(b"echo gone\r")
    assert await pty.read() == b""


async def test_ping_and_addresses_answer_like_a_shell(driver: MemoryDriver) -> None:
    ping = await driver.exec(RANGE, "n1", ["ping", "-c", "2", "10.9.0.2"])
    lost = await driver.exec(RANGE, "n1", ["ping", "-c", "1", "-W", "0.1", "10.9.0.77"])
    address = await driver.exec(RANGE, "n1", ["sh", "-c", "ip -4 addr"])

    assert (ping.code, b"2 received, 0% packet loss" in ping.stdout) == (0, True)
    assert (lost.code, b"0 received" in lost.stdout) == (1, True)
    assert b"inet 10.9.0.1/24" in address.stdout


async def test_command_that_takes_too_long_is_ended(driver: MemoryDriver) -> None:
    result = await driver.exec(RANGE, "n1", ["sleep", "30"], timeout=0.05)

    assert (result.code, result.timed_out) == (124, True)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/../../../etc/passwd", "/etc/passwd"])
async def test_no_path_leads_out_of_a_nodes_folder(driver: MemoryDriver, path: str) -> None:
    result = await driver.exec(RANGE, "n1", ["cat", path])

    assert (result.code, result.stdout) == (1, b"")


def there(*places: Path) -> tuple[bool, ...]:
    return tuple(place.exists() for place in places)


async def test_close_leaves_no_folder_and_sweep_takes_those_of_dead_processes(driver: MemoryDriver) -> None:
    dead = Path(tempfile.mkdtemp(prefix="lianbing-memory-4194305-0123456789ab-"))  # a pid above the kernel's maximum
    kept = Path(tempfile.mkdtemp(prefix="lianbing-memory-4194305-ffff56789abc-"))
    own = f"lianbing-memory-{os.getpid()}-{RANGE}-"

    swept = await driver.sweep(frozenset({"ffff56789abc", RANGE}))
    left = there(dead, kept)
    os.rmdir(kept)
    await driver.close(RANGE)

    assert left == (False, True)
    assert swept.removed["folders"] >= 1
    assert [place for place in os.listdir(tempfile.gettempdir()) if place.startswith(own)] == []
