"""Allow-list, inventory, polls of every protocol, evidence, overload: what a zone's sensor says beyond Modbus."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from cyber_range.engine.sensor.alerts import FRAME_BYTES
from cyber_range.engine.sensor.baseline import Baseline, merged
from cyber_range.engine.sensor.monitor import MOST_CONVERSATIONS, Monitor
from cyber_range.engine.sensor.policy import Policy
from cyber_range.engine.sensor.protocols.message import REQUEST, Message
from cyber_range.engine.sensor.rules.book import Book, load
from cyber_range.engine.sensor.shedding import ALL, NOTHING, READING, Shedding
from cyber_range.engine.sensor.vendors import VENDORS, vendor_of
from tests.cyber_range.engine.sensor.protocols.test_bacnet import I_AM, READ, REFUSED, TOLD, WHO_IS
from tests.cyber_range.engine.sensor.recordings import PROTOCOLS, decoded, on_the_wire, recorded
from tests.cyber_range.engine.sensor.talk import START, Talk, Wire, read, refused, values, write, written

HMI, PLC, ROGUE = "10.0.2.5", "10.0.2.9", "10.0.2.77"


def alerts(monitor: Monitor) -> list[tuple[str, str, str]]:
    return [(a.rule, a.technique, a.src) for a in monitor.alerts.drain()]


# ---------------------------------------------------------------- polls


@pytest.mark.parametrize("proto", [p for p in PROTOCOLS if p != "mqtt"])
def test_requests_and_answers_of_real_clients_are_counted(proto: str) -> None:
    monitor = Monitor()
    monitor.feed("z", on_the_wire(proto).frames)
    messages = decoded(proto)

    (poll,) = monitor.report()["polls"]

    asked = sum(m.kind == REQUEST for m in messages)
    assert (poll["client"], poll["server"], poll["port"], poll["proto"]) == (HMI, PLC, recorded(proto)[0], proto)
    assert (poll["requests"], poll["responses"]) == (asked, len(messages) - asked)
    assert poll["writes"] == sum(m.writes for m in messages if m.kind == REQUEST)
    assert poll["exceptions"] == sum(m.error != 0 for m in messages if m.kind != REQUEST)


def publish(topic: bytes, message: bytes) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + message
    return bytes([0x30, len(body)]) + body


def test_an_mqtt_message_without_quality_is_answered_by_tcp() -> None:
    wire = Wire()
    talk = Talk(wire, HMI, PLC, port=1883).open()
    talk.segment(True, "PA", publish(b"a/b", b"1"))
    talk.segment(False, "A")
    talk.segment(True, "PA", publish(b"a/b", b"2") + publish(b"a/b", b"3"))
    monitor = Monitor()
    monitor.feed("z", wire.frames)

    first = monitor.report()["polls"]
    wire.frames.clear()
    talk.segment(False, "A")
    monitor.feed("z", wire.frames)
    second = monitor.report()["polls"]

    assert [(p["requests"], p["responses"]) for p in first] == [(3, 1)]
    assert [(p["requests"], p["responses"]) for p in second] == [(0, 2)]


def datagram(wire: Wire, src: str, dst: str, data: bytes, sport: int = 47808, dport: int = 47808) -> None:
    head = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src=src, dst=dst)
    wire.put(head / UDP(sport=sport, dport=dport) / Raw(data))


def test_bacnet_polls_belong_to_who_asks_whatever_was_seen_first() -> None:
    wire = Wire()
    datagram(wire, PLC, "10.0.2.255", I_AM)
    datagram(wire, PLC, HMI, TOLD)  # the answer to something before the sensor came
    datagram(wire, HMI, PLC, READ)
    datagram(wire, PLC, HMI, TOLD)
    datagram(wire, HMI, PLC, READ)
    datagram(wire, PLC, HMI, REFUSED)
    datagram(wire, HMI, "10.0.2.255", WHO_IS)
    monitor = Monitor()
    monitor.feed("z", wire.frames)

    facts = monitor.report()

    assert [
        (p["client"], p["server"], p["port"], p["requests"], p["responses"], p["exceptions"]) for p in facts["polls"]
    ] == [(HMI, PLC, 47808, 2, 3, 1)]
    device = next(asset for asset in facts["assets"] if asset["ip"] == PLC)
    assert device["identity"] == {"device": "101", "vendor": "BACnet vendor 260", "name": "ColdRoom1"}
    assert (device["roles"], device["protocols"]["bacnet"]) == (
        ["client", "master", "plc", "server"],
        ["client", "server"],
    ) or (device["roles"] == ["plc", "server"])


def test_a_protocol_on_a_strange_port_is_recognised_by_its_first_bytes() -> None:
    wire = Wire()
    Talk(wire, HMI, PLC, port=5020).open().ask(read(), values())
    monitor = Monitor()
    monitor.feed("z", wire.frames)

    assert [(p["port"], p["proto"], p["requests"]) for p in monitor.report()["polls"]] == [(5020, "modbus", 1)]


def test_a_flood_of_requests_opens_no_conversation_but_is_counted() -> None:
    wire = Wire()
    Talk(wire, "10.9.0.1", PLC).segment(True, "S")
    at, frame = wire.frames[0]
    monitor = Monitor()
    total = MOST_CONVERSATIONS + 500
    for number in range(total):
        changed = bytearray(frame)
        changed[26:30] = (0x0A090000 + number).to_bytes(4, "big")
        monitor.feed("z", [(at + number, bytes(changed))])
    facts = monitor.report()

    assert sum(flow["packets"] for flow in facts["flows"]) == total
    assert monitor.report()["flows"] == []
    assert len(monitor._zones["z"].tcp) == 0


def test_a_handshake_after_a_request_is_one_conversation_with_all_its_frames() -> None:
    wire = Wire()
    talk = Talk(wire, HMI, PLC)
    talk.segment(True, "S")
    talk._next[True] -= 1
    talk.segment(True, "S")  # nobody answered the first
    talk.segment(False, "SA")
    talk.ask(read(), values())
    monitor = Monitor()
    monitor.feed("z", wire.frames)
    facts = monitor.report()

    assert [(f["src"], f["packets"], f["established"]) for f in facts["flows"]] == [(HMI, 5, 1)]
    assert facts["polls"][0]["responses"] == 1


# ---------------------------------------------------------------- the learned allow-list


def poll(wire: Wire, pdu: Any, *, client: str = HMI, unit: int = 1, sport: int = 40000) -> None:
    Talk(wire, client, PLC, sport=sport).open().ask(pdu, values(), unit=unit)


def learned() -> Monitor:
    """A sensor that watched ten seconds of reads of 0..3 and 10..13 by the operator station, then locked."""
    wire = Wire()
    talk = Talk(wire, HMI, PLC).open()
    for _ in range(6):
        wire.now += 1_000_000_000
        talk.ask(read(0, 4), values())
        talk.ask(read(10, 4), values())
    monitor = Monitor(baseline=Baseline(seconds=10))
    monitor.feed("z", wire.frames)
    assert monitor.baseline.state == "learning"
    assert alerts(monitor) == []
    late = Wire()
    late.now = START + 20_000_000_000
    poll(late, read(0, 4), sport=40001)
    monitor.feed("z", late.frames)
    assert monitor.baseline.state == "locked"
    assert alerts(monitor) == []
    return monitor


@pytest.mark.parametrize(
    ("pdu", "more", "expected"),
    [
        (read(0, 4), {}, []), (read(1, 2), {}, []), (read(10, 2), {}, []), (read(2, 4), {}, [("new_address", "T0861", HMI)]),
        (read(0, 4), {"unit": 2}, [("new_unit", "T0861", HMI)]), (write(3, 1), {}, [("new_function", "T0855", HMI)]),
        (read(0, 4), {"client": ROGUE}, [("new_asset", "T0864", ROGUE), ("new_master", "T0848", ROGUE)]),
    ],
)  # fmt: skip
def test_outside_of_what_was_learned(pdu: Any, more: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    monitor = learned()
    wire = Wire()
    wire.now = START + 30_000_000_000
    head = Ether(src="02:00:00:00:00:77", dst="02:00:00:00:00:02")
    Talk(wire, more.get("client", HMI), PLC, sport=41000).open().ask(pdu, unit=more.get("unit", 1))
    if "client" in more:  # another machine
        wire.frames = [(at, frame[:6] + bytes(head)[6:12] + frame[12:]) for at, frame in wire.frames]
    monitor.feed("z", wire.frames)

    found = alerts(monitor)

    functions = [one if one[0] != "new_function" else ("new_function", "T0855", one[2]) for one in found]
    assert sorted(functions) == sorted(expected)


def test_a_message_that_was_calm_is_looked_at_again_after_the_list_changed() -> None:
    monitor = learned()
    wire = Wire()
    wire.now = START + 30_000_000_000
    talk = Talk(wire, HMI, PLC, sport=42000).open()
    talk.ask(read(0, 4), values())
    talk.ask(read(0, 4), values())
    monitor.feed("z", wire.frames)
    assert alerts(monitor) == []

    monitor.baseline.load(
        [{"proto": "modbus", "client": HMI, "server": PLC, "function": 4, "unit": 1, "addresses": []}]
    )
    monitor.take_back()
    wire.frames.clear()
    talk.ask(read(0, 4), values())
    monitor.feed("z", wire.frames)

    assert [rule for rule, _, _ in alerts(monitor)] == ["new_function"]


def test_a_list_can_be_read_and_given_back() -> None:
    entries = learned().baseline.entries()

    assert entries == [{
        "proto": "modbus", "client": HMI, "server": PLC, "function": 3, "unit": 1, "addresses": [[0, 3], [10, 13]],
    }]  # fmt: skip
    again = Baseline(entries=entries)
    assert (again.state, again.entries()) == ("locked", entries)
    again.learn(5)
    assert (again.state, again.entries()) == ("learning", [])
    again.off()
    assert again.judge("a", "b", Message("modbus", REQUEST, 3)) is None


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=12),
    st.integers(0, 60),
    st.integers(1, 9),
)
@settings(deadline=None)
def test_exactly_what_was_seen_is_allowed(seen: list[tuple[int, int]], first: int, count: int) -> None:
    baseline = Baseline(seconds=10)
    for address, size in seen:
        baseline.judge("a", "b", Message("modbus", REQUEST, 3, address=address, count=size))
    baseline.lock()

    outside = baseline.judge("a", "b", Message("modbus", REQUEST, 3, address=first, count=count))

    known = {n for address, size in seen for n in range(address, address + size)}
    assert (outside is None) is all(n in known for n in range(first, first + count))
    ranges = merged((a, a + s - 1) for a, s in seen)
    assert all(b[0] > a[1] + 1 for a, b in pairwise(ranges))


def test_masters_of_other_protocols_are_held_to_their_functions() -> None:
    allowed = {"masters": [{"proto": "s7comm", "client": HMI, "server": PLC, "functions": [4]}]}
    monitor = Monitor(Policy.of(allowed))
    monitor.feed("z", on_the_wire("s7comm").frames)
    monitor.feed("z", on_the_wire("s7comm", client=ROGUE).frames)

    found = set(alerts(monitor))

    assert ("unauthorized_write", "T0855", HMI) in found
    assert ("rogue_master", "T0848", ROGUE) in found
    assert ("rogue_master", "T0848", HMI) not in found


def test_without_named_masters_nobody_is_a_stranger() -> None:
    wire = Wire()
    Talk(wire, HMI, PLC).open().ask(write(4, 1), written(4, 1))
    monitor = Monitor()
    monitor.feed("z", wire.frames)

    assert alerts(monitor) == []


# ---------------------------------------------------------------- inventory


def test_assets_have_maker_roles_protocols_identity_and_times() -> None:
    wire = Wire()
    mac = "00:1c:06:01:02:03"
    wire.put(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=mac, psrc=PLC, pdst=HMI))
    wire.frames += on_the_wire("s7comm").frames
    wire.now = START + 900_000_000
    options = [("message-type", "request"), ("hostname", b"HMI-01"), "end"]
    lease = Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff") / IP(src=HMI, dst="255.255.255.255")
    wire.put(lease / UDP(sport=68, dport=67) / BOOTP(op=1) / DHCP(options=options))
    monitor = Monitor(Policy.of({"assets": {HMI: "操作员站"}}))
    monitor.feed("z", wire.frames)

    found = {asset["ip"]: asset for asset in monitor.report()["assets"]}

    plc, hmi = found[PLC], found[HMI]
    assert (plc["vendor"], plc["roles"], plc["protocols"], plc["known"]) == (
        "Siemens", ["plc", "server"], {"s7comm": ["server"]}, False,
    )  # fmt: skip
    assert plc["identity"]["order_number"] == "HD7 314-6EH04-0AB0"
    assert (hmi["name"], hmi["roles"], hmi["identity"]) == ("操作员站", ["client", "master"], {"name": "HMI-01"})
    assert hmi["first"] < hmi["last"] or hmi["first"] == hmi["last"]
    assert "255.255.255.255" not in found
    assert monitor.report()["assets"] == []


def test_the_table_of_makers_is_well_formed() -> None:
    assert all(len(prefix) == 6 and int(prefix, 16) >= 0 for prefix in VENDORS)
    assert (vendor_of(bytes.fromhex("080006aabbcc")), vendor_of(bytes.fromhex("020000aabbcc"))) == ("Siemens", "")


# ---------------------------------------------------------------- evidence


def test_an_alert_carries_the_frames_that_caused_it_and_where_the_capture_has_them() -> None:
    rules, _ = load('alert modbus any any -> any any (msg:"拒绝"; modbus: function 3; flow:to_client; sid:5;)', "x")
    wire = Wire()
    talk = Talk(wire, HMI, PLC).open()
    talk.ask(read(900), refused())
    monitor = Monitor(book=Book(rules))
    monitor.feed("workshop", wire.frames)

    (alert,) = monitor.report()["alerts"]

    assert [[at, base64.b64decode(frame)] for at, frame in alert["frames"]] == [list(item) for item in wire.frames[-2:]]
    seen = wire.frames[-1][0] / 1e9
    assert (alert["rule"], alert["source"], alert["sid"], alert["src"], alert["text"]) == (
        "sid:5",
        "rules",
        5,
        PLC,
        "拒绝",
    )
    assert alert["capture"]["zone"] == "workshop"
    assert alert["seen"] == pytest.approx(seen)
    assert alert["capture"]["from"] < alert["seen"] < alert["capture"]["to"]


def test_frames_of_an_alert_are_bounded_and_a_scan_shows_its_newest() -> None:
    wire = Wire()
    for host in range(2, 20):
        Talk(wire, ROGUE, f"10.0.2.{host}").segment(True, "S")
    monitor = Monitor()
    monitor.feed("z", wire.frames)

    (alert,) = monitor.report()["alerts"]

    assert alert["rule"] == "port_scan"
    assert 2 <= len(alert["frames"]) <= 8
    assert sum(len(base64.b64decode(frame)) for _, frame in alert["frames"]) <= FRAME_BYTES


def test_repeats_within_half_a_minute_are_one_alert_and_the_next_says_how_many_there_were() -> None:
    rules, _ = load('alert tcp any any -> any any (msg:"x"; content:"abc"; sid:5;)', "x")
    wire = Wire()
    talk = Talk(wire, HMI, PLC, port=9000).open()
    for _ in range(10):
        talk.segment(True, "PA", b"abc")
    monitor = Monitor(book=Book(rules))
    monitor.feed("z", wire.frames)
    first = monitor.report()["alerts"]
    wire.frames.clear()
    wire.now += 31_000_000_000
    talk.segment(True, "PA", b"abc")
    monitor.feed("z", wire.frames)

    second = monitor.report()["alerts"]

    assert [(a["packets"], a.get("repeated")) for a in first + second] == [(10, None), (1, 9)]
    assert monitor.counters()["rule_alerts"] == 11


# ---------------------------------------------------------------- overload and broken wires


def test_the_level_rises_with_the_lag_falls_with_it_and_everything_is_counted() -> None:
    shedding = Shedding()

    levels = [shedding.judge(lag, 10) for lag in (0.0, 0.3, 0.2, 0.1, 0.7, 2.0, 1.0, 0.4, 0.01)]

    assert levels == [0, 1, 1, 0, 2, 3, 3, 2, 0]
    assert shedding.counters() == {"shed_level": NOTHING, "shed_rules": 20, "shed_reading": 20, "shed_frames": 20}


@pytest.mark.parametrize(
    ("level", "spoken", "matching", "payloads"),
    [(0, {"sid:1", "sid:2", "sid:3"}, 0, 0), (1, {"sid:1"}, 2, 0), (READING, {"sid:1"}, 1, 1)],
)
def test_under_load_control_protocols_are_still_read_and_the_rest_is_counted(
    level: int, spoken: set[str], matching: int, payloads: int
) -> None:
    rules, _ = load(
        'alert modbus any any -> any any (msg:"a"; modbus: function 3; sid:1;)\n'
        'alert http any any -> any any (msg:"b"; http.method; content:"GET"; sid:2;)\n'
        'alert tcp any any -> any 80 (msg:"c"; content:"GET"; sid:3;)', "x",
    )  # fmt: skip
    wire = Wire()
    Talk(wire, HMI, PLC).open().ask(read(), values())
    web = Talk(wire, HMI, PLC, port=80, sport=41000).open()
    web.segment(True, "PA", b"GET / HTTP/1.1\r\n\r\n")
    monitor = Monitor(book=Book(rules))
    monitor.shed = level
    monitor.feed("z", wire.frames)

    facts = monitor.report()

    assert level < ALL
    assert facts["polls"][0]["requests"] == 1
    assert {alert["rule"] for alert in facts["alerts"]} == spoken
    assert (facts["counters"]["shed_matching"], facts["counters"]["shed_payloads"]) == (matching, payloads)
    assert sum(flow["packets"] for flow in facts["flows"]) == len(wire.frames)


def test_a_hole_in_a_conversation_is_counted_and_reading_goes_on_behind_it() -> None:
    wire = Wire()
    talk = Talk(wire, HMI, PLC).open()
    talk.ask(read(), values())
    talk._next[True] += 70_000  # what the capture missed
    for _ in range(70):
        talk.segment(True, "PA", b"\0\1\0\0\0\6\1\3\0\0\0\4" * 100)
    monitor = Monitor()
    monitor.feed("z", wire.frames)

    facts = monitor.report()

    assert facts["counters"]["stream_holes"] == 70_000
    assert facts["polls"][0]["requests"] > 5000
    assert facts["alerts"] == []


FRAMES = st.lists(st.tuples(st.integers(0, 2**62), st.binary(max_size=120)), max_size=12)


@given(FRAMES)
@settings(deadline=None)
def test_no_frame_makes_the_sensor_stumble(frames: list[tuple[int, bytes]]) -> None:
    monitor = Monitor(baseline=Baseline(seconds=1))
    monitor.feed("z", frames)

    assert monitor.report()["counters"]["frames"] == len(frames)


@given(st.data())
@settings(deadline=None)
def test_no_change_to_real_frames_makes_the_sensor_stumble(data: st.DataObject) -> None:
    frames = on_the_wire(data.draw(st.sampled_from(["iec104", "dnp3", "mqtt"]))).frames
    start = data.draw(st.integers(0, len(frames) - 10))
    changed = []
    for at, frame in frames[start : start + 10]:
        new = bytearray(frame)
        for _ in range(data.draw(st.integers(0, 3))):
            new[data.draw(st.integers(0, len(new) - 1))] = data.draw(st.integers(0, 255))
        changed.append((at, bytes(new[: data.draw(st.integers(10, len(new)))])))
    monitor = Monitor()
    monitor.feed("z", changed)

    facts = monitor.report()

    assert facts["counters"]["frames"] == 10
