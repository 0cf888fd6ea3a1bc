"""What each keyword means, one small payload or packet at a time."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib import modbus
from scapy.layers.dns import DNS, DNSQR

from cyber_range.engine.sensor.rules.needles import AUTOMATON, SHORT, Needles
from tests.cyber_range.engine.sensor.recordings import on_the_wire
from tests.cyber_range.engine.sensor.rules.asked import (
    CLIENT,
    SERVER,
    datagram,
    head,
    ping,
    said_of,
    segment,
    spoken,
)
from tests.cyber_range.engine.sensor.talk import START, Talk, Wire, read, refused, values, write, written

CONTENT = [
    # (payload, options, matches)
    (b"..abc..", 'content:"abc";', True),
    (b"..ABC..", 'content:"abc";', False),
    (b"..AbC..", 'content:"aBc"; nocase;', True),
    (b"\x00\x01:;", 'content:"|00 01 3a|\\;";', True),
    (b"xyz", 'content:!"abc";', True),
    (b"abc", 'content:!"abc";', False),
    (b"..abc", 'content:"abc"; offset:2;', True),
    (b"..abc", 'content:"abc"; offset:3;', False),
    (b"..abc", 'content:"abc"; depth:5;', True),
    (b"..abc", 'content:"abc"; depth:4;', False),
    (b"..abc", 'content:"abc"; offset:1; depth:4;', True),
    (b"..abc", 'content:"abc"; offset:1; depth:3;', False),
    (b"abc..def", 'content:"abc"; content:"def"; distance:2;', True),
    (b"abc..def", 'content:"abc"; content:"def"; distance:3;', False),
    (b"abc..def", 'content:"abc"; content:"def"; within:5;', True),
    (b"abc..def", 'content:"abc"; content:"def"; within:4;', False),
    (b"abc..def", 'content:"abc"; content:"def"; distance:1; within:4;', True),
    (b"abc..def", 'content:"def"; content:"abc"; distance:-8; within:3;', True),
    (b"abcabc.def", 'content:"abc"; content:".def"; distance:0; within:4;', True),  # the second abc has it near
    (b"abc..def", 'content:"abc"; startswith;', True),
    (b".abc", 'content:"abc"; startswith;', False),
    (b".abc", 'content:"abc"; endswith;', True),
    (b"abc.", 'content:"abc"; endswith;', False),
    (b"..abc.abc", 'content:"abc"; endswith;', True),
    (b"abc", 'content:"abc"; isdataat:!1,relative;', True),
    (b"abcd", 'content:"abc"; isdataat:1,relative;', True),
    (b"abc", 'content:"abc"; isdataat:1,relative;', False),
    (b"abc", "content:\"a\"; isdataat:2;", True),
    (b"abc", "content:\"a\"; isdataat:3;", False),
    (b"\x05ab", 'content:"ab"; byte_test:1,=,5,0;', True),
    (b"\x05ab", 'content:"ab"; byte_test:1,!=,5,0;', False),
    (b"\x05ab", 'content:"ab"; byte_test:1,>,4,0;', True),
    (b"\x05ab", 'content:"ab"; byte_test:1,&,4,0;', True),
    (b"\x01\x02ab", 'content:"ab"; byte_test:2,=,513,0,little;', True),
    (b"ab0123", 'content:"ab"; byte_test:4,=,123,0,relative,string,dec;', True),
    (b"ab\x00\xf0", 'content:"ab"; byte_test:2,=,0xf,0,relative,bitmask 0xf0;', True),
    (b"ab", 'content:"ab"; byte_test:4,=,0,0;', False),
    (b"\x02..abcd", 'byte_jump:1,0; content:"abc"; distance:0; within:3;', True),
    (b"\x03..abcd", 'byte_jump:1,0; content:"abc"; distance:0; within:3;', False),
    (b"\x01....abc", 'byte_jump:1,0,multiplier 4; content:"abc"; distance:0; within:3;', True),
    (b"\x04...abc", 'byte_jump:1,0,from_beginning; content:"abc"; distance:0; within:3;', True),
    (b"id=42;", 'content:"id="; pcre:"/^\\d+\\x3b/R";', True),
    (b"id=x;", 'content:"id="; pcre:"/^\\d+/R";', False),
    (b"GO", 'pcre:"/go/i";', True),
    (b"GO", 'pcre:!"/go/i";', False),
    (b"12345", "content:\"1\"; dsize:5;", True),
    (b"12345", "content:\"1\"; dsize:>5;", False),
    (b"12345", "content:\"1\"; dsize:4<>6;", True),
    (b"12345", "content:\"1\"; dsize:!5;", False),
]  # fmt: skip


@pytest.mark.parametrize(("data", "options", "matches"), CONTENT)
def test_contents_and_what_stands_behind_them(data: bytes, options: str, matches: bool) -> None:
    assert said_of(data, options) is matches


@given(st.binary(max_size=40), st.lists(st.binary(min_size=1, max_size=3), min_size=1, max_size=3), st.integers(0, 6))
@settings(max_examples=150, deadline=None)
def test_relative_contents_are_the_regular_expression_they_mean(data: bytes, words: list[bytes], gap: int) -> None:
    hexed = [f'content:"|{word.hex()}|";' for word in words]
    options = hexed[0] + "".join(f"{one} distance:{gap};" for one in hexed[1:])
    expression = b".{%d,}" % gap

    assert said_of(data or b"\0", options) is bool(
        re.search(expression.join(map(re.escape, words)), data or b"\0", re.DOTALL)
    )


@pytest.mark.parametrize("accelerated", [True, False])
@given(
    needles=st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=12),
    data=st.binary(max_size=60) | st.binary(min_size=SHORT + 1, max_size=SHORT + 300),
)
@settings(deadline=None)
def test_the_prefilter_finds_exactly_the_needles_that_are_there(
    accelerated: bool, needles: list[bytes], data: bytes
) -> None:
    found = Needles(needles, automaton=AUTOMATON if accelerated else None)

    assert list(found.hits(data)) == [i for i, needle in enumerate(needles) if needle.lower() in data.lower()]


def conversation(port: int = 502) -> Wire:
    wire = Wire()
    talk = Talk(wire, CLIENT, SERVER, port=port).open()
    talk.ask(read(10, 5), values(5))
    talk.ask(write(40, 640), written(40, 640), unit=3)
    talk.ask(modbus.ModbusPDU05WriteSingleCoilRequest(outputAddr=7, outputValue=0xFF00))
    talk.ask(read(900), refused())
    return wire


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ("modbus: function 6;", 2), ("modbus: function 6; flow:to_server;", 1), ("modbus: function !6; flow:to_server;", 3),
        ("modbus: access read; flow:to_server;", 2), ("modbus: access read holding, address 15; flow:to_server;", 1),
        ("modbus: access read holding, address >100; flow:to_server;", 1), ("modbus: access read coils;", 0),
        ("modbus: access write coils; flow:to_server;", 1), ("modbus: access write holding, address 41, value 600<>700;", 1),
        ("modbus: access write holding, address 41, value 1;", 0), ("modbus: unit 3, function 6; flow:to_client;", 1),
        ("modbus: function public; flow:to_server;", 4), ("modbus: function user;", 0),
        ('modbus: function 6; content:"|02 80|"; flow:to_server;', 1), ("app-layer-protocol:modbus; flow:to_server;", 4),
    ],
)  # fmt: skip
def test_modbus(options: str, times: int) -> None:
    assert len(spoken(head(options), conversation())) == times
    if "app-layer" not in options:
        assert len(spoken(head(options, header="modbus any any -> any any"), conversation())) == times


@pytest.mark.parametrize(
    ("proto", "options", "least"),
    [
        ("s7comm", "s7comm.func:4; flow:to_server;", 5), ("s7comm", "s7comm.szl:0x11,0x1c; flow:to_server;", 2),
        ("enip", "enip_command:99; flow:to_server;", 1), ("enip", "cip_service:85; flow:to_server;", 2),
        ("enip", "cip_service:1,1; flow:to_server;", 1), ("iec104", "iec104.type:100; flow:to_server;", 1),
        ("iec104", "iec104.type:103; iec104.cause:6;", 1), ("dnp3", "dnp3_func:cold_restart;", 1),
        ("dnp3", "dnp3_ind:device_restart,need_time;", 1), ("dnp3", "dnp3_obj:60,2;", 2),
        ("mqtt", "mqtt.type:SUBSCRIBE;", 2), ("mqtt", 'mqtt.publish.topic; content:"factory/"; startswith;', 1),
        ("mqtt", 'mqtt.connect.clientid; content:"visitor"; bsize:7;', 1),
        ("mqtt", 'mqtt.subscribe.topic; content:"factory/#";', 1),
        ("opcua", "opcua.service:631; flow:to_server;", 2), ("opcua", 'opcua.endpoint; content:"opc.tcp"; startswith;', 2),
    ],
)  # fmt: skip
def test_industrial_protocols(proto: str, options: str, least: int) -> None:
    assert len(spoken(head(options), on_the_wire(proto))) >= least


def web() -> Wire:
    wire = Wire()
    talk = Talk(wire, CLIENT, SERVER, port=8080).open()
    talk.segment(True, "PA", b"GET /a/%2e%2e/key HTTP/1.1\r\nHost: HMI\r\nUser-Agent: Nmap NSE\r\nCookie: s=1\r\n\r\n")
    talk.segment(False, "PA", b"HTTP/1.1 404 Not Found\r\nServer: lighttpd\r\nContent-Length: 4\r\n\r\nnone")
    return wire


@pytest.mark.parametrize(
    "options",
    [
        'http.uri; content:"/key"; bsize:4;', 'http.uri.raw; content:"%2e%2e";', 'http.method; content:"GET";',
        'http.host; content:"hmi"; bsize:3;', 'http.user_agent; content:"nmap"; nocase;', 'http.cookie; content:"s=1";',
        'http.stat_code; content:"404";', 'http.server; content:"lighttpd";', 'http.response_body; content:"none";',
        'http.header; content:"user-agent|3a| nmap"; nocase;', 'content:"/key"; http_uri;', 'pcre:"/^\\/key$/U";',
        'http.uri; content:"/"; content:"key"; distance:0; http.method; content:"GET";',
    ],
)  # fmt: skip
def test_http_buffers(options: str) -> None:
    assert spoken(head(options), web()) == [1]
    assert spoken(head(options, header="http any any -> any any"), web()) == [1]


def test_dns_ssh_and_tls_buffers() -> None:
    asks = datagram(bytes(DNS(qd=DNSQR(qname="key.evil.example", qtype="TXT"))), 53)
    hello = Wire()
    Talk(hello, CLIENT, SERVER, port=22).open().segment(True, "PA", b"SSH-2.0-libssh_0.9\r\n")

    assert spoken(head('dns.query; content:"evil"; nocase;', header="dns any any -> any any"), asks) == [1]
    assert spoken(head('dns_query; content:"good";', header="udp any any -> any 53"), asks) == []
    assert spoken(head("dns.rrtype:16;", header="dns any any -> any any"), asks) == [1]
    assert spoken(head('ssh.software; content:"libssh"; startswith;'), hello) == [1]
    assert spoken(head('ssh.proto; content:"2.0";'), hello) == [1]


@pytest.mark.parametrize(
    ("options", "flags", "matches"),
    [
        ("flags:S;", "S", True), ("flags:S;", "SA", False), ("flags:+S;", "SA", True),
        ("flags:*SF;", "F", True), ("flags:!S;", "F", True), ("flags:!S;", "S", False), ("flags:0;", "", True),
        ("flags:FPU;", "FPU", True), ("flags:S,12;", "SEC", True), ("flags:S;", "SEC", False),
    ],
)  # fmt: skip
def test_tcp_flags(options: str, flags: str, matches: bool) -> None:
    assert bool(spoken(head(options), segment(flags))) is matches


def test_icmp_type_and_code() -> None:
    assert spoken(head("itype:8;", header="icmp any any -> any any"), ping()) == [1]
    assert spoken(head("itype:5; icode:1;", header="icmp any any -> any any"), ping(5, 1)) == [1]
    assert spoken(head("itype:>8;", header="icmp any any -> any any"), ping()) == []


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        ("tcp any any -> any 9000", True), ("tcp any any -> any !9000", False), ("udp any any -> any any", False),
        ("ip any any -> any any", True), (f"tcp {CLIENT} any -> {SERVER} 9000", True), (f"tcp {SERVER} any -> any any", False),
        (f"tcp {SERVER} 9000 <> {CLIENT} any", True), ("tcp !10.0.0.0/8 any -> any any", False),
        ("tcp $HOME_NET any -> $HOME_NET [9000,9001]", True), ("tcp $EXTERNAL_NET any -> any any", False),
        ("http any any -> any any", False),
    ],
)  # fmt: skip
def test_headers(header: str, matches: bool) -> None:
    assert said_of(b"abc", 'content:"abc";', header=header) is matches


@pytest.mark.parametrize(
    ("options", "up", "matches"),
    [
        ("flow:to_server;", True, True), ("flow:to_server;", False, False), ("flow:from_server,established;", False, True),
        ("flow:established;", True, True), ("flow:not_established;", True, False), ("flow:stateless;", True, True),
    ],
)  # fmt: skip
def test_flow(options: str, up: bool, matches: bool) -> None:
    assert said_of(b"abc", f'content:"abc"; {options}', up=up) is matches


def test_flowbits_carry_from_one_direction_to_the_other() -> None:
    rules = "\n".join([
        head('content:"login"; flow:to_server; flowbits:set,asked; flowbits:noalert;', sid=1),
        head('content:"denied"; flow:to_client; flowbits:isset,asked; flowbits:unset,asked;', sid=2),
        head('content:"denied"; flow:to_client; flowbits:isnotset,asked;', sid=3),
    ])  # fmt: skip
    wire = Wire()
    talk = Talk(wire, CLIENT, SERVER, port=9000).open()
    for up, data in ((False, b"denied"), (True, b"login"), (False, b"denied"), (False, b"denied")):
        talk.segment(up, "PA", data)

    assert spoken(rules, wire) == [3, 2, 3, 3]  # what sid 2 unsets is unset for sid 3 in the same packet


def test_pass_comes_before_alert_and_noalert_is_silent() -> None:
    rules = (
        head('content:"abc";')
        + '\npass tcp any any -> any 9000 (content:"abcd"; sid:2;)\n'
        + head('content:"a"; noalert;', sid=3)
    )
    wire = Wire()
    talk = Talk(wire, CLIENT, SERVER, port=9000).open()
    talk.segment(True, "PA", b"abc")
    talk.segment(True, "PA", b"abcd")

    assert spoken(rules, wire) == [1]


def pulses(count: int, gap: float, sources: int = 1) -> Wire:
    wire = Wire()
    for number in range(count):
        wire.now = START + int((number + 1) * gap * 1e9)
        wire.frames += [(wire.now, datagram(b"abc", src=f"10.0.3.{number % sources + 1}").frames[0][1])]
    return wire


@pytest.mark.parametrize(
    ("options", "wire", "times"),
    [
        ("threshold:type limit, track by_src, count 2, seconds 60;", pulses(10, 1), 2),
        ("threshold:type limit, track by_src, count 2, seconds 5;", pulses(10, 1), 4),
        ("threshold:type limit, track by_src, count 1, seconds 60;", pulses(10, 1, sources=5), 5),
        ("threshold:type limit, track by_dst, count 1, seconds 60;", pulses(10, 1, sources=5), 1),
        ("threshold:type threshold, track by_src, count 3, seconds 60;", pulses(10, 1), 3),
        ("threshold:type both, track by_src, count 3, seconds 60;", pulses(10, 1), 1),
        ("threshold:type both, track by_src, count 30, seconds 60;", pulses(10, 1), 0),
        ("detection_filter:track by_src, count 7, seconds 60;", pulses(10, 1), 3),
        ("detection_filter:track by_src, count 7, seconds 3;", pulses(10, 1), 0),
    ],
)  # fmt: skip
def test_how_often_a_rule_speaks(options: str, wire: Wire, times: int) -> None:
    assert len(spoken(head(f'content:"abc"; {options}', header="udp any any -> any any"), wire)) == times


def test_a_slow_pattern_is_switched_off_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(
        "cyber_range.engine.sensor.rules.book.time", type("T", (), {"perf_counter": lambda: next(clock)})
    )
    from tests.cyber_range.engine.sensor.rules.asked import Counting  # after the clock was replaced

    monitor: Any = Counting(head('content:"abc";'))
    monitor.feed("z", pulses(3, 1).frames)
    tcp = Wire()
    talk = Talk(tcp, CLIENT, SERVER, port=9000).open()
    for _ in range(3):
        talk.segment(True, "PA", b"abc")
    monitor.feed("z", tcp.frames)

    assert monitor.spoken == [1]
    assert [(p.sid, p.keyword) for p in monitor.book.problems] == [(1, "pcre")]
