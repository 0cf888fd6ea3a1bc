"""Life and death of netns ranges: nothing outlives its owner, nothing leaks, root is given up, closed folders work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cyber_range.engine.drivers.netns import NetnsDriver
from cyber_range.engine.drivers.netns.sweep import Owner, titled
from cyber_range.engine.errors import DriverError, DriverUnavailable
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
from tests.conftest import skip_or_fail

pytestmark = pytest.mark.netns

ROOT = Path(__file__).resolve().parents[4]
STAND_IN = "tests.cyber_range.engine.drivers.stand_in"


def plan(range_id: str, *programs: ProgramPlan, nodes: int = 2) -> RangePlan:
    def node(number: int) -> NodePlan:
        leg = InterfacePlan("shop", "eth0", f"10.78.1.{10 + number}", 24, f"02:00:00:00:78:{number:02x}")
        return NodePlan(f"n{number}", (leg,), programs or (ProgramPlan("svc", "echo", {"port": 7}),), shell=True)

    return RangePlan(range_id, (ZonePlan("shop", "10.78.1.0/24", "shop0", 1.0),), tuple(node(n) for n in range(nodes)))


@pytest.fixture
async def driver() -> AsyncIterator[NetnsDriver]:
    probe = await NetnsDriver.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    made = NetnsDriver(runner=f"{STAND_IN}:serve", preload=(STAND_IN,))
    yield made
    await made.aclose()


async def launch(driver: NetnsDriver, wanted: RangePlan) -> None:
    await driver.open(wanted.range_id, wanted.limits)
    await driver.apply(wanted.range_id, converge(wanted, Observed()))


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        try:
            tasks = os.listdir(f"/proc/{parent}/task")
            children = [
                int(child)
                for task in tasks
                for child in Path(f"/proc/{parent}/task/{task}/children").read_text().split()
            ]
        except OSError:
            continue
        found |= set(children)
        waiting += children
    return found


def living(pids: set[int]) -> set[int]:
    def alive(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    return {pid for pid in pids if alive(pid)}


async def gone(pids: set[int], seconds: float = 3.0) -> set[int]:
    """Those still alive after waiting for all of them to go."""
    deadline = time.monotonic() + seconds
    while living(pids) and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells us of the end of strangers
        await asyncio.sleep(0.01)
    return living(pids)


async def test_close_ends_every_process_and_leaks_no_descriptor(driver: NetnsDriver) -> None:
    await launch(driver, plan("11fe00000001"))
    await driver.close("11fe00000001")
    # The zygote, and what fixtures of other tests keep alive in this process, stay.
    before, processes = os.listdir("/proc/self/fd"), descendants(os.getpid())

    for _ in range(3):
        await launch(driver, plan("11fe00000001"))
        await driver.exec("11fe00000001", "n0", ["true"])
        pty = await driver.shell("11fe00000001", "n0")
        assert len(descendants(os.getpid())) > len(processes)
        await driver.close("11fe00000001")
        assert await pty.read() == b""

    assert await gone(descendants(os.getpid()) - processes) == set()
    assert len(os.listdir("/proc/self/fd")) == len(before)


async def test_a_removed_node_takes_its_processes_and_links_along(driver: NetnsDriver) -> None:
    wanted = plan("11fe00000002")
    await launch(driver, wanted)
    before = descendants(os.getpid())

    await driver.apply(wanted.range_id, converge(plan("11fe00000002", nodes=1), await driver.observe(wanted.range_id)))
    left = descendants(os.getpid())
    await driver.apply(wanted.range_id, converge(wanted, await driver.observe(wanted.range_id)))

    assert len(before - left) == 2  # its init and its program
    assert converge(wanted, await driver.observe(wanted.range_id)) == []


async def test_a_program_that_ends_badly_says_why(driver: NetnsDriver) -> None:
    wanted = plan("11fe00000003", ProgramPlan("pump", "crash"), nodes=1)
    await launch(driver, wanted)

    messages = driver.messages(wanted.range_id)
    async with asyncio.timeout(10):
        message = await anext(messages)

    assert (message.node, message.program, message.body) == (
        "n0",
        "pump",
        {"kind": "exit", "code": 3, "log": "the pump is dry\n"},
    )


async def test_an_unread_range_stops_its_programs_instead_of_filling_memory(driver: NetnsDriver) -> None:
    wanted = plan("11fe00000004", nodes=1)
    await launch(driver, wanted)

    await driver.send(wanted.range_id, "n0", "svc", {"do": "chatter", "count": 30_000})
    await asyncio.sleep(1.0)
    queued = driver._ranges[wanted.range_id].queue.qsize()
    messages = driver.messages(wanted.range_id)
    numbers = []
    async with asyncio.timeout(20):
        while len(numbers) < 30_000:
            message = await anext(messages)
            if message.body["kind"] == "telemetry":
                numbers.append(message.body["number"])

    assert queued < 15_000  # the limit and what one read had brought beyond it
    assert numbers == list(range(30_000))


async def test_a_failing_node_leaves_the_range_usable(driver: NetnsDriver) -> None:
    wanted = plan("11fe00000005")
    leg = InterfacePlan("shop", "eth0", "10.78.1.99", 24, "02:00:00:00:78:99")
    bad = NodePlan("bad", (leg,), (), routes=(("0.0.0.0/0", "203.0.113.1"),))  # a gateway nobody can reach
    await launch(driver, wanted)
    before = descendants(os.getpid())

    with pytest.raises(DriverError, match=r"node bad.*203\.0\.113\.1"):
        await driver.apply(
            wanted.range_id,
            converge(
                RangePlan(wanted.range_id, wanted.zones, (*wanted.nodes, bad)), await driver.observe(wanted.range_id)
            ),
        )

    assert converge(wanted, await driver.observe(wanted.range_id)) == []
    assert await gone(descendants(os.getpid()) - before) == set()
    assert before <= descendants(os.getpid())


OWNER = """
import asyncio, sys
from cyber_range.engine.drivers.netns import NetnsDriver
from tests.cyber_range.engine.drivers.test_netns_life import STAND_IN, launch, plan
async def main():
    driver = NetnsDriver(runner=STAND_IN + ":serve", preload=(STAND_IN,))
    for number in sys.argv[1:]:
        await launch(driver, plan(number))
    print("up", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[str]]:
    """Another process that owns a driver with one range."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "lms.project.settings"}
    child = subprocess.Popen(
        [sys.executable, "-c", "import django; django.setup()\n" + OWNER, "11fe000000aa"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    yield child
    child.kill()
    child.wait()


async def test_sigkill_of_the_driver_leaves_no_process(driver: NetnsDriver, owner: subprocess.Popen[str]) -> None:
    children = descendants(owner.pid)

    owner.send_signal(signal.SIGKILL)
    owner.wait()

    assert len(children) >= 7  # zygote, two of the supervisor, two of each node
    assert await gone(children) == set()


async def test_sigkill_of_the_zygote_ends_its_ranges_and_the_driver_starts_anew(driver: NetnsDriver) -> None:
    wanted = plan("11fe00000006")
    others = descendants(os.getpid())  # fixtures of other tests
    await launch(driver, wanted)
    children = descendants(os.getpid()) - others
    messages = driver.messages(wanted.range_id)
    assert driver.warm.pid

    os.kill(driver.warm.pid, signal.SIGKILL)
    said = [(message.node, message.body["kind"]) async for message in messages]
    left = await gone(children)
    again = await driver.observe(wanted.range_id)
    await launch(driver, wanted)

    assert left == set()
    assert said[-2:] == [("n0", "exit"), ("n1", "exit")]
    assert again == Observed()
    assert converge(wanted, await driver.observe(wanted.range_id)) == []


async def test_even_stopped_processes_end_with_their_owner(driver: NetnsDriver, owner: subprocess.Popen[str]) -> None:
    """Their parent-death signal is SIGKILL, which a stopped process cannot put off."""
    children = descendants(owner.pid)
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    untouched = dict((await driver.sweep()).removed)

    owner.kill()
    owner.wait()

    assert untouched == {}  # a living owner keeps its ranges
    assert await gone(children) == set()
    assert [found for found in titled() if found[0] in children] == []


@contextlib.contextmanager
def titled_process(title: str) -> Iterator[subprocess.Popen[bytes]]:
    """What a driver of an older version, or a kernel without a parent-death signal, may leave behind."""
    child = subprocess.Popen([title, "60"], executable=shutil.which("sleep"))
    try:
        yield child
    finally:
        child.kill()
        child.wait()


async def test_sweep_ends_what_outlived_its_owner(driver: NetnsDriver) -> None:
    await driver.start()
    with titled_process("nobody") as dead:
        pass
    ourselves = Owner.ourselves()
    with (
        titled_process(f"lb-zygote owner={dead.pid}.1") as zygote,
        titled_process(f"lb-range:11fe000000ab owner={dead.pid}.1") as left,
        titled_process(f"lb-range:11fe000000ac owner={dead.pid}.1") as wanted,
        titled_process(
            f"lb-range:11fe000000ad owner={ourselves.pid}.1"
        ) as reused,  # the pid lives, its process does not
        titled_process(f"lb-zygote owner={ourselves}") as ours,
    ):
        swept = dict((await driver.sweep(keep=frozenset({"11fe000000ac"}))).removed)
        ended = {child.pid: child.poll() for child in (zygote, left, wanted, reused, ours)}

    kill = -signal.SIGKILL
    assert swept == {"ranges": 2, "zygotes": 1}
    assert list(ended.values()) == [kill, kill, None, kill, None]


def as_root_script(folder: Path, body: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(body)],
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd="/",
        env={"PYTHONPATH": str(folder), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.fixture
def closed_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the engine below a folder only root may enter, made with umask 077."""
    if os.geteuid() != 0:
        skip_or_fail("root, to make a folder closed to the range's user")
    folder = Path("/opt") / f"lb-closed-{os.getpid()}" / "project"
    folder.mkdir(parents=True)
    shutil.copytree(
        ROOT / "cyber_range" / "engine", folder / "cyber_range" / "engine", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "cyber_range" / "__init__.py").touch()
    for place in (folder.parent, *folder.parent.rglob("*")):
        place.chmod(0o700 if place.is_dir() else 0o600)
    yield folder
    shutil.rmtree(folder.parent)


