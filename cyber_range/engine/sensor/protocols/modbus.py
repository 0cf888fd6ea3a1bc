"""Modbus/TCP requests and answers (MODBUS Messaging on TCP/IP 1.0b, Application Protocol 1.1b3): what each asks of which addresses."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from cyber_range.engine.sensor.protocols.framing import NONE, Framed
from cyber_range.engine.sensor.protocols.message import NOTHING, REQUEST, RESPONSE, Message, text

PROTO = "modbus"
READS = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
WRITES = {5: "coil", 6: "holding", 15: "coil", 16: "holding", 22: "holding", 23: "holding"}
DIAGNOSE, IDENTIFY = 8, 43
NAMES = {
    1: "读线圈", 2: "读离散输入", 3: "读保持寄存器", 4: "读输入寄存器", 5: "写单个线圈", 6: "写单个寄存器", 7: "读异常状态",
    8: "诊断", 15: "写多个线圈", 16: "写多个寄存器", 17: "报告从站标识", 20: "读文件记录", 21: "写文件记录", 22: "掩码写寄存器",
    23: "读写多个寄存器", 24: "读FIFO队列", 43: "读设备标识", 90: "厂商编程功能",
}  # fmt: skip
LONGEST = 254  # the length field of the largest legal frame
OBJECTS = {0: "vendor", 1: "product", 2: "version", 3: "url", 4: "product", 5: "model", 6: "application"}

_HEAD = struct.Struct(">xxHHB")
_TWO = struct.Struct(">HH")


def table(function: int) -> str:
    return WRITES.get(function) or READS.get(function, "")


class Modbus(Framed):
    head = 8

    def feed(self, up: bool, data: bytes) -> Sequence[Message]:
        # Polls repeat: everything behind the transaction number is the key of a message already understood.
        if not self._left[up] and up and not self.broken:
            found = self._known.get(data[2:])
            if found is not None:
                return (found,)
        return super().feed(up, data)

    def size(self, data: bytes, at: int) -> int:
        protocol, length, _ = _HEAD.unpack_from(data, at)
        return 6 + length if protocol == 0 and 2 <= length <= LONGEST else 0

    def message(self, up: bool, data: bytes) -> Message | None:
        if up:
            return self.remember(data[2:], request(data[6], data[7:]))
        if data[7] == IDENTIFY:
            return response(data[6], data[7:])
        key = data[6:9] if data[7] & 0x80 else data[6:8]
        return self._known.get(key) or self.remember(key, response(data[6], data[7:]))


def request(unit: int, pdu: bytes) -> Message:
    function = pdu[0]
    address, count, values = _asked(function, pdu)
    fields = NOTHING
    if function == DIAGNOSE and len(pdu) >= 3:
        fields = {"sub_function": pdu[1] << 8 | pdu[2]}
    elif function == IDENTIFY and len(pdu) >= 2:
        fields = {"sub_function": pdu[1]}
    if function == 23 and len(pdu) >= 5:  # what it reads; `address` is what it writes
        fields = {"read": _TWO.unpack_from(pdu, 1)}
    name = NAMES.get(function, f"功能码 {function}")
    return Message(PROTO, REQUEST, function, name, unit, address, count, values, function in WRITES, 0, fields)


def _asked(function: int, pdu: bytes) -> tuple[int, int, tuple[int, ...]]:
    """(address, count, written values); address -1 for functions without one."""
    if function in (5, 6) and len(pdu) >= 5:
        address, value = _TWO.unpack_from(pdu, 1)
        return address, 1, (value if function == 6 else int(value == 0xFF00),)
    if function in (15, 16) and len(pdu) >= 6:
        address, count, size = struct.unpack_from(">HHB", pdu, 1)
        data = pdu[6 : 6 + size]
        if function == 16:
            return address, count, struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2])
        return address, count, tuple(data[i // 8] >> i % 8 & 1 for i in range(min(count, 8 * len(data))))
    if function == 23 and len(pdu) >= 10:
        address, count, size = struct.unpack_from(">HHB", pdu, 5)
        data = pdu[10 : 10 + size // 2 * 2]
        return address, count, struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2])
    if function == 22 and len(pdu) >= 3:
        return pdu[1] << 8 | pdu[2], 1, ()
    if function in READS and len(pdu) >= 5:
        address, count = _TWO.unpack_from(pdu, 1)
        return address, count, ()
    return -1, 0, ()


def response(unit: int, pdu: bytes) -> Message:
    function = pdu[0] & 0x7F
    name = NAMES.get(function, f"功能码 {function}")
    if pdu[0] & 0x80:
        error = pdu[1] if len(pdu) > 1 else 0xFF
        return Message(PROTO, RESPONSE, function, name, unit, writes=function in WRITES, error=error)
    identity = _identity(pdu) if function == IDENTIFY else None
    return Message(PROTO, RESPONSE, function, name, unit, writes=function in WRITES, identity=identity)


def _identity(pdu: bytes) -> dict[str, str] | None:
    """The objects of a Read Device Identification answer (function 43, MEI type 14)."""
    if len(pdu) < 7 or pdu[1] != 14:
        return None
    found: dict[str, str] = {}
    at = 7
    for _ in range(pdu[6]):
        if at + 2 > len(pdu) or at + 2 + pdu[at + 1] > len(pdu):
            break
        word = OBJECTS.get(pdu[at])
        if word:
            found[word] = text(pdu[at + 2 : at + 2 + pdu[at + 1]])
        at += 2 + pdu[at + 1]
    return found or None


def messages(up: bool, data: bytes) -> Sequence[Message]:
    """Whole messages of one segment, for a reader that keeps no conversation (`lb-capture`)."""
    decoder = Modbus()
    found = decoder.feed(up, data)
    return NONE if decoder.broken else found
