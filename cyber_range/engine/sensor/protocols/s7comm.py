"""S7comm over TPKT (RFC 1006) and COTP (ISO 8073): jobs, answers, user data; names of modules from SZL 0x0011 and 0x001C.

Siemens publishes no specification; field positions follow what Wireshark's dissector and real controllers agree on.
`function` is the job's own code; of user data 0x700 + 16 × group + subfunction (reading an SZL is 0x741).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyber_range.engine.sensor.protocols.framing import Framed
from cyber_range.engine.sensor.protocols.message import NOTHING, REQUEST, RESPONSE, Message, text

PROTO = "s7comm"
JOB, ACK, ACK_DATA, USER_DATA = 1, 2, 3, 7
READ, WRITE, SETUP, CONTROL, STOP = 0x04, 0x05, 0xF0, 0x28, 0x29
READ_SZL = 0x741
NAMES = {
    READ: "读变量", WRITE: "写变量", SETUP: "建立通信", 0x1A: "请求下载", 0x1B: "下载块", 0x1C: "下载结束",
    0x1D: "开始上传", 0x1E: "上传块", 0x1F: "上传结束", CONTROL: "PLC控制", STOP: "停止PLC", READ_SZL: "读系统状态表",
    0x742: "消息服务", 0x743: "停机诊断", 0x731: "列出块", 0x732: "列出某类块", 0x733: "读块信息", 0x751: "提交口令", 0x752: "清除口令",
    0x771: "读时钟", 0x772: "设时钟",
}  # fmt: skip
WRITING = frozenset({WRITE, 0x1A, 0x1B, 0x1C, CONTROL, STOP, 0x772})
AREAS = {
    0x03: "SYS",
    0x05: "SYS",
    0x1C: "C",
    0x1D: "T",
    0x80: "P",
    0x81: "I",
    0x82: "Q",
    0x83: "M",
    0x84: "DB",
    0x85: "DI",
    0x86: "L",
}
BITS = {1: 1, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 32, 8: 32}  # bit, byte, char, word, int, dword, dint, real
MODULE, COMPONENT = 0x0011, 0x001C
COMPONENTS = {1: "station", 2: "model", 3: "plant", 4: "vendor", 5: "serial", 7: "product", 11: "location"}


class S7comm(Framed):
    head = 7

    def size(self, data: bytes, at: int) -> int:
        return data[at + 2] << 8 | data[at + 3] if data[at] == 3 and data[at + 1] == 0 else 0

    def message(self, up: bool, data: bytes) -> Message | None:
        # COTP data with a whole S7 header behind; connection requests carry no function
        if len(data) < 17 or data[5] != 0xF0 or data[7] != 0x32:
            return None
        kind = data[8]
        if kind == USER_DATA:
            return user_data(data)
        key = data[8:9] + data[13:] if kind == JOB else data[8:9] + data[17:20]
        known = self._known.get(key)
        if known is not None:
            return known
        if kind == JOB and len(data) > 17:
            return self.remember(key, job(data))
        if kind in (ACK, ACK_DATA) and len(data) >= 19:
            function = data[19] if len(data) > 19 else -1
            error = data[17] << 8 | data[18]
            return self.remember(key, Message(PROTO, RESPONSE, function, named(function), error=error))
        return None


def named(function: int) -> str:
    return NAMES.get(function, f"功能 0x{function:02x}" if function >= 0 else "应答")


def job(data: bytes) -> Message:
    function = data[17]
    end = min(len(data), 17 + (data[13] << 8 | data[14]))
    fields: dict[str, Any] = {}
    unit, address, count = "", -1, 0
    if function in (READ, WRITE) and len(data) > 18:
        items = [found for at in _items(data, end) if (found := _item(data, at, end))]
        fields["items"] = tuple(items)
        if items:
            unit = items[0][0]
            address = min(first for where, first, _ in items if where == unit)
            count = max(first + size for where, first, size in items if where == unit) - address
    elif function in (CONTROL, STOP) and end > 17:
        length = data[end - 1] if function == STOP else 0
        service = data[end - length : end] if length and length < end - 17 else _pi_service(data, end)
        unit = text(service, 16)
    elif function in (0x1A, 0x1B, 0x1C, 0x1D):
        unit = text(_file_name(data, end), 16)
    return Message(PROTO, REQUEST, function, named(function), unit, address, count, (), function in WRITING, 0, fields)


def _items(data: bytes, end: int) -> list[int]:
    """Where each item of a read or write begins."""
    found, at = [], 19
    for _ in range(data[18]):
        if at + 2 > end:
            break
        found.append(at)
        at += 2 + data[at + 1]
    return found


def _item(data: bytes, at: int, end: int) -> tuple[str, int, int] | None:
    """(area, first byte, bytes) of an S7ANY item; symbolic ones (other syntax ids) have no address."""
    if at + 12 > end or data[at] != 0x12 or data[at + 2] != 0x10:
        return None
    size, count = data[at + 3], data[at + 4] << 8 | data[at + 5]
    area = AREAS.get(data[at + 8], f"0x{data[at + 8]:02x}")
    if area in ("DB", "DI"):
        area += str(data[at + 6] << 8 | data[at + 7])
    address = (data[at + 9] << 16 | data[at + 10] << 8 | data[at + 11]) >> (0 if area in ("C", "T") else 3)
    return area, address, max(1, (count * BITS.get(size, 8) + 7) // 8)


def _pi_service(data: bytes, end: int) -> bytes:
    """The name at the end of a PLC control: one length byte, then for example P_PROGRAM, _INSE, _MODU."""
    for length in range(4, 20):
        at = end - length - 1
        if at >= 17 and data[at] == length:
            return data[end - length : end]
    return b""


def _file_name(data: bytes, end: int) -> bytes:
    """The block of an up- or download, for example _0800001P."""
    at = data.find(b"_", 17, end)
    return data[at : at + 9] if at >= 0 else b""


def user_data(data: bytes) -> Message | None:
    """Requests and answers of SZL, blocks, password, clock; the parameter head is 00 01 12, its length, kind, group."""
    at = 17
    if len(data) < at + 8 or data[at : at + 3] != b"\0\x01\x12":
        return None
    group, sub = data[at + 5] & 0x0F, data[at + 6]
    asks = data[at + 5] >> 4 == 4
    function = 0x700 + 16 * group + (sub & 0x0F)
    payload = data[17 + (data[13] << 8 | data[14]) :]
    fields: Mapping[str, Any] = NOTHING
    identity = None
    unit = ""
    if function == READ_SZL and len(payload) >= 8:
        szl = payload[4] << 8 | payload[5]
        fields, unit = {"szl": szl}, f"SZL {szl:04x}"
        if not asks:
            identity = _module_names(szl & 0xFFFF, payload[8:])
    error = 0 if asks or len(data) < at + 12 else data[at + 10] << 8 | data[at + 11]
    return Message(
        PROTO, REQUEST if asks else RESPONSE, function, named(function), unit, writes=asks and function in WRITING,
        error=error, fields=fields, identity=identity,
    )  # fmt: skip


def _module_names(szl: int, body: bytes) -> dict[str, str] | None:
    """`body` begins with the length and the number of records (SZL head behind id and index)."""
    if szl not in (MODULE, COMPONENT) or len(body) < 4:
        return None
    size, count = body[0] << 8 | body[1], body[2] << 8 | body[3]
    found: dict[str, str] = {}
    for at in range(4, min(len(body), 4 + size * count), max(size, 2)):
        record = body[at : at + size]
        if len(record) < 22:
            break
        index = record[0] << 8 | record[1]
        if szl == MODULE:
            if index == 1:
                found["order_number"] = text(record[2:22])
            elif index == 7 and len(record) >= 28:
                found["version"] = f"V{record[25]}.{record[26]}.{record[27]}"
        elif index in COMPONENTS and (value := text(record[2:34].rstrip(b"\0"))):
            found[COMPONENTS[index]] = value
    return found or None
