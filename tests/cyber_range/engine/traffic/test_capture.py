"""Captures: every packet belongs to exactly one label row, the same seed gives the same bytes, streams can be followed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cyber_range.engine.cli import main
from cyber_range.engine.lab.labelled import record
from cyber_range.engine.scenario.load import load
from cyber_range.engine.traffic.profiles import CATALOGUE
from tests.cyber_range.engine.traffic.stage import NEEDS_TSHARK, everything, recorded, tshark

FILLING = Path(__file__).parents[4] / "cyber_range" / "scenarios" / "filling_line"
START = "2026-03-09T10:00:00+08:00"


# Each example compiles packets in a process of its own: a failing one is shown as it is, not made smaller for minutes.
LAW = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.explicit, Phase.reuse, Phase.generate]
)


class Seen(NamedTuple):
    time: int
    zone: int
    key: tuple[object, ...]
    size: int


def packets(capture: Path) -> Iterator[Seen]:
    """(time, interface, who, size) of every packet, read block by block from the file."""
    data, at = capture.read_bytes(), 0
    while at < len(data):
        kind, total = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 8], "little")
        assert int.from_bytes(data[at + total - 4 : at + total], "little") == total
        if kind == 6:
            zone, high, low, size, whole = (
                int.from_bytes(data[at + n : at + n + 4], "little") for n in (8, 12, 16, 20, 24)
            )
            assert size == whole
            yield Seen(high << 32 | low, zone, who(data[at + 28 : at + 28 + size]), size)
        at += total


def who(frame: bytes) -> tuple[object, ...]:
    """What tells a flow from another: unordered ends, whatever the frame has of them."""
    kind = frame[12:14].hex()
    if kind == "0806":  # whose claim about whom; a question and its answer share the pair
        ends = frozenset({(frame[22:28].hex(":"), str(IPv4Address(frame[28:32]))), str(IPv4Address(frame[38:42]))})
        return ("arp", ends)
    if kind != "0800":
        return ({"88cc": "lldp", "8892": "pn_dcp"}[kind], frame[6:12].hex(":"), frame[0:6].hex(":"))
    source, target = str(IPv4Address(frame[26:30])), str(IPv4Address(frame[30:34]))
    if frame[23] == 1:
        return ("icmp", frozenset({source, target}))
    ports = int.from_bytes(frame[34:36], "big"), int.from_bytes(frame[36:38], "big")
    return ({6: "tcp", 17: "udp"}[frame[23]], frozenset({(source, ports[0]), (target, ports[1])}))


def rows(labels: Path) -> list[dict[str, str]]:
    with labels.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def keys(row: dict[str, str]) -> list[tuple[object, ...]]:
    """Every key that a packet of the row may have."""
    if row["proto"] == "arp":
        client, server = (row["src_mac"], row["src_ip"]), (row["dst_mac"], row["dst_ip"])
        if row["profile"] == "gratuitous_arp":
            return [("arp", frozenset({client, row["src_ip"]}))]
        return [("arp", frozenset({client, row["dst_ip"]})), ("arp", frozenset({server, row["src_ip"]}))]
    if row["proto"] in ("lldp", "pn_dcp"):
        pair = row["src_mac"], row["dst_mac"]
        return [(row["proto"], *pair), (row["proto"], *pair[::-1])]
    if row["proto"] == "icmp":
        return [("icmp", frozenset({row["src_ip"], row["dst_ip"]}))]
    ends = frozenset({(row["src_ip"], int(row["src_port"])), (row["dst_ip"], int(row["dst_port"]))})
    return [(row["proto"], ends)]


def nanoseconds(text: str) -> int:
    seconds, _, rest = text.partition(".")
    return int(seconds) * 1_000_000_000 + int(rest)


def check_labels(folder: Path, zones: list[str]) -> None:
    """Counts, bytes, first and last time of every row are those of the packets that only this row can claim."""
    labelled = rows(folder / "labels.csv")
    claims: dict[tuple[object, ...], list[int]] = {}
    for index, row in enumerate(labelled):
        for key in keys(row):
            claims.setdefault((zones.index(row["zone"]), *key), []).append(index)
    count, size = Counter[int](), Counter[int]()
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    before = 0
    for packet in packets(folder / "capture.pcapng"):
        assert packet.time >= before
        before = packet.time
        owners = [
            index
            for index in claims[(packet.zone, *packet.key)]
            if nanoseconds(labelled[index]["start"]) <= packet.time <= nanoseconds(labelled[index]["end"])
        ]
        assert len(owners) == 1, (packet, [labelled[index] for index in owners])
        count[owners[0]] += 1
        size[owners[0]] += packet.size
        first.setdefault(owners[0], packet.time)
        last[owners[0]] = packet.time
    for index, row in enumerate(labelled):
        assert (int(row["packets"]), int(row["bytes"])) == (count[index], size[index])
        assert (nanoseconds(row["start"]), nanoseconds(row["end"])) == (first[index], last[index])


@settings(LAW, max_examples=8)
@given(
    seconds=st.integers(3, 240), seed=st.text(min_size=1, max_size=8),
    names=st.lists(st.sampled_from(sorted(CATALOGUE)), min_size=1, max_size=8, unique=True),
)  # fmt: skip
def test_every_packet_belongs_to_exactly_one_row(seconds: int, seed: str, names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written = recorded(Path(folder), everything(seconds, names), seconds, seed)

        check_labels(Path(folder), ["office", "plant"])
        labelled = rows(Path(folder) / "labels.csv")
        assert sum(int(row["packets"]) for row in labelled) == written.packets
        assert sum(int(row["packets"]) for row in labelled if row["label"] == "attack") == written.attacks


@settings(LAW, max_examples=3)
@given(seconds=st.integers(20, 400), seed=st.integers(0, 10**6).map(str))
def test_labels_of_a_scenario_hold_for_any_seed_and_length(seconds: int, seed: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        record(load(FILLING), seconds=seconds, seed=seed, team="t", out=Path(folder), start=START)

        check_labels(Path(folder), ["outside", "office", "dmz", "workshop"])


def made(folder: Path, hash_seed: str, seed: str = "7") -> dict[str, str]:
    command = [sys.executable, "-m", "cyber_range.engine", "traffic", "pcap", "--scenario", "filling_line",
               "--duration", "5m", "--seed", seed, "--out", str(folder)]  # fmt: skip
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True)
    found: dict[str, str] = json.loads((folder / "manifest.json").read_text())["sha256"]
    return found


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_order(tmp_path: Path) -> None:
    one, two, other = (
        made(tmp_path / "a", "1"), made(tmp_path / "b", "4242"), made(tmp_path / "c", "1", seed="8")
    )  # fmt: skip

    assert one == two
    for name in ("capture.pcapng", "labels.csv", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()
    assert one["capture.pcapng"] != other["capture.pcapng"]


def test_a_capture_has_the_plan_s_people_and_the_campaign_s_steps(tmp_path: Path) -> None:
    manifest = record(load(FILLING), seconds=1200, seed="7", team="t", out=tmp_path, start=START)

    labelled = rows(tmp_path / "labels.csv")
    polls = [row for row in labelled if row["profile"] == "modbus_poll"]
    assert {(row["src_node"], row["dst_node"], row["zone"]) for row in polls} == {
        ("hmi", "plc_tank", "workshop"), ("hmi", "plc_filler", "workshop")
    }  # fmt: skip
    # 0.5 s for four blocks is eight exchanges of three frames a second, beside handshake and close
    assert all(abs(int(row["packets"]) - 1200 * 8 * 3) < 200 for row in polls)
    steps = {(row["step"], row["technique"]) for row in labelled if row["label"] == "attack"}
    assert steps == {
        ("login", "T0812"), ("scan", "T0846"), ("identify", "T0888"), ("points", "T0861"), ("watch", "T0801"),
        ("interlock_off", "T0855"), ("overfill", "T0836"), ("insist", "T0831"),
    }  # fmt: skip
    inside = {row["src_node"] for row in labelled if row["step"] in ("scan", "overfill")}
    assert inside == {"jump"}  # since the login the intruder works from there
    addresses = {leg["ip"]: name for name, legs in manifest["nodes"].items() for leg in legs}
    assert all(
        addresses[row["src_ip"]] == row["src_node"] for row in labelled if row["src_node"] and row["proto"] == "tcp"
    )
    assert {row["zone"] for row in labelled} == {"outside", "office", "dmz", "workshop"}  # never the hidden wiring


def test_benign_only_has_no_attack(tmp_path: Path) -> None:
    manifest = record(
        load(FILLING), seconds=120, seed="7", team="t", out=tmp_path, start=START, attack=False, noise=False
    )

    assert manifest["counts"]["attack_packets"] == 0
    assert {row["label"] for row in rows(tmp_path / "labels.csv")} == {"benign"}


@pytest.mark.tshark
@NEEDS_TSHARK
def test_tshark_follows_a_whole_capture(tmp_path: Path) -> None:
    record(load(FILLING), seconds=600, seed="7", team="t", out=tmp_path, start=START)
    capture = tmp_path / "capture.pcapng"

    assert tshark(capture, "-Y", "tcp.analysis.flags || _ws.malformed") == []
    broken = "tcp.flags.syn == 1 && tcp.flags.ack == 0 && tcp.completeness != 31"
    ends = tshark(capture, "-2", "-Y", broken, "-T", "fields", "-e", "tcp.srcport")
    scans = [row["src_port"] for row in rows(tmp_path / "labels.csv") if row["profile"] == "port_scan"]
    assert sorted(ends) == sorted(scans)
    followed = "\n".join(tshark(capture, "-q", "-z", "follow,tcp,ascii,0"))
    assert "Node 0: " in followed
    matched = tshark(capture, "-Y", "modbus && tcp.dstport == 502 && !modbus.func_code", "-c", "3")
    assert matched == []


@pytest.mark.skipif(shutil.which("suricata") is None, reason="suricata is missing")
def test_suricata_follows_the_streams(tmp_path: Path) -> None:
    record(load(FILLING), seconds=300, seed="7", team="t", out=tmp_path, start=START)
    (tmp_path / "rules").write_text(
        'alert tcp any any -> any 502 (msg:"write"; flow:established,to_server; content:"|00 06|"; offset:4; depth:2; sid:1;)\n'
    )
    command = [
        "suricata",
        "-r",
        str(tmp_path / "capture.pcapng"),
        "-S",
        str(tmp_path / "rules"),
        "-l",
        str(tmp_path),
        "-k",
        "all",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)

    events = [json.loads(line) for line in (tmp_path / "eve.json").read_text().splitlines()]
    # SMTP's server speaks first, which Suricata remarks of every mail session.
    assert [e for e in events if e["event_type"] == "anomaly" and e["anomaly"]["type"] != "applayer"] == []
    assert any(e["event_type"] == "alert" for e in events)


def test_the_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["traffic", "pcap", "--scenario", "filling_line", "--duration", "20s", "--out", str(tmp_path)]

    assert main([*common, "--profile", "telepathy:hmi:ews"]) == 1
    assert "there is no traffic profile 'telepathy'" in capsys.readouterr().err
    assert main([*common, "--profile", "s7_poll:hmi:nobody"]) == 1
    assert "there is no node 'nobody'" in capsys.readouterr().err
    assert main([*common, "--start", "2026-03-09T08:00:00"]) == 1
    assert "has no time zone" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["traffic", "pcap", "--scenario", "filling_line", "--duration", "soon", "--out", str(tmp_path)])
    assert main([*common, "--profile", "s7_poll:hmi:ews:2"]) == 0
    assert [row["dst_node"] for row in rows(tmp_path / "labels.csv") if row["profile"] == "s7_poll"] == ["ews"]
    assert main(["traffic", "profiles"]) == 0
    assert capsys.readouterr().out.count("\n") >= len(CATALOGUE)