RANGE_IN_CLOSED_PROJECT = """
    import asyncio, os, sys
    from cyber_range.engine.drivers.netns import NetnsDriver, drop_privileges, prepare_as_root
    from cyber_range.engine.plan import *
    {first}
    async def main():
        driver = NetnsDriver({arguments})
        leg = InterfacePlan("shop", "eth0", "10.79.1.10", 24, "02:00:00:00:79:01")
        node = NodePlan("n0", (leg,), (ProgramPlan("probe", "probe", {{}}),), caps=frozenset({{"net_raw"}}), shell=True)
        wanted = RangePlan("11fe0000c105", (ZonePlan("shop", "10.79.1.0/24", "shop0", 1.0),), (node,))
        await driver.open(wanted.range_id, wanted.limits)
        messages = driver.messages(wanted.range_id)
        await driver.apply(wanted.range_id, converge(wanted, Observed()))
        print((await anext(messages)).body["kind"])
        answer = await driver.exec(wanted.range_id, "n0", ["lb-scan", "--help"])
        print(answer.code, b"--ports" in answer.stdout)
        answer = await driver.exec(wanted.range_id, "n0", ["sh", "-c", "ls {project} || echo unseen"])
        print(answer.stdout.decode().strip())
        print(os.stat(f"/proc/{{driver.warm.pid}}").st_uid, driver.warm.skipped)
        await driver.aclose()
    asyncio.run(main())
"""


