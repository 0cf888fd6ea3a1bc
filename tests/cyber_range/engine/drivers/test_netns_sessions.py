"""What was started from a terminal ends with it, however it tried to stay; what was not, stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from cyber_range.engine.drivers.base import Driver, Pty
from cyber_range.engine.drivers.netns import NetnsDriver, sessions
from tests.conftest import skip_or_fail
from tests.cyber_range.engine.drivers.test_netns_life import STAND_IN, launch, plan

# setsid forks when it leads a process group; the subshell's end orphans what is left: a double fork in all cases
ESCAPES = {
    "background": "sleep 4711 &",
    "no hang-up": "nohup sleep 4711 >/dev/null 2>&1 &",
    "double fork": "(setsid sleep 4711 >/dev/null 2>&1 </dev/null &)",
    "bare environment": "(env -i setsid setsid sleep 4711 >/dev/null 2>&1 </dev/null &)",
    "lowered mark": "(ulimit -R 5; setsid sleep 4711 >/dev/null 2>&1 </dev/null &)",
}


@pytest.fixture
async def driver() -> AsyncIterator[NetnsDriver]:
    probe = await NetnsDriver.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    made = NetnsDriver(runner=f"{STAND_IN}:serve", preload=(STAND_IN,))
    yield made
    await made.aclose()


async def sleepers(driver: Driver, range_id: str, node: str = "n0") -> int:
    """Processes of the node that sleep 4711 seconds."""
    listed = await driver.exec(range_id, node, ["sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"])
    return listed.stdout.decode().count("sleep 4711 ")


async def counted(driver: Driver, range_id: str, wanted: int, seconds: float = 20.0) -> int:
    deadline = time.monotonic() + seconds
    while (found := await sleepers(driver, range_id)) != wanted and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)
    return found


async def typed(pty: Pty, *lines: str) -> None:
    """Types the lines and waits until the shell has done them."""
    for line in (*lines, "echo d''one"):
        await pty.write(line.encode() + b"\r")
    seen = b""
    async with asyncio.timeout(20):
        while b"done" not in seen:
            chunk = await pty.read()
            assert chunk, seen
            seen += chunk


@pytest.mark.netns
async def test_closing_a_terminal_ends_what_it_started(driver: NetnsDriver) -> None:
    wanted = plan("5e5510000001")
    await launch(driver, wanted)
    before = await driver.observe(wanted.range_id)
    other = await driver.shell(wanted.range_id, "n0")
    await typed(other, "sleep 4711 &")
    pty = await driver.shell(wanted.range_id, "n0")
    await typed(pty, *ESCAPES.values())
    assert await counted(driver, wanted.range_id, 1 + len(ESCAPES)) == 1 + len(ESCAPES)

    await pty.close()

    assert await counted(driver, wanted.range_id, 1) == 1  # the other terminal's
    assert await driver.observe(wanted.range_id) == before
    await other.close()
    assert await counted(driver, wanted.range_id, 0) == 0


@pytest.mark.netns
async def test_leaving_a_shell_ends_what_it_started_and_what_a_command_left_stays(driver: NetnsDriver) -> None:
    wanted = plan("5e5510000002")
    await launch(driver, wanted)
    await driver.exec(wanted.range_id, "n0", ["sh", "-c", "setsid sleep 4711 >/dev/null 2>&1 </dev/null &"])
    pty = await driver.shell(wanted.range_id, "n0")
    await typed(pty, ESCAPES["double fork"])
    assert await counted(driver, wanted.range_id, 2) == 2

    await pty.write(b"exit\r")
    async with asyncio.timeout(20):
        while await pty.read():
            pass
    left = await counted(driver, wanted.range_id, 1)
    await pty.close()

    assert left == 1


@pytest.mark.netns
async def test_a_terminal_closed_while_the_range_stands_still_takes_its_processes_at_once_after(
    driver: NetnsDriver,
) -> None:
    wanted = plan("5e5510000003")
    await launch(driver, wanted)
    pty = await driver.shell(wanted.range_id, "n0")
    await typed(pty, ESCAPES["double fork"])
    assert await counted(driver, wanted.range_id, 1) == 1

    await driver.pause(wanted.range_id)
    await pty.close()
    await driver.resume(wanted.range_id)

    assert await counted(driver, wanted.range_id, 0) == 0


@pytest.mark.netns
async def test_a_command_that_ran_too_long_takes_along_what_left_its_session(driver: NetnsDriver) -> None:
    wanted = plan("5e5510000004")
    await launch(driver, wanted)

    result = await driver.exec(
        wanted.range_id,
        "n0",
        ["sh", "-c", "(setsid sleep 4711 >/dev/null 2>&1 </dev/null &) ; sleep 4711"],
        timeout=1.5,
    )

    assert result.timed_out
    assert await counted(driver, wanted.range_id, 0) == 0


def test_a_mark_can_only_be_lowered_to_a_stray() -> None:
    marks = sessions.Marks(ceiling=1 << 62)
    one, two = marks.terminal(7), marks.terminal(9)
    marks.terminals |= {one, two}

    marks.terminals.discard(one)

    assert [marks.stray(limit) for limit in (-1, 1 << 62, marks.command(7), two, one, 5)] == [
        False, False, False, False, True, True,
    ]  # fmt: skip
    assert two < marks.command(0)
