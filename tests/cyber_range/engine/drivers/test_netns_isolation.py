"""Really tries to leave a netns node, as its root, with every capability a node can have."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import socket
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cyber_range.engine.drivers.base import AgentMessage, ExecResult
from cyber_range.engine.drivers.netns import NetnsDriver
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

pytestmark = [pytest.mark.netns, pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).resolve().parents[4]
RANGE = "e5ca9e000001"
MAGIC = b"\x88\xb5lianbing-escape"  # an EtherType for local experiments
LIMITS = Limits(memory_mib=700, node_memory_mib=256, node_pids=96, range_pids=600, node_store_mib=16)
STAND_IN = "tests.cyber_range.engine.drivers.stand_in"


def node(name: str, host: int, *caps: str) -> NodePlan:
    leg = InterfacePlan("shop", "eth0", f"10.77.1.{host}", 24, f"02:00:00:00:77:{host:02x}")
    return NodePlan(name, (leg,), (ProgramPlan("svc", "echo", {"port": 7}),), caps=frozenset(caps), shell=True)


PLAN = RangePlan(
    RANGE,
    (ZonePlan("shop", "10.77.1.0/24", "shop0", 1.0),),
    (
        node("armed", 10, "net_raw", "net_admin"),
        node("plain", 20),
        NodePlan("hub", (), (ProgramPlan("tap", "tap"),), placement="hub"),
    ),
    LIMITS,
)


class Lab:
    def __init__(self, driver: NetnsDriver) -> None:
        self.driver = driver
        self.messages = driver.messages(RANGE)

    async def run(self, where: str, *argv: str, timeout: float = 60.0) -> ExecResult:
        return await self.driver.exec(RANGE, where, argv, timeout=timeout)

    async def python(self, where: str, script: str, *argv: str, timeout: float = 60.0) -> Any:
        result = await self.run(where, sys.executable, "-c", script, *argv, timeout=timeout)
        assert result.code == 0, result
        return json.loads(result.stdout)

    async def next(self, kind: str) -> AgentMessage:
        async with asyncio.timeout(30):
            while (message := await anext(self.messages)).body["kind"] != kind:
                pass
            return message


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    probe = await NetnsDriver.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    driver = NetnsDriver(runner=f"{STAND_IN}:serve", preload=(STAND_IN,))
    try:
        await driver.open(RANGE, LIMITS)
        made = Lab(driver)
        await driver.apply(RANGE, converge(PLAN, Observed()))
        for _ in range(3):
            await made.next("ready")
        yield made
    finally:
        await driver.aclose()


@pytest.fixture(scope="module")
def host() -> Iterator[dict[str, Any]]:
    """Listeners of the host that a node must not reach; each is reached from here first (the control)."""
    folder = tempfile.mkdtemp(prefix="lb-escape-")
    os.chmod(folder, 0o755)
    secret = Path(folder, "secret")
    secret.write_text("x")
    with contextlib.ExitStack() as open_sockets:
        tcp = open_sockets.enter_context(socket.create_server(("0.0.0.0", 0)))
        port = tcp.getsockname()[1]
        abstract, path = f"lb-escape-{os.getpid()}", f"{folder}/socket"
        for name in ("\0" + abstract, path):
            unix = open_sockets.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            unix.bind(name)
            unix.listen()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(name)
        addresses = sorted(host_addresses())
        for address in addresses:
            socket.create_connection((address, port), 2).close()
        yield {
            "addresses": addresses,
            "port": port,
            "abstract": abstract,
            "path": path,
            "python": os.path.realpath(sys.executable),
            "prefix": sys.prefix,
            "files": [
                "/etc/shadow",
                "/var/run/docker.sock",
                "/run/docker.sock",
                str(secret),
                str(ROOT / "pyproject.toml"),
                str(ROOT / "lms" / "project" / "settings.py"),
                str(ROOT / ".git" / "config"),
                "/home/secret",
                "/opt/lianbing/cyber_range/scenarios/filling_line/scenario.yml",
                "/etc/ssl/private",
                "/var/log/dpkg.log",
                "/dev/kvm",
                "/dev/mem",
                "/dev/vsock",
                "/dev/net/tun",
                "/dev/fuse",
                "/dev/kmsg",
                "/dev/vda",
            ],
        }
    secret.unlink()
    os.unlink(path)
    os.rmdir(folder)


def host_addresses() -> set[str]:
    """Every IPv4 address of the host, docker0's and the outer one included."""
    found = {"127.0.0.1"}
    for line in Path("/proc/net/fib_trie").read_text().split("Local:")[1].splitlines():
        if "|--" in line:
            address = line.split("|--")[1].strip()
        elif "/32 host LOCAL" in line:
            found.add(address)
    return found


