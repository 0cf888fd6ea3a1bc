"""What the sensor says about conversations: rates, flows, hosts, alerts."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from scapy.contrib import modbus
from scapy.packet import Packet

from cyber_range.engine.sensor.monitor import Monitor
from cyber_range.engine.sensor.policy import Policy
from tests.cyber_range.engine.sensor.talk import Talk, Wire, read, refused, values, write, written

HMI, PLC, JUMP, OUT = "10.0.2.5", "10.0.2.9", "10.0.3.4", "10.9.9.9"
POLICY = {
    "masters": [{"client": HMI, "server": PLC, "functions": [3, 6]}],
    "limits": [{"server": PLC, "table": "holding", "address": 40, "low": 480, "high": 515, "title": "灌装设定值"}],
    "connections": [{"src": "10.0.0.0/8", "dst": "10.0.0.0/8", "port": 502}],
    "assets": {HMI: "操作员站", PLC: "灌装控制器"},
}


def heard(wire: Wire, policy: dict[str, Any] | None = None) -> dict[str, Any]:
    monitor = Monitor(Policy.of(POLICY if policy is None else policy))
    monitor.feed("workshop", wire.frames)
    return monitor.report()


def rules(facts: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(a["rule"], a["technique"], a["src"]) for a in facts["alerts"]}


def test_a_legitimate_poll_is_counted_and_raises_nothing() -> None:
    wire = Wire()
    talk = Talk(wire, HMI, PLC).open()
    for _ in range(5):
        talk.ask(read(), values())
    talk.ask(read(600), refused())
    talk.close()

    facts = heard(wire)

    assert facts["polls"] == [
        {
            "zone": "workshop",
            "client": HMI,
            "server": PLC,
            "port": 502,
            "proto": "modbus",
            "requests": 6,
            "responses": 6,
            "exceptions": 1,
            "writes": 0,
        }
    ]
    assert [(f["src"], f["dst"], f["proto"], f["port"], f["packets"], f["established"]) for f in facts["flows"]] == [
        (HMI, PLC, "tcp", 502, len(wire.frames), 1)
    ]
    assert facts["alerts"] == []
    assert facts["counters"]["modbus_requests"] == 6


def enip(cip: bytes) -> bytes:
    """A CIP message in SendRRData (ODVA volume 2, 2-4.7)."""
    items = struct.pack("<IHHHHHH", 0, 5, 2, 0, 0, 0xB2, len(cip)) + cip
    return struct.pack("<HHII8sI", 0x6F, len(items), 7, 0, b"", 0) + items


@pytest.mark.parametrize("sport", [40000, 60000])
def test_a_conversation_joined_in_the_middle_has_its_service_where_the_protocol_has_it(sport: int) -> None:
    """EtherNet/IP's port lies among those that clients get: the lower one may be the client's."""
    wire = Wire()
    talk = Talk(wire, HMI, PLC, 44818, sport)
    for _ in range(3):
        talk.segment(True, "PA", enip(b"\x4c\x02\x91\x02ab\x01\x00"))
        talk.segment(False, "PA", enip(b"\xcc\x00\x00\x00\xc3\x00\x05\x00"))

    polls = heard(wire, {})["polls"]

    assert [(p["client"], p["server"], p["port"], p["requests"], p["responses"]) for p in polls] == [
        (HMI, PLC, 44818, 3, 3)
    ]


def test_counts_are_since_the_last_report() -> None:
    wire = Wire()
    talk = Talk(wire, HMI, PLC).open()
    talk.ask(read(), values())
    monitor = Monitor(Policy.of(POLICY))
    monitor.feed("workshop", wire.frames)
    monitor.report()
    wire.frames.clear()
    talk.ask(read(), values())

    monitor.feed("workshop", wire.frames)
    facts = monitor.report()

    assert facts["polls"][0]["requests"] == 1
    assert facts["flows"][0]["packets"] == 2
    assert facts["flows"][0]["established"] == 0


def test_a_rogue_master_that_writes_out_of_limits_is_three_findings() -> None:
    wire = Wire()
    talk = Talk(wire, JUMP, PLC).open()
    talk.ask(write(40, 640), written(40, 640))

    facts = heard(wire)

    assert rules(facts) == {
        ("rogue_master", "T0848", JUMP), ("unauthorized_write", "T0836", JUMP), ("value_out_of_limits", "T0836", JUMP),
    }  # fmt: skip
    assert facts["counters"]["unauthorized_writes"] == 1
    texts = {a["rule"]: a["text"] for a in facts["alerts"]}
    assert texts["unauthorized_write"].endswith("写单个寄存器，寄存器 40 ← 640")


def test_an_allowed_write_within_limits_is_quiet() -> None:
    wire = Wire()
    Talk(wire, HMI, PLC).open().ask(write(40, 500), written(40, 500))

    facts = heard(wire)

    assert facts["alerts"] == []
    assert facts["polls"][0]["writes"] == 1


def test_a_function_that_is_not_on_the_list_is_unauthorized_even_for_the_master() -> None:
    wire = Wire()
    Talk(wire, HMI, PLC).open().ask(modbus.ModbusPDU05WriteSingleCoilRequest(outputAddr=1, outputValue=0))

    assert rules(heard(wire)) == {("unauthorized_write", "T0855", HMI)}


def many(count: int, pdu: Packet, answer: Packet | None, *, units: bool = False) -> Wire:
    wire = Wire()
    talk = Talk(wire, JUMP, PLC).open()
    for number in range(count):
        talk.ask(pdu, answer, unit=number if units else 1)
    return wire


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (many(6, read(), values(), units=True), ("unit_scan", "T0846", JUMP)),
        (many(9, read(600), refused()), ("exception_burst", "T0861", JUMP)),
        (many(1, read(0, 120), None), ("point_sweep", "T0861", JUMP)),
        (
            many(1, modbus.ModbusPDU2B0EReadDeviceIdentificationRequest(readCode=1), None),
            ("device_identification", "T0888", JUMP),
        ),
    ],
    ids=["units", "exceptions", "points", "identity"],
)
def test_reconnaissance_is_recognised(wire: Wire, expected: tuple[str, str, str]) -> None:
    assert expected in rules(heard(wire))


def test_a_port_scan_and_an_arp_sweep_are_recognised_and_said_once() -> None:
    wire = Wire()
    for host in range(2, 20):
        Talk(wire, JUMP, f"10.0.2.{host}").segment(True, "S")
        wire.arp(JUMP, f"10.0.2.{host}")

    facts = heard(wire)

    assert sorted(a["rule"] for a in facts["alerts"]) == ["arp_sweep", "port_scan"]


def test_slow_connections_are_no_scan() -> None:
    wire = Wire()
    for host in range(2, 20):
        wire.now += 2_000_000_000
        Talk(wire, JUMP, f"10.0.2.{host}").segment(True, "S")

    assert heard(wire)["alerts"] == []


def test_an_address_that_changes_its_hardware_is_a_spoof() -> None:
    wire = Wire()
    wire.arp(PLC, PLC, mac="02:00:00:00:00:09", op=2)
    wire.arp(PLC, PLC, mac="02:00:00:00:00:66", op=2)

    facts = heard(wire)

    assert [(a["rule"], a["src"]) for a in facts["alerts"]] == [("arp_spoof", PLC)]
    assert [(h["ip"], h["mac"]) for h in facts["assets"]] == [(PLC, "02:00:00:00:00:09")]


def test_a_connection_the_drawing_does_not_have_is_said_when_it_is_answered() -> None:
    wire = Wire()
    Talk(wire, OUT, PLC, port=22, sport=50000).open()

    assert ("unexpected_connection", "T0886", OUT) in rules(heard(wire))


def test_a_master_that_gets_no_answers_any_more_is_said() -> None:
    wire = Wire()
    talk = Talk(wire, HMI, PLC).open()
    monitor = Monitor(Policy.of(POLICY))
    for _ in range(10):
        fed = len(wire.frames)
        talk.ask(read(), values())
        monitor.feed("workshop", wire.frames[fed:] if fed > 3 else wire.frames)
        monitor.report(monitor.now)

    quiet = monitor.report(monitor.now + 2)
    lost = monitor.report(monitor.now + 6)
    again = monitor.report(monitor.now + 9)

    assert [[a["rule"] for a in facts["alerts"]] for facts in (quiet, lost, again)] == [[], ["poll_lost"], []]


def test_a_master_that_asks_now_and_then_is_not_missed() -> None:
    wire = Wire()
    Talk(wire, HMI, PLC).open().ask(read(), values())
    monitor = Monitor(Policy.of(POLICY))
    monitor.feed("workshop", wire.frames)

    assert [monitor.report(monitor.now + s)["alerts"] for s in (1, 6, 60)] == [[], [], []]


def test_the_same_ports_used_again_are_a_new_conversation() -> None:
    wire = Wire()
    Talk(wire, HMI, PLC).open().ask(read(), values())
    Talk(wire, HMI, PLC).open().ask(read(), values())

    facts = heard(wire)

    assert facts["polls"][0]["responses"] == 2
    assert facts["flows"][0]["established"] == 2


def test_out_of_order_and_repeated_segments_are_counted_once() -> None:
    wire = Wire()
    talk = Talk(wire, HMI, PLC).open()
    for _ in range(4):
        talk.ask(read(), values())
    head, rest = wire.frames[:3], wire.frames[3:]
    wire.frames = head + rest[2:4] + rest[0:2] + rest[4:] + rest

    assert heard(wire)["polls"][0]["requests"] == 4


def test_something_else_on_the_modbus_port_is_said() -> None:
    wire = Wire()
    Talk(wire, HMI, PLC).open().segment(True, "PA", b"SSH-2.0-tunnel\r\n")

    assert rules(heard(wire)) == {("not_modbus", "T0869", HMI)}
