"""EtherNet/IP encapsulation and CIP (ODVA, CIP Networks Library volumes 1 and 2); everything little-endian.

`function` is the CIP service where there is one, else 0x10000 + the encapsulation command. `unit` is the CIP path.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.sensor.protocols.framing import Framed
from cyber_range.engine.sensor.protocols.message import NOTHING, REQUEST, RESPONSE, Message, text

PROTO = "enip"
LIST_SERVICES, LIST_IDENTITY, LIST_INTERFACES, REGISTER, UNREGISTER, RR_DATA, UNIT_DATA = (
    0x04, 0x63, 0x64, 0x65, 0x66, 0x6F, 0x70,
)  # fmt: skip
COMMANDS = {
    0: "空操作", LIST_SERVICES: "列出服务", LIST_IDENTITY: "列出标识", LIST_INTERFACES: "列出接口", REGISTER: "建立会话",
    UNREGISTER: "结束会话", RR_DATA: "发送请求", UNIT_DATA: "发送连接数据", 0x72: "查询状态", 0x73: "取消",
}  # fmt: skip
SERVICES = {
    0x01: "读全部属性", 0x02: "写全部属性", 0x03: "读属性表", 0x04: "写属性表", 0x05: "复位", 0x06: "启动", 0x07: "停止",
    0x08: "创建对象", 0x09: "删除对象", 0x0A: "多服务包", 0x0D: "应用属性", 0x0E: "读属性", 0x10: "写属性", 0x15: "恢复", 0x16: "保存",
    0x4B: "执行PCCC", 0x4C: "读标签", 0x4D: "写标签", 0x4E: "改写标签位", 0x52: "分段读标签", 0x53: "分段写标签", 0x54: "打开连接",
    0x5B: "打开大连接", 0x55: "列出标签",
}  # fmt: skip
WRITING = frozenset({0x02, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x10, 0x15, 0x16, 0x4D, 0x4E, 0x53})
CONNECTION_MANAGER, UNCONNECTED_SEND, FORWARD_CLOSE = 6, 0x52, 0x4E
MULTIPLE = 0x0A
VENDORS = {1: "Rockwell Automation", 26: "Festo", 40: "WAGO", 43: "Schneider Electric", 47: "Omron", 48: "Turck", 90: "HMS",
           108: "Beckhoff", 161: "Mitsubishi Electric", 283: "Hilscher", 562: "Phoenix Contact", 808: "SICK", 1251: "Siemens"}  # fmt: skip
_HEAD = struct.Struct("<HHII8sI")


class Enip(Framed):
    head = 24

    def size(self, data: bytes, at: int) -> int:
        command = data[at] | data[at + 1] << 8
        return 24 + (data[at + 2] | data[at + 3] << 8) if command in COMMANDS else 0

    def message(self, up: bool, data: bytes) -> Message | None:
        command = data[0] | data[1] << 8
        if command in (RR_DATA, UNIT_DATA):
            found = _cip_item(data)
            if found is not None:
                return self._cip(up, command, *found)
        key = data[:12] if command != LIST_IDENTITY else b""
        if key and (known := self._known.get(key + bytes([up]))):
            return known
        status = int.from_bytes(data[8:12], "little")
        identity = _identity(data[24:]) if command == LIST_IDENTITY and len(data) > 40 else None
        kind = REQUEST if up and identity is None else RESPONSE
        message = Message(
            PROTO, kind, 0x10000 + command, COMMANDS[command], error=status, fields={"command": command},
            identity=identity,
        )  # fmt: skip
        return self.remember(key + bytes([up]), message) if key else message

    def _cip(self, up: bool, command: int, cip: bytes, connected: bool) -> Message | None:
        if connected:
            cip = cip[2:]  # sequence count
        if len(cip) < 2:
            return None
        if cip[0] & 0x80:
            key = bytes([command]) + cip[:4]
            return self._known.get(key) or self.remember(key, _answer(command, cip))
        key = bytes([command]) + cip
        return self._known.get(key) or self.remember(key, _ask(command, cip))


def _cip_item(data: bytes) -> tuple[bytes, bool] | None:
    """The data item of a common packet format list, and whether it came over a connection."""
    at = 24 + 6  # interface handle, timeout
    if len(data) < at + 2:
        return None
    count = data[at] | data[at + 1] << 8
    at += 2
    for _ in range(min(count, 8)):
        if at + 4 > len(data):
            return None
        kind, size = data[at] | data[at + 1] << 8, data[at + 2] | data[at + 3] << 8
        at += 4
        if kind in (0xB1, 0xB2):
            return data[at : at + size], kind == 0xB1
        at += size
    return None


def _ask(command: int, cip: bytes) -> Message:
    asked = services(cip)
    service, path, body = asked[0]
    fields = {"command": command, "cip": tuple((s, p.get("class", -1), p.get("attribute", -1)) for s, p, _ in asked)}
    # Connection Manager has services of its own under numbers that mean something else at other objects
    shown = next(((s, p, b) for s, p, b in asked if p.get("class") != CONNECTION_MANAGER and s != MULTIPLE), None)
    writes = any(s in WRITING and p.get("class") != CONNECTION_MANAGER for s, p, _ in asked)
    if shown:
        service, path, body = shown
    name = "转发" if shown is None and service == UNCONNECTED_SEND else SERVICES.get(service, f"服务 0x{service:02x}")
    if path.get("class") == CONNECTION_MANAGER and service == FORWARD_CLOSE:
        name = "关闭连接"
    count = body[0] | body[1] << 8 if service in (0x4C, 0x52) and len(body) >= 2 else 0
    if service in (0x4D, 0x53) and len(body) >= 4:
        count = body[2] | body[3] << 8
    return Message(PROTO, REQUEST, service, name, where(path), count=count, writes=writes, fields=fields)


def _answer(command: int, cip: bytes) -> Message:
    service = cip[0] & 0x7F
    status = cip[2] if len(cip) > 2 else 0
    fields = {"command": command, "cip": ((service, -1, -1),), "status": status}
    return Message(
        PROTO, RESPONSE, service, SERVICES.get(service, f"服务 0x{service:02x}"), error=status, fields=fields
    )


def services(cip: bytes, depth: int = 0) -> list[tuple[int, Mapping[str, Any], bytes]]:
    """(service, path, data) of a request and of what it carries (unconnected send, multiple service packet)."""
    service, words = cip[0], cip[1]
    path, body = parse_path(cip[2 : 2 + 2 * words]), cip[2 + 2 * words :]
    found: list[tuple[int, Mapping[str, Any], bytes]] = [(service, path, body)]
    if depth < 3:
        if service == UNCONNECTED_SEND and path.get("class") == CONNECTION_MANAGER and len(body) >= 6:
            inner = body[4 : 4 + (body[2] | body[3] << 8)]
            if len(inner) >= 2:
                found += services(inner, depth + 1)
        elif service == MULTIPLE and len(body) >= 2:
            count = min(body[0] | body[1] << 8, 64)
            starts = [body[i] | body[i + 1] << 8 for i in range(2, min(2 + 2 * count, len(body) - 1), 2)]
            for first, last in zip(starts, [*starts[1:], len(body)], strict=True):
                if first + 2 <= last <= len(body):
                    found += services(body[first:last], depth + 1)
    return found


def parse_path(data: bytes) -> Mapping[str, Any]:
    """Logical and symbolic segments of a padded EPATH (volume 1, appendix C-1)."""
    found: dict[str, Any] = {}
    names: list[str] = []
    at = 0
    while at < len(data):
        kind = data[at]
        if kind == 0x91 and at + 1 < len(data):
            size = data[at + 1]
            names.append(text(data[at + 2 : at + 2 + size]))
            at += 2 + size + size % 2
            continue
        if kind >> 5 != 1:
            break
        wide = kind & 3
        if wide == 3:
            break
        size = (1, 2, 4)[wide]
        start = at + 1 if wide == 0 else at + 2
        value = int.from_bytes(data[start : start + size], "little")
        word = {0: "class", 1: "instance", 2: "element", 3: "point", 4: "attribute"}.get(kind >> 2 & 7)
        if word == "element":
            names.append(f"[{value}]")
        elif word:
            found[word] = value
        at = start + size
    if names:
        found["tag"] = ".".join(names).replace(".[", "[")
    return found or NOTHING


def where(path: Mapping[str, Any]) -> str:
    if "tag" in path:
        return str(path["tag"])
    return "/".join(f"{path[word]:#x}" for word in ("class", "instance", "attribute") if word in path)


def _identity(body: bytes) -> dict[str, str] | None:
    """The identity item (type 0x0C) of a ListIdentity answer."""
    if len(body) < 6 + 33 or body[2:4] != b"\x0c\0":
        return None
    item = body[6:]
    vendor, kind, code, major, minor, _, serial, size = struct.unpack_from("<HHHBBHIB", item, 18)
    found = {
        "vendor": VENDORS.get(vendor, f"CIP vendor {vendor}"), "product": text(item[33 : 33 + size]),
        "version": f"{major}.{minor}", "serial": f"{serial:08X}", "model": f"type {kind} code {code}",
    }  # fmt: skip
    return {word: value for word, value in found.items() if value}