# Names of errors as the kernel gave them; anything else, and above all DONE, is news that somebody must look at.
REFUSED = {
    **dict.fromkeys(
        [
            "setns",
            "unshare user",
            "unshare mount",
            "unshare net",
            "clone user",
            "mount",
            "remount /usr",
            "umount /proc",
            "mount_setattr",
            "fsopen",
            "open_tree",
            "chroot",
            "pivot_root",
            "ptrace init",
            "process_vm_readv",
            "pidfd_getfd",
            "io_uring",
            "bpf",
            "userfaultfd",
            "perf_event_open",
            "keyctl",
            "add_key",
            "memfd",
            "shmget",
            "sethostname",
            "mknod kvm",
            "syslog",
            "settimeofday",
            "reboot",
            "personality",
            "affinity",
            "tiocsti",
        ],
        "EPERM",
    ),
    **dict.fromkeys(["clone3", "unknown syscall"], "ENOSYS"),
    **dict.fromkeys(
        [f"socket {name}" for name in ("vsock", "alg", "xdp", "bluetooth", "can", "tipc", "key")], "EAFNOSUPPORT"
    ),
    **dict.fromkeys([f"netlink {name}" for name in ("xfrm", "audit", "uevent")], "EPROTONOSUPPORT"),
    "nice": "EPERM",
    "mapped uid": "EINVAL",
    "rlimit nproc": "ValueError",
    "kill init": "DONE",  # the signal is accepted and has no effect: shown by everything that comes after
    "tcp loopback": "ECONNREFUSED",
    "tcp metadata": "ENETUNREACH",
    "tcp internet": "ENETUNREACH",
    "unix abstract": "ECONNREFUSED",
    "unix path": "ENOENT",
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="escape.py names system calls by their x86_64 numbers")
@pytest.mark.parametrize("where", ["armed", "plain"])
async def test_no_way_out_of_a_node(lab: Lab, host: dict[str, Any], where: str) -> None:
    script = Path(__file__).with_name("escape.py").read_text()

    said = await lab.python(where, script, json.dumps(host))

    outcome = said["outcome"]
    expected = REFUSED | {
        f"tcp {address}": "ECONNREFUSED" if address.startswith("127.") else "ENETUNREACH"
        for address in host["addresses"]
    }
    assert {name: outcome[name] for name in expected} == expected
    files = {name: result for name, result in outcome.items() if name.startswith(("read ", "write "))}
    assert {
        name: result for name, result in files.items() if result not in ("ENOENT", "EACCES", "EROFS", "EPERM")
    } == {}
    assert {name for name in files if name.startswith("read /proc/1")} == {
        name for name, result in files.items() if name.startswith("read /proc/1") and result == "EACCES"
    }
    assert outcome["tcp6 link-local"] in ("EADDRNOTAVAIL", "ENETUNREACH", "EINVAL")
    assert set(outcome) == set(expected) | set(files) | {"tcp6 link-local"}
    assert said["descriptors"] == [0, 1, 2]
    assert said["pids"] <= 4  # init, the program, this script: nobody of the host, no sibling
    assert (said["inet6"], said["links"]) == ("", ["eth0", "lo"])
    assert [route.split()[:3] for route in said["routes"]] == [
        ["eth0", "00014D0A", "00000000"]
    ]  # own segment, no gateway
    assert said["groups"] == []


async def test_neighbours_are_alive_after_all_that(lab: Lab) -> None:
    observed = await lab.driver.observe(RANGE)
    found = await lab.run(
        "plain",
        sys.executable,
        "-c",
        "import socket; s=socket.create_connection(('10.77.1.10',7),3); s.send(b'x'); print(s.recv(9))",
    )

    assert converge(PLAN, observed) == []
    assert (found.code, found.stdout) == (0, b"b'x'\n")


async def test_program_memory_is_closed_even_to_the_nodes_root(lab: Lab) -> None:
    """Programs are forked from a process that once held other nodes' plans; nobody in the node may read them."""
    said = await lab.python(
        "armed",
        """
import json, os
found = {}
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) != os.getpid() and open(f"/proc/{name}/cmdline").read().startswith(("svc", "init")):
        for what in ("mem", "environ", "fd"):
            try:
                open(f"/proc/{name}/{what}", "rb").read(1) if what != "fd" else os.listdir(f"/proc/{name}/fd")
                found[f"{what}"] = "DONE"
            except OSError as exc:
                found.setdefault(what, type(exc).__name__)
print(json.dumps(found))
""",
    )

    assert said == {"mem": "PermissionError", "environ": "PermissionError", "fd": "PermissionError"}


