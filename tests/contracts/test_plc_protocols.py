"""Plant protocols on every driver: the real client runs inside a node of the lab, nmap says what the device is, and tshark
finds nothing malformed and no protocol error in what went over the wire.

The memory driver has no place for a foreign process: there the client runs beside it, through a relay into the lab.
"""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import shutil
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.drivers.base import Driver
from cyber_range.engine.drivers.memory.net import MemoryNet
from cyber_range.engine.drivers.registry import load
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
from cyber_range.engine.sensor import pcapng
from tests.conftest import skip_or_fail
from tests.cyber_range.engine.agents import plc_specs, test_enip, test_opcua, test_s7

SECONDS = 120.0  # for a client or a launch; OPC UA alone takes some to load and build
CLIENTS = Path(test_s7.__file__).parent / "clients"
IMAGE_HAS_OPCUA = "asyncua" in Path("deploy/range-node/libraries.txt").read_text(encoding="utf-8").split()
BLOCK = "10.77.1"
HOSTS = {"modbus": 10, "s7": 11, "enip": 12, "opcua": 13, "hmi": 20, "tester": 30}
PORTS = {"modbus": 502, "s7": 102, "enip": 44818, "opcua": 4840}
LIBRARIES = {"snap7": ("snap7",), "pycomm3": ("pycomm3",), "asyncua": ()}  # pure Python, brought along
BOOT = (
    "import runpy, sys; "
    "sys.path.insert(0, '/tmp/client.zip'); sys.argv.pop(0); runpy.run_module(sys.argv[0], run_name='__main__')"
)
RECORDED = """
dumpcap -q -i eth0 -w /tmp/seen.pcap 2> /tmp/recorder.log &
recorder=$!
for i in $(seq 200); do grep -q File: /tmp/recorder.log && break; sleep 0.05; done
"$@"
code=$?
sleep 0.5
kill -INT $recorder
wait $recorder
exit $code
"""
TROUBLE = "_ws.malformed or _ws.expert.severity >= 0x800000"  # error; a reset connection is a warning


def leg(host: int) -> InterfacePlan:
    return InterfacePlan("shop", "eth0", f"{BLOCK}.{host}", 24, f"02:4e:00:00:01:{host:02x}")


def plan(*kinds: str) -> RangePlan:
    """The controllers of these protocols, an operator station that polls them, a tester."""
    uses = {"modbus": "modbus_plc", "s7": "s7_plc", "enip": "enip_plc", "opcua": "opcua_server"}
    specs = {
        "modbus": plc_specs.modbus(), "s7": plc_specs.s7(), "enip": plc_specs.enip(), "opcua": plc_specs.opcua(),
    }  # fmt: skip
    nodes = [NodePlan(kind, (leg(HOSTS[kind]),), (ProgramPlan("plc", uses[kind], specs[kind]),)) for kind in kinds]
    station = plc_specs.hmi({kind: f"{BLOCK}.{HOSTS[kind]}" for kind in kinds})
    raw = frozenset({"net_raw"})
    nodes.append(NodePlan("hmi", (leg(HOSTS["hmi"]),), (ProgramPlan("hmi", "hmi", station),), caps=raw))
    nodes.append(
        NodePlan("tester", (leg(HOSTS["tester"]),), (ProgramPlan("probe", "probe", {}),), shell=True, caps=raw)
    )
    zone = ZonePlan("shop", f"{BLOCK}.0/24", "lb0a11ce77a", 1.0)
    return RangePlan("0a11ce000077", (zone,), tuple(nodes), Limits(memory_mib=1024))


def packed(client: str) -> bytes:
    """The client's script and its library as one zip file."""
    library, _ = client.split("_")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(CLIENTS / f"{client}.py", f"{client}.py")
        for name in LIBRARIES[library]:
            spec = importlib.util.find_spec(name)
            assert spec is not None
            assert spec.origin is not None
            root = Path(spec.origin).parent
            for path in sorted(root.rglob("*.py")):
                archive.write(path, f"{name}/{path.relative_to(root)}")
    return buffer.getvalue()


