"""IEC 60870-5-104, DNP3, BACnet/IP and MQTT on every driver: the real client runs inside a node of the lab, and tshark
finds nothing malformed and no protocol error in what went over the wire.

The memory driver has no place for a foreign process: there a TCP client runs beside it, through a relay into the lab
(test_plc_protocols.py); BACnet's client needs broadcasts, so on memory its supervisor stands for it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import io
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.drivers.base import Driver
from cyber_range.engine.drivers.memory.net import MemoryNet
from cyber_range.engine.drivers.registry import load
from cyber_range.engine.plan import InterfacePlan, Limits, NodePlan, ProgramPlan, RangePlan, ZonePlan
from cyber_range.engine.sensor import pcapng
from tests.conftest import skip_or_fail
from tests.contracts.test_plc_protocols import SECONDS, Stage, dissected
from tests.cyber_range.engine.agents import stations, test_bacnet, test_dnp3, test_iec104, test_mqtt

BLOCK = "10.78.1"
DEVICE, SUPERVISOR, TESTER, BROKER = f"{BLOCK}.10", f"{BLOCK}.20", f"{BLOCK}.30", f"{BLOCK}.40"
IMAGE_HAS_BACNET = "bacpypes3" in Path("deploy/range-node/libraries.txt").read_text(encoding="utf-8").split()
CLIENTS = test_iec104.C104.parent
LIBRARIES = {
    "c104_client": ("c104",),
    "opendnp3_client": ("pydnp3", "dnp3_python"),
    "bacnet_client": ("bacpypes3",),
    "paho_client": ("paho",),
}
# Python modules come from the zip; compiled ones by way of memory, because a node's folder lets nothing be executed.
BOOT = """
import importlib.machinery, importlib.util, os, runpy, sys, zipfile
ARCHIVE = zipfile.ZipFile("/tmp/client.zip")
COMPILED = {name.split(".")[0].replace("/", "."): name for name in ARCHIVE.namelist() if name.endswith(".so")}
class Compiled:
    def find_spec(self, name, path=None, target=None):
        if name not in COMPILED:
            return None
        fd = os.memfd_create(name)
        os.write(fd, ARCHIVE.read(COMPILED[name]))
        place = f"/proc/self/fd/{fd}"
        return importlib.util.spec_from_file_location(
            name, place, loader=importlib.machinery.ExtensionFileLoader(name, place))
sys.meta_path.insert(0, Compiled())
sys.path.insert(0, "/tmp/client.zip")
sys.argv.pop(0)
runpy.run_module(sys.argv[0], run_name="__main__")
"""


def node(name: str, ip: str, use: str, spec: dict[str, Any], **more: Any) -> NodePlan:
    host = int(ip.rpartition(".")[2])
    leg = InterfacePlan("shop", "eth0", ip, 24, f"02:4e:00:00:02:{host:02x}")
    return NodePlan(name, (leg,), (ProgramPlan("plc", use, spec),), caps=frozenset({"net_raw"}), **more)


def plan(*nodes: NodePlan) -> RangePlan:
    tester = node("tester", TESTER, "probe", {}, shell=True)
    zone = ZonePlan("shop", f"{BLOCK}.0/24", "lb0a11ce78a", 1.0)
    return RangePlan("0a11ce000078", (zone,), (*nodes, tester), Limits(memory_mib=1024))


def packed(client: str, libraries: tuple[str, ...]) -> bytes:
    """The client's script and its libraries as one zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(CLIENTS / f"{client}.py", f"{client}.py")
        for name in libraries:
            spec = importlib.util.find_spec(name)
            if spec is None:
                skip_or_fail(f"{name}: it is one of the development dependencies of pyproject.toml")
            assert spec is not None
            places = [Path(place) for place in spec.submodule_search_locations or ()]
            if not places:
                archive.write(str(spec.origin), Path(str(spec.origin)).name)
            for place in places:
                for path in sorted(found for found in place.rglob("*") if found.suffix in (".py", ".so")):
                    archive.write(path, f"{name}/{path.relative_to(place)}")
    return buffer.getvalue()


