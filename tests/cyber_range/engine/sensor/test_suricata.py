"""Suricata beside the sensor: its alerts join ours, and where both know a rule they say the same."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dns import DNS, DNSQR

from cyber_range.engine.sensor import pcapng
from cyber_range.engine.sensor.rules.book import load
from cyber_range.engine.sensor.suricata import Found, Suricata, alert_of, configuration, probe, rules_text
from tests.conftest import skip_or_fail
from tests.cyber_range.engine.sensor.recordings import on_the_wire
from tests.cyber_range.engine.sensor.rules.asked import CLIENT, SERVER, datagram, ping, segment, spoken
from tests.cyber_range.engine.sensor.talk import Talk, Wire, read, values, write, written

EVE = {
    "timestamp": "2026-11-23T12:00:00.250000+0000", "event_type": "alert", "src_ip": CLIENT, "dest_ip": SERVER, "dest_port": 502,
    "vlan": [3], "packet": base64.b64encode(bytes(12) + b"\x81\x00\x00\x03\x08\x00" + b"payload").decode(),
    "alert": {"signature_id": 7, "rev": 2, "signature": "写入", "severity": 4, "metadata": {"mitre_technique_id": ["T0855"]}},
}  # fmt: skip


def installed() -> None:
    found = probe()
    if not found.usable:
        skip_or_fail(f"Suricata: {found.reason}. {found.remedy}")


def test_an_eve_alert_becomes_ours_with_zone_technique_and_the_frame_without_our_tag() -> None:
    said = alert_of(json.dumps(EVE).encode(), {2: "office", 3: "workshop"})

    assert said is not None
    assert {key: said[key] for key in ("rule", "severity", "text", "src", "dst", "zone", "technique", "source", "port")} == {
        "rule": "suricata:7", "severity": 3, "text": "写入", "src": CLIENT, "dst": SERVER, "zone": "workshop",
        "technique": "T0855", "source": "suricata", "port": 502,
    }  # fmt: skip
    assert base64.b64decode(said["frames"][0][1]) == bytes(12) + b"\x08\x00" + b"payload"
    assert said["capture"]["from"] < said["seen"] < said["capture"]["to"]


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"7", b'{"event_type": "flow"}', b'{"event_type": "alert"}', b"\xff\xfe"]
)
def test_other_lines_are_no_alert(line: bytes) -> None:
    assert alert_of(line, {}) is None


def test_rules_of_ours_alone_are_not_handed_over_and_missing_programs_are_said() -> None:
    rules, _ = load(
        'alert s7comm any any -> any any (msg:"a"; s7comm.func:4; sid:1;)\n'
        'alert modbus any any -> any any (msg:"b"; modbus: function 5; sid:2;)', "x",
    )  # fmt: skip

    assert [line.partition("sid:")[2] for line in rules_text(rules).splitlines()] == ["2;)"]
    assert probe("no-such-suricata") == Found(
        False,
        "",
        "suricata is not installed",
        "apt-get install -t bookworm-backports suricata (Debian 12 has it in backports only)",
    )
    assert 'HOME_NET: "[10.9.0.0/16]"' in configuration(Path("/x"), {"HOME_NET": "[10.9.0.0/16]"})


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - another process has no event of ours
            await asyncio.sleep(0.02)


def attack() -> Wire:
    wire = Wire()
    talk = Talk(wire, CLIENT, SERVER).open()
    talk.ask(read(), values())
    talk.ask(write(40, 640), written(40, 640))
    talk.close()
    return wire


async def test_frames_of_two_zones_go_in_and_alerts_come_out(tmp_path: Path) -> None:
    installed()
    rules, _ = load(
        'alert modbus any any -> any any (msg:"写寄存器"; modbus: function 6; flow:to_server; '
        "classtype:attempted-admin; metadata:mitre_technique_id T0836; sid:9000001;)", "x",
    )  # fmt: skip
    alerts: list[dict[str, Any]] = []
    ends: list[str] = []
    beside = Suricata(tmp_path / "s", ["office", "workshop"], rules, {}, alerts.append, ends.append)
    await beside.start()
    try:
        wire = attack()
        beside.feed("workshop", wire.frames[:5])
        beside.feed("workshop", wire.frames[5:])
        beside.feed("office", wire.frames)
        beside.feed("nowhere", wire.frames)
        await until(lambda: len(alerts) >= 2 or bool(ends))
    finally:
        await beside.stop()

    assert ends == []
    assert {(a["rule"], a["zone"], a["technique"], a["severity"], a["source"]) for a in alerts} == {
        ("suricata:9000001", zone, "T0836", 1, "suricata") for zone in ("office", "workshop")
    }
    assert all(base64.b64decode(a["frames"][0][1]) in {frame for _, frame in wire.frames} for a in alerts)
    assert beside.counters() == {
        "suricata_given": 2 * len(wire.frames),
        "suricata_lost": 0,
        "suricata_alerts": len(alerts),
    }
    assert beside._process is not None
    assert beside._process.returncode is not None


async def test_an_end_by_itself_is_told_with_its_reason(tmp_path: Path) -> None:
    installed()
    rules, _ = load('alert tcp any any -> any any (msg:"a"; content:"b"; sid:1;)', "x")
    rules[0].text = "alert nonsense"
    ends: list[str] = []
    beside = Suricata(tmp_path / "s", ["z"], rules, {}, lambda alert: None, ends.append)
    await beside.start()
    try:
        await until(lambda: bool(ends) or beside._process is None)
    except TimeoutError:  # a version that goes on without the rule is fine, too
        pass
    finally:
        await beside.stop()

    assert not ends or "suricata ended with code" in ends[0]


SAME = """
alert tcp any any -> any 502 (msg:"a"; content:"|00 06|"; offset:4; depth:2; flow:to_server; sid:1;)
alert modbus any any -> any any (msg:"a"; modbus: function 6; sid:2;)
alert modbus any any -> any any (msg:"a"; modbus: access write holding, address 40, value >600; sid:3;)
alert modbus any any -> any any (msg:"a"; modbus: access write holding, address 41; sid:4;)
alert dnp3 any any -> any any (msg:"a"; dnp3_func:cold_restart; sid:5;)
alert dnp3 any any -> any any (msg:"a"; dnp3_func:warm_restart; sid:6;)
alert http any any -> any any (msg:"a"; http.uri; content:"/key"; sid:7;)
alert http any any -> any any (msg:"a"; http.uri; content:".."; sid:30;)
alert http any any -> any any (msg:"a"; http.uri.raw; content:"../key"; sid:31;)
alert http any any -> any any (msg:"a"; http.user_agent; content:"nmap"; nocase; startswith; sid:8;)
alert http any any -> any any (msg:"a"; http.stat_code; content:"404"; sid:9;)
alert http any any -> any any (msg:"a"; http.host; content:"other"; sid:10;)
alert dns any any -> any any (msg:"a"; dns.query; content:"evil"; nocase; pcre:"/^[a-z]+\\.evil/"; sid:11;)
alert dns any any -> any any (msg:"a"; dns.query; content:"good"; sid:12;)
alert icmp any any -> any any (msg:"a"; itype:8; icode:0; sid:13;)
alert icmp any any -> any any (msg:"a"; itype:5; sid:14;)
alert tcp any any -> any any (msg:"a"; flags:FPU; sid:15;)
alert tcp any any -> any any (msg:"a"; content:"|32 01|"; offset:7; depth:2; content:"|04 01|"; distance:8; within:2; sid:16;)
alert tcp any any -> any any (msg:"a"; content:"|32 01|"; offset:7; depth:2; content:"|04 01|"; distance:9; within:2; sid:17;)
alert udp any any -> any 9000 (msg:"a"; content:"abc"; dsize:3; isdataat:!1,relative; sid:18;)
alert udp any any -> any 9000 (msg:"a"; byte_test:1,>,96,0; byte_test:1,<,98,0; sid:19;)
alert udp any any -> any 9000 (msg:"a"; content:"b"; offset:2; sid:20;)
alert ssh any any -> any any (msg:"a"; ssh.software; content:"libssh"; sid:21;)
alert tcp any any -> any 9001 (msg:"a"; content:"login"; flowbits:set,asked; flowbits:noalert; sid:22;)
alert tcp any 9001 -> any any (msg:"a"; content:"denied"; flowbits:isset,asked; sid:23;)
alert tcp any 9001 -> any any (msg:"a"; content:"denied"; flowbits:isnotset,asked; sid:24;)
alert mqtt any any -> any any (msg:"a"; mqtt.type:SUBSCRIBE; mqtt.subscribe.topic; content:"factory/#"; sid:25;)
alert mqtt any any -> any any (msg:"a"; mqtt.connect.clientid; content:"visitor"; sid:26;)
alert tcp any any -> !$HOME_NET any (msg:"a"; content:"|00|"; sid:27;)
alert tcp [10.0.2.0/24,!10.0.2.5] any -> any any (msg:"a"; flow:to_client; content:"denied"; sid:28;)
alert udp any any -> any any (msg:"a"; content:!"zzz"; content:"abc"; sid:29;)
"""  # fmt: skip


def everything() -> Wire:
    wire = attack()
    wire.frames += on_the_wire("dnp3").frames + on_the_wire("mqtt").frames + on_the_wire("s7comm").frames
    web = Talk(wire, CLIENT, SERVER, port=80, sport=41000).open()
    web.segment(True, "PA", b"GET /a/../key HTTP/1.1\r\nHost: hmi\r\nUser-Agent: Nmap\r\n\r\n")
    web.segment(False, "PA", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    web.close()
    shell = Talk(wire, CLIENT, SERVER, port=22, sport=41001).open()
    shell.segment(True, "PA", b"SSH-2.0-libssh_0.9\r\n")
    shell.segment(False, "PA", b"SSH-2.0-OpenSSH_9.2\r\n")
    bits = Talk(wire, CLIENT, SERVER, port=9001, sport=41002).open()
    for up, data in ((True, b"login"), (False, b"denied")):
        bits.segment(up, "PA", data)
    bits.close()
    asks = datagram(bytes(DNS(id=7, qd=DNSQR(qname="key.evil.example"))), 53)
    for other in (asks, datagram(b"abc"), ping(), segment("FPU", port=9003)):
        wire.now += 1_000_000
        wire.frames += [(wire.now, other.frames[0][1])]
    return wire


def test_both_engines_say_the_same_rules_on_the_same_packets(tmp_path: Path) -> None:
    installed()
    wire = everything()
    wire.frames = [(1_800_000_000_000_000_000 + n * 1_000_000, frame) for n, (_, frame) in enumerate(wire.frames)]
    rules, problems = load(SAME, "same.rules")
    assert problems == []
    Suricata(tmp_path, ["z"], rules, {}, lambda alert: None, lambda why: None)._write_files()
    (tmp_path / "eve.pipe").unlink(missing_ok=True)  # a plain file here
    (tmp_path / "frames.pcapng").write_bytes(pcapng.header() + pcapng.packets(wire.frames))
    program = shutil.which("suricata")
    assert program
    subprocess.run(
        [program, "-c", str(tmp_path / "suricata.yaml"), "-r", str(tmp_path / "frames.pcapng"), "-l", str(tmp_path),
         "--runmode", "single", "-k", "none"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    lines = (tmp_path / "eve.pipe").read_text(encoding="utf-8").splitlines()

    theirs = {json.loads(line)["alert"]["signature_id"] for line in lines}

    assert set(spoken(SAME, wire)) == theirs
    assert len(theirs) >= 18
