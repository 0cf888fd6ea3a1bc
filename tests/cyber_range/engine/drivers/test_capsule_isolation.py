"""Really tries to leave a capsule's node, and looks at what the container around it may do at all."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import platform
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import docker
import pytest

from cyber_range.engine.drivers.capsule import CapsuleDriver, container
from cyber_range.engine.drivers.capsule.profile import profile
from cyber_range.engine.errors import DriverError
from cyber_range.engine.plan import Limits, RangePlan
from tests.conftest import skip_or_fail
from tests.contracts.test_driver import Launched, small_range
from tests.cyber_range.engine.drivers.test_netns_isolation import REFUSED, host  # noqa: F401 - a fixture

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(300)]

RANGE = "e5ca9e0ca9e0"


def armed() -> RangePlan:
    plan = small_range(RANGE, 63)
    caps = frozenset({"net_raw", "net_admin"})
    nodes = tuple(dataclasses.replace(node, caps=caps) if node.name == "tester" else node for node in plan.nodes)
    return dataclasses.replace(plan, nodes=nodes)


@pytest.fixture
async def driver() -> AsyncIterator[CapsuleDriver]:
    probe = await CapsuleDriver.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    made = CapsuleDriver(owner=f"test-{secrets.token_hex(4)}")
    yield made
    await made.aclose()


@pytest.fixture
async def lab(driver: CapsuleDriver) -> AsyncIterator[Launched]:
    launched = await Launched(driver, armed()).launch()
    yield launched
    await launched.close()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="escape.py names system calls by their x86_64 numbers")
@pytest.mark.parametrize("where", ["tester", "desk"])
async def test_no_way_out_of_a_node(lab: Launched, host: dict[str, Any], where: str) -> None:  # noqa: F811
    script = Path(__file__).with_name("escape.py").read_text()
    inside = {**host, "python": "/usr/bin/python3", "prefix": "/usr", "files": [*host["files"], "/capsule/socket"]}

    done = await lab.driver.exec(lab.id, where, ["python3", "-c", script, json.dumps(inside)], timeout=90)
    said = json.loads(done.stdout)

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
    assert set(outcome) == set(expected) | set(files) | {"tcp6 link-local"}
    assert (said["descriptors"], said["inet6"]) == ([0, 1, 2], "")
    assert said["groups"] == [0]  # its own, which the engine repeats as a further one


async def test_the_container_around_it_has_nothing(lab: Launched) -> None:
    client = docker.from_env()
    try:
        seen = client.api.inspect_container(container.name(RANGE))
        processes = client.api.top(container.name(RANGE), ps_args="-eo uid,pid")["Processes"]
    finally:
        client.close()
    fences = seen["HostConfig"]

    assert (fences["NetworkMode"], fences["ReadonlyRootfs"], fences["Privileged"]) == ("none", True, False)
    assert (fences["CapDrop"], fences["CapAdd"]) == (["ALL"], None)
    assert "no-new-privileges:true" in fences["SecurityOpt"]
    assert any(option.startswith("seccomp={") for option in fences["SecurityOpt"])
    assert fences["Memory"] == fences["MemorySwap"] == (lab.plan.limits.memory_mib + container.KEEPERS_MIB) << 20
    assert fences["PidsLimit"] == lab.plan.limits.range_pids + container.KEEPERS_PIDS
    assert fences["CpuQuota"] / fences["CpuPeriod"] == lab.plan.limits.cpus
    assert [mount["Destination"] for mount in seen["Mounts"]] == [container.MEETING]
    assert [mount["RW"] for mount in seen["Mounts"]] == [False]
    assert {int(uid) for uid, _ in processes} == {container.uid(RANGE)}


KEEPER = """
import ctypes, errno, json, os, socket
libc = ctypes.CDLL(None, use_errno=True)
found = {}
def attempt(name, what):
    try: what(); found[name] = "DONE"
    except OSError as exc: found[name] = errno.errorcode.get(exc.errno, "?")
def call(number, *args):
    if libc.syscall(number, *args) == -1: raise OSError(ctypes.get_errno(), "")
attempt("io_uring", lambda: call(425, 8, ctypes.create_string_buffer(120)))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM).close())
attempt("bpf", lambda: call(321, 0, ctypes.create_string_buffer(120), 120))
attempt("keyctl", lambda: call(250, 0, -3, 0, 0, 0))
attempt("ptrace", lambda: call(101, 0, 0, 0, 0))
attempt("shmget", lambda: call(29, 0, 4096, 0o1600))
attempt("userfaultfd", lambda: call(323, 0))
attempt("open_tree", lambda: call(428, -100, b"/", 1))
attempt("setns", lambda: call(308, 0, 0))
attempt("mount", lambda: call(165, b"x", b"/tmp", b"tmpfs", 0, None))
attempt("write root", lambda: open("/escaped", "w"))
attempt("meet again", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect("/capsule/socket"))
attempt("docker.sock", lambda: socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock"))
found["links"] = sorted(name for _, name in socket.if_nameindex())
found["caps"] = [l.split()[1].strip("0") for l in open("/proc/self/status") if l.startswith("Cap")]
print(json.dumps(found))
"""


async def test_what_left_the_nodes_would_still_be_shut_in(lab: Launched) -> None:
    """The second wall, tried from a process of the container that is in no node."""
    client = docker.from_env()
    try:
        made = client.api.exec_create(container.name(RANGE), ["python3", "-I", "-c", KEEPER])
        said = json.loads(client.api.exec_start(made["Id"]))
    finally:
        client.close()

    assert said == {
        **dict.fromkeys(
            ["io_uring", "bpf", "keyctl", "ptrace", "shmget", "userfaultfd", "open_tree", "setns", "mount", "vsock"],
            "EPERM",
        ),
        "write root": "EROFS",
        "meet again": "ENOENT",  # the folder went when the driver had met its capsule
        "docker.sock": "ENOENT",
        "links": ["lo"],
        "caps": [""] * 5,
    }


async def test_a_killed_capsule_is_told_and_leaves_nothing(lab: Launched) -> None:
    client = docker.from_env()
    try:
        client.api.kill(container.name(RANGE), "KILL")
        async with asyncio.timeout(30):
            kinds = [message.body["kind"] async for message in lab.messages]
            while client.api.containers(all=True, filters={"label": f"{container.RANGE}={RANGE}"}):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        client.close()
    await lab.close()
    again = await Launched(lab.driver, lab.plan).launch()

    assert kinds[-1] == "exit"
    assert (await again.ask("tester", "probe", "try_connect", host="plc", port=502))["open"] is True


async def test_a_capsule_that_cannot_come_up_says_its_last_words(
    driver: CapsuleDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "MODULE", "cyber_range.engine.no_such_thing")

    with pytest.raises(DriverError, match="no_such_thing"):
        await driver.open(RANGE, Limits())

    assert dict((await driver.sweep()).removed) == {}


def test_the_profile_names_no_call_that_nodes_must_not_have() -> None:
    said = profile("amd64")
    allowed = {name for rule in said["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    refused = {
        "io_uring_setup",
        "ptrace",
        "bpf",
        "keyctl",
        "setns",
        "open_by_handle_at",
        "userfaultfd",
        "kexec_load",
        "init_module",
    }

    assert allowed & refused == set()
    assert {"unshare", "mount", "pivot_root", "umount2"} <= allowed
