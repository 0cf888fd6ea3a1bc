"""Conversations of real clients (snap7, pycomm3, asyncua, c104, opendnp3, paho) with this project's servers, as bytes.

Each file of recorded/ holds one protocol: {"port", "client": who spoke, "conversations": [[[up, hex], …], …]}.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path

from cyber_range.engine.sensor import pcapng
from cyber_range.engine.sensor.protocols import registry
from cyber_range.engine.sensor.protocols.message import Message
from tests.cyber_range.engine.sensor.talk import Talk, Wire

FOLDER = Path(__file__).parent / "recorded"
PROTOCOLS = ("s7comm", "enip", "opcua", "iec104", "dnp3", "mqtt")
Conversation = list[tuple[bool, bytes]]


@cache
def recorded(proto: str) -> tuple[int, list[Conversation]]:
    said = json.loads((FOLDER / f"{proto}.json").read_text(encoding="ascii"))
    return said["port"], [[(bool(up), bytes.fromhex(data)) for up, data in one] for one in said["conversations"]]


@cache
def on_the_wire(proto: str, client: str = "10.0.2.5", server: str = "10.0.2.9") -> Wire:
    port, conversations = recorded(proto)
    wire = Wire()
    for number, conversation in enumerate(conversations):
        talk = Talk(wire, client, server, port=port, sport=40000 + number).open()
        for up, data in conversation:
            for at in range(0, len(data), 1400):
                talk.segment(up, "PA", data[at : at + 1400])
        talk.close()
    return wire


def decoded(proto: str) -> list[Message]:
    """All messages of the recording, as the decoder of its port reads them."""
    port, conversations = recorded(proto)
    found: list[Message] = []
    for conversation in conversations:
        decoder = registry.TCP[port][1]()
        for up, data in conversation:
            found += decoder.feed(up, data)
            assert not decoder.broken
    return found


def tshark(frames: list[tuple[int, bytes]], folder: Path, field: str, wanted: str = "") -> list[str]:
    """Every occurrence of a field in the frames, in order, as tshark reads them."""
    file = folder / "frames.pcapng"
    file.write_bytes(pcapng.header() + pcapng.packets(frames))
    command = ["tshark", "-r", str(file), "-T", "fields", "-e", field, "-E", "occurrence=a", "-E", "aggregator=;"]
    command += ["-Y", wanted or field]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    return [value for line in lines for value in line.split(";") if value]
