"""Docker ranges outlive their range host, are found again, swept by label, and shells end with their terminal."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
from collections.abc import AsyncIterator

import docker
import pytest

from cyber_range.engine.drivers.docker_engine import DockerDriver, guard
from cyber_range.engine.drivers.docker_engine.specs import NAME, OWNER, RANGE
from cyber_range.engine.errors import AddressSpaceTaken
from cyber_range.engine.plan import Limits, Observed, converge
from tests.conftest import skip_or_fail
from tests.cyber_range.engine.drivers.docker_range import Running, firewalled

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture
async def driver() -> AsyncIterator[DockerDriver]:
    """With an owner of its own, so that tests beside each other never sweep each other's ranges."""
    probe = await DockerDriver.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    made = DockerDriver(owner=f"test-{secrets.token_hex(4)}")
    yield made
    await made.sweep()
    await made.aclose()


HOST = """
import asyncio, sys
sys.path.insert(0, ".")
from cyber_range.engine.drivers.docker_engine import DockerDriver, session
from tests.cyber_range.engine.drivers.docker_range import Running, firewalled

session.ACK_SECONDS = float(sys.argv[4])

async def main():
    lab = await Running(DockerDriver(owner=sys.argv[1]), firewalled(sys.argv[2], int(sys.argv[3]))).launch()
    ready = 0
    async for message in lab.driver.messages(lab.id):
        ready += message.body["kind"] == "ready"
        if ready == 3:
            print("up", flush=True)
            if int(sys.argv[5]):
                await lab.driver.reopen(lab.id, lab.plan.limits)
                await lab.launch()
                print("reset", flush=True)
            await asyncio.sleep(2)  # everything heard so far is acknowledged
            print("safe", flush=True)

asyncio.run(main())
"""