class Stage:
    def __init__(self, driver: Driver, wanted: RangePlan) -> None:
        self.driver, self.plan, self.id = driver, wanted, wanted.range_id

    async def launch(self) -> Stage:
        await self.driver.open(self.id, self.plan.limits)
        self.messages = self.driver.messages(self.id)
        await self.driver.apply(self.id, converge(self.plan, Observed()))
        waiting = {(node.name, program.name) for node in self.plan.nodes for program in node.programs}
        async with asyncio.timeout(SECONDS):
            async for message in self.messages:
                assert message.body["kind"] != "error", message
                if message.body["kind"] == "ready":
                    waiting.discard((message.node, message.program))
                    if not waiting:
                        break
        return self

    async def until(self, wanted: Any) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS):
            async for message in self.messages:
                if wanted(message):
                    return dict(message.body)
        raise AssertionError("the range ended")

    async def ask(self, node: str, kind: str, **args: Any) -> dict[str, Any]:
        await self.driver.send(self.id, node, "plc", {"kind": kind, "id": 4711, **args})
        return await self.until(lambda m: m.node == node and m.body["kind"] == "reply" and m.body["id"] == 4711)

    async def client(self, name: str, kind: str) -> tuple[dict[str, Any], bytes]:
        """(what the client printed, the capture of the time it ran)."""
        host, port = f"{BLOCK}.{HOSTS[kind]}", PORTS[kind]
        if self.driver.name == "memory":
            return await self._beside(CLIENTS / f"{name}.py", host, port)
        python = "python3" if self.driver.name == "docker" else sys.executable
        command = [python, "-c", BOOT, name, host, str(port)]
        brought = await self.driver.exec(self.id, "tester", ["sh", "-c", "cat > /tmp/client.zip"], stdin=packed(name))
        assert brought.code == 0, brought
        return await self.recorded("tester", command)

    async def recorded(self, node: str, command: list[str]) -> tuple[dict[str, Any], bytes]:
        done = await self.driver.exec(self.id, node, ["sh", "-c", RECORDED, "sh", *command], timeout=SECONDS)
        assert (done.code, done.timed_out) == (0, False), done
        capture = await self.driver.exec(self.id, node, ["cat", "/tmp/seen.pcap"])
        said = done.stdout.decode().strip().splitlines()
        return json.loads(said[-1]) if said and said[-1].startswith("{") else {}, capture.stdout

    async def _beside(self, script: Path, host: str, port: int) -> tuple[dict[str, Any], bytes]:
        fabric = self.driver._ranges[self.id].fabric  # type: ignore[attr-defined]  # of the memory driver
        net = MemoryNet(fabric, fabric.hosts["tester"])
        frames: list[tuple[int, bytes]] = []
        tap = await net.tap("eth0", frames.extend)

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner = await asyncio.open_connection(sock=await net.connect(host, port))
            await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer), return_exceptions=True)

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        number = server.sockets[0].getsockname()[1]
        try:
            running = await asyncio.create_subprocess_exec(
                sys.executable, str(script), "127.0.0.1", str(number), stdout=asyncio.subprocess.PIPE
            )
            out, _ = await asyncio.wait_for(running.communicate(), SECONDS)
        finally:
            server.close()
            tap.close()
            net.close()
        assert running.returncode == 0
        return json.loads(out), pcapng.header() + pcapng.packets(frames)


