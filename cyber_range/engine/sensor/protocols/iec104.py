"""IEC 60870-5-104: APCI frames and the head of each ASDU (IEC 60870-5-101 clause 7). `unit` is the common address."""

from __future__ import annotations

from cyber_range.engine.sensor.protocols.framing import Framed
from cyber_range.engine.sensor.protocols.message import NOTICE, REQUEST, RESPONSE, Message

PROTO = "iec104"
U_FRAME, S_FRAME = 0x1000, 0x1100  # `function` of frames without an ASDU: base + the control octet
NAMES = {
    1: "单点信息", 3: "双点信息", 5: "步位置", 7: "32位串", 9: "归一化测量值", 11: "标度化测量值", 13: "短浮点测量值", 15: "累计量",
    30: "带时标单点", 31: "带时标双点", 34: "带时标归一化值", 35: "带时标标度化值", 36: "带时标短浮点", 37: "带时标累计量",
    45: "单命令", 46: "双命令", 47: "步调节命令", 48: "归一化设定值", 49: "标度化设定值", 50: "短浮点设定值", 51: "32位串命令",
    58: "带时标单命令", 59: "带时标双命令", 60: "带时标步调节", 61: "带时标归一化设定", 62: "带时标标度化设定", 63: "带时标浮点设定", 64: "带时标位串命令",
    70: "初始化结束", 100: "总召唤", 101: "累计量召唤", 102: "读命令", 103: "对时", 104: "测试", 105: "复位进程", 106: "延时获得",
    107: "带时标测试", 110: "归一化参数", 111: "标度化参数", 112: "浮点参数", 113: "激活参数", 120: "文件就绪", 121: "节就绪", 122: "选择文件",
    123: "最后的节", 124: "确认文件", 125: "段", 126: "目录",
}  # fmt: skip
U_NAMES = {0x07: "启动传输", 0x0B: "启动确认", 0x13: "停止传输", 0x23: "停止确认", 0x43: "测试", 0x83: "测试确认"}
CONFIRMS = frozenset({0x0B, 0x23, 0x83})
WRITING = frozenset({*range(45, 52), *range(58, 65), 103, 105, *range(110, 114)})
ACTIVATION_CONFIRMED, ACTIVATION_ENDED = 7, 10


class Iec104(Framed):
    head = 6
    longest = 255

    def size(self, data: bytes, at: int) -> int:
        return 2 + data[at + 1] if data[at] == 0x68 and 4 <= data[at + 1] <= 253 else 0

    def message(self, up: bool, data: bytes) -> Message | None:
        control = data[2]
        if control & 1 == 0:
            if len(data) < 15:
                return None
            key = data[6:] if up else data[6:8] + data[8:9] + data[10:12]  # reported values differ, their kind does not
            key += bytes([up])
            return self._known.get(key) or self.remember(key, asdu(up, data))
        if control & 3 == 1:  # S frames acknowledge, which is no message
            return None
        key = bytes([control, up])
        known = self._known.get(key)
        if known is None:
            answers = control in CONFIRMS
            name = U_NAMES.get(control, f"U帧 0x{control:02x}")
            known = self.remember(key, Message(PROTO, RESPONSE if answers else REQUEST, U_FRAME + control, name))
        return known


def asdu(up: bool, data: bytes) -> Message:
    kind, qualifier, cause, common = data[6], data[7], data[8], data[10] | data[11] << 8
    count, sequence = qualifier & 0x7F, qualifier >> 7
    address = data[12] | data[13] << 8 | data[14] << 16
    confirmed = cause & 0x3F in (ACTIVATION_CONFIRMED, ACTIVATION_ENDED, 9)
    words = (RESPONSE if confirmed else REQUEST) if up else (RESPONSE if confirmed else NOTICE)
    return Message(
        PROTO, words, kind, NAMES.get(kind, f"类型 {kind}"), common, address, count if sequence else 1, (),
        up and kind in WRITING and not confirmed, 1 if cause & 0x40 else 0,
        {"cause": cause & 0x3F, "originator": data[9], "objects": count},
    )  # fmt: skip
