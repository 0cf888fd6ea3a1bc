"""MQTT 3.1.1 and 5.0 control packets (OASIS): who connects, which topics are written and read.

`unit` is the topic or client identifier; `function` the control packet type.
"""

from __future__ import annotations

from collections.abc import Sequence

from cyber_range.engine.sensor.protocols.framing import NONE
from cyber_range.engine.sensor.protocols.message import REQUEST, RESPONSE, Message, text

PROTO = "mqtt"
CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 1, 2, 3, 4, 8, 10, 12, 14
TYPES = ("reserved", "connect", "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp", "subscribe", "suback",
         "unsubscribe", "unsuback", "pingreq", "pingresp", "disconnect", "auth")  # fmt: skip
NAMES = {
    1: "连接",
    2: "连接应答",
    3: "发布",
    4: "发布确认",
    8: "订阅",
    9: "订阅应答",
    10: "退订",
    11: "退订应答",
    12: "心跳",
    13: "心跳应答",
    14: "断开",
}
LARGEST = 1 << 20  # a packet beyond is passed over unread


class Mqtt:
    def __init__(self) -> None:
        self.broken = self.done = False
        self._left = [b"", b""]
        self._skip = [0, 0]
        self._version = 4
        self._known: dict[bytes, Message] = {}

    def lose(self, up: bool) -> None:
        self._left[up], self._skip[up] = b"", 0
        self.broken = False

    def feed(self, up: bool, data: bytes) -> Sequence[Message]:
        if self.broken:
            return NONE
        if self._skip[up]:
            passed = min(self._skip[up], len(data))
            self._skip[up] -= passed
            data = data[passed:]
        if self._left[up]:
            data, self._left[up] = self._left[up] + data, b""
        messages: list[Message] = []
        at, size = 0, len(data)
        while size - at >= 2:
            kind = data[at] >> 4
            if kind == 0 or not _flags_fit(data[at]):
                self.broken = True
                return messages
            length, start = _length(data, at + 1)
            if start < 0:
                if start == -2:
                    self.broken = True
                    return messages
                break
            if length > LARGEST:
                self._skip[up] = max(0, start + length - size)
                at = min(size, start + length)
                continue
            if start + length > size:
                break
            messages.append(self._packet(up, data[at], data[start : start + length]))
            at = start + length
        self._left[up] = data[at:]
        return messages

    def _packet(self, up: bool, first: int, body: bytes) -> Message:
        key = b"" if body else bytes([first, up])  # heartbeats repeat; what is published is read each time
        if key and (known := self._known.get(key)) is not None:
            return known
        message = self._read(up, first, body)
        if key:
            self._known[key] = message
        return message

    def _read(self, up: bool, first: int, body: bytes) -> Message:
        kind = first >> 4
        fields: dict[str, object] = {"type": TYPES[kind], "qos": first >> 1 & 3 if kind == PUBLISH else 0}
        buffers: dict[str, bytes] = {}
        unit, error = "", 0
        identity = None
        if kind == CONNECT:
            buffers, self._version = _connect(body)
            unit = text(buffers.get("mqtt.connect.clientid", b""))
            identity = {"client_id": unit} if unit else None
        elif kind == CONNACK and len(body) >= 2:
            error = body[1]
        elif kind == PUBLISH and len(body) >= 2:
            topic, at = _word(body, 0)
            at += 2 if first & 6 else 0
            if self._version == 5:
                length, at = _length(body, at)
                at += max(length, 0)
            buffers = {"mqtt.publish.topic": topic, "mqtt.publish.message": body[max(at, 0) :][:4096]}
            unit = text(topic)
            fields["retain"] = first & 1
        elif kind in (SUBSCRIBE, UNSUBSCRIBE):
            topics = _topics(body, kind == SUBSCRIBE, self._version)
            unit = ",".join(text(topic) for topic in topics)
            word = "mqtt.subscribe.topic" if kind == SUBSCRIBE else "mqtt.unsubscribe.topic"
            buffers = {word: b"\n".join(topics)}
        name = NAMES.get(kind, TYPES[kind])
        return Message(
            PROTO, REQUEST if up else RESPONSE, kind, name, unit, writes=up and kind == PUBLISH, error=error,
            fields=fields, buffers=buffers, identity=identity,
        )  # fmt: skip


def _flags_fit(first: int) -> bool:
    """Reserved flags have one right value each (MQTT 5.0, 2.1.3): what differs is no MQTT."""
    kind, flags = first >> 4, first & 15
    return kind == PUBLISH or flags == (2 if kind in (6, 8, 10) else 0)


def _length(data: bytes, at: int) -> tuple[int, int]:
    """(value, position behind) of a variable byte integer; position -1 when unfinished, -2 when impossible."""
    value = 0
    for index in range(4):
        if at + index >= len(data):
            return 0, -1
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, at + index + 1
    return 0, -2


def _word(data: bytes, at: int) -> tuple[bytes, int]:
    if at + 2 > len(data):
        return b"", len(data)
    end = at + 2 + (data[at] << 8 | data[at + 1])
    return data[at + 2 : end], end


def _connect(body: bytes) -> tuple[dict[str, bytes], int]:
    _, at = _word(body, 0)
    if at + 4 > len(body):
        return {}, 4
    version, flags = body[at], body[at + 1]
    at += 4
    if version == 5:
        length, at = _length(body, at)
        at += length
    found: dict[str, bytes] = {}
    found["mqtt.connect.clientid"], at = _word(body, max(at, 0))
    if flags & 0x04:
        if version == 5:
            length, at = _length(body, at)
            at = max(at, 0) + length
        found["mqtt.connect.willtopic"], at = _word(body, at)
        found["mqtt.connect.willmessage"], at = _word(body, at)
    if flags & 0x80:
        found["mqtt.connect.username"], at = _word(body, at)
    if flags & 0x40:
        found["mqtt.connect.password"], at = _word(body, at)
    return found, version


def _topics(body: bytes, options: bool, version: int) -> list[bytes]:
    at = 2
    if version == 5:
        length, at = _length(body, at)
        at = max(at, 0) + length
    found: list[bytes] = []
    while at + 2 < len(body) and len(found) < 64:
        topic, at = _word(body, at)
        at += options
        found.append(topic)
    return found