async def killed_host(
    owner: str, range_id: str, block: int, *, after: bytes, ack_seconds: float = 0.5, resets: int = 0
) -> None:
    """Another range host that launches a range and dies of SIGKILL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HOST,
        owner,
        range_id,
        str(block),
        str(ack_seconds),
        str(resets),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while (line := await process.stdout.readline()).strip() != after:
                assert line
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


def left(owner: str) -> tuple[int, int]:
    client = docker.from_env()
    label = {"label": f"{OWNER}={owner}"}
    try:
        return len(client.containers.list(all=True, filters=label)), len(client.networks.list(filters=label))
    finally:
        client.close()


async def test_sweep_leaves_nothing_of_a_host_that_was_killed(driver: DockerDriver) -> None:
    await killed_host(driver.owner, "d0c4e7000003", 49, after=b"up")
    before = left(driver.owner)

    swept = await driver.sweep()

    assert before == (3, 2)
    assert (dict(swept.removed), left(driver.owner)) == ({"containers": 3, "networks": 2}, (0, 0))


async def test_range_is_found_again_with_its_programs_and_what_they_said_meanwhile(driver: DockerDriver) -> None:
    plan = firewalled("d0c4e7000004", 50)
    await killed_host(driver.owner, plan.range_id, 50, after=b"safe")

    await driver.open(plan.range_id, plan.limits)
    found = await driver.observe(plan.range_id)
    messages = driver.messages(plan.range_id)
    await driver.send(plan.range_id, "ws", "probe", {"kind": "try_connect", "id": 5, "host": "plc", "port": 81})
    async with asyncio.timeout(20):
        said = await anext(messages)

    assert converge(plan, found) == []
    assert (said.node, said.body["kind"], said.body["id"], said.body["open"]) == ("ws", "reply", 5, False)


async def test_lines_that_were_not_acknowledged_are_said_again(driver: DockerDriver) -> None:
    plan = firewalled("d0c4e7000005", 51)
    await killed_host(driver.owner, plan.range_id, 51, after=b"up", ack_seconds=600)

    await driver.open(plan.range_id, plan.limits)
    messages = driver.messages(plan.range_id)
    async with asyncio.timeout(20):
        kinds = {(await anext(messages)).body["kind"] for _ in range(3)}

    assert kinds == {"ready"}


@pytest.fixture
async def lab(driver: DockerDriver) -> Running:
    return await Running(driver, firewalled("d0c4e7000006", 52)).launch()


async def test_multi_legged_node_is_wired_as_planned(lab: Running) -> None:
    said = await lab.sh(
        "fw", "for i in eth0 eth1; do cat /sys/class/net/$i/address; ip -4 -o addr show $i | cut -d' ' -f7; done"
    )
    routed = await lab.sh("ws", "ip route show default; ip neigh show nud permanent; ping -c1 -W2 plc | grep -c ttl=63")

    assert said.splitlines() == ["02:4d:0a:34:01:01", "10.52.1.1/24", "02:4d:0a:34:02:01", "10.52.2.1/24"]
    assert [line.strip() for line in routed.splitlines()] == [
        "default via 10.52.1.1 dev eth0",
        "10.52.1.1 dev eth0 lladdr 02:4d:0a:34:01:01 PERMANENT",
        "1",
    ]


async def test_closed_terminal_takes_its_shell_and_all_it_started(lab: Running) -> None:
    pty = await lab.driver.shell(lab.id, "ws", columns=111, rows=33)
    seen = b""
    await pty.write(b"stty size; sleep 4711 & setsid sleep 4712 & env -i setsid sleep 4713 & echo ba''ck\n")
    async with asyncio.timeout(20):
        while b"back" not in seen:
            seen += await pty.read()

    await pty.close()
    gone = await lab.sh(
        "ws", "for i in $(seq 100); do pgrep -f ^sleep.471 > /dev/null || exec echo gone; sleep 0.1; done"
    )

    assert (b"33 111" in seen, gone) == (True, "gone")


async def test_terminal_that_is_closed_at_once_leaves_the_other_ones_alone(lab: Running) -> None:
    staying = await lab.driver.shell(lab.id, "ws")
    await staying.write(b"setsid sleep 4811 & sleep 4812 & echo be''gun\n")
    seen = b""
    async with asyncio.timeout(20):
        while b"begun" not in seen:
            seen += await staying.read()

    for _ in range(3):
        await (await lab.driver.shell(lab.id, "ws")).close()
    await asyncio.sleep(1)  # as long as process 1 goes on looking
    left = await lab.sh("ws", "pgrep -fc ^sleep.481; pgrep -xc bash")
    await staying.close()

    assert left.split() == ["2", "1"]


async def test_command_that_takes_too_long_is_ended_with_its_children(lab: Running) -> None:
    done = await lab.driver.exec(lab.id, "ws", ["sh", "-c", "echo first; sleep 4713 & sleep 4714"], timeout=5.0)
    gone = await lab.sh(
        "ws", "for i in $(seq 100); do pgrep -f ^sleep.471 > /dev/null || exec echo gone; sleep 0.1; done"
    )

    assert (done.code, done.stdout, done.timed_out, gone) == (124, b"first\n", True, "gone")


async def test_overlapping_network_is_named(driver: DockerDriver) -> None:
    plan = firewalled("d0c4e7000007", 53)
    client = docker.from_env()
    pool = docker.types.IPAMPool(subnet="10.53.0.0/16")
    other = client.networks.create("lb-test-overlap", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    try:
        await driver.open(plan.range_id, Limits())
        with pytest.raises(AddressSpaceTaken, match="lb-test-overlap"):
            await driver.apply(plan.range_id, converge(plan, Observed()))
    finally:
        other.remove()
        client.close()


async def test_sweep_takes_down_walls_around_nothing(driver: DockerDriver) -> None:
    """Somebody removed a range's containers and networks by hand; what stands around a living range stays."""
    lab = await Running(driver, firewalled("d0c4e7000016", 62)).launch()
    client, beside = docker.from_env(), DockerDriver(driver.owner + "-beside")
    wall = guard.Wall(driver.owner, asyncio.to_thread)
    image = client.images.list(name="lianbing/range-node")[0].id
    nobody = secrets.token_hex(6)
    try:
        await wall.run(client, image, f"table {guard.FAMILY} {guard.PREFIX}{nobody}\n")
        before = guard.named(await wall.run(client, image, guard.LISTED))
        await beside.sweep()
        after = guard.named(await wall.run(client, image, guard.LISTED))
        await wall.aclose(client)
    finally:
        client.close()
        await beside.aclose()

    assert ({nobody, lab.id} <= before, nobody in after, lab.id in after) == (True, False, True)


async def test_wall_goes_with_the_range_and_its_keeper_with_the_driver(driver: DockerDriver) -> None:
    own = DockerDriver(driver.owner)
    lab = await Running(own, firewalled("d0c4e7000006", 52)).launch()
    client = docker.from_env()
    wall = guard.Wall(driver.owner, asyncio.to_thread)
    image = client.images.list(name="lianbing/range-node")[0].id
    kept = {"label": f"{guard.KEEPER}={driver.owner}"}
    try:
        before = await wall.run(client, image, "list tables\n")
        keepers = len(client.containers.list(filters=kept))
        await own.close(lab.id)
        after = await wall.run(client, image, "list tables\n")
        await wall.aclose(client)
        await own.aclose()
        left_over = client.containers.list(all=True, filters=kept)
    finally:
        client.close()

    assert (f"lianbing_{lab.id}" in before, f"lianbing_{lab.id}" in after) == (True, False)
    assert (keepers, left_over) == (2, [])


