"""What a node's root can do to hurt: processes, memory, disk, packets, processor. Neither the host nor the range beside it
notices, on every driver that runs real nodes.

netns has no cgroup: the sum of a range's memory is looked at every watchdog.INTERVAL seconds, so a burst may pass it
for so long (`Probe.unbounded` says it); all other bounds are the kernel's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cyber_range.engine.drivers.base import Driver, ExecResult
from cyber_range.engine.drivers.registry import load
from cyber_range.engine.plan import Limits, RangePlan
from tests.conftest import skip_or_fail
from tests.contracts.test_driver import Launched, small_range

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LIMITS = Limits(memory_mib=320, node_memory_mib=256, node_pids=64, range_pids=160, node_store_mib=16)
DRIVERS = [
    pytest.param("netns", marks=pytest.mark.netns),
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("capsule", marks=pytest.mark.docker),
]


def armed(range_id: str, block: int) -> RangePlan:
    """The contract's small range, with raw sockets on the tester."""
    plan = small_range(range_id, block)
    nodes = tuple(
        dataclasses.replace(node, caps=frozenset({"net_raw"})) if node.name == "tester" else node for node in plan.nodes
    )
    return dataclasses.replace(plan, nodes=nodes, limits=LIMITS)


class Pair:
    """The range under attack and the one beside it."""

    def __init__(self, driver: Driver, attacked: Launched, beside: Launched) -> None:
        self.driver, self.attacked, self.beside = driver, attacked, beside

    async def python(self, script: str, *argv: str, seconds: float = 60) -> ExecResult:
        return await self.driver.exec(self.attacked.id, "tester", ["python3", "-c", script, *argv], timeout=seconds)

    async def beside_works(self) -> bool:
        """A master in the other range reads its controller, and a new process starts there."""
        read = await self.beside.ask(
            "tester", "probe", "read_modbus", host="plc", table="holding", address=300, count=1
        )
        ran = await self.driver.exec(self.beside.id, "tester", ["sh", "-c", "echo alive"])
        return read == {"values": [0]} and ran.stdout == b"alive\n"

    async def rest_works(self) -> bool:
        """The other nodes of the attacked range still serve."""
        read = await self.attacked.ask("desk", "probe", "try_connect", host="127.0.0.1", port=1)
        plc = await self.driver.exec(self.attacked.id, "plc", ["sh", "-c", "echo alive"])
        return read["open"] is False and plc.stdout == b"alive\n"


def host_works() -> bool:
    return subprocess.run(["/bin/sh", "-c", "exit 7"], timeout=30, check=False).returncode == 7


@pytest.fixture(params=DRIVERS)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    kind = load(request.param)
    probe = await kind.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    driver = kind()
    try:
        attacked, beside = await asyncio.gather(
            Launched(driver, armed("11a11700000a", 61)).launch(), Launched(driver, armed("11a11700000b", 62)).launch()
        )
        yield Pair(driver, attacked, beside)
    finally:
        await driver.aclose()


BOMB = """
import json, os, time
count = 0
try:
    while count < 3000:
        if os.fork() == 0:
            time.sleep(4); os._exit(0)
        count += 1
    print(json.dumps([count, "no end"]))
except OSError as exc:
    time.sleep(2)
    print(json.dumps([count, type(exc).__name__]))
"""


async def test_a_fork_bomb(pair: Pair) -> None:
    bomb = asyncio.create_task(pair.python(BOMB))
    await asyncio.sleep(1.0)
    while_it_goes_on = (await pair.beside_works(), host_works())
    said: list[Any] = json.loads((await bomb).stdout)
    after = await pair.rest_works()

    assert (while_it_goes_on, after) == ((True, True), True)
    assert said[1] == "BlockingIOError"
    assert said[0] <= LIMITS.node_pids


HOG = """
import os, sys, time
data = bytearray(os.urandom(1)) * (120 << 20)
print(len(data) >> 20, flush=True)
time.sleep(6)
"""


async def test_a_memory_hog(pair: Pair) -> None:
    """Eight processes of 120 MiB, each within what one process may have, together three times what the range may."""
    hogs = [asyncio.create_task(pair.python(HOG, seconds=30)) for _ in range(8)]
    await asyncio.sleep(2.5)
    while_they_hold = (await pair.beside_works(), host_works())
    done = await asyncio.gather(*hogs)
    lived = sum(result.code == 0 for result in done)
    after = await pair.rest_works()

    assert (while_they_hold, after) == ((True, True), True)
    assert lived * 120 <= LIMITS.memory_mib
    assert {result.code for result in done} <= {0, 137}, [result.stderr[-300:] for result in done]


FILLER = """
import errno, json, os
written, errors, files = 0, set(), 0
places = [p for p in ("/tmp", "/home", "/root", "/var/tmp", "/dev/shm", "/run", "/srv", "/etc", "/usr", "/opt", "/") if os.path.isdir(p)]
for place in places:
    try:
        with open(f"{place}/filler", "ab", buffering=0) as file:
            while True:
                written += file.write(bytes(1 << 20))
    except OSError as exc:
        errors.add(errno.errorcode[exc.errno])
    try:
        while files < 30000:
            open(f"{place}/many{files}", "x").close()
            files += 1
    except OSError as exc:
        errors.add(errno.errorcode[exc.errno])
print(json.dumps([written >> 20, files, sorted(errors)]))
"""


async def test_a_disk_filler(pair: Pair) -> None:
    written, files, errors = json.loads((await pair.python(FILLER)).stdout)
    after = (await pair.beside_works(), await pair.rest_works(), host_works())
    beside = await pair.driver.exec(pair.beside.id, "tester", ["sh", "-c", "echo x > /tmp/x && cat /tmp/x"])

    assert after == (True, True, True)
    assert beside.stdout == b"x\n"
    assert written <= LIMITS.node_store_mib + 2  # beside the store a mebibyte of shared memory, where a driver has it
    assert files < 30000
    assert "ENOSPC" in errors


FLOOD = """
import socket, sys, time
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
sock.bind(("eth0", 0))
frame = b"\\xff" * 6 + b"\\x02" + bytes(5) + b"\\x88\\xb5" + bytes(1400)
end, sent = time.monotonic() + 4, 0
while time.monotonic() < end:
    try:
        sock.send(frame)
        sent += 1
    except OSError:
        pass
print(sent)
"""


async def test_a_packet_flood(pair: Pair) -> None:
    """Broadcast frames as fast as one node can, from three processes at once."""
    floods = [asyncio.create_task(pair.python(FLOOD)) for _ in range(3)]
    await asyncio.sleep(1.0)
    while_it_flows = (await pair.beside_works(), host_works())
    sent = [int((await flood).stdout) for flood in floods]
    after = await pair.attacked.ask("tester", "probe", "read_modbus", host="plc", table="holding", address=300, count=1)

    assert (while_it_flows, after) == ((True, True), {"values": [0]})
    assert min(sent) > 1000


async def test_a_busy_loop(pair: Pair) -> None:
    spinners = 2 * (os.cpu_count() or 1)
    spin = "import time\nend = time.monotonic() + 5\nwhile time.monotonic() < end: pass\nprint('spun')"
    busy = [asyncio.create_task(pair.python(spin)) for _ in range(spinners)]
    await asyncio.sleep(0.5)
    while_they_spin = (await pair.beside_works(), host_works())
    done = await asyncio.gather(*busy)

    assert while_they_spin == (True, True)
    assert {result.stdout for result in done} == {b"spun\n"}
