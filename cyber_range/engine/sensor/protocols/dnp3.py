"""DNP3 (IEEE 1815): link frames with a CRC after every 16 bytes, transport segments, application head and objects.

`unit` is "master>outstation" in link addresses. CRCs are stepped over, not judged: a receiver would drop such a frame.
"""

from __future__ import annotations

from collections.abc import Sequence

from cyber_range.engine.sensor.protocols.framing import Framed
from cyber_range.engine.sensor.protocols.message import NOTICE, REQUEST, RESPONSE, Message

PROTO = "dnp3"
NAMES = {
    0: "确认", 1: "读", 2: "写", 3: "选择", 4: "执行", 5: "直接执行", 6: "直接执行（不确认）", 7: "冻结", 8: "冻结（不确认）", 9: "冻结清零",
    13: "冷启动", 14: "热启动", 15: "初始化数据", 16: "初始化应用", 17: "启动应用", 18: "停止应用", 19: "保存配置", 20: "启用主动上报",
    21: "禁用主动上报", 22: "分配类别", 23: "测延时", 24: "记录时间", 25: "打开文件", 26: "关闭文件", 27: "删除文件", 28: "读文件信息",
    29: "认证文件", 30: "中止文件", 31: "激活配置", 32: "认证请求", 33: "认证错误", 129: "应答", 130: "主动上报", 131: "认证应答",
}  # fmt: skip
CONFIRM, ANSWER, UNSOLICITED = 0, 129, 130
WRITING = frozenset({2, 3, 4, 5, 6, 9, 13, 14, 15, 16, 17, 18, 19, 21, 22, 24, 25, 27, 31})
LARGEST_FRAGMENT = 4096
# Bytes of one object: enough to step from object header to object header in commands; unknown ones end the walk.
SIZES = {(1, 2): 1, (2, 1): 1, (2, 2): 7, (10, 2): 1, (12, 1): 11, (20, 1): 5, (20, 5): 4, (22, 1): 5, (30, 1): 5, (30, 2): 3,
         (30, 3): 4, (30, 4): 2, (30, 5): 5, (32, 1): 5, (32, 2): 3, (40, 1): 5, (40, 2): 3, (41, 1): 5, (41, 2): 3, (41, 3): 5,
         (50, 1): 6, (50, 3): 6, (51, 1): 6, (52, 1): 2, (52, 2): 2}  # fmt: skip
BITS = frozenset({(1, 1), (10, 1), (80, 1)})


class Dnp3(Framed):
    head = 10
    longest = 292

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes | None] = [None, None]

    def size(self, data: bytes, at: int) -> int:
        if data[at] != 0x05 or data[at + 1] != 0x64 or data[at + 2] < 5:
            return 0
        body = data[at + 2] - 5
        return 10 + body + 2 * ((body + 15) // 16)

    def lose(self, up: bool) -> None:
        super().lose(up)
        self._parts[up] = None

    def message(self, up: bool, data: bytes) -> Message | None:
        body = unblocked(data)
        if len(body) < 2:  # link layer only: test, reset, acknowledge
            return None
        transport, part = body[0], body[1:]
        if transport & 0x40:
            fragment = part
        elif self._parts[up] is not None:
            fragment = (self._parts[up] or b"") + part
        else:
            return None  # joined in the middle of a fragment
        if not transport & 0x80:
            self._parts[up] = fragment if len(fragment) <= LARGEST_FRAGMENT else None
            return None
        self._parts[up] = None
        if len(fragment) < 2:
            return None
        key = data[4:8] + (fragment[1:] if fragment[1] < ANSWER else fragment[1:4])
        return self._known.get(key) or self.remember(key, application(data, fragment))


def unblocked(data: bytes) -> bytes:
    """What stands between the CRCs."""
    length = data[2] - 5
    if length <= 16:
        return data[10 : 10 + length]
    return b"".join(data[at : at + 16] for at in range(10, len(data), 18))[:length]


def application(link: bytes, fragment: bytes) -> Message:
    function = fragment[1]
    target, source = link[4] | link[5] << 8, link[6] | link[7] << 8
    answers = function >= ANSWER
    indications = fragment[2] << 8 | fragment[3] if answers and len(fragment) >= 4 else 0
    objects = headers(fragment[4 if answers else 2 :])
    unit = f"{target}>{source}" if answers else f"{source}>{target}"
    kind = NOTICE if function == UNSOLICITED else RESPONSE if answers or function == CONFIRM else REQUEST
    address, count = (objects[0][2], objects[0][3]) if objects else (-1, 0)
    return Message(
        PROTO, kind, function, NAMES.get(function, f"功能 {function}"), unit, address, count, (), function in WRITING,
        indications & 0x07 if answers else 0,
        {"indications": indications, "objects": tuple((group, variation) for group, variation, _, _ in objects)},
    )  # fmt: skip


def headers(data: bytes) -> Sequence[tuple[int, int, int, int]]:
    """(group, variation, first index or -1, how many) of each object header, as far as sizes are known."""
    if len(data) < 3:
        return ()
    found: list[tuple[int, int, int, int]] = []
    at = 0
    while at + 3 <= len(data) and len(found) < 32:
        group, variation, qualifier = data[at], data[at + 1], data[at + 2]
        prefix, how = qualifier >> 4 & 7, qualifier & 15
        at += 3
        first, count = -1, 0
        if how in (0, 1, 2):
            width = (1, 2, 4)[how]
            first = int.from_bytes(data[at : at + width], "little")
            count = max(0, int.from_bytes(data[at + width : at + 2 * width], "little") - first + 1)
            at += 2 * width
        elif how in (7, 8, 9):
            width = (1, 2, 4)[how - 7]
            count = int.from_bytes(data[at : at + width], "little")
            at += width
            if prefix in (1, 2, 3) and at < len(data):
                first = int.from_bytes(data[at : at + (0, 1, 2, 4)[prefix]], "little")
        elif how != 6:
            found.append((group, variation, first, count))
            break
        found.append((group, variation, first, count))
        if (group, variation) in BITS:
            at += (count + 7) // 8
        elif (group, variation) in SIZES:
            at += count * (SIZES[group, variation] + (0, 1, 2, 4)[prefix & 3])
        elif group != 60:
            break
    return found