def test_a_project_only_root_may_read_works_when_the_zygote_drops(closed_project: Path) -> None:
    script = RANGE_IN_CLOSED_PROJECT.format(first="", arguments="user=65534", project=closed_project)

    done = as_root_script(closed_project, script)

    assert (done.returncode, done.stdout.splitlines()) == (0, ["ready", "0 True", "unseen", "65534 {}"]), done


def test_a_project_only_root_may_read_works_after_the_whole_process_dropped(closed_project: Path) -> None:
    """The way of range-host: prepare and drop first, make the driver (which starts a new Python) afterwards."""
    first = """
    data = "/opt/lb-closed-data"
    os.makedirs(data, exist_ok=True); os.chown(data, 65534, 65534); os.chmod(data, 0o700)
    covered = prepare_as_root((65534, 65534), writable=[data])
    drop_privileges(65534)
    assert os.geteuid() == 65534 and covered
    open(data + "/spool", "w").write("x"); os.unlink(data + "/spool"); """
    script = RANGE_IN_CLOSED_PROJECT.format(first=first, arguments="", project=closed_project)

    done = as_root_script(closed_project, script)
    os.rmdir("/opt/lb-closed-data")

    assert (done.returncode, done.stdout.splitlines()) == (0, ["ready", "0 True", "unseen", "65534 {}"]), done


