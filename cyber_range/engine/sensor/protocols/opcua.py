"""OPC UA binary over TCP (OPC 10000-6): chunk heads, service ids, endpoint and server name.

`function` is the numeric id of the service's binary encoding (631 is ReadRequest, 634 its answer); of HEL, ACK, OPN, CLO
and ERR 0x10000 + a number. Encrypted bodies keep their chunk type only.
"""

from __future__ import annotations

from cyber_range.engine.sensor.protocols.framing import Framed
from cyber_range.engine.sensor.protocols.message import NOTHING, REQUEST, RESPONSE, Message, text

PROTO = "opcua"
CHUNKS = {
    b"HEL": 0x10001,
    b"ACK": 0x10002,
    b"OPN": 0x10003,
    b"CLO": 0x10004,
    b"ERR": 0x10005,
    b"RHE": 0x10006,
    b"MSG": 0x10007,
}
NAMES = {
    0x10001: "握手", 0x10002: "握手应答", 0x10003: "打开安全通道", 0x10004: "关闭安全通道", 0x10005: "错误", 0x10006: "反向握手",
    0x10007: "加密消息", 397: "服务失败",
    422: "查找服务器", 425: "查找服务器应答", 428: "查询端点", 431: "查询端点应答", 446: "打开安全通道", 449: "打开安全通道应答", 452: "关闭安全通道",
    461: "创建会话", 464: "创建会话应答", 467: "激活会话", 470: "激活会话应答", 473: "关闭会话", 476: "关闭会话应答",
    488: "添加节点", 500: "删除节点", 527: "浏览", 530: "浏览应答", 533: "继续浏览", 536: "继续浏览应答", 554: "翻译路径", 557: "翻译路径应答",
    631: "读", 634: "读应答", 664: "读历史", 667: "读历史应答", 673: "写", 676: "写应答", 700: "改历史", 703: "改历史应答",
    712: "调用方法", 715: "调用方法应答", 751: "创建监视项", 754: "创建监视项应答", 763: "修改监视项", 781: "删除监视项",
    787: "创建订阅", 790: "创建订阅应答", 793: "修改订阅", 826: "发布", 829: "发布应答", 847: "删除订阅", 850: "删除订阅应答",
}  # fmt: skip
WRITING = frozenset({488, 500, 673, 700, 712})
# Answers follow their request's id by 3 in the standard's numbering
REQUESTS = frozenset(
    {422, 428, 446, 461, 467, 473, 488, 500, 527, 533, 554, 631, 664, 673, 700, 712, 751, 763, 781, 787, 793, 826, 847}
)
ENDPOINTS_TOLD = 431


class OpcUa(Framed):
    head = 8
    longest = 1 << 24

    def __init__(self) -> None:
        super().__init__()
        self._inside = [False, False]  # between the first and the last chunk of a message

    def size(self, data: bytes, at: int) -> int:
        if data[at : at + 3] not in CHUNKS or data[at + 3] not in b"FCA":
            return 0
        return int.from_bytes(data[at + 4 : at + 8], "little")

    def message(self, up: bool, data: bytes) -> Message | None:
        kind, last = data[:3], data[3] != 0x43
        if kind == b"MSG":
            first, self._inside[up] = not self._inside[up], not last
            if not first:
                return None
            start = 24
        elif kind == b"CLO":
            start = 24
        elif kind == b"OPN":
            start = _past_asymmetric_head(data)
        else:
            return self._plain(up, kind, data)
        found = node_number(data, start)
        if found is None:
            return self._plain(up, kind, data)
        function, at = found
        if function == ENDPOINTS_TOLD:
            name = NAMES[function]
            return Message(PROTO, RESPONSE, function, name, identity=_server(data, at))
        key = bytes([up]) + function.to_bytes(4, "big")
        known = self._known.get(key)
        if known is None:
            name = NAMES.get(function, f"服务 {function}")
            words = REQUEST if (function in REQUESTS or (up and function - 3 not in REQUESTS)) else RESPONSE
            known = self.remember(
                key,
                Message(PROTO, words, function, name, writes=function in WRITING, fields={"service": function}),
            )
        if function == 397:
            return Message(PROTO, RESPONSE, function, NAMES[function], error=_result(data, at))
        return known

    def _plain(self, up: bool, kind: bytes, data: bytes) -> Message:
        function = CHUNKS[kind]
        error = int.from_bytes(data[8:12], "little") if kind == b"ERR" else 0
        fields, buffers = NOTHING, NOTHING
        unit = ""
        if kind == b"HEL" and len(data) > 32:
            size = int.from_bytes(data[28:32], "little")
            unit = text(data[32 : 32 + size])
            buffers = {"opcua.endpoint": data[32 : 32 + size]}
        return Message(
            PROTO,
            REQUEST if up else RESPONSE,
            function,
            NAMES[function],
            unit,
            error=error,
            fields=fields,
            buffers=buffers,
        )


def _past_asymmetric_head(data: bytes) -> int:
    """Behind the security policy, certificate, thumbprint and sequence head of an OPN chunk (part 6, 6.7.2)."""
    at = 12
    for _ in range(3):
        if at + 4 > len(data):
            return len(data)
        size = int.from_bytes(data[at : at + 4], "little", signed=True)
        at += 4 + max(size, 0)
    return at + 8


def node_number(data: bytes, at: int) -> tuple[int, int] | None:
    """(id, position behind) of a numeric node id of namespace 0 (part 6, 5.2.2.9); None for all else, so for encrypted bytes."""
    if at + 2 <= len(data) and data[at] == 0:
        return data[at + 1], at + 2
    if at + 4 <= len(data) and data[at] == 1 and data[at + 1] == 0:
        return data[at + 2] | data[at + 3] << 8, at + 4
    if at + 7 <= len(data) and data[at] == 2 and data[at + 1] == 0 and data[at + 2] == 0:
        return int.from_bytes(data[at + 3 : at + 7], "little"), at + 7
    return None


def _result(data: bytes, at: int) -> int:
    """serviceResult of the answer's head: behind the time (8) and the request handle (4)."""
    return int.from_bytes(data[at + 12 : at + 16], "little") or 1


def _string(data: bytes, at: int) -> tuple[str, int]:
    if at + 4 > len(data):
        return "", len(data)
    size = int.from_bytes(data[at : at + 4], "little", signed=True)
    if size <= 0:
        return "", at + 4
    return text(data[at + 4 : at + 4 + size]), at + 4 + size


def _server(data: bytes, at: int) -> dict[str, str] | None:
    """Application uri, product uri and name out of the first endpoint description of a GetEndpoints answer."""
    at += 8 + 4 + 4 + 1  # time, handle, result, empty diagnostics
    if at + 4 > len(data):
        return None
    strings = int.from_bytes(data[at : at + 4], "little", signed=True)
    at += 4
    for _ in range(min(max(strings, 0), 16)):
        _, at = _string(data, at)
    at += 3  # no additional header: two-byte node id 0, no body
    at += 4  # number of endpoints
    _, at = _string(data, at)
    uri, at = _string(data, at)
    product, at = _string(data, at)
    if at >= len(data):
        return None
    mask = data[at]
    at += 1
    if mask & 1:
        _, at = _string(data, at)
    name, at = _string(data, at) if mask & 2 else ("", at)
    found = {"product": name, "uri": uri, "product_uri": product}
    return {word: value for word, value in found.items() if value} or None
