"""The traffic program: whole sessions between ghosts, on the scenario's clock, never an attack outside a lab."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.lab.labelled import record
from cyber_range.engine.scenario.load import load
from cyber_range.engine.sensor import pcapng
from cyber_range.engine.traffic.profiles import CATALOGUE
from cyber_range.engine.traffic.spec import BadTraffic, free_addresses, sessions
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs
from tests.cyber_range.engine.traffic.stage import NEEDS_TSHARK, leg, tshark

TAKEN = [{"name": "pc", "legs": [{"ip": "127.61.0.2"}]}, {"name": "gate", "legs": [{"ip": "127.61.0.254"}]}]


class Segment(LoopbackNet):
    """Keeps what was sent with the moment it left."""

    def __init__(self, ip: str) -> None:
        super().__init__(ip)
        self.sent: list[tuple[int, bytes]] = []

    def send_frames(self, ifname: str, frames: Sequence[bytes]) -> int:
        now = asyncio.get_running_loop().time()
        self.sent += [(int(now * 1e9) + number, bytes(frame)) for number, frame in enumerate(frames)]
        return len(frames)


def speaker(*profiles: dict[str, Any], **spec: Any) -> Running:
    return Running(
        "pc", "traffic", "127.61.0.2", {"profiles": list(profiles), "taken": TAKEN, **spec}, Segment("127.61.0.2")
    )


async def until_sent(net: Any, count: int) -> None:
    async with asyncio.timeout(90):
        while len(net.sent) < count:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.05)


@pytest.mark.tshark
@NEEDS_TSHARK
async def test_ghosts_speak_whole_sessions(tmp_path: Path) -> None:
    pc = speaker(
        {"use": "modbus_poll", "every": 0.05, "ghosts": 2}, {"use": "feed", "every": 0.1, "ghosts": 3},
        {"use": "dns", "every": 0.2, "ghosts": 2, "shift": "always"}, clock={"speed": 3},
    )  # fmt: skip
    async with programs(pc):
        await until_sent(pc.net, 400)
        counts = (await pc.ask("counters"))["values"]

    file = tmp_path / "ghosts.pcapng"
    file.write_bytes(pcapng.header() + pcapng.packets(pc.net.sent))
    assert set(counts) == {"modbus_poll", "feed", "dns"}
    assert tshark(file, "-Y", "tcp.analysis.flags || _ws.malformed") == []
    assert (
        tshark(
            file, "-Y", 'ip.checksum.status == "Bad" || tcp.checksum.status == "Bad" || udp.checksum.status == "Bad"'
        )
        == []
    )
    finished = tshark(
        file, "-2", "-Y", "tcp.flags.syn == 1 && tcp.flags.ack == 0 && tcp.dstport == 8900 && tcp.completeness == 31"
    )
    assert len(finished) >= 5
    assert len(tshark(file, "-Y", "modbus")) >= 20
    addresses = {a for line in tshark(file, "-T", "fields", "-e", "ip.src", "-e", "ip.dst") for a in line.split()}
    assert addresses.isdisjoint({"127.61.0.2", "127.61.0.254"})  # no node is half of a session


async def test_a_pause_stops_it_and_a_faster_clock_brings_more() -> None:
    pc = speaker({"use": "dns", "every": 5.0, "ghosts": 2, "shift": "always"}, clock={"speed": 100})
    async with programs(pc):
        await until_sent(pc.net, 20)
        pc.inbox.put_nowait({"kind": "clock", "speed": 0, "id": 1000})
        await pc.until(lambda m: m["kind"] == "reply" and m["id"] == 1000)
        await asyncio.sleep(0.3)  # what had begun ends
        before = len(pc.net.sent)
        await asyncio.sleep(0.7)
        held = len(pc.net.sent)
        pc.inbox.put_nowait({"kind": "clock", "speed": 100})
        await until_sent(pc.net, held + 20)

    assert held == before


async def test_people_sleep_at_night() -> None:
    at_night = speaker(
        {"use": "dns", "every": 0.02, "ghosts": 2, "shift": "office"}, {"use": "time", "every": 0.02, "ghosts": 2},
        start="2026-03-08T03:00:00",
    )  # fmt: skip
    async with programs(at_night):
        await until_sent(at_night.net, 60)
        counts = (await at_night.ask("counters"))["values"]

    assert counts.get("dns", 0) < counts["time"] / 4


async def test_attacks_need_the_lab_s_mark() -> None:
    outside = speaker({"use": "modbus_setpoint", "ghosts": 2})

    with pytest.raises(AssertionError, match="attack programs run only inside a lab"):
        await outside.until("error", 60)
    await outside.task


def test_ghosts_take_free_addresses_and_need_to_know_which() -> None:
    own = leg("office", 10)

    assert free_addresses(own, [{"legs": [{"ip": "10.9.1.254"}]}])[:2] == ["10.9.1.253", "10.9.1.252"]
    with pytest.raises(BadTraffic, match="Write taken"):
        sessions({"profiles": [{"use": "dns"}]}, own)
    with pytest.raises(BadTraffic, match="profile lldp is not played between ghosts"):
        sessions({"profiles": [{"use": "lldp"}], "taken": []}, own)
    acts = sessions({"profiles": [{"use": "dns", "ghosts": 3}], "taken": []}, own)
    assert len({act.client.ip for act in acts} | {acts[0].server.ip}) == 3


def test_live_and_capture_read_the_same_spec(tmp_path: Path) -> None:
    """The filling line's chatter is in its capture with its own rates."""
    scenario = load(Path(__file__).parents[4] / "cyber_range" / "scenarios" / "filling_line")
    record(scenario, seconds=600, seed="1", team="t", out=tmp_path, start="2026-03-09T10:00:00+08:00", noise=False)

    text = (tmp_path / "labels.csv").read_text()
    for name in scenario.traffic[0].spec["mix"]:
        assert f"benign,{name}," in text
    assert {"browsing", "mail", "backup", "update", "dns"} <= set(CATALOGUE)