def test_dropping_is_final() -> None:
    if os.geteuid() != 0:
        skip_or_fail("root, to give it up")
    script = """
    import os
    from cyber_range.engine.drivers.netns import account, drop_privileges
    drop_privileges()
    print((os.geteuid(), os.getegid()) == account(), os.getgroups())
    try: os.setuid(0)
    except PermissionError: print("final")
    """

    done = as_root_script(ROOT, script)

    assert done.stdout.splitlines() == ["True []", "final"], done


def test_an_account_that_does_not_exist_is_named_with_its_remedy() -> None:
    from cyber_range.engine.drivers.netns import account

    with pytest.raises(DriverUnavailable, match=r"no-such-account.*useradd --system"):
        account("no-such-account")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_works_as_an_ordinary_user() -> None:
    """The contract, isolation and life suites again, run by nobody (uid 65534)."""
    if os.geteuid() != 0:
        skip_or_fail("root, to run the suites a second time as another user (they run as this user anyway)")
    script = f"""
    import os, sys
    from cyber_range.engine.drivers.netns import drop_privileges, prepare_as_root
    from cyber_range.engine.drivers.netns.tree import Sources
    os.makedirs("/tmp/lb-nobody", exist_ok=True); os.chown("/tmp/lb-nobody", 65534, 65534)
    prepare_as_root((65534, 65534), [*Sources.here().paths(), {str(ROOT)!r}], writable=["/tmp/lb-nobody"])
    drop_privileges(65534)
    os.environ |= {{"HOME": "/tmp/lb-nobody", "TMPDIR": "/tmp/lb-nobody"}}
    os.environ.pop("LIANBING_ALL_SERVICES", None)
    os.chdir({str(ROOT)!r})
    import pytest
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-m", "netns and not slow", "tests/contracts/test_driver.py",
                          "tests/cyber_range/engine/drivers", "--basetemp=/tmp/lb-nobody/pytest"]))
    """

    done = as_root_script(ROOT, script, seconds=540)
    shutil.rmtree("/tmp/lb-nobody", ignore_errors=True)

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


async def test_ten_controllers_are_ready_in_a_moment(driver: NetnsDriver) -> None:
    """The speed goal (0.1 s on a quiet machine) is a benchmark's business; this only catches a lost factor of ten."""
    wanted = plan("11fe00000007", ProgramPlan("plc", "modbus"), nodes=10)
    await driver.start()
    started = time.monotonic()

    await launch(driver, wanted)
    messages = driver.messages(wanted.range_id)
    ready = [(await anext(messages)).body["kind"] for _ in range(10)]
    taken = time.monotonic() - started
    closing = time.monotonic()
    await driver.close(wanted.range_id)

    assert ready == ["ready"] * 10
    assert taken < 3.0
    assert time.monotonic() - closing < 1.0


async def test_limits_reach_the_processes(driver: NetnsDriver) -> None:
    wanted = plan("11fe00000008", nodes=1)
    limits = Limits(node_pids=33, node_memory_mib=200, node_store_mib=8)
    await driver.open(wanted.range_id, limits)
    await driver.apply(wanted.range_id, converge(wanted, Observed()))

    said = await driver.exec(
        wanted.range_id, "n0", ["bash", "-c", "ulimit -u; ulimit -d; ulimit -f; df -k --output=size / | tail -1"]
    )

    assert said.stdout.split() == [b"33", b"204800", b"8192", b"8192"]
