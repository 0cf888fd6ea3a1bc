"""IEC 60870-5-104 on the wire: APCI (I, S and U formats) and the ASDUs of IEC 60870-5-101 that plants use.

Pure: bytes in, values out. Field sizes are those that -104 fixes: cause of transmission 2 octets, common address 2,
information object address 3 (IEC 60870-5-104:2006, clause 7). Whatever does not decode is a `FrameError`; a station
that meets one closes the connection.
"""

from __future__ import annotations

import datetime
import enum
import math
import struct
from dataclasses import dataclass

START = 0x68
MAX_APDU = 253  # octets after the length octet: 4 of control and an ASDU of at most 249
MAX_ASDU = 249
SEQUENCES = 32768  # sequence numbers have 15 bits

STARTDT_ACT, STARTDT_CON = 0x07, 0x0B
STOPDT_ACT, STOPDT_CON = 0x13, 0x23
TESTFR_ACT, TESTFR_CON = 0x43, 0x83
U_FORMATS = frozenset({STARTDT_ACT, STARTDT_CON, STOPDT_ACT, STOPDT_CON, TESTFR_ACT, TESTFR_CON})

ON, OFF, SELECT = 1, 0, 0x80
INVALID, NOT_TOPICAL, SUBSTITUTED, BLOCKED, OVERFLOW = 0x80, 0x40, 0x20, 0x10, 0x01  # quality bits
GENERAL = 20  # qualifier of a station interrogation


class FrameError(ValueError):
    """Bytes that are no frame of this protocol."""


class Cause(enum.IntEnum):
    """Causes of transmission (IEC 60870-5-101, 7.2.3); 21..36 are group interrogations."""

    CYCLIC = 1
    BACKGROUND = 2
    SPONTANEOUS = 3
    INITIALIZED = 4
    REQUEST = 5
    ACTIVATION = 6
    ACTIVATION_CON = 7
    DEACTIVATION = 8
    DEACTIVATION_CON = 9
    ACTIVATION_TERM = 10
    REMOTE_COMMAND = 11
    LOCAL_COMMAND = 12
    INTERROGATED = 20
    COUNTERS = 37
    UNKNOWN_TYPE = 44
    UNKNOWN_CAUSE = 45
    UNKNOWN_COMMON = 46
    UNKNOWN_OBJECT = 47


class Body(enum.Enum):
    """How one information element is laid out."""

    SINGLE = "SIQ or SCO: value in bit 0"
    DOUBLE = "DIQ or DCO: value in bits 0 and 1"
    STEP = "RCO: 1 lower, 2 higher"
    NORMALIZED = "16-bit fraction of -1..1"
    SCALED = "16-bit integer"
    FLOAT = "IEEE 754 single"
    COUNTER = "BCR: 32-bit reading and sequence notation"
    OCTET = "one qualifier octet"
    NOTHING = "no element"
    CLOCK = "CP56Time2a alone"
    TEST = "fixed test pattern"


@dataclass(frozen=True, slots=True)
class Kind:
    """One type identification. `timed`: a CP56Time2a follows; `qualified`: a quality or qualifier octet follows the value."""

    number: int
    name: str
    body: Body
    timed: bool = False
    qualified: bool = False

    @property
    def size(self) -> int:
        sizes = {
            Body.SINGLE: 1, Body.DOUBLE: 1, Body.STEP: 1, Body.NORMALIZED: 2, Body.SCALED: 2, Body.FLOAT: 4,
            Body.COUNTER: 5, Body.OCTET: 1, Body.NOTHING: 0, Body.CLOCK: 0, Body.TEST: 2,
        }  # fmt: skip
        return sizes[self.body] + self.qualified + 7 * self.timed


