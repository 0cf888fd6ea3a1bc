"""MQTT 3.1.1 control packets and topics (OASIS standard, 29 October 2014; clause numbers below are its own).

Pure: bytes in, values out. What does not decode is a `PacketError`; both sides close the connection then (4.8).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14
ACCEPTED, BAD_VERSION, BAD_CLIENT, UNAVAILABLE, BAD_LOGIN, NOT_AUTHORIZED = range(6)
FAILURE = 0x80  # in a SUBACK
REFUSED_5 = bytes((CONNACK << 4, 3, 0, 0x84, 0))  # "unsupported protocol version" in the words of MQTT 5 (its 3.2)
LEVELS = {"MQTT": 4, "MQIsdp": 3}  # protocol name -> level
FLAGS = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}  # reserved header bits that must be so (2.2.2)
WITH_ID = frozenset({PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK})
BARE = frozenset({PINGREQ, PINGRESP, DISCONNECT})
MAX_PACKET = 268_435_455  # octets after the fixed header that four length octets can say


class PacketError(ValueError):
    """Bytes that are no packet of this protocol."""


class WrongVersion(PacketError):
    """A CONNECT of another version of MQTT; it is answered before the connection ends (3.1.2.2)."""

    def __init__(self, protocol: str, level: int) -> None:
        self.level = level
        super().__init__(f"{protocol} level {level}")


@dataclass(frozen=True, slots=True)
class Will:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    client: str
    clean: bool = True
    keep_alive: int = 60  # s; 0: never checked
    will: Will | None = None
    user: str | None = None
    password: bytes | None = None
    protocol: str = "MQTT"


@dataclass(frozen=True, slots=True)
class Connack:
    code: int = ACCEPTED
    session_present: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    again: bool = False  # DUP
    number: int = 0  # packet identifier; 0 with QoS 0


@dataclass(frozen=True, slots=True)
class Ack:
    """PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK."""

    kind: int
    number: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    number: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Suback:
    number: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    number: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bare:
    """PINGREQ, PINGRESP or DISCONNECT."""

    kind: int


Packet = Connect | Connack | Publish | Ack | Subscribe | Suback | Unsubscribe | Bare


def pack(packet: Packet) -> bytes:
    kind, flags, body = _body(packet)
    head = bytearray((kind << 4 | flags,))
    length = len(body)
    if length > MAX_PACKET:
        raise ValueError(f"a packet holds {MAX_PACKET} octets, not {length}")
    while True:
        length, digit = length >> 7, length & 0x7F
        head.append(digit | 0x80 * bool(length))
        if not length:
            return bytes(head) + body


def _body(packet: Packet) -> tuple[int, int, bytes]:
    match packet:
        case Connect():
            return CONNECT, 0, _connect(packet)
        case Connack():
            return CONNACK, 0, bytes((packet.session_present, packet.code))
        case Publish():
            flags = packet.again << 3 | packet.qos << 1 | packet.retain
            number = struct.pack(">H", packet.number) if packet.qos else b""
            return PUBLISH, flags, text(packet.topic) + number + packet.payload
        case Ack():
            return packet.kind, FLAGS.get(packet.kind, 0), struct.pack(">H", packet.number)
        case Subscribe():
            filters = b"".join(text(topic) + bytes((qos,)) for topic, qos in packet.filters)
            return SUBSCRIBE, 2, struct.pack(">H", packet.number) + filters
        case Suback():
            return SUBACK, 0, struct.pack(">H", packet.number) + bytes(packet.codes)
        case Unsubscribe():
            return UNSUBSCRIBE, 2, struct.pack(">H", packet.number) + b"".join(text(topic) for topic in packet.filters)
        case Bare():
            return packet.kind, 0, b""


def _connect(packet: Connect) -> bytes:
    will = packet.will
    flags = packet.clean << 1
    body = text(packet.client)
    if will is not None:
        flags |= 4 | will.qos << 3 | will.retain << 5
        body += text(will.topic) + field(will.payload)
    if packet.user is not None:
        flags |= 0x80
        body += text(packet.user)
    if packet.password is not None:
        flags |= 0x40
        body += field(packet.password)
    head = text(packet.protocol) + struct.pack(">BBH", LEVELS[packet.protocol], flags, packet.keep_alive)
    return head + body


def field(data: bytes) -> bytes:
    if len(data) > 65535:
        raise ValueError(f"a field holds 65535 octets, not {len(data)}")
    return struct.pack(">H", len(data)) + data


def text(value: str) -> bytes:
    return field(value.encode())


def take(buffer: bytearray, limit: int = MAX_PACKET) -> Packet | None:
    """Removes one packet from the front of `buffer`; None while it is not whole."""
    length = 0
    for at in range(1, 5):
        if at >= len(buffer):
            return None
        length |= (buffer[at] & 0x7F) << 7 * (at - 1)
        if not buffer[at] & 0x80:
            break
    else:
        raise PacketError("a length of more than four octets")
    at += 1
    if length > limit:
        raise PacketError(f"a packet of {length} octets; the limit is {limit}")
    if len(buffer) < at + length:
        return None
    kind, flags, body = buffer[0] >> 4, buffer[0] & 0x0F, bytes(buffer[at : at + length])
    del buffer[: at + length]
    return unpack(kind, flags, body)


def unpack(kind: int, flags: int, body: bytes) -> Packet:
    if kind == PUBLISH:
        return _publish(flags, body)
    if flags != FLAGS.get(kind, 0):
        raise PacketError(f"header bits {flags:#x} of packet type {kind}")
    reader = Reader(body)
    packet: Packet
    if kind == CONNECT:
        packet = _read_connect(reader)
    elif kind == CONNACK:
        present, code = reader.octet(), reader.octet()
        if present > 1:
            raise PacketError("reserved bits of a CONNACK")
        packet = Connack(code, bool(present))
    elif kind in WITH_ID:
        packet = Ack(kind, reader.number())
    elif kind == SUBSCRIBE:
        number = reader.number()
        filters = []
        while reader.left():
            topic, qos = reader.text(), reader.octet()
            if qos > 2 or not valid_filter(topic):
                raise PacketError(f"subscription to {topic!r} with QoS {qos}")
            filters.append((topic, qos))
        if not filters:
            raise PacketError("a SUBSCRIBE without a topic filter")
        packet = Subscribe(number, tuple(filters))
    elif kind == SUBACK:
        packet = Suback(reader.number(), tuple(reader.rest()))
    elif kind == UNSUBSCRIBE:
        number, topics = reader.number(), []
        while reader.left():
            topics.append(reader.text())
        if not topics:
            raise PacketError("an UNSUBSCRIBE without a topic filter")
        packet = Unsubscribe(number, tuple(topics))
    elif kind in BARE:
        packet = Bare(kind)
    else:
        raise PacketError(f"packet type {kind}")
    if reader.left():
        raise PacketError(f"{reader.left()} octets too many in packet type {kind}")
    return packet


def _publish(flags: int, body: bytes) -> Publish:
    qos, retain, again = flags >> 1 & 3, bool(flags & 1), bool(flags & 8)
    if qos == 3 or (again and not qos):
        raise PacketError(f"PUBLISH with header bits {flags:#x}")
    reader = Reader(body)
    topic = reader.text()
    if not topic or "+" in topic or "#" in topic:
        raise PacketError(f"nothing can be published to {topic!r}")
    number = reader.number() if qos else 0
    return Publish(topic, reader.rest(), qos, retain, again, number)


def _read_connect(reader: Reader) -> Connect:
    protocol, level = reader.text(), reader.octet()
    if LEVELS.get(protocol) != level:
        if protocol in LEVELS:
            raise WrongVersion(protocol, level)
        raise PacketError(f"protocol {protocol!r}")
    flags, keep_alive = reader.octet(), struct.unpack(">H", reader.take(2))[0]
    with_will, will_qos, will_retain = bool(flags & 4), flags >> 3 & 3, bool(flags & 0x20)
    with_user, with_password = bool(flags & 0x80), bool(flags & 0x40)
    if flags & 1 or will_qos == 3 or (not with_will and (will_qos or will_retain)):
        raise PacketError(f"connect flags {flags:#x}")
    if with_password and not with_user:
        raise PacketError("a password without a user")
    client, clean = reader.text(), bool(flags & 2)
    will = None
    if with_will:
        topic = reader.text()
        if not topic or "+" in topic or "#" in topic:
            raise PacketError(f"a will cannot be published to {topic!r}")
        will = Will(topic, reader.field(), will_qos, will_retain)
    user = reader.text() if with_user else None
    password = reader.field() if with_password else None
    return Connect(client, clean, keep_alive, will, user, password, protocol)


class Reader:
    """Fields of a packet's body in order."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def left(self) -> int:
        return len(self._body) - self._at

    def take(self, size: int) -> bytes:
        if self.left() < size:
            raise PacketError("the packet ends within a field")
        self._at += size
        return self._body[self._at - size : self._at]

    def octet(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        found = int(struct.unpack(">H", self.take(2))[0])
        if not found:
            raise PacketError("packet identifier 0")
        return found

    def field(self) -> bytes:
        return self.take(struct.unpack(">H", self.take(2))[0])

    def text(self) -> str:
        try:
            found = self.field().decode()
        except UnicodeDecodeError:
            raise PacketError("a text that is no UTF-8") from None
        if "\0" in found:
            raise PacketError("a text with U+0000")
        return found

    def rest(self) -> bytes:
        return self.take(self.left())


def valid_filter(topic: str) -> bool:
    """Clause 4.7.1: + and # stand for whole levels, # is the last one."""
    levels = topic.split("/")
    return (
        bool(topic)
        and all(level in ("+", "#") or ("+" not in level and "#" not in level) for level in levels)
        and ("#" not in levels[:-1])
    )


def matches(wanted: str, topic: str) -> bool:
    """Whether a topic filter takes a topic; wildcards at the front do not take topics that begin with $ (4.7.2)."""
    if topic.startswith("$") and wanted[:1] in ("+", "#"):
        return False
    want, have = wanted.split("/"), topic.split("/")
    for at, level in enumerate(want):
        if level == "#":
            return True  # also the level above: sport/# takes sport
        if at >= len(have) or level not in ("+", have[at]):
            return False
    return len(want) == len(have)
