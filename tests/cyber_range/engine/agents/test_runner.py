"""A program's life: ready, commands, clock, errors, exit codes; inside and over pipes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cyber_range.engine.agents.context import Clock, answer
from cyber_range.engine.agents.runner import run_inside
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs


class QuietNode:
    """A command loop without a network, which ends when all its commands are answered."""

    def __init__(self, commands: list[dict[str, Any]]) -> None:
        self._commands, self.said = commands, []

    async def commands(self) -> AsyncIterator[dict[str, Any]]:
        for command in self._commands:
            yield command
        async with asyncio.timeout(10):
            while len(self.said) < len(self._commands):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def emit(self, kind: str, **fields: Any) -> None:
        self.said.append(fields)


async def test_an_unknown_program_is_an_error_and_exit_code_2() -> None:
    said: list[dict[str, Any]] = []

    code = await run_inside("n", "nosuch", {}, LoopbackNet("127.9.0.2"), asyncio.Queue(), said.append)

    assert code == 2
    assert said == [
        {
            "kind": "error",
            "what": "there is no node program 'nosuch' (module cyber_range.engine.agents.nosuch)",
            "where": "",
        }
    ]


@pytest.mark.parametrize("use", ["../x", "os", "tools.ssh", "runner", "kernel"])
async def test_only_programs_can_be_run(use: str) -> None:
    said: list[dict[str, Any]] = []

    assert await run_inside("n", use, {}, LoopbackNet("127.9.0.2"), asyncio.Queue(), said.append) == 2
    assert said[0]["kind"] == "error"


async def test_a_program_that_fails_says_what_and_where() -> None:
    said: list[dict[str, Any]] = []

    code = await run_inside("n", "plant", {"model": "teapot"}, LoopbackNet("127.9.0.2"), asyncio.Queue(), said.append)

    assert code == 1
    assert (said[-1]["kind"], said[-1]["what"]) == ("error", "KeyError: 'teapot'")
    assert "plant.py" in said[-1]["where"]


async def test_a_wrong_command_is_answered_and_does_not_end_the_program() -> None:
    probe = Running("n", "probe", "127.9.0.2", {})
    async with programs(probe):
        wrong = await probe.ask("dance")
        right = await probe.ask("try_connect", host="127.9.0.3", port=9, timeout=1)

    assert (
        wrong["error"] == "LookupError: no command 'dance'; there are: read_modbus, try_bacnet, try_connect, try_login"
    )
    assert right["open"] is False
    assert await probe.task == 0


async def test_commands_that_wait_for_a_peer_wait_together() -> None:
    """Ten objectives that each try a way through a firewall wait as long as one."""
    node = QuietNode([{"kind": "meet", "id": n} for n in range(3)] + [{"kind": "alone", "id": n} for n in (7, 8)])
    here: list[int] = []
    all_here, order = asyncio.Event(), []

    async def meet(command: dict[str, Any]) -> dict[str, Any]:
        here.append(command["id"])
        if len(here) == 3:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), 5)
        return {"met": 3}

    async def alone(command: dict[str, Any]) -> None:
        order.append(("begins", command["id"]))
        await asyncio.sleep(0)
        order.append(("ends", command["id"]))

    await answer(node, {"meet": meet, "alone": alone}, {"meet"})  # type: ignore[arg-type, dict-item]

    assert order == [("begins", 7), ("ends", 7), ("begins", 8), ("ends", 8)]
    assert sorted(node.said, key=lambda one: one["id"]) == [
        {"id": 0, "met": 3}, {"id": 1, "met": 3}, {"id": 2, "met": 3}, {"id": 7}, {"id": 8},
    ]  # fmt: skip


async def test_the_clock_command_sets_speed_and_time() -> None:
    probe = Running("n", "probe", "127.9.0.2", {})
    async with programs(probe):
        answer = await probe.ask("clock", speed=10, at=300)

    assert answer["speed"] == 10
    assert 300 <= answer["at"] < 301


async def test_sleepers_notice_when_the_clock_changes() -> None:
    clock = Clock(speed=0)
    sleeping = asyncio.ensure_future(clock.sleep(100))
    await asyncio.sleep(0.02)
    assert not sleeping.done()

    clock.set(speed=10_000)
    await asyncio.wait_for(sleeping, 2)

    assert clock.now() >= 100


def start(use: str, spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cyber_range.engine.agents", use], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"node": "n1", "spec": spec}).encode() + b"\n")
    process.stdin.flush()
    return process


def test_over_pipes_a_program_speaks_json_lines_and_ends_with_its_input() -> None:
    process = start("probe", {})
    assert process.stdin is not None
    assert process.stdout is not None

    assert json.loads(process.stdout.readline()) == {"kind": "ready"}
    process.stdin.write(b"not json\n" + json.dumps({"kind": "clock", "id": 1, "speed": 2, "at": 5}).encode() + b"\n")
    process.stdin.flush()
    unreadable, reply = json.loads(process.stdout.readline()), json.loads(process.stdout.readline())
    begun = time.monotonic()
    process.stdin.close()

    assert process.wait(10) == 0
    assert time.monotonic() - begun < 1.5
    assert (unreadable["kind"], unreadable["where"]) == ("error", "not json\n")
    assert (reply["kind"], reply["id"], reply["speed"]) == ("reply", 1, 2)


def test_over_pipes_sigterm_ends_a_program_cleanly() -> None:
    process = start("probe", {})
    assert process.stdout is not None
    process.stdout.readline()

    process.terminate()

    assert process.wait(10) == 0
    assert process.stdin is not None
    process.stdin.close()


def test_a_bad_first_line_is_explained() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cyber_range.engine.agents", "probe"], input=b"{}\n", capture_output=True, timeout=20
    )

    assert done.returncode == 2
    assert b"the first line on stdin must be" in done.stderr