KINDS = {
    kind.number: kind
    for kind in (
        Kind(1, "M_SP_NA_1", Body.SINGLE),
        Kind(3, "M_DP_NA_1", Body.DOUBLE),
        Kind(9, "M_ME_NA_1", Body.NORMALIZED, qualified=True),
        Kind(11, "M_ME_NB_1", Body.SCALED, qualified=True),
        Kind(13, "M_ME_NC_1", Body.FLOAT, qualified=True),
        Kind(15, "M_IT_NA_1", Body.COUNTER),
        Kind(30, "M_SP_TB_1", Body.SINGLE, timed=True),
        Kind(31, "M_DP_TB_1", Body.DOUBLE, timed=True),
        Kind(34, "M_ME_TD_1", Body.NORMALIZED, timed=True, qualified=True),
        Kind(35, "M_ME_TE_1", Body.SCALED, timed=True, qualified=True),
        Kind(36, "M_ME_TF_1", Body.FLOAT, timed=True, qualified=True),
        Kind(37, "M_IT_TB_1", Body.COUNTER, timed=True),
        Kind(45, "C_SC_NA_1", Body.SINGLE),
        Kind(46, "C_DC_NA_1", Body.DOUBLE),
        Kind(47, "C_RC_NA_1", Body.STEP),
        Kind(48, "C_SE_NA_1", Body.NORMALIZED, qualified=True),
        Kind(49, "C_SE_NB_1", Body.SCALED, qualified=True),
        Kind(50, "C_SE_NC_1", Body.FLOAT, qualified=True),
        Kind(58, "C_SC_TA_1", Body.SINGLE, timed=True),
        Kind(59, "C_DC_TA_1", Body.DOUBLE, timed=True),
        Kind(60, "C_RC_TA_1", Body.STEP, timed=True),
        Kind(61, "C_SE_TA_1", Body.NORMALIZED, timed=True, qualified=True),
        Kind(62, "C_SE_TB_1", Body.SCALED, timed=True, qualified=True),
        Kind(63, "C_SE_TC_1", Body.FLOAT, timed=True, qualified=True),
        Kind(70, "M_EI_NA_1", Body.OCTET),
        Kind(100, "C_IC_NA_1", Body.OCTET),
        Kind(101, "C_CI_NA_1", Body.OCTET),
        Kind(102, "C_RD_NA_1", Body.NOTHING),
        Kind(103, "C_CS_NA_1", Body.CLOCK, timed=True),
        Kind(104, "C_TS_NA_1", Body.TEST),
        Kind(105, "C_RP_NA_1", Body.OCTET),
        Kind(107, "C_TS_TA_1", Body.TEST, timed=True),
    )
}
BY_NAME = {kind.name: kind for kind in KINDS.values()}
WITH_TIME = {  # monitored type -> the same with a time tag
    "M_SP_NA_1": "M_SP_TB_1", "M_DP_NA_1": "M_DP_TB_1", "M_ME_NA_1": "M_ME_TD_1", "M_ME_NB_1": "M_ME_TE_1",
    "M_ME_NC_1": "M_ME_TF_1", "M_IT_NA_1": "M_IT_TB_1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Element:
    """One information object.

    `flags`: quality bits of monitored values, qualifier and select bit of commands, sequence notation of a counter.
    `time`: milliseconds since 1970 on the sender's own clock (CP56Time2a names no time zone); `flawed`: its invalid bit.
    """

    address: int
    value: float = 0
    flags: int = 0
    time: int | None = None
    flawed: bool = False


@dataclass(frozen=True, slots=True)
class Asdu:
    kind: Kind
    cause: int
    common: int
    elements: tuple[Element, ...]
    negative: bool = False
    test: bool = False
    originator: int = 0
    sequence: bool = False  # elements at consecutive addresses, the first one written once

    @property
    def first(self) -> Element:
        return self.elements[0]


@dataclass(frozen=True, slots=True)
class Frame:
    """One APDU. I: `send`, `receive` and `asdu`; S: `receive`; U: `control`."""

    control: int = 0
    send: int | None = None
    receive: int | None = None
    asdu: bytes = b""


def pack_frame(frame: Frame) -> bytes:
    if frame.control:
        return bytes((START, 4, frame.control, 0, 0, 0))
    assert frame.receive is not None
    if frame.send is None:
        return struct.pack("<BBHH", START, 4, 1, frame.receive << 1)
    return struct.pack("<BBHH", START, 4 + len(frame.asdu), frame.send << 1, frame.receive << 1) + frame.asdu


def take_frame(buffer: bytearray) -> Frame | None:
    """Removes one frame from the front of `buffer`; None while it is not whole."""
    if not buffer:
        return None
    if buffer[0] != START:
        raise FrameError(f"start octet {buffer[0]:#04x}")
    if len(buffer) < 2:
        return None
    length = buffer[1]
    if not 4 <= length <= MAX_APDU:
        raise FrameError(f"length {length}")
    if len(buffer) < 2 + length:
        return None
    body = bytes(buffer[2 : 2 + length])
    del buffer[: 2 + length]
    first, second = struct.unpack_from("<HH", body)
    if first & 1 == 0:
        if length < 10 or second & 1:
            raise FrameError("I format without a whole ASDU")
        return Frame(send=first >> 1, receive=second >> 1, asdu=body[4:])
    if length != 4:
        raise FrameError("S or U format with content")
    if first & 3 == 1:
        if first != 1 or second & 1:
            raise FrameError("reserved bits of an S format are set")
        return Frame(receive=second >> 1)
    if body[0] not in U_FORMATS or body[1:] != b"\0\0\0":
        raise FrameError(f"U format {body.hex()}")
    return Frame(control=body[0])


def pack_asdu(asdu: Asdu) -> bytes:
    count = len(asdu.elements)
    if not 1 <= count <= 127:
        raise ValueError(f"an ASDU holds 1 to 127 objects, not {count}")
    cause = asdu.cause | asdu.negative << 6 | asdu.test << 7
    parts = [struct.pack("<BBBBH", asdu.kind.number, count | asdu.sequence << 7, cause, asdu.originator, asdu.common)]
    for index, element in enumerate(asdu.elements):
        if index == 0 or not asdu.sequence:
            parts.append(element.address.to_bytes(3, "little"))
        parts.append(pack_element(asdu.kind, element))
    packed = b"".join(parts)
    if len(packed) > MAX_ASDU:
        raise ValueError(f"an ASDU holds {MAX_ASDU} octets, not {len(packed)}")
    return packed


def unpack_asdu(data: bytes) -> Asdu:
    """FrameError also for a type that is not in KINDS: see `unknown_type` for the answer to that."""
    if len(data) < 9:
        raise FrameError("an ASDU has 9 octets at least")
    number, qualifier, cause, originator, common = struct.unpack_from("<BBBBH", data)
    kind = KINDS.get(number)
    if kind is None:
        raise FrameError(f"type {number}")
    count, sequence = qualifier & 0x7F, bool(qualifier & 0x80)
    expected = 6 + (3 + count * kind.size if sequence else count * (3 + kind.size))
    if count == 0 or len(data) != expected:
        raise FrameError(f"{kind.name} with {count} objects in {len(data)} octets")
    elements, at, address = [], 6, 0
    for index in range(count):
        if index == 0 or not sequence:
            address = int.from_bytes(data[at : at + 3], "little")
            at += 3
        elements.append(unpack_element(kind, address + index * sequence, data[at : at + kind.size]))
        at += kind.size
    return Asdu(
        kind, cause & 0x3F, common, tuple(elements), bool(cause & 0x40), bool(cause & 0x80), originator, sequence
    )


def pack_element(kind: Kind, element: Element) -> bytes:
    body, value, flags = kind.body, element.value, element.flags
    if body is Body.SINGLE:
        packed = bytes((int(bool(value)) | flags & 0xFE,))
    elif body in (Body.DOUBLE, Body.STEP):
        packed = bytes((int(value) & 3 | flags & 0xFC,))
    elif body is Body.NORMALIZED:
        packed = struct.pack("<h", max(-32768, min(32767, round(value * 32768))))
    elif body is Body.SCALED:
        packed = struct.pack("<h", max(-32768, min(32767, round(value))))
    elif body is Body.FLOAT:
        packed = struct.pack("<f", single(value))
    elif body is Body.COUNTER:
        packed = struct.pack("<iB", int(value), flags)
    elif body is Body.OCTET:
        packed = bytes((int(value),))
    elif body is Body.TEST:
        packed = struct.pack("<H", int(value))
    else:
        packed = b""
    if kind.qualified:
        packed += bytes((flags,))
    if kind.timed:
        packed += pack_time(element.time or 0, flawed=element.flawed)
    return packed


def unpack_element(kind: Kind, address: int, data: bytes) -> Element:
    body = kind.body
    value: float = 0
    flags, time, flawed, at = 0, None, False, 0
    if body is Body.SINGLE:
        value, flags, at = data[0] & 1, data[0] & 0xFE, 1
    elif body in (Body.DOUBLE, Body.STEP):
        value, flags, at = data[0] & 3, data[0] & 0xFC, 1
    elif body is Body.NORMALIZED:
        value, at = struct.unpack_from("<h", data)[0] / 32768, 2
    elif body is Body.SCALED:
        value, at = struct.unpack_from("<h", data)[0], 2
    elif body is Body.FLOAT:
        value, at = struct.unpack_from("<f", data)[0], 4
    elif body is Body.COUNTER:
        (value, flags), at = struct.unpack_from("<iB", data), 5
    elif body is Body.OCTET:
        value, at = data[0], 1
    elif body is Body.TEST:
        value, at = struct.unpack_from("<H", data)[0], 2
    if kind.qualified:
        flags, at = data[at], at + 1
    if kind.timed:
        time, flawed = unpack_time(data[at : at + 7])
    return Element(address, value, flags, time, flawed)


def single(value: float) -> float:
    """A number that fits an IEEE 754 single: too large ones become its largest."""
    largest = 3.4028234663852886e38
    return value if math.isnan(value) or math.isinf(value) else max(-largest, min(largest, value))


def pack_time(milliseconds: int, *, flawed: bool = False) -> bytes:
    """CP56Time2a. Years 2000..2099 only; outside them the nearest of those years is written and marked invalid."""
    try:
        at = datetime.datetime.fromtimestamp(milliseconds // 1000, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        at, flawed = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC), True
    if not 2000 <= at.year <= 2099:
        at, flawed = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC), True
    return struct.pack(
        "<HBBBBB",
        at.second * 1000 + milliseconds % 1000,
        at.minute | flawed << 7,
        at.hour,
        at.day | at.isoweekday() << 5,
        at.month,
        at.year - 2000,
    )


def unpack_time(data: bytes) -> tuple[int, bool]:
    """(milliseconds since 1970, invalid bit). A date that does not exist is not an error of the frame: 0 and invalid."""
    milliseconds, minute, hour, day, month, year = struct.unpack("<HBBBBB", data)
    try:
        at = datetime.datetime(
            2000 + (year & 0x7F), month & 0x0F, day & 0x1F, hour & 0x1F, minute & 0x3F, tzinfo=datetime.UTC
        )
    except ValueError:
        return 0, True
    if milliseconds > 59999 or year & 0x7F > 99:
        return 0, True
    return int(at.timestamp()) * 1000 + milliseconds, bool(minute & 0x80)


def unknown_type(data: bytes) -> bytes:
    """The same ASDU sent back with cause 44 (unknown type identification) and the negative bit."""
    return data[:2] + bytes((Cause.UNKNOWN_TYPE | 0x40 | data[2] & 0x80,)) + data[3:]
