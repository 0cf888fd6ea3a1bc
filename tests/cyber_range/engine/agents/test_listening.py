"""Programs that listen on the wire: the sensor, the capture tool, the chatter."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.agents.tools import capture
from cyber_range.engine.sensor import pcapng
from cyber_range.engine.sensor.decode import Arp, decode
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs
from tests.cyber_range.engine.sensor.talk import Talk, Wire, read, values, write, written

HMI, PLC, JUMP = "10.0.2.5", "10.0.2.9", "10.0.3.4"


class WireNet(LoopbackNet):
    """A network whose taps are fed by the test."""

    def __init__(self, ip: str = "127.50.0.2", replay: list[tuple[int, bytes]] | None = None) -> None:
        super().__init__(ip)
        self.taps: dict[str, Any] = {}
        self._replay = replay or []

    async def tap(self, where: str, on_frames: Any) -> Any:
        self.taps[where] = on_frames
        asyncio.get_running_loop().call_soon(on_frames, self._replay)
        return io.BytesIO()  # something that can be closed


def traffic() -> Wire:
    wire = Wire()
    poll = Talk(wire, HMI, PLC).open()
    for _ in range(3):
        poll.ask(read(), values())
    Talk(wire, JUMP, PLC, sport=41000).open().ask(write(40, 640), written(40, 640))
    wire.arp(HMI, PLC)
    return wire


async def test_the_sensor_tells_rates_alerts_assets_and_keeps_every_packet() -> None:
    policy = {"masters": [{"client": HMI, "server": PLC, "functions": [3]}], "assets": {PLC: "灌装控制器"}}
    net = WireNet()
    sensor = Running("sensor", "sensor", net.ip, {"taps": {"workshop": "b0"}, "policy": policy}, net)
    wire = traffic()
    async with programs(sensor):
        net.taps["workshop"](wire.frames)
        alert = await sensor.until(lambda m: m["kind"] == "alert" and m["rule"] == "unauthorized_write")
        polls = await sensor.until(lambda m: m["kind"] == "polls" and m["polls"])
        chunk = await sensor.until("pcap")
        counters = await sensor.until(lambda m: m["kind"] == "counters" and m["values"]["modbus_writes"])

    assert (alert["src"], alert["dst"], alert["zone"], alert["technique"], alert["severity"]) == (
        JUMP,
        PLC,
        "workshop",
        "T0836",
        1,
    )
    assert {(p["client"], p["requests"], p["responses"], p["writes"]) for p in polls["polls"]} == {
        (HMI, 3, 3, 0),
        (JUMP, 1, 1, 1),
    }
    assert pcapng.read(pcapng.header() + base64.b64decode(chunk["data"])) == wire.frames
    assert counters["values"]["unauthorized_writes"] == 1
    assert {a["ip"]: a["name"] for a in sensor.of("asset")} == {HMI: "", PLC: "灌装控制器", JUMP: ""}


async def captured(*argv: str) -> str:
    out = io.StringIO()
    net = WireNet(replay=traffic().frames)
    assert await capture.main([*argv, "--seconds", "0.05"], net, out) == 0
    return out.getvalue()


async def test_lb_capture_reads_modbus_in_words() -> None:
    text = await captured("--modbus", "--writes")

    assert text.splitlines()[0].endswith(f"TCP {JUMP}:41000 → {PLC}:502 Modbus 写单个寄存器 地址 40 ← 640")
    assert text.endswith("共 2 个报文\n")


async def test_lb_capture_filters_counts_and_sums_up() -> None:
    everything, host, limited, summary = (
        await captured(), await captured("--host", JUMP), await captured("-c", "3"), await captured("--summary"),
    )  # fmt: skip

    assert everything.endswith("共 15 个报文\n")
    assert f"ARP {HMI}: 谁是 {PLC}?" in everything
    assert host.endswith("共 5 个报文\n")
    assert limited.endswith("共 3 个报文\n")
    assert summary.splitlines()[:2] == [
        f"{HMI} → {PLC}:502  9 个报文", f"{JUMP} → {PLC}:502  5 个报文，其中 Modbus 写请求 1",
    ]  # fmt: skip


async def test_lb_capture_writes_a_file_it_can_read_and_refuses_where_there_are_none(tmp_path: Path) -> None:
    out = io.StringIO()
    out.files = True  # type: ignore[attr-defined]
    file = tmp_path / "a.pcapng"
    wire = traffic()

    await capture.main(["-w", str(file), "--seconds", "0.05"], WireNet(replay=wire.frames), out)
    await capture.main(["-r", str(file), "--writes"], WireNet(), out)
    nowhere = io.StringIO()
    code = await capture.main(["-w", str(file)], WireNet(), nowhere)

    assert pcapng.read(file.read_bytes()) == wire.frames
    assert out.getvalue().startswith(f"已存 15 个报文到 {file}\n")
    assert (code, nowhere.getvalue()) == (2, "lb-capture: 这个节点没有文件系统，不能用 -w 和 -r\n")


async def test_lb_capture_without_the_right_says_so() -> None:
    out = io.StringIO()

    assert await capture.main(["--seconds", "0.05"], LoopbackNet("127.50.0.3"), out) == 1
    assert out.getvalue() == "lb-capture: 没有权限（此节点不允许这个操作）\n"


async def test_chatter_is_sent_and_varies() -> None:
    pc = Running("pc", "traffic", "127.51.0.2", {"mix": {"service_search": 0.05, "gratuitous_arp": 0.05}})
    async with programs(pc):
        async with asyncio.timeout(60):
            while len(pc.net.frames) < 12:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.05)
        counts = (await pc.ask("counters"))["values"]

    assert set(counts) == {"service_search", "gratuitous_arp"}
    searches = [f for f in pc.net.frames if not isinstance(decode(f), Arp)]
    assert len(set(searches)) == len(searches)


async def test_an_unknown_template_ends_the_program_with_its_name() -> None:
    pc = Running("pc", "traffic", "127.52.0.2", {"mix": {"nosuch": 1}})

    with pytest.raises(AssertionError, match="no template 'nosuch' for this node"):
        await pc.until("error", 60)
    await pc.task
