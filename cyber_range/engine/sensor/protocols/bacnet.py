"""BACnet/IP (ANSI/ASHRAE 135, annex J and clauses 6, 20, 21): services, objects, what devices say about themselves.

`function` is the confirmed service choice, or 0x100 + the unconfirmed one. Both sides use port 47808, so who asks is
told by the message and not by ports. `unit` is the object ("device,101") or its property ("analog-value,2.85").
"""

from __future__ import annotations

from collections.abc import Sequence

from cyber_range.engine.sensor.protocols.framing import NONE
from cyber_range.engine.sensor.protocols.message import NOTICE, REQUEST, RESPONSE, Message, text

PROTO = "bacnet"
CONFIRMED, UNCONFIRMED, SIMPLE_ACK, COMPLEX_ACK, SEGMENT_ACK, ERROR, REJECT, ABORT = range(8)
UNCONFIRMED_BASE, BVLC_BASE = 0x100, 0x200
I_AM, I_HAVE, COV, EVENT, WHO_HAS, TIME_SYNC, WHO_IS = 0, 1, 2, 3, 7, 6, 8
READ_PROPERTY, READ_MULTIPLE, WRITE_PROPERTY, WRITE_MULTIPLE = 12, 14, 15, 16
NAMES = {
    0: "确认报警", 1: "值变化通知", 2: "事件通知", 5: "订阅值变化", 6: "读文件", 7: "写文件", 10: "创建对象", 11: "删除对象",
    READ_PROPERTY: "读属性", READ_MULTIPLE: "读多个属性", WRITE_PROPERTY: "写属性", WRITE_MULTIPLE: "写多个属性", 17: "设备通信控制",
    18: "专用传输", 20: "重新初始化设备", 26: "读范围", 28: "订阅属性变化",
    UNCONFIRMED_BASE + I_AM: "设备应答（I-Am）", UNCONFIRMED_BASE + I_HAVE: "对象应答（I-Have）", UNCONFIRMED_BASE + COV: "值变化通知",
    UNCONFIRMED_BASE + EVENT: "事件通知", UNCONFIRMED_BASE + TIME_SYNC: "时间同步", UNCONFIRMED_BASE + WHO_HAS: "查找对象（Who-Has）",
    UNCONFIRMED_BASE + WHO_IS: "查找设备（Who-Is）", UNCONFIRMED_BASE + 9: "时间同步",
    BVLC_BASE + 1: "写广播表", BVLC_BASE + 2: "读广播表", BVLC_BASE + 5: "登记外部设备", BVLC_BASE + 6: "读外部设备表",
    BVLC_BASE + 8: "删除外部设备",
}  # fmt: skip
WRITING = frozenset({7, 10, 11, WRITE_PROPERTY, WRITE_MULTIPLE, 17, 20, 0x106, 0x109, 0x201, 0x208})
OBJECTS = {0: "analog-input", 1: "analog-output", 2: "analog-value", 3: "binary-input", 4: "binary-output", 5: "binary-value",
           6: "calendar", 8: "device", 10: "file", 13: "multi-state-input", 14: "multi-state-output", 15: "notification-class",
           17: "schedule", 19: "multi-state-value"}  # fmt: skip
TOLD = {12: "version", 28: "description", 44: "version", 58: "location", 70: "model", 77: "name", 121: "vendor"}
NOTICES = frozenset({I_AM, I_HAVE, COV, EVENT})


class Bacnet:
    """Datagrams; no state but the memory of messages seen."""

    def __init__(self) -> None:
        self.broken = self.done = False
        self._known: dict[bytes, Message] = {}

    def lose(self, up: bool) -> None:
        pass

    def feed(self, up: bool, data: bytes) -> Sequence[Message]:
        if len(data) < 4 or data[0] != 0x81:
            self.broken = len(data) > 0
            return NONE
        self.broken = False
        bvlc = data[1]
        if bvlc not in (0x04, 0x09, 0x0A, 0x0B):  # forwarded, distribute, unicast, broadcast
            function = BVLC_BASE + bvlc
            name = NAMES.get(function, f"广播管理 {bvlc}")
            kind = RESPONSE if bvlc in (0, 3, 7) else REQUEST
            return (Message(PROTO, kind, function, name, writes=function in WRITING),)
        at = _past_network_head(data, 10 if bvlc == 0x04 else 4)
        if at < 0 or at + 2 > len(data):
            return NONE
        kind = data[at] >> 4
        key = data[at : at + 2] + data[at + 3 :] if kind == CONFIRMED else data[at:]
        found = self._known.get(key)
        if found is None:
            found = apdu(data[at:])
            if found is None:
                return NONE
            if len(self._known) > 512:
                self._known.clear()
            self._known[key] = found
        return (found,)