async def dissected(capture: bytes, shown: str, path: Path) -> tuple[list[str], int]:
    """(what tshark finds wrong, how many packets it takes for this protocol)."""
    if shutil.which("tshark") is None:
        skip_or_fail("tshark is not installed. apt-get install tshark")
    await asyncio.to_thread(path.write_bytes, capture)
    found = []
    for display in (TROUBLE, shown):
        done = await asyncio.create_subprocess_exec(
            "tshark", "-r", str(path), "-Y", display, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        out, _ = await done.communicate()
        assert done.returncode == 0
        found.append(out.decode().splitlines())
    return found[0], len(found[1])


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


async def test_snap7_meets_an_s7_controller(driver: Driver, tmp_path: Path) -> None:
    stage = await Stage(driver, plan("s7")).launch()
    seen, capture = await stage.client("snap7_client", "s7")
    trouble, packets = await dissected(capture, "s7comm", tmp_path / "s7.pcapng")
    state = await stage.ask("s7", "state")
    await driver.close(stage.id)

    assert seen.pop("year") >= 2024
    assert (seen, trouble) == (test_s7.SEEN, [])
    assert packets > 40
    assert (state["mode"], state["changed"]) == ("run", 0)


async def test_pycomm3_meets_an_ethernet_ip_controller(driver: Driver, tmp_path: Path) -> None:
    stage = await Stage(driver, plan("enip")).launch()
    seen, capture = await stage.client("pycomm3_client", "enip")
    trouble, packets = await dissected(capture, "enip", tmp_path / "enip.pcapng")
    values = await stage.ask("enip", "read", tags=["level_setpoint", "auto"])
    await driver.close(stage.id)

    assert (seen, trouble) == (test_enip.SEEN, [])
    assert packets > 40
    assert values["values"] == [72.5, 0.0]


async def test_asyncua_meets_an_opc_ua_server(driver: Driver, tmp_path: Path) -> None:
    if driver.name == "docker" and not IMAGE_HAS_OPCUA:
        skip_or_fail("asyncua in the range image: deploy/range-node/libraries.txt, the lock, range-image build")
    stage = await Stage(driver, plan("opcua")).launch()
    seen, capture = await stage.client("asyncua_client", "opcua")
    trouble, packets = await dissected(capture, "opcua", tmp_path / "opcua.pcapng")
    values = await stage.ask("opcua", "read", tags=["level_setpoint"])
    await driver.close(stage.id)

    expected = {**test_opcua.SEEN, "endpoints": [True]}
    assert (seen, trouble) == (expected, [])
    assert packets > 40
    assert values["values"] == [72.5]


async def test_the_operator_station_polls_them_without_a_protocol_error(driver: Driver, tmp_path: Path) -> None:
    here = IMAGE_HAS_OPCUA or driver.name != "docker"
    kinds = ("modbus", "s7", "enip", *(["opcua"] if here else []))
    stage = await Stage(driver, plan(*kinds)).launch()
    wanted = {"setpoint": 60.0, "auto": 1.0}
    await stage.until(
        lambda m: m.body["kind"] == "view" and all(d["values"] == wanted for d in m.body["devices"].values())
    )
    if driver.name != "memory":
        _, capture = await stage.recorded("hmi", ["sleep", "2"])
        counted = {}
        for kind, shown in (("modbus", "modbus"), ("s7", "s7comm"), ("enip", "cip"), ("opcua", "opcua")):
            if kind in kinds:
                trouble, counted[kind] = await dissected(capture, shown, tmp_path / "hmi.pcap")
                assert trouble == []
        assert min(counted.values()) >= 6, counted
    await driver.close(stage.id)


NMAP = {
    "modbus": (
        "modbus-discover", ["sid 0x1", "Slave ID data: Hengda Automation HD-C310 V2.08",
                            "Device identification: Hengda Automation HD-C310 V2.08"],
    ),
    "s7": (
        "s7-info", ["Module: HD7 314-6EH04-0AB0", "Basic Hardware: HD7 314-6EH04-0AB0", "Version: 3.3.8",
                    "System Name: HD300/Line", "Module Type: CPU 314E-2", "Serial Number: S C-H4K913772019",
                    "Copyright: Original Hengda Equipment"],
    ),
    "enip": (
        "enip-info", ["type: Programmable Logic Controller (14)", "productName: HD-LX33E/A Line Controller",
                      "productCode: 137", "revision: 21.11", "status: 0x3160", "state: 0x03",
                      f"deviceIp: {BLOCK}.{HOSTS['enip']}"],
    ),
}  # fmt: skip


@KERNELS  # nmap needs a kernel's network
async def test_nmap_says_what_each_device_is(driver: Driver) -> None:
    stage = await Stage(driver, plan(*NMAP)).launch()
    said = {}
    for kind, (script, _) in NMAP.items():
        command = ["nmap", "-Pn", "-n", "-sT", "-p", str(PORTS[kind]), "--script", script, f"{BLOCK}.{HOSTS[kind]}"]
        done = await driver.exec(stage.id, "tester", command, timeout=SECONDS)
        said[kind] = done.stdout.decode()
    await driver.close(stage.id)

    missing = {kind: [line for line in lines if line not in said[kind]] for kind, (_, lines) in NMAP.items()}
    assert missing == {kind: [] for kind in NMAP}, said