async def test_keeper_of_the_wall_that_is_gone_is_followed_by_another(lab: Running, driver: DockerDriver) -> None:
    client = docker.from_env()
    try:
        for keeper in client.containers.list(filters={"label": f"{guard.KEEPER}={driver.owner}"}):
            keeper.remove(force=True)
    finally:
        client.close()

    await driver.close(lab.id)

    assert left(driver.owner) == (0, 0)


async def test_keeper_of_the_wall_dies_with_its_range_host(driver: DockerDriver) -> None:
    await killed_host(driver.owner, "d0c4e7000008", 54, after=b"up")
    client = docker.from_env()
    try:
        async with asyncio.timeout(20):
            while client.containers.list(all=True, filters={"label": f"{guard.KEEPER}={driver.owner}"}):  # noqa: ASYNC110 - Docker's
                await asyncio.sleep(0.1)
    finally:
        client.close()


LEAVE_TRACES = """
import ctypes, json, os, socket, subprocess
for place in ("/srv/mine", os.path.expanduser("~root") + "/.hidden/deep", "/dev/shm/mine"):
    os.makedirs(place)
libc = ctypes.CDLL(None)
made = [libc.shmget(4711, 4096, 0o1777), libc.semget(4711, 1, 0o1777), libc.msgget(4711, 0o1777)]
subprocess.Popen(["env", "-i", "setsid", "sleep", "4811"], start_new_session=True)
print(json.dumps(min(made) >= 0))
"""
FIND_TRACES = """
import json, os, subprocess
found = [place for place in ("/srv", "/root", "/home", "/dev/shm", "/dev/mqueue") if os.path.isdir(place) and os.listdir(place)]
found += [kind for kind in ("shm", "sem", "msg") if len(open(f"/proc/sysvipc/{kind}").readlines()) > 1]
found += subprocess.run(["pgrep", "-f", "^sleep.4811"], capture_output=True, text=True).stdout.split()
print(json.dumps(found))
"""


def ids(range_id: str) -> dict[str, str]:
    client = docker.from_env()
    try:
        found = client.api.containers(filters={"label": f"{RANGE}={range_id}"})
        return {item["Labels"][NAME]: item["Id"] for item in found if item["State"] == "running"}
    finally:
        client.close()


async def test_reset_makes_nodes_new_where_they_are_and_replaces_those_that_could_change_their_network(
    lab: Running,
) -> None:
    before = ids(lab.id)
    assert await lab.python("ws", LEAVE_TRACES) is True
    assert await lab.python("fw", LEAVE_TRACES) is True

    await lab.driver.reopen(lab.id, lab.plan.limits)
    await lab.launch()
    after = ids(lab.id)
    traces = [await lab.python(node, FIND_TRACES) for node in ("ws", "fw", "plc")]
    reached = await lab.sh("ws", "ping -c1 -W2 plc | grep -c ttl=63")

    assert traces == [[], [], []]
    assert {node for node in before if before[node] == after[node]} == {"ws", "plc"}
    assert reached == "1"


async def test_reset_to_another_plan_replaces_what_differs(lab: Running, driver: DockerDriver) -> None:
    before = ids(lab.id)
    other = firewalled(lab.id, 55)

    await driver.reopen(lab.id, other.limits)
    moved = await Running(driver, other).launch()
    reached = await moved.sh("ws", "ping -c1 -W2 10.55.2.20 | grep -c ttl=63")
    observed = await driver.observe(lab.id)
    await driver.close(lab.id)

    assert (reached, converge(other, observed)) == ("1", [])
    assert not set(before.values()) & set(ids(lab.id).values())
    assert left(driver.owner) == (0, 0)


async def test_range_host_killed_after_a_reset_leaves_a_range_that_is_found_again(driver: DockerDriver) -> None:
    await killed_host(driver.owner, "d0c4e7000009", 56, after=b"reset", resets=1)
    plan = firewalled("d0c4e7000009", 56)

    await driver.open(plan.range_id, plan.limits)
    found = await driver.observe(plan.range_id)
    await driver.close(plan.range_id)

    assert converge(plan, found) == []
    assert left(driver.owner) == (0, 0)
