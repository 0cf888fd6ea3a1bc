"""Every shipped rule speaks when what it is about happens, and the whole book is silent while a plant just works."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from scapy.layers.dns import DNS, DNSQR

from cyber_range.engine.sensor.monitor import Monitor
from cyber_range.engine.sensor.policy import Policy
from cyber_range.engine.sensor.rules.shipped import book_of
from tests.cyber_range.engine.sensor.protocols.test_bacnet import RESTART, SILENCE, WHO_IS, WRITE, packet
from tests.cyber_range.engine.sensor.recordings import on_the_wire
from tests.cyber_range.engine.sensor.rules.asked import CLIENT, SERVER, datagram, ping, segment
from tests.cyber_range.engine.sensor.talk import Talk, Wire, read, values

VARIABLES = {"MASTERS": "10.99.0.1", "KNOWN_MASTERS": "10.99.0.1", "CONTROLLERS": SERVER}


def said(wire: Wire, variables: dict[str, str] | None = None) -> set[int]:
    monitor = Monitor(Policy(), book=book_of(variables=variables or VARIABLES))
    monitor.feed("z", wire.frames)
    return {alert["sid"] for alert in monitor.report()["alerts"] if alert["source"] == "rules"}


def tcp(port: int, *pieces: bytes | tuple[bool, bytes], times: int = 1, gap: float = 0.001) -> Wire:
    wire = Wire()
    talk = Talk(wire, CLIENT, SERVER, port=port).open()
    for _ in range(times):
        wire.now += int(gap * 1e9)
        for piece in pieces:
            up, data = piece if isinstance(piece, tuple) else (True, piece)
            talk.segment(up, "PA", data)
    return wire


def udp(data: bytes, port: int, times: int = 1) -> Wire:
    wire = datagram(data, port)
    wire.frames = [(at + n * 1_000_000, frame) for at, frame in wire.frames for n in range(times)]
    return wire


def syns(port: int, times: int) -> Wire:
    wire = Wire()
    for number in range(times):
        Talk(wire, CLIENT, SERVER, port=port, sport=50000 + number).segment(True, "S")
    return wire


def modbus(pdu: str, unit: int = 1) -> bytes:
    data = bytes.fromhex(pdu)
    return struct.pack(">HHHB", 1, 0, len(data) + 1, unit) + data


def s7(kind: int, parameters: str, data: str = "") -> bytes:
    first, second = bytes.fromhex(parameters), bytes.fromhex(data)
    body = (
        b"\x02\xf0\x80\x32" + bytes([kind]) + b"\0\0\0\1" + struct.pack(">HH", len(first), len(second)) + first + second
    )
    return b"\x03\0" + (len(body) + 4).to_bytes(2, "big") + body


def cip(request: str) -> bytes:
    data = bytes.fromhex(request)
    items = struct.pack("<IHHHHHH", 0, 0, 2, 0, 0, 0xB2, len(data)) + data
    return struct.pack("<HHIIQI", 0x6F, len(items), 1, 0, 0, 0) + items


def iec(kind: int) -> bytes:
    body = bytes([0, 0, 0, 0, kind, 1, 6, 0, 7, 0, 1, 0, 0, 1])
    return b"\x68" + bytes([len(body)]) + body


def dnp3(function: int, objects: str = "") -> bytes:
    body = b"\xc0\xc0" + bytes([function]) + bytes.fromhex(objects)
    return b"\x05\x64" + bytes([5 + len(body)]) + b"\xc4\x0a\0\1\0" + b"\0\0" + body + b"\0\0"


def opcua(service: int) -> bytes:
    body = struct.pack("<IIII", 1, 1, 1, 1) + b"\x01\0" + service.to_bytes(2, "little") + bytes(20)
    return b"MSGF" + (len(body) + 8).to_bytes(4, "little") + body


def mqtt(first: int, body: bytes) -> bytes:
    return bytes([first, len(body)]) + body


def word(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def http(line: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([line + b" HTTP/1.1", b"Host: hmi", *headers, b"", b""])


def dns(name: str, kind: str = "A") -> bytes:
    return bytes(DNS(qd=DNSQR(qname=name, qtype=kind)))


COIL, REGISTER = modbus("05 0007 ff00"), modbus("06 0028 0280")
PROGRAM = b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\nMZ......This program cannot"
FIRES: dict[int, Callable[[], Wire]] = {
    1990001: lambda: tcp(502, modbus("08 0001 0000")), 1990002: lambda: tcp(502, modbus("08 0004 0000")),
    1990003: lambda: tcp(502, modbus("08 000a 0000")), 1990004: lambda: tcp(502, modbus("11")),
    1990005: lambda: tcp(502, modbus("14 07 06 0001 0000 0001")), 1990006: lambda: tcp(502, modbus("15 09 06 0001 0000 0001 0001")),
    1990007: lambda: tcp(502, modbus("5a 00 02")), 1990008: lambda: tcp(502, modbus("41 00")),
    1990009: lambda: tcp(502, modbus("06 0028 0280", unit=0)), 1990010: lambda: tcp(502, COIL, times=25),
    1990011: lambda: tcp(502, REGISTER, times=70), 1990012: lambda: tcp(502, REGISTER), 1990013: lambda: tcp(5020, REGISTER),
    1990101: lambda: on_the_wire("s7comm"), 1990102: lambda: on_the_wire("s7comm"), 1990103: lambda: on_the_wire("s7comm"),
    1990104: lambda: on_the_wire("s7comm"), 1990105: lambda: on_the_wire("s7comm"), 1990106: lambda: on_the_wire("s7comm"),
    1990107: lambda: on_the_wire("s7comm"), 1990108: lambda: tcp(102, s7(7, "000112 04 11 45 01 00", "ff090008 6162"), times=3),
    1990109: lambda: tcp(102, s7(7, "000112 04 11 47 02 00", "ff09000a 00")), 1990110: lambda: on_the_wire("s7comm"),
    1990111: lambda: tcp(102, s7(1, "28 00000000000000fd 000a 01 00 3038 30303030 3142 05 5f44454c45")),
    1990201: lambda: on_the_wire("enip"), 1990202: lambda: tcp(44818, cip("05 02 20 01 24 01 00")),
    1990203: lambda: on_the_wire("enip"), 1990204: lambda: tcp(44818, cip("10 03 20 f5 24 01 30 05 00000000")),
    1990205: lambda: on_the_wire("enip"), 1990206: lambda: on_the_wire("enip"),
    1990301: lambda: on_the_wire("iec104"), 1990302: lambda: on_the_wire("iec104"), 1990303: lambda: tcp(2404, iec(105)),
    1990304: lambda: tcp(2404, b"\x68\x04\x13\0\0\0"), 1990305: lambda: tcp(2404, iec(122)), 1990306: lambda: on_the_wire("iec104"),
    1990401: lambda: on_the_wire("dnp3"), 1990402: lambda: tcp(20000, dnp3(14)), 1990403: lambda: tcp(20000, dnp3(18)),
    1990404: lambda: on_the_wire("dnp3"), 1990405: lambda: tcp(20000, dnp3(5, "0c 01 17 01 03")), 1990406: lambda: on_the_wire("dnp3"),
    1990407: lambda: tcp(20000, dnp3(27)),
    1990501: lambda: udp(RESTART, 47808), 1990502: lambda: udp(SILENCE, 47808), 1990503: lambda: udp(WRITE, 47808),
    1990504: lambda: udp(packet("02050c07 c4 02800001"), 47808), 1990505: lambda: udp(WHO_IS, 47808, times=12),
    1990506: lambda: udp(b"\x81\x05\0\x06\0\x3c", 47808),
    1990601: lambda: on_the_wire("opcua"), 1990602: lambda: tcp(4840, opcua(527), times=45), 1990603: lambda: on_the_wire("opcua"),
    1990604: lambda: tcp(4840, opcua(488)), 1990605: lambda: on_the_wire("opcua"),
    1990701: lambda: tcp(1883, mqtt(0x82, b"\0\1" + word(b"#") + b"\0")), 1990702: lambda: tcp(1883, mqtt(0x82, b"\0\1" + word(b"$SYS/x") + b"\0")),
    1990703: lambda: tcp(1883, mqtt(0x30, word(b"line/1/cmd") + b"stop")),
    1990801: lambda: tcp(80, http(b"GET /a/%2e%2e/..%2fetc/passwd")), 1990802: lambda: tcp(80, http(b"GET /ping?host=1;cat%20/etc/passwd")),
    1990803: lambda: tcp(80, http(b"GET /", b"Authorization: Basic YWRtaW46YWRtaW4=")),
    1990804: lambda: tcp(80, http(b"GET /", b"User-Agent: Mozilla/5.0 (Nmap Scripting Engine)")),
    1990805: lambda: tcp(80, http(b"GET /setup.exe"), (False, PROGRAM)),
    1990806: lambda: udp(dns("a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c1.t.example"), 53),
    1990807: lambda: udp(dns("t.example", "TXT"), 53, times=25), 1990808: lambda: tcp(22, b"SSH-2.0-paramiko_3.4.0\r\n"),
    1990809: lambda: syns(22, 14), 1990810: lambda: tcp(445, b"\0\0\0\x2f\xffSMBr" + bytes(42)),
    1990901: lambda: syns(22, 1), 1990902: lambda: segment(""), 1990903: lambda: segment("FPU"), 1990904: lambda: syns(502, 110),
    1990905: lambda: repeated(ping(), 20), 1990906: lambda: ping(5, 1),
}  # fmt: skip


def repeated(wire: Wire, times: int) -> Wire:
    wire.frames = [(at + n * 1_000_000, frame) for at, frame in wire.frames for n in range(times)]
    return wire


@pytest.mark.parametrize("sid", FIRES)
def test_it_speaks_when_it_should(sid: int) -> None:
    assert sid in said(FIRES[sid]())


def test_no_rule_is_without_its_case() -> None:
    assert {rule.sid for rule in book_of().rules} == set(FIRES)


def test_a_plant_that_just_works_is_no_alert() -> None:
    """The master polls and writes, an operator looks at pages, computers look up names."""
    wire = Wire()
    poll = Talk(wire, CLIENT, SERVER).open()
    for number in range(200):
        poll.ask(read(number % 40), values())
    poll.segment(True, "PA", REGISTER)
    Talk(wire, CLIENT, SERVER, port=80, sport=41000).open().segment(
        True, "PA", http(b"GET /trend?a=1", b"User-Agent: Mozilla")
    )
    wire.frames += udp(dns("historian.plant.example"), 53).frames + ping().frames
    wire.frames += on_the_wire("mqtt").frames

    assert said(wire, {"MASTERS": CLIENT, "KNOWN_MASTERS": CLIENT, "CONTROLLERS": SERVER}) == set()
