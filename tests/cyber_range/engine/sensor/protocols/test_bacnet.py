"""BACnet/IP datagrams by hand, read as tshark reads them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from cyber_range.engine.sensor.protocols.bacnet import Bacnet
from cyber_range.engine.sensor.protocols.message import NOTICE, REQUEST, RESPONSE, Message
from tests.cyber_range.engine.sensor.recordings import tshark
from tests.cyber_range.engine.sensor.talk import Wire


def packet(apdu: str, function: int = 0x0A) -> bytes:
    body = b"\x01\x04" + bytes.fromhex(apdu)
    return bytes([0x81, function]) + (len(body) + 4).to_bytes(2, "big") + body


WHO_IS = packet("1008", 0x0B)
I_AM = packet("1000 c4 02000065 22 05c4 91 03 22 0104", 0x0B)
READ = packet("0205070c 0c 02000065 19 4d")
TOLD = packet("30070c 0c 02000065 19 4d 3e 75 0a 00 436f6c64526f6f6d31 3f")
WRITE = packet("0205080f 0c 00800001 19 55 3e 44 42c80000 3f")
WRITTEN = packet("20080f")
REFUSED = packet("50090f 9102 9128")
RESTART = packet("02050a14 09 00")
SILENCE = packet("02050b11 19 01")
ALL = [WHO_IS, I_AM, READ, TOLD, WRITE, WRITTEN, REFUSED, RESTART, SILENCE]


def one(data: bytes, up: bool = True) -> Message:
    (message,) = Bacnet().feed(up, data)
    return message


def test_requests_name_service_object_and_property() -> None:
    assert (one(WHO_IS).kind, one(WHO_IS).function, one(WHO_IS).name) == (REQUEST, 0x108, "查找设备（Who-Is）")
    assert (one(READ).function, one(READ).unit, one(READ).writes) == (12, "device,101.77", False)
    assert (one(WRITE).function, one(WRITE).unit, one(WRITE).writes) == (15, "analog-value,1.85", True)
    assert (one(RESTART).function, one(RESTART).fields, one(RESTART).writes) == (20, {"state": 0}, True)
    assert (one(SILENCE).function, one(SILENCE).fields) == (17, {"state": 1})


def test_answers_tell_success_refusal_and_who_they_are() -> None:
    assert (one(I_AM).kind, one(I_AM).identity) == (NOTICE, {"device": "101", "vendor": "BACnet vendor 260"})
    assert (one(TOLD).kind, one(TOLD).identity) == (RESPONSE, {"name": "ColdRoom1"})
    assert (one(WRITTEN).function, one(WRITTEN).error) == (15, 0)
    assert (one(REFUSED).function, one(REFUSED).error != 0) == (15, True)


@pytest.mark.tshark
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is missing: apt-get install tshark")
def test_services_are_those_of_tshark(tmp_path: Path) -> None:
    wire = Wire()
    for data in ALL:
        head = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="10.0.0.2", dst="10.0.0.3")
        wire.put(head / UDP(sport=47808, dport=47808) / Raw(data))
    ours = [one(data) for data in ALL]

    assert tshark(wire.frames, tmp_path, "frame.number", "_ws.malformed") == []
    confirmed = [int(v) for v in tshark(wire.frames, tmp_path, "bacapp.confirmed_service")]
    unconfirmed = [int(v) for v in tshark(wire.frames, tmp_path, "bacapp.unconfirmed_service")]
    assert [m.function for m in ours if m.function < 0x100] == confirmed
    assert [m.function - 0x100 for m in ours if m.function >= 0x100] == unconfirmed