async def test_titles_tell_nothing_of_the_host(lab: Lab) -> None:
    result = await lab.run("plain", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/comm /proc/2/comm")

    assert result.stdout.split() == [b"init", b"init", b"svc"]


async def test_raw_frames_stay_in_the_range(lab: Lab) -> None:
    frame = b"\xff" * 6 + b"\x02\x00\x00\x00\x77\x0a" + MAGIC + bytes(46)
    outside = None
    if os.geteuid() == 0:  # an ordinary user cannot listen; the missing route and link are tested above
        outside = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        outside.setblocking(False)
    await lab.driver.send(RANGE, "hub", "tap", {"do": "frames", "id": 1, "zone": "shop", "seconds": 1.0})
    await asyncio.sleep(0.2)

    sent = await lab.run(
        "armed",
        sys.executable,
        "-c",
        f"""
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind(("eth0", 0))
for _ in range(50): s.send({frame!r})
""",
    )
    seen_by_hub = (await lab.next("reply")).body["frames"]
    leaked = 0
    if outside is not None:
        with outside, contextlib.suppress(BlockingIOError):
            while True:
                leaked += MAGIC in outside.recv(2048)

    assert sent.code == 0, sent
    assert (seen_by_hub >= 50, leaked) == (True, 0)


async def test_without_net_raw_no_raw_socket(lab: Lab) -> None:
    said = await lab.python(
        "plain",
        """
import json, socket
found = {}
for name, args in (("packet", (socket.AF_PACKET, socket.SOCK_RAW, 0)), ("icmp", (socket.AF_INET, socket.SOCK_RAW, 1))):
    try: socket.socket(*args); found[name] = "DONE"
    except OSError as exc: found[name] = type(exc).__name__
print(json.dumps(found))
""",
    )
    link = await lab.run("plain", "ip", "link", "add", "x", "type", "dummy")

    assert said == {"packet": "PermissionError", "icmp": "PermissionError"}
    assert link.code != 0


async def test_checksums_are_computed_before_the_wire(lab: Lab) -> None:
    """A capture of real traffic must hold whole checksums, or every reader calls it damaged."""
    said = await lab.python(
        "armed",
        """
import json, socket, struct, threading
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)); tap.bind(("eth0", 0)); tap.settimeout(2)
s = socket.create_connection(("10.77.1.20", 7), 2); s.send(b"hello there"); s.recv(20); s.close()
def total(data):
    data += b"\\0" * (len(data) % 2)
    value = sum(struct.unpack(f">{len(data)//2}H", data))
    while value >> 16: value = (value & 0xffff) + (value >> 16)
    return value
seen = []
try:
    while len(seen) < 6:
        frame = tap.recv(2048)
        ip = frame[14:14 + struct.unpack(">H", frame[16:18])[0]]
        if ip[9] == 6:
            payload = ip[20:]
            seen.append(total(ip[12:20] + struct.pack(">HH", 6, len(payload)) + payload) == 0xffff)
except TimeoutError: pass
print(json.dumps(seen))
""",
    )

    assert len(said) >= 4, said
    assert all(said), said


async def test_fork_bomb_is_bounded_and_the_neighbour_lives(lab: Lab) -> None:
    bomb = asyncio.create_task(
        lab.python(
            "armed",
            """
import json, os, time
count = 0
try:
    while count < 2000:
        if os.fork() == 0:
            time.sleep(2); os._exit(0)
        count += 1
except OSError as exc:
    time.sleep(1)
    print(json.dumps([count, type(exc).__name__]))
""",
        )
    )
    await asyncio.sleep(0.7)
    neighbour = await lab.run("plain", "sh", "-c", "true; echo alive")
    count, error = await bomb

    assert (neighbour.stdout, error) == (b"alive\n", "BlockingIOError")
    assert 50 < count <= LIMITS.node_pids


async def test_disk_filler_meets_one_quota_everywhere(lab: Lab) -> None:
    said = await lab.python(
        "plain",
        """
import errno, json, os
written, errors = 0, []
for place in ("/tmp", "/home", "/dev/shm", "/root", "/var/tmp"):
    try:
        with open(f"{place}/filler", "wb", buffering=0) as file:
            for _ in range(64):
                written += file.write(bytes(1 << 20))
                if file.tell() >= 6 << 20: break
    except OSError as exc:
        errors.append(errno.errorcode[exc.errno])
for place in ("/tmp", "/home", "/dev/shm", "/root", "/var/tmp"):
    if os.path.exists(f"{place}/filler"): os.unlink(f"{place}/filler")
print(json.dumps([written >> 20, sorted(set(errors))]))
""",
    )

    assert said[1] == ["ENOSPC"]
    assert 14 <= said[0] <= LIMITS.node_store_mib


async def test_one_process_cannot_hoard(lab: Lab) -> None:
    said = await lab.python(
        "plain",
        """
import json
try:
    data = bytearray(400 << 20); print(json.dumps("DONE"))
except MemoryError: print(json.dumps("MemoryError"))
""",
    )

    assert said == "MemoryError"


async def test_watchdog_ends_the_fattest_when_a_range_is_over(lab: Lab) -> None:
    hog = "import os, time; data = bytearray(os.urandom(1)) * (200 << 20); time.sleep(30)"
    hogs = [asyncio.create_task(lab.run("plain", sys.executable, "-c", hog, timeout=20)) for _ in range(4)]

    body = (await lab.next("watchdog")).body
    done, _ = await asyncio.wait(hogs, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    killed = next(iter(done)).result()
    await asyncio.gather(*hogs)

    assert body["limit_mib"] == LIMITS.memory_mib < body["range_mib"]
    assert 150 <= body["private_mib"] <= 256
    assert killed.code == 137
    assert not killed.timed_out
    assert converge(PLAN, await lab.driver.observe(RANGE)) == []  # programs of the range were not touched


async def test_shell_has_a_terminal_of_its_own_and_dies_with_it(lab: Lab) -> None:
    pty = await lab.driver.shell(RANGE, "armed", columns=101, rows=31)
    seen = b""

    async def until(mark: bytes) -> bytes:
        nonlocal seen
        async with asyncio.timeout(10):
            while mark not in seen:
                chunk = await pty.read()
                assert chunk, seen
                seen += chunk
        found, seen = seen, b""
        return found

    await until(b"root@armed:~# ")
    await pty.write(b"stty size; tty; sleep 987 &\r")
    first = await until(b"[1] ")
    await pty.resize(132, 43)
    await pty.write(b"clear; stty size; cat /proc/self/status | sed -n /NoNewPrivs/p; echo e''nd\r")
    second = await until(b"end\r\n")
    before = await lab.run("armed", "pgrep", "-f", "sleep 987")
    await pty.close()
    await asyncio.sleep(0.2)
    after = await lab.run("armed", "sh", "-c", "pgrep -x sleep; pgrep -x bash")

    assert b"31 101" in first
    assert b"/dev/pts/0" in first
    assert b"43 132" in second
    assert b"NoNewPrivs:\t1" in second
    assert (before.code, after.stdout) == (0, b"")
    assert await pty.read() == b""


async def test_a_terminal_cannot_be_stuffed(lab: Lab) -> None:
    pty = await lab.driver.shell(RANGE, "plain")
    seen = b""
    await pty.write(b"python3 -c \"import fcntl; fcntl.ioctl(0, 0x5412, b'x')\" 2>&1 | tail -1\r")

    async with asyncio.timeout(15):
        while b"Operation not permitted" not in seen:
            seen += await pty.read()
    await pty.close()

    assert b"PermissionError" in seen


async def test_firewall_tools_work_where_the_node_may(lab: Lab) -> None:
    armed = await lab.run("armed", "ip", "link", "add", "probe0", "type", "bridge")
    undone = await lab.run("armed", "ip", "link", "del", "probe0")

    assert (armed.code, undone.code) == (0, 0), (armed, undone)


async def test_stopped_node_programs_come_back_from_the_hub_alive(lab: Lab) -> None:
    """The hub sits in the range's own network namespace: it may capture there and change nothing."""
    said = await lab.python(
        "hub",
        """
import json, socket, struct
found = {"links": sorted(name for _, name in socket.if_nameindex())}
socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3).close()
import subprocess
found["change"] = subprocess.run(["ip", "link", "set", "shop0", "down"], capture_output=True).returncode != 0
found["address"] = subprocess.run(["ip", "addr", "add", "10.77.1.99/24", "dev", "shop0"], capture_output=True).returncode != 0
found["inet"] = subprocess.run(["ip", "-br", "addr", "show", "shop0"], capture_output=True, text=True).stdout.split()[2:]
print(json.dumps(found))
""",
    )

    assert said["change"]
    assert said["address"]
    assert said["inet"] == []
    assert "shop0" in said["links"]


async def test_time_of_a_shell_is_milliseconds(lab: Lab) -> None:
    started = time.monotonic()
    pty = await lab.driver.shell(RANGE, "plain")
    await pty.read()
    taken = time.monotonic() - started
    await pty.close()

    assert taken < 1.0, struct.pack("d", taken)