class Telecontrol(Stage):
    async def meets(self, client: str, *arguments: str, port: int) -> tuple[dict[str, Any], bytes]:
        """(what the real client printed, the capture of the time it ran)."""
        if self.driver.name == "memory":
            return await self._beside(CLIENTS / f"{client}.py", arguments[0], port)
        own = self.driver.name == "docker"  # netns nodes see the libraries of this Python
        python, libraries = ("python3", LIBRARIES[client]) if own else (sys.executable, ())
        archive = packed(client, libraries)
        brought = await self.driver.exec(self.id, "tester", ["sh", "-c", "cat > /tmp/client.zip"], stdin=archive)
        assert brought.code == 0, brought
        return await self.recorded("tester", [python, "-c", BOOT, client, *arguments])

    async def watched(self, name: str, wanted: Any) -> tuple[dict[str, Any], bytes]:
        """(the message that was waited for, what a node's leg saw meanwhile and a moment longer)."""
        if self.driver.name != "memory":
            command = asyncio.create_task(self.recorded(name, ["sleep", "4"]))
            message = await self.until(wanted)
            return message, (await command)[1]
        fabric = self.driver._ranges[self.id].fabric  # type: ignore[attr-defined]  # of the memory driver
        frames: list[tuple[int, bytes]] = []
        tap = await MemoryNet(fabric, fabric.hosts[name]).tap("eth0", frames.extend)
        message = await self.until(wanted)
        await asyncio.sleep(1)
        tap.close()
        return message, pcapng.header() + pcapng.packets(frames)


@pytest.fixture(
    params=[
        "memory",
        pytest.param("netns", marks=pytest.mark.netns),
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow]),
    ]
)
async def driver(request: pytest.FixtureRequest) -> AsyncIterator[Driver]:
    kind = load(request.param)
    probe = await kind.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    made = kind()
    try:
        yield made
    finally:
        await made.aclose()


KERNELS = pytest.mark.parametrize(
    "driver",
    [
        pytest.param("netns", marks=pytest.mark.netns),
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow]),
    ],
    indirect=True,
)


def shows(values: dict[str, float]) -> Any:
    """A supervisor's view with these values in it."""

    def test(message: Any) -> bool:
        body = message.body
        return body["kind"] == "view" and values.items() <= body["devices"]["station"]["values"].items()

    return test


async def test_c104_meets_a_remote_terminal_unit(driver: Driver, tmp_path: Path) -> None:
    stage = await Telecontrol(driver, plan(node("rtu", DEVICE, "iec104_rtu", stations.rtu()))).launch()
    seen, capture = await stage.meets("c104_client", DEVICE, "2404", port=2404)
    trouble, packets = await dissected(capture, "iec60870_asdu", tmp_path / "104.pcapng")
    values = await stage.ask("rtu", "read", tags=["level_setpoint", "auto"])
    await driver.close(stage.id)

    assert set(test_iec104.TYPES) <= set(seen.pop("types"))
    assert (seen, trouble) == (test_iec104.SEEN, [])
    assert packets > 10
    assert values["values"] == [42.5, 0.0]


async def test_a_control_centre_and_its_station_speak_well(driver: Driver, tmp_path: Path) -> None:
    station = stations.rtu(select=True, masters=[SUPERVISOR])
    nodes = (
        node("rtu", DEVICE, "iec104_rtu", station),
        node("centre", SUPERVISOR, "iec104_master", stations.centre(DEVICE)),
    )
    stage = await Telecontrol(driver, plan(*nodes)).launch()
    _, capture = await stage.watched("centre", shows({"level_setpoint": 60.0, "auto": 1.0}))
    await driver.send(
        stage.id, "centre", "plc", {"kind": "operate", "id": 1, "device": "station", "tag": "auto", "value": 0}
    )
    await stage.until(shows({"auto": 0.0}))
    trouble, packets = await dissected(capture, "iec60870_asdu", tmp_path / "centre.pcapng")
    await driver.close(stage.id)

    assert trouble == []
    assert packets > 4


async def test_opendnp3_meets_an_outstation(driver: Driver, tmp_path: Path) -> None:
    pytest.importorskip("pydnp3", reason="dnp3-python is only built for CPython 3.11 on x86_64")
    stage = await Telecontrol(driver, plan(node("rtu", DEVICE, "dnp3_outstation", stations.outstation()))).launch()
    seen, capture = await stage.meets("opendnp3_client", DEVICE, "20000", port=20000)
    trouble, packets = await dissected(capture, "dnp3", tmp_path / "dnp3.pcapng")
    await stage.until(lambda message: message.body["kind"] == "restarted")
    await driver.close(stage.id)

    seen["first"].pop("Group20Var1/0")
    assert (seen, trouble) == (test_dnp3.SEEN, [])
    assert packets > 10


