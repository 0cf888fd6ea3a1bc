"""What is missing, taken or full is said by name with a remedy, and nothing of the failed launch is left."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.drivers import registry
from cyber_range.engine.drivers.docker_engine import DockerDriver, image
from cyber_range.engine.drivers.netns import NetnsDriver
from cyber_range.engine.errors import AddressSpaceTaken, DriverUnavailable, RangeError, Refused
from cyber_range.engine.lab.compile import Block
from tests.conftest import skip_or_fail
from tests.cyber_range.engine.drivers.test_netns_life import descendants
from tests.cyber_range.engine.host.conftest import Running, start

ID = "e44000000001"
NOWHERE = "unix:///nowhere/docker.sock"


def left(host: Running) -> dict[str, Any]:
    """What a launch makes on this machine, by kind."""
    return {
        "labs": sorted(host.daemon.labs),
        "folders": sorted(one.name for one in (host.daemon.settings.state / "ranges").iterdir()),
        "blocks": dict(host.daemon._pool._given),
        "processes": {pid for pid in descendants(os.getpid()) if is_range(pid)},
        "stores": sorted(Path(tempfile.gettempdir()).glob(f"lianbing-memory-{os.getpid()}-*")),
    }


def is_range(pid: int) -> bool:
    try:
        return b"lb-range" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


NOTHING = {"labs": [], "folders": [], "blocks": {}, "processes": set(), "stores": []}


async def refused(host: Running, **args: Any) -> RangeError:
    with pytest.raises(RangeError) as caught:
        await host.client.launch(**{"scenario": "tiny", "seed": "s", "team": "t", "range_id": ID, **args})
    return caught.value


@pytest.mark.parametrize("driver", ["docker", "capsule"])
async def test_no_engine(host: Running, driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)

    error = await refused(host, driver=driver)

    assert isinstance(error, DriverUnavailable)
    assert "No Docker engine answers" in error.what
    assert "dockerd" in error.remedy
    assert left(host) == NOTHING


async def test_an_engine_that_ends_after_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    driver = DockerDriver()

    with pytest.raises(DriverUnavailable, match=r"No Docker engine answers.*Start it: systemctl start docker"):
        await driver.observe(ID)
    await driver.aclose()


async def test_an_engine_that_hangs_does_not_hang_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{deaf.getsockname()[1]}")
        async with asyncio.timeout(30):
            found = await registry.probe("docker")

    assert not found.usable
    assert found.reason
    assert found.remedy


@pytest.mark.docker
async def test_no_image(host: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = await DockerDriver.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    await host.daemon.driver("docker")  # found with its image, which then goes
    monkeypatch.setattr(image, "wanted", lambda: "lianbing/range-node:gone")

    error = await refused(host, driver="docker")

    assert isinstance(error, DriverUnavailable)
    assert error.what == "This Docker engine has no range image lianbing/range-node:gone"
    assert error.remedy == image.REMEDY
    assert left(host) | {"labs": [], "folders": []} == NOTHING


@pytest.fixture
def taken() -> Iterator[Block]:
    """A network this host really has: a bridge with an address."""
    if os.geteuid() != 0:
        skip_or_fail("root, to give this host a network")
    network = Block("10.216.7.0/24")
    subprocess.run(["ip", "link", "add", "lbtaken0", "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", "10.216.7.1/24", "dev", "lbtaken0"], check=True)
        subprocess.run(["ip", "link", "set", "lbtaken0", "up"], check=True)
        yield network
    finally:
        subprocess.run(["ip", "link", "delete", "lbtaken0"], check=True)


async def test_a_taken_network_is_named(folder: Path, taken: Block) -> None:
    host = await start(folder, pools=(taken,))
    try:
        error = await refused(host)
        after = left(host)
    finally:
        await host.stop()

    assert isinstance(error, AddressSpaceTaken)
    assert re.fullmatch(
        r"no free /\d\d is left in 10\.216\.7\.0/24: interface lbtaken0 uses 10\.216\.7\.0/24", error.what
    )
    assert error.remedy == "Destroy ranges that are not needed, remove that network, or give range-host another --pool"
    assert after == NOTHING


async def test_a_full_host_says_how_many_it_carries(folder: Path) -> None:
    host = await start(folder, max_ranges=1)
    try:
        await host.client.launch(scenario="tiny", seed="s", team="first", range_id="e44000000002")
        before = left(host)
        error = await refused(host)
        after = left(host)
    finally:
        await host.stop()

    assert isinstance(error, Refused)
    assert str(error) == "this host carries 1 ranges already. Destroy one, or raise --max-ranges"
    assert after == before


class Disk:
    """A file system of 256 KiB for the state folder, filled and emptied at will."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def empty(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(folder: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        skip_or_fail("root, to mount a small disk")
    place = folder / "state"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(place)], check=True)
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(params=["memory", pytest.param("netns", marks=pytest.mark.netns)])
async def full(request: pytest.FixtureRequest, folder: Path, disk: Disk) -> AsyncIterator[tuple[Running, Disk, str]]:
    if request.param == "netns" and not (found := await NetnsDriver.probe()).usable:
        skip_or_fail(f"{found.reason}. {found.remedy}")
    host = await start(folder)
    yield host, disk, request.param
    await host.stop()


async def test_a_full_disk_stops_a_launch_and_leaves_nothing(full: tuple[Running, Disk, str]) -> None:
    host, disk, driver = full
    disk.fill()
    error = await refused(host, driver=driver)
    after = left(host)
    disk.empty()
    again = await host.client.launch(scenario="tiny", seed="s", team="t", range_id=ID, driver=driver)

    assert str(disk.place) in error.what
    assert "No space left on device" in error.what
    assert error.remedy == "Make room on the disk of the state folder"
    assert after == NOTHING
    assert again["state"] == "ready"


async def test_a_disk_that_fills_up_lets_a_range_go_on_and_end(full: tuple[Running, Disk, str]) -> None:
    host, disk, driver = full
    await host.client.launch(scenario="tiny", seed="s", team="t", range_id=ID, driver=driver)
    disk.fill()

    with pytest.raises(RangeError, match=r"snapshot 'x' cannot be written to .*: No space left on device"):
        await host.client.snapshot(range_id=ID, name="x")
    alive = await host.client.exec(range_id=ID, node="ws", argv=["hostname"])
    status = await host.client.status(range_id=ID)
    await host.client.destroy(range_id=ID)
    after = left(host)

    assert (alive["code"], alive["stdout"], status["state"]) == (0, "ws\n", "ready")
    assert {key: after[key] for key in ("blocks", "processes", "stores")} == {
        key: NOTHING[key] for key in ("blocks", "processes", "stores")
    }
