"""What our decoders read in conversations of real clients is what tshark reads in the same packets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cyber_range.engine.sensor.protocols.message import REQUEST, RESPONSE, Message
from tests.cyber_range.engine.sensor.recordings import PROTOCOLS, decoded, on_the_wire, tshark

pytestmark = [
    pytest.mark.tshark,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is missing: apt-get install tshark"),
]


def services(message: Message) -> list[int]:
    return [service for service, _, _ in message.fields.get("cip", ())]


FIELDS: dict[str, tuple[str, str, Callable[[list[Message]], list[int]]]] = {
    "s7 functions": ("s7comm", "s7comm.param.func", lambda said: [m.function for m in said if 0 <= m.function < 0x700]),
    "s7 groups": (
        "s7comm",
        "s7comm.param.userdata.funcgroup",
        lambda said: [m.function >> 4 & 15 for m in said if m.function >= 0x700],
    ),
    "enip commands": ("enip", "enip.command", lambda said: [m.fields["command"] for m in said]),
    "iec types": ("iec104", "iec60870_asdu.typeid", lambda said: [m.function for m in said if m.function < 0x1000]),
    "iec causes": ("iec104", "iec60870_asdu.causetx", lambda said: [m.fields["cause"] for m in said if m.fields]),
    "iec stations": ("iec104", "iec60870_asdu.addr", lambda said: [int(m.unit) for m in said if m.fields]),
    "dnp3 functions": ("dnp3", "dnp3.al.func", lambda said: [m.function for m in said]),
    "dnp3 indications": (
        "dnp3",
        "dnp3.al.iin",
        lambda said: [m.fields["indications"] for m in said if m.function >= 129],
    ),
    "mqtt types": ("mqtt", "mqtt.msgtype", lambda said: [m.function for m in said]),
    "opcua services": (
        "opcua",
        "opcua.servicenodeid.numeric",
        lambda said: [m.function for m in said if m.function < 0x10000],
    ),
}


@pytest.mark.parametrize("name", FIELDS)
def test_numbers_are_those_of_tshark(name: str, tmp_path: Path) -> None:
    proto, field, ours = FIELDS[name]

    theirs = [int(value, 0) for value in tshark(on_the_wire(proto).frames, tmp_path, field)]

    assert theirs
    assert ours(decoded(proto)) == theirs


def test_cip_services_are_those_of_tshark(tmp_path: Path) -> None:
    theirs = [int(v, 0) & 0x7F for v in tshark(on_the_wire("enip").frames, tmp_path, "cip.sc", "cip.rr == 0")]

    assert [s for m in decoded("enip") if m.kind == REQUEST for s in services(m)] == theirs


def test_mqtt_topics_are_those_of_tshark(tmp_path: Path) -> None:
    theirs = tshark(on_the_wire("mqtt").frames, tmp_path, "mqtt.topic", "mqtt.msgtype == 3")

    assert [m.unit for m in decoded("mqtt") if m.function == 3] == theirs


@pytest.mark.parametrize("proto", PROTOCOLS)
def test_every_conversation_has_requests_and_answers(proto: str) -> None:
    kinds = {m.kind for m in decoded(proto)}

    assert {REQUEST, RESPONSE} <= kinds
