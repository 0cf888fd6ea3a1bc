"""Launch and kill -9 at random moments: nothing of a range may outlive it. Counted before and after.

LIANBING_CHAOS_CYCLES says how many (10). Victims: the owner (engine or worker: the process that holds the driver), the range's
supervisor or a container's first process, the warm process. The seed is printed: LIANBING_CHAOS_SEED runs the same again.

netns, 2026-11-23, seed 20261123, machine at load 15 to 60: two runs stopped at a warm process that outlived its killed owner by
20 s while it still imported (the second in cycle 53); since it dies with its owner (zygote.py) 42 cycles without a find, not yet 100.
docker, the same day, load 6 to 17: 14 cycles (a good 20 s each) without a find, not yet 100. `-k docker` takes the capsule along.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyber_range.engine.drivers.registry import load
from tests.conftest import skip_or_fail
from tests.cyber_range.engine.drivers.test_netns_life import descendants, living

CYCLES = int(os.environ.get("LIANBING_CHAOS_CYCLES", "10"))
SEED = os.environ.get("LIANBING_CHAOS_SEED") or str(time.time_ns())
ROOT = Path(__file__).resolve().parents[4]
OWNER = f"chaos-{os.getpid()}"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 40 * CYCLES)]

OWNING = """
import asyncio, os, sys
from cyber_range.engine.drivers.registry import load
from cyber_range.engine.plan import *
from tests.contracts.test_driver import Launched, small_range
async def main():
    driver = load(sys.argv[1])()
    plan = small_range(sys.argv[2], int(sys.argv[3]))
    print("begun", flush=True)
    lab = await Launched(driver, plan).launch()
    print("up", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
SWEEPING = """
import asyncio, sys
from cyber_range.engine.drivers.registry import load
async def main():
    driver = load(sys.argv[1])()
    print(dict((await driver.sweep()).removed))
    await driver.aclose()
asyncio.run(main())
"""


def python(script: str, *argv: str) -> list[str]:
    return [sys.executable, "-c", "import django; django.setup()\n" + script, *argv]


def environment() -> dict[str, str]:
    return {
        **os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "lms.project.settings", "LIANBING_RANGE_OWNER": OWNER,
    }  # fmt: skip


def said(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()


def ours(name: str) -> dict[str, object]:
    """Everything that bears our mark, by kind."""
    found: dict[str, object] = {}
    if name != "netns":
        labels = {
            "docker": f"label=lianbing.owner={OWNER}",
            "capsule": f"label=lianbing.capsule.owner={OWNER}",
        }
        found["containers"] = said("docker", "ps", "-aq", "--filter", labels[name])
        if name == "docker":
            found["keepers"] = said("docker", "ps", "-aq", "--filter", f"label=lianbing.wall={OWNER}")
        found["networks"] = said("docker", "network", "ls", "-q", "--filter", labels[name])
        found["rules"] = [line for line in said("nft", "list", "tables") if "c4a05" in line] if name == "docker" else []
    found["interfaces"] = [link for link in os.listdir("/sys/class/net") if link.startswith("lbc4a05")]
    found["mounts"] = [line for line in Path("/proc/mounts").read_text().splitlines() if "lb-capsule-" in line]
    found["processes"] = [
        pid for pid in os.listdir("/proc")
        if pid.isdigit() and b"c4a05" in title(pid) and b"lb-" in title(pid)
    ]  # fmt: skip
    return found


def title(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def nothing_of(name: str) -> dict[str, object]:
    return {key: [] for key in ours(name)}


def settled(name: str, seconds: float = 30) -> dict[str, object]:
    """What is there once it no longer changes for the better."""
    deadline = time.monotonic() + seconds
    while (left := ours(name)) != nothing_of(name) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def namespaces(pids: set[int]) -> set[str]:
    """Network namespaces of those processes that are not ours."""
    own, found = os.readlink("/proc/self/ns/net"), set()
    for pid in pids:
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
        except OSError:
            continue
    return found - {own}


def in_use(seen: set[str]) -> set[str]:
    return seen & namespaces({int(pid) for pid in os.listdir("/proc") if pid.isdigit()})


@pytest.fixture(
    params=[
        pytest.param("netns", marks=pytest.mark.netns),
        pytest.param("capsule", marks=pytest.mark.docker),
        pytest.param("docker", marks=pytest.mark.docker),
    ]
)
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    if os.geteuid() != 0:
        skip_or_fail("root, to see every process and namespace")
    import asyncio

    probe = asyncio.run(load(request.param).probe())
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    yield str(request.param)
    subprocess.run(python(SWEEPING, str(request.param)), env=environment(), cwd=ROOT, check=True, capture_output=True)


def victims(name: str, owner: int) -> dict[str, int]:
    """Whom to kill, by word; those that are there at this moment."""
    found = {"owner": owner}
    for pid in descendants(owner):
        words = title(str(pid))
        if words.startswith(b"lb-zygote"):
            found["warm process"] = pid
        elif words.startswith(b"lb-range:"):
            found["supervisor"] = pid
    if name != "netns":
        label = "lianbing.owner" if name == "docker" else "lianbing.capsule.owner"
        for container in said("docker", "ps", "-q", "--filter", f"label={label}={OWNER}")[:1]:
            try:
                pid = int(said("docker", "inspect", "-f", "{{.State.Pid}}", container)[0])
            except (subprocess.CalledProcessError, IndexError):
                continue
            if pid:
                found["container"] = pid
    return found


def test_whatever_is_killed_nothing_is_left(name: str) -> None:
    chance = random.Random(f"{SEED} {name}")
    before = ours(name)
    told = []
    for cycle in range(CYCLES):
        child = subprocess.Popen(
            python(OWNING, name, f"c4a05{cycle:07x}", str(100 + cycle % 100)), stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=environment(), cwd=ROOT,
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        if chance.random() < 0.3:
            child.stdout.readline()  # killed when it is up; else somewhere on the way
        else:
            time.sleep(chance.uniform(0, 2.5 if name == "docker" else 1.0))
        below = descendants(child.pid)
        seen = namespaces(below)
        whom, pid = chance.choice(sorted(victims(name, child.pid).items()))
        told.append(whom)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            told[-1] += " (gone already)"
        if whom != "owner":  # it notices by itself; what it does about it is the lab's business
            time.sleep(0.2)
            child.kill()
        child.wait()
        child.stdout.close()
        deadline = time.monotonic() + 20
        while (living(below) or in_use(seen)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (living(below), in_use(seen)) == (set(), set()), (
            SEED, cycle, told[-1], [title(str(pid)) for pid in living(below)],
        )  # fmt: skip
        if name == "docker":  # nodes outlive their host by design: the next one sweeps or takes them over
            subprocess.run(python(SWEEPING, name), env=environment(), cwd=ROOT, check=True, capture_output=True)
        assert settled(name) == nothing_of(name), (SEED, told)

    assert ours(name) == before == nothing_of(name), (SEED, told)
    sys.stdout.write(f"{name}: {CYCLES} cycles, killed {sorted(set(told))}, seed {SEED}\n")
