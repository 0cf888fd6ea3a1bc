"""Modbus/TCP requests and answers out of byte streams, with what each asks of which addresses."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

READS = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
WRITES = {5: "coil", 6: "holding", 15: "coil", 16: "holding", 22: "holding", 23: "holding"}
IDENTIFY = 43
NAMES = {
    1: "读线圈", 2: "读离散输入", 3: "读保持寄存器", 4: "读输入寄存器", 5: "写单个线圈", 6: "写单个寄存器", 7: "读异常状态",
    8: "诊断", 15: "写多个线圈", 16: "写多个寄存器", 17: "报告从站标识", 22: "掩码写寄存器", 23: "读写多个寄存器", 43: "读设备标识",
}  # fmt: skip
LONGEST = 254  # the length field of the largest legal frame


@dataclass(frozen=True, slots=True)
class Message:
    """One PDU. `address`/`count` where the function has them; `values` for writes; `exception` for exception answers."""

    transaction: int
    unit: int
    function: int
    address: int = -1
    count: int = 0
    values: tuple[int, ...] = ()
    exception: int = 0

    @property
    def writes(self) -> bool:
        return self.function in WRITES

    @property
    def table(self) -> str:
        return WRITES.get(self.function) or READS.get(self.function, "")


class Framer:
    """Cuts one direction into messages. `broken` once bytes came that no Modbus frame begins with."""

    __slots__ = ("_buffer", "_requests", "broken")

    def __init__(self, *, requests: bool) -> None:
        self._buffer = b""
        self._requests = requests
        self.broken = False

    def feed(self, data: bytes) -> Iterator[Message]:
        if self.broken:
            return
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while len(buffer) - at >= 8:
            transaction, protocol, length, unit = struct.unpack_from(">HHHB", buffer, at)
            if protocol != 0 or not 2 <= length <= LONGEST:
                self.broken = True
                self._buffer = b""
                return
            if len(buffer) - at < 6 + length:
                break
            pdu = buffer[at + 7 : at + 6 + length]
            at += 6 + length
            yield request(transaction, unit, pdu) if self._requests else response(transaction, unit, pdu)
        self._buffer = buffer[at:]


def request(transaction: int, unit: int, pdu: bytes) -> Message:
    function = pdu[0]
    if function in (5, 6) and len(pdu) >= 5:
        address, value = struct.unpack_from(">HH", pdu, 1)
        return Message(transaction, unit, function, address, 1, (value if function == 6 else int(value == 0xFF00),))
    if function in (15, 16) and len(pdu) >= 6:
        address, count, size = struct.unpack_from(">HHB", pdu, 1)
        data = pdu[6 : 6 + size]
        if function == 16:
            values = struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2])
        else:
            values = tuple(data[i // 8] >> i % 8 & 1 for i in range(min(count, 8 * len(data))))
        return Message(transaction, unit, function, address, count, values)
    if function == 23 and len(pdu) >= 10:
        address, count, size = struct.unpack_from(">HHB", pdu, 5)
        data = pdu[10 : 10 + size // 2 * 2]
        return Message(transaction, unit, function, address, count, struct.unpack(f">{len(data) // 2}H", data))
    if function == 22 and len(pdu) >= 3:
        return Message(transaction, unit, function, struct.unpack_from(">H", pdu, 1)[0], 1)
    if function in READS and len(pdu) >= 5:
        address, count = struct.unpack_from(">HH", pdu, 1)
        return Message(transaction, unit, function, address, count)
    return Message(transaction, unit, function)


def response(transaction: int, unit: int, pdu: bytes) -> Message:
    if pdu[0] & 0x80:
        return Message(transaction, unit, pdu[0] & 0x7F, exception=pdu[1] if len(pdu) > 1 else 0xFF)
    return Message(transaction, unit, pdu[0])
