"""OPC UA binary over TCP without security (OPC 10000-6): opening a session and reading values.

scapy has no layer for it; the few structures used are packed here, field by field in the order of the specification.
"""

from __future__ import annotations

import struct

from cyber_range.engine.traffic.declaring.speech import answers, says, tcp
from cyber_range.engine.traffic.templates import Maker, Piece, Var

NOTHING = struct.pack("<i", -1)  # a null string, byte string or array
CHANNEL, FIRST_TOKEN = 8, 12
BODY = 24  # after message header, channel, token, sequence number, request id
OPENING = 3  # sequence numbers used by the end of `opcua_open`


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<i", len(raw)) + raw


def numeric(identifier: int) -> bytes:
    """A NodeId of namespace 0 in its four-byte form."""
    return b"\x01\x00" + struct.pack("<H", identifier)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + b"F" + struct.pack("<I", 8 + len(body)) + body


def request_header(token: bytes = b"\0\0") -> bytes:
    return token + struct.pack("<qII", 0, 0, 0) + NOTHING + struct.pack("<I", 4000) + b"\0\0\0"


def response_header() -> bytes:
    return struct.pack("<qII", 0, 0, 0) + b"\0" + NOTHING + b"\0\0\0"


def secured(type_id: int, body: bytes, number: int) -> bytes:
    """A MSG chunk. `number` 0: left for a running number."""
    return message(b"MSG", struct.pack("<IIII", 0, 0, number, number) + numeric(type_id) + body)


CHANNEL_VARS = (Var("token", CHANNEL, 4, little=True), Var("token", FIRST_TOKEN, 4, little=True))
SESSION_TOKEN = b"\x02\x01\x00" + bytes(4)  # numeric NodeId of namespace 1


def opcua_open(name: str, url: str = "opc.tcp://plc:4840") -> Piece:
    """HEL, ACK, secure channel, session created and activated."""
    hello = message(b"HEL", struct.pack("<IIIII", 0, 65536, 65536, 0, 0) + text(url))
    granted = message(b"ACK", struct.pack("<IIIII", 0, 65536, 65536, 0, 0))
    policy = text("http://opcfoundation.org/UA/SecurityPolicy#None") + NOTHING + NOTHING
    head = len(policy) + 12 + 8
    opening = message(b"OPN", struct.pack("<I", 0) + policy + struct.pack("<II", 1, 1) + numeric(446)
                      + request_header() + struct.pack("<III", 0, 0, 1) + NOTHING + struct.pack("<I", 3600000))  # fmt: skip
    lease = struct.pack("<IIqI", 0, 0, 0, 3600000)
    opened = message(b"OPN", struct.pack("<I", 0) + policy + struct.pack("<II", 1, 1) + numeric(449)
                     + response_header() + struct.pack("<I", 0) + lease + NOTHING)  # fmt: skip
    at = len(opened) - 4 - len(lease)
    application = text("urn:lianbing:client") + text("urn:lianbing") + b"\x02" + text("Client")
    application += struct.pack("<I", 1) + NOTHING + NOTHING + NOTHING
    create = secured(461, request_header() + application + NOTHING + text(url) + text("session") + NOTHING + NOTHING
                     + struct.pack("<dI", 60000.0, 0), 2)  # fmt: skip
    session = SESSION_TOKEN + SESSION_TOKEN
    created = secured(464, response_header() + session + struct.pack("<d", 60000.0) + NOTHING + NOTHING
                      + struct.pack("<ii", 0, 0) + NOTHING + NOTHING + struct.pack("<I", 0), 2)  # fmt: skip
    place = BODY + 4 + len(response_header())
    identity = text("anonymous")
    activate = secured(467, request_header(SESSION_TOKEN) + NOTHING + NOTHING + NOTHING + NOTHING + numeric(321) + b"\x01"
                       + struct.pack("<i", len(identity)) + identity + NOTHING + NOTHING, 3)  # fmt: skip
    activated = secured(470, response_header() + NOTHING + NOTHING + NOTHING, 3)
    stamp, reply = BODY + 4 + 2, Var("filetime", BODY + 4, 8, little=True)
    return tcp(name, [
        says(hello, gap=300), answers(granted),
        says(opening, Var("filetime", head + 4 + 2, 8, little=True), gap=500),
        answers(opened, Var("token", 8, 4, little=True), Var("filetime", head + 4, 8, little=True),
                Var("token", at, 4, little=True), Var("token", at + 4, 4, little=True),
                Var("filetime", at + 8, 8, little=True), gap=3000),
        says(create, *CHANNEL_VARS, Var("filetime", stamp, 8, little=True), gap=900),
        answers(created, *CHANNEL_VARS, reply, Var("token", place + 3, 4, little=True),
                Var("token", place + 10, 4, little=True), gap=4000),
        says(activate, *CHANNEL_VARS, Var("token", BODY + 4 + 3, 4, little=True),
             Var("filetime", BODY + 4 + 7, 8, little=True), gap=700),
        answers(activated, *CHANNEL_VARS, reply, gap=3000),
    ])  # fmt: skip


def opcua_read(name: str, nodes: int = 4, namespace: int = 2) -> Piece:
    """Read the Value attribute of some nodes; each answer is a Float."""
    wanted = b"".join(
        b"\x01" + bytes([namespace]) + struct.pack("<H", 1001 + n) + struct.pack("<I", 13) + NOTHING + b"\0\0" + NOTHING
        for n in range(nodes)
    )
    ask = secured(631, request_header(SESSION_TOKEN) + struct.pack("<dIi", 0.0, 3, nodes) + wanted, 0)
    values = b"".join(b"\x01\x0a" + struct.pack("<f", 25.0 + n) for n in range(nodes))
    tell = secured(634, response_header() + struct.pack("<i", nodes) + values + NOTHING, 0)
    first = BODY + 4 + len(response_header()) + 4
    numbers = tuple(Var("count", at, 4, add=OPENING + 1, little=True) for at in (16, 20))
    readings = tuple(Var("random", first + 6 * n + 2, 2) for n in range(nodes))
    return tcp(name, [
        says(ask, *CHANNEL_VARS, *numbers, Var("token", BODY + 4 + 3, 4, little=True),
             Var("filetime", BODY + 4 + 7, 8, little=True), gap=0),
        answers(tell, *CHANNEL_VARS, *numbers, Var("filetime", BODY + 4, 8, little=True), *readings),
    ])  # fmt: skip


MAKERS: dict[str, Maker] = {"opcua_open": opcua_open, "opcua_read": opcua_read}