def _past_network_head(data: bytes, at: int) -> int:
    """Where the application part begins (clause 6.2.2); -1 for network messages and torn ones."""
    if at + 2 > len(data) or data[at] != 1:
        return -1
    control = data[at + 1]
    at += 2
    if control & 0x80:
        return -1
    if control & 0x20:
        if at + 3 > len(data):
            return -1
        at += 3 + data[at + 2]
    if control & 0x08:
        if at + 3 > len(data):
            return -1
        at += 3 + data[at + 2]
    return at + 1 if control & 0x20 else at


def apdu(data: bytes) -> Message | None:
    kind = data[0] >> 4
    if kind == CONFIRMED:
        at = 6 if data[0] & 0x08 else 4
        if len(data) < at:
            return None
        service = data[at - 1]
        unit, fields = _target(service, data[at:])
        return Message(
            PROTO,
            REQUEST,
            service,
            NAMES.get(service, f"服务 {service}"),
            unit,
            writes=service in WRITING,
            fields=fields,
        )
    if kind == UNCONFIRMED:
        service = data[1]
        words = NOTICE if service in NOTICES else REQUEST
        identity = _i_am(data[2:]) if service == I_AM else None
        function = UNCONFIRMED_BASE + service
        return Message(
            PROTO, words, function, NAMES.get(function, f"服务 {service}"), writes=function in WRITING, identity=identity,
            fields={"unconfirmed": service},
        )  # fmt: skip
    if kind in (SIMPLE_ACK, COMPLEX_ACK, ERROR):
        at = 4 if kind == COMPLEX_ACK and data[0] & 0x08 else 2
        if len(data) <= at:
            return None
        service = data[at]
        identity = None
        if kind == COMPLEX_ACK and service == READ_PROPERTY:
            identity = _property_told(data[at + 1 :])
        error = (data[at + 2] if len(data) > at + 2 else 1) or 0xFF if kind == ERROR else 0
        return Message(PROTO, RESPONSE, service, NAMES.get(service, f"服务 {service}"), error=error, identity=identity)
    if kind in (REJECT, ABORT) and len(data) >= 3:
        return Message(PROTO, RESPONSE, -1, "拒绝" if kind == REJECT else "中止", error=0x100 * kind + data[2])
    return None


def _object(data: bytes, at: int) -> tuple[str, int] | None:
    """(name, position behind) of an object identifier with context tag 0 or application tag 12."""
    if at + 5 > len(data) or data[at] not in (0x0C, 0xC4):
        return None
    value = int.from_bytes(data[at + 1 : at + 5], "big")
    kind = value >> 22
    return f"{OBJECTS.get(kind, kind)},{value & 0x3FFFFF}", at + 5


def _target(service: int, body: bytes) -> tuple[str, dict[str, int]]:
    if service in (READ_PROPERTY, WRITE_PROPERTY, READ_MULTIPLE, WRITE_MULTIPLE, 5, 28, 26):
        found = _object(body, 0)
        if found is None:
            return "", {}
        name, at = found
        if service in (READ_PROPERTY, WRITE_PROPERTY) and at + 2 <= len(body) and body[at] >> 4 == 1:
            size = body[at] & 7
            prop = int.from_bytes(body[at + 1 : at + 1 + size], "big")
            return f"{name}.{prop}", {"property": prop}
        return name, {}
    if service in (17, 20):  # optional duration [0], then the state [1]; reinitialize: the state is [0]
        wanted = 1 if service == 17 else 0
        at = 0
        while at + 1 < len(body) and body[at] & 0x08:
            size = body[at] & 7
            if body[at] >> 4 == wanted and size == 1:
                return "", {"state": body[at + 1]}
            at += 1 + size
    return "", {}


def _i_am(body: bytes) -> dict[str, str] | None:
    found = _object(body, 0)
    if found is None:
        return None
    name, at = found
    identity = {"device": name.split(",")[-1]}
    for _ in range(2):  # maximum APDU length, segmentation
        if at < len(body):
            at += 1 + (body[at] & 7)
    if at < len(body) and body[at] >> 4 == 2:
        vendor = int.from_bytes(body[at + 1 : at + 1 + (body[at] & 7)], "big")
        identity["vendor"] = f"BACnet vendor {vendor}"
    return identity


def _property_told(body: bytes) -> dict[str, str] | None:
    """Text of the device object's descriptive properties in a ReadProperty answer."""
    found = _object(body, 0)
    if found is None or not found[0].startswith("device,"):
        return None
    at = found[1]
    if at + 3 > len(body) or body[at] >> 4 != 1:
        return None
    size = body[at] & 7
    word = TOLD.get(int.from_bytes(body[at + 1 : at + 1 + size], "big"))
    at += 1 + size
    if word is None or at + 3 > len(body) or body[at] != 0x3E or body[at + 1] >> 4 != 7:
        return None
    length = body[at + 1] & 7
    at += 2
    if length == 5:
        length = body[at]
        at += 1
    value = text(body[at + 1 : at + length])  # the first byte names the character set
    return {word: value} if value else None