@pytest.mark.parametrize("unsolicited", [False, True])
async def test_a_dnp3_master_and_its_outstation_speak_well(driver: Driver, tmp_path: Path, unsolicited: bool) -> None:
    master = stations.dnp3_master(DEVICE, device={"unsolicited": unsolicited})
    nodes = (
        node("rtu", DEVICE, "dnp3_outstation", stations.outstation(unsolicited=unsolicited)),
        node("master", SUPERVISOR, "dnp3_master", master),
    )
    stage = await Telecontrol(driver, plan(*nodes)).launch()
    await stage.until(shows({"level_setpoint": 60.0}))
    for tag, value in (("level_setpoint", 20.5), ("auto", 0)):
        order = {"kind": "operate", "id": 1, "device": "station", "tag": tag, "value": value}
        await driver.send(stage.id, "master", "plc", order)
    _, capture = await stage.watched("master", shows({"level_setpoint": 20.5, "auto": 0.0}))
    trouble, packets = await dissected(capture, "dnp3", tmp_path / "master.pcapng")
    await driver.close(stage.id)

    assert trouble == []
    assert packets > 4


@KERNELS  # a client beside the lab hears none of its broadcasts; there the supervisor's test stands for it
async def test_bacpypes_meets_a_cold_store(driver: Driver, tmp_path: Path) -> None:
    bacnet_in_image(driver)
    stage = await Telecontrol(driver, plan(node("cold", DEVICE, "bacnet_device", stations.cold_store()))).launch()
    seen, capture = await stage.meets("bacnet_client", f"{TESTER}/24", DEVICE, "broadcast", port=47808)
    trouble, packets = await dissected(capture, "bacapp", tmp_path / "bacnet.pcapng")
    await stage.until(lambda message: message.body["kind"] == "restarted")
    scan = ["nmap", "-sU", "-Pn", "-n", "-p", "47808", "--script", "bacnet-info", DEVICE]
    identity = (await driver.exec(stage.id, "tester", scan, timeout=SECONDS)).stdout.decode()
    await driver.close(stage.id)

    assert (seen, trouble) == (test_bacnet.what_the_client_saw(DEVICE), [])
    assert packets > 40
    assert [line for line in test_bacnet.IDENTITY if line not in identity] == []


async def test_a_supervisor_finds_its_device_by_broadcast(driver: Driver, tmp_path: Path) -> None:
    bacnet_in_image(driver)
    nodes = (
        node("cold", DEVICE, "bacnet_device", stations.cold_store(bbmd={})),
        node("bms", SUPERVISOR, "bacnet_bms", stations.bms(who_is_every=1)),
    )
    stage = await Telecontrol(driver, plan(*nodes)).launch()
    _, capture = await stage.watched("bms", shows({"level_setpoint": 60.0, "auto": 1.0}))
    trouble, packets = await dissected(capture, "bacapp", tmp_path / "bms.pcapng")
    broadcast, asked = await dissected(capture, "bacapp.unconfirmed_service == 8", tmp_path / "bms.pcapng")
    await driver.close(stage.id)

    assert (trouble, broadcast) == ([], [])
    assert packets > 4
    assert asked >= 1


async def test_paho_meets_a_broker_and_a_machine(driver: Driver, tmp_path: Path) -> None:
    nodes = (
        node("broker", BROKER, "mqtt_broker", stations.broker()),
        node("press", DEVICE, "mqtt_device", stations.mqtt_machine(BROKER, topic="factory/press")),
        node("panel", SUPERVISOR, "mqtt_panel", stations.mqtt_panel(BROKER, topic="factory/press")),
    )
    stage = await Telecontrol(driver, plan(*nodes)).launch()
    _, machine = await stage.watched("press", shows({"level_setpoint": 60.0, "auto": 1.0}))
    seen, capture = await stage.meets("paho_client", BROKER, "1883", port=1883)
    found = [await dissected(data, "mqtt", tmp_path / "mqtt.pcapng") for data in (machine, capture)]
    await driver.close(stage.id)

    assert seen == test_mqtt.SEEN
    assert [trouble for trouble, _ in found] == [[], []]
    assert min(packets for _, packets in found) > 4


def bacnet_in_image(driver: Driver) -> None:
    if driver.name == "docker" and not IMAGE_HAS_BACNET:
        skip_or_fail("bacpypes3 in the range image: deploy/range-node/libraries.txt, the lock, range-image build")
