"""The sensor as a node program: its spec, its commands, what it emits, a Suricata beside."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.sensor.suricata import probe
from tests.conftest import skip_or_fail
from tests.cyber_range.engine.agents.loopback import Running, programs
from tests.cyber_range.engine.agents.test_listening import WireNet
from tests.cyber_range.engine.sensor.recordings import on_the_wire
from tests.cyber_range.engine.sensor.talk import Talk, Wire, read, values, write, written

HMI, PLC = "10.0.2.5", "10.0.2.9"
OWN = """
alert modbus any any -> any any (msg:"写寄存器"; modbus: function 6; flow:to_server; metadata:mitre_technique_id T0836; sid:7;)
alert smb any any -> any any (msg:"不会"; content:"x"; sid:8;)
"""


def sensor(net: WireNet, **spec: Any) -> Running:
    return Running("sensor", "sensor", net.ip, {"taps": {"workshop": "b0"}, **spec}, net)


def conversation() -> Wire:
    wire = Wire()
    talk = Talk(wire, HMI, PLC).open()
    talk.ask(read(), values())
    talk.ask(write(40, 640), written(40, 640))
    talk.segment(True, "A")  # Suricata looks at what is acknowledged, when the next packet of that direction comes
    return wire


async def test_own_rules_alert_with_frames_and_what_cannot_be_read_is_told() -> None:
    net = WireNet()
    running = sensor(net, rules=OWN)
    wire = conversation()
    async with programs(running):
        net.taps["workshop"](wire.frames)
        alert = await running.until(lambda m: m["kind"] == "alert" and m.get("source") == "rules")
        told = await running.until("rules")

    assert (alert["rule"], alert["text"], alert["technique"], alert["sid"]) == ("sid:7", "写寄存器", "T0836", 7)
    assert base64.b64decode(alert["frames"][-1][1]) in {frame for _, frame in wire.frames}
    assert told["problems"] == [
        {"file": "scenario", "line": 3, "sid": 8, "keyword": "protocol", "reason": told["problems"][0]["reason"]}
    ]
    assert told["left_out"] == 1
    assert told["loaded"] > 50


async def test_learning_is_begun_locked_read_and_ended_by_command() -> None:
    net = WireNet()
    running = sensor(net, capture=False, shipped_rules=False)
    async with programs(running):
        assert (await running.ask("learn", seconds=3600))["state"] == "learning"
        net.taps["workshop"](conversation().frames)
        locked = await running.ask("lock")
        late = Wire()
        Talk(late, "10.0.2.66", PLC, sport=42000).open().ask(read(), values())
        net.taps["workshop"](late.frames)
        alert = await running.until(lambda m: m["kind"] == "alert" and m["rule"] == "new_master")
        assert (await running.ask("unlock"))["state"] == "off"
        inventory = await running.ask("inventory")

    assert locked["state"] == "locked"
    assert {(entry["function"], tuple(map(tuple, entry["addresses"]))) for entry in locked["entries"]} == {
        (3, ((0, 3),)), (6, ((40, 40),)),
    }  # fmt: skip
    assert alert["src"] == "10.0.2.66"
    assert {asset["ip"] for asset in inventory["assets"]} == {HMI, PLC, "10.0.2.66"}
    assert not running.of("pcap")


async def test_rules_are_replaced_while_it_runs() -> None:
    net = WireNet()
    running = sensor(net, shipped_rules=False)
    wire = Wire()
    talk = Talk(wire, HMI, PLC).open()
    talk.ask(read(), values())
    async with programs(running):
        net.taps["workshop"](wire.frames)
        assert (await running.ask("rules"))["loaded"] == 0
        said = await running.ask("set_rules", text=OWN)
        more = Wire()
        more.now = wire.now
        talk.wire = more
        talk.ask(write(40, 640), written(40, 640))
        net.taps["workshop"](more.frames)
        alert = await running.until(lambda m: m["kind"] == "alert")

    assert (said["loaded"], said["left_out"], alert["rule"]) == (1, 1, "sid:7")


async def test_counters_say_what_was_left_out() -> None:
    net = WireNet()
    running = sensor(net)
    wire = on_the_wire("s7comm")
    async with programs(running):
        net.taps["workshop"](wire.frames)
        await running.until(lambda m: m["kind"] == "polls" and m["polls"])
        counters = (await running.ask("counters"))["values"]

    assert {name: counters[name] for name in ("frames", "shed_frames", "shed_payloads", "decoder_faults", "capture_lost")} == {
        "frames": len(wire.frames), "shed_frames": 0, "shed_payloads": 0, "decoder_faults": 0, "capture_lost": 0,
    }  # fmt: skip


async def test_without_suricata_the_sensor_says_so_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    net = WireNet()
    running = sensor(net, suricata=True)
    async with programs(running):
        said = await running.until("suricata")
        net.taps["workshop"](conversation().frames)
        await running.until(lambda m: m["kind"] == "polls" and m["polls"])
        state = (await running.ask("suricata"))["state"]

    assert (said["state"], said["what"]) == ("missing", "suricata is not installed")
    assert "bookworm-backports" in said["remedy"]
    assert "bookworm-backports" in state


async def test_with_suricata_both_alert_and_nothing_is_left_behind(tmp_path: Path) -> None:
    if not (found := probe()).usable:
        skip_or_fail(f"Suricata: {found.reason}. {found.remedy}")
    net = WireNet()
    running = sensor(net, suricata=True, rules=OWN, store=str(tmp_path))
    async with programs(running):
        said = await running.until("suricata")
        assert said["state"] == "running"
        net.taps["workshop"](conversation().frames)
        ours = await running.until(lambda m: m["kind"] == "alert" and m["rule"] == "sid:7")
        theirs = await running.until(lambda m: m["kind"] == "alert" and m["rule"] == "suricata:7", timeout=60)

    assert (theirs["zone"], theirs["src"], theirs["dst"]) == (ours["zone"], ours["src"], ours["dst"])
    assert theirs["technique"] == "T0836"
