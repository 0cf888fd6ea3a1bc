"""Many repetitions of a compiled piece at once, column by column (numpy): the twin of `patch` for captures and floods.

Each frame of a piece becomes a matrix with one row per repetition. Fields are whole columns; the checksum of all rows
is a handful of vector sums. Not imported by node programs: numpy costs a node more memory than its program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyber_range.engine.traffic.dice import Dice
from cyber_range.engine.traffic.patch import (
    FILETIME_EPOCH,
    LETTERS,
    NTP_EPOCH,
    SPELL_MIX,
    SPELL_NUMBER,
    SPELL_PLACE,
    crc_table,
    packed_ip,
    packed_mac,
    wander,
)
from cyber_range.engine.traffic.templates import (
    ABSENT,
    IP_DST,
    IP_ID,
    IP_SRC,
    IP_SUM,
    IP_TTL,
    L4,
    TCP_ACK,
    TCP_SEQ,
    Endpoint,
    Flow,
    Frame,
    Piece,
    Var,
    offsets,
)

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
ALPHABET = np.frombuffer(LETTERS, np.uint8)
CRC = np.array(crc_table(), np.int64)


class Flows:
    """The columns of a list of flows; `True` is the client's side."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        def ints(name: str) -> Ints:
            return np.array([getattr(flow, name) for flow in flows], np.int64)

        def sides(value: Callable[[Endpoint], int]) -> dict[bool, Ints]:
            return {
                True: np.array([value(flow.client) for flow in flows], np.int64),
                False: np.array([value(flow.server) for flow in flows], np.int64),
            }

        self.mac = sides(lambda end: int.from_bytes(packed_mac(end.mac), "big"))
        self.mac_high = {side: column >> 32 for side, column in self.mac.items()}
        self.mac_low = {side: column & 0xFFFFFFFF for side, column in self.mac.items()}
        self.ip = sides(lambda end: int.from_bytes(packed_ip(end.ip), "big"))
        self.addresses = halves(self.ip[True]) + halves(self.ip[False])  # what both add to a checksum
        self.port = sides(lambda end: end.port)
        self.ports = self.addresses + self.port[True] + self.port[False]
        self.ttl = sides(lambda end: end.ttl)
        self.isn = {True: ints("client_isn"), False: ints("server_isn")}
        self.id = {True: ints("client_id"), False: ints("server_id")}
        self.clock = {True: ints("client_clock"), False: ints("server_clock")}
        self.token, self.base = ints("token"), ints("base")


@dataclass
class Moments:
    """The columns of a list of moments of one piece; `flow` are row numbers of `Flows`."""

    flow: Ints
    time: Ints
    pace: Ints
    number: Ints
    sent: dict[bool, Ints]
    count: dict[bool, Ints]
    last: dict[bool, Ints]

    def __len__(self) -> int:
        return len(self.flow)


def big(values: Ints, width: int, *, little: bool = False) -> Bytes:
    """Each value as `width` bytes."""
    wide = values.astype("<u8" if little else ">u8").view(np.uint8).reshape(len(values), 8)
    return wide[:, :width] if little else wide[:, 8 - width :]


def halves(values: Ints) -> Ints:
    return (values >> 16) + (values & 0xFFFF)


def words(data: Bytes, at: int) -> Ints:
    """What each row adds to an Internet checksum when it stands at offset `at`."""
    high, low = data[:, at % 2 :: 2], data[:, 1 - at % 2 :: 2]
    found: Ints = (high.sum(axis=1, dtype=np.int64) << 8) + low.sum(axis=1, dtype=np.int64)
    return found


def store(rows: Bytes, at: int, values: Ints, width: int) -> None:
    """Writes a column of big-endian numbers of 1, 2 or 4 bytes in one go."""
    kind = {1: "u1", 2: ">u2", 4: ">u4"}[width]
    np.ndarray((len(rows),), kind, rows.data, at, (rows.strides[0],))[:] = values


def put_sum(rows: Bytes, base: int, at: int, old: int, added: Ints, *, never_zero: bool = False) -> None:
    total = added + (~old & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    fixed = total ^ 0xFFFF
    if never_zero:
        fixed[fixed == 0] = 0xFFFF
    store(rows, base + at, fixed, 2)


def stamps(clock: Ints, time: Ints) -> Ints:
    found: Ints = (clock + time // 1_000_000) & 0xFFFFFFFF
    return found


def rendered(
    piece: Piece, flows: Flows, moments: Moments, dice: Dice, lead: int = 0, tail: int = 0
) -> list[tuple[Ints, Bytes]]:
    """(times, matrix) of each frame of the piece. `lead`, `tail`: bytes left free around every frame."""
    found = []
    counts = {True: 0, False: 0}
    last = dict(moments.last)
    for index, (frame, offset) in enumerate(zip(piece.frames, offsets(piece), strict=True)):
        side = frame.from_client
        time = moments.time + ((offset * moments.pace) >> 8) * 1000
        rows = np.zeros((len(moments), lead + len(frame.data) + tail), np.uint8)
        rows[:, lead : lead + len(frame.data)] = np.frombuffer(frame.data, np.uint8)
        fill(rows, lead, piece, frame, flows, moments, time, counts[side], last, dice.child(index))
        found.append((time, rows))
        counts[side] += 1
        last[side] = time
    return found


def fill(
    rows: Bytes, base: int, piece: Piece, frame: Frame, flows: Flows, moments: Moments, time: Ints, before: int,
    last: dict[bool, Ints], dice: Dice,
) -> None:  # fmt: skip
    """Every field of one frame in all rows."""
    us, them, flow = frame.from_client, not frame.from_client, moments.flow

    def old(at: int) -> int:
        return int.from_bytes(frame.data[at : at + 2], "big")

    added: Ints = np.zeros(len(moments), np.int64)
    if piece.transport != "l2":
        for at, side in ((0, them), (6, us)):
            store(rows, base + at, flows.mac_high[side][flow], 2)
            store(rows, base + at + 2, flows.mac_low[side][flow], 4)
        store(rows, base + IP_SRC, flows.ip[us][flow], 4)
        store(rows, base + IP_DST, flows.ip[them][flow], 4)
        identification = (flows.id[us][flow] + moments.count[us] + before) & 0xFFFF
        store(rows, base + IP_ID, identification, 2)
        ttl = flows.ttl[us][flow]
        store(rows, base + IP_TTL, ttl, 1)
        put_sum(rows, base, IP_SUM, old(IP_SUM), flows.addresses[flow] + identification + (ttl << 8))
        if piece.transport in ("tcp", "udp"):
            store(rows, base + L4, flows.port[us][flow], 2)
            store(rows, base + L4 + 2, flows.port[them][flow], 2)
            added = flows.ports[flow]
    if piece.transport == "tcp":
        for at, relative, who in ((TCP_SEQ, frame.seq, us), (TCP_ACK, frame.ack, them)):
            if relative != ABSENT:
                value = (flows.isn[who][flow] + moments.sent[who] + relative) & 0xFFFFFFFF
                store(rows, base + at, value, 4)
                added = added + halves(value)
        if frame.stamps:
            value = stamps(flows.clock[us][flow], time)
            store(rows, base + frame.stamps, value, 4)
            added = added + halves(value)
            if frame.echo:
                value = stamps(flows.clock[them][flow], last[them])
                store(rows, base + frame.stamps + 4, value, 4)
                added = added + halves(value)
    for number, var in enumerate(frame.vars):
        if var.kind == "count" and not var.little and var.width in (1, 2, 4) and not (var.at % 2 and var.width > 1):
            value = counted(var, flows, moments) & ((1 << 8 * var.width) - 1)
            store(rows, base + var.at, value, var.width)
            added = added + (halves(value) if var.width > 1 or var.at % 2 else value << 8)
            continue
        data = column(var, piece, flows, moments, time, rows, base, dice.child(number))
        rows[:, base + var.at : base + var.at + data.shape[1]] = data
        added = added + words(data, var.at)
    if piece.sum_at:
        put_sum(rows, base, piece.sum_at, old(piece.sum_at), added, never_zero=piece.transport == "udp")


def counted(var: Var, flows: Flows, moments: Moments) -> Ints:
    number = moments.number * var.step + var.add
    if var.based:
        number = number + flows.base[moments.flow]
    found: Ints = ((number % var.modulo) << var.shift) + var.plus
    return found


def column(
    var: Var, piece: Piece, flows: Flows, moments: Moments, time: Ints, rows: Bytes, base: int, dice: Dice
) -> Bytes:
    count, flow = len(moments), moments.flow
    match var.kind:
        case "count":
            return big(counted(var, flows, moments), var.width, little=var.little)
        case "token":
            return big(flows.token[flow], var.width, little=var.little)
        case "random":
            return np.frombuffer(dice.take(count * var.width), np.uint8).reshape(count, var.width)
        case "letters":
            raw = np.frombuffer(dice.take(count * var.width), np.uint8).reshape(count, var.width)
            return ALPHABET[raw & 31]
        case "spelled":
            places = np.arange(var.width, dtype=np.int64) * SPELL_PLACE
            start = flows.token[flow] + moments.number * SPELL_NUMBER
            mixed = (start[:, None] + places) & 0xFFFFFFFF
            return ALPHABET[((mixed ^ mixed >> 15) * SPELL_MIX & 0xFFFFFFFF) >> 27]
        case "process":
            base_, step, phase, period = np.array(wander(piece.name, var.at, var.width // 2), np.int64).T
            turn = (moments.number[:, None] * step + phase) % (2 * period)
            values = base_ + np.where(turn < period, turn, 2 * period - turn)
            return values.astype(">u2").view(np.uint8).reshape(count, var.width)
        case "ntp":
            seconds, rest = time // 1_000_000_000, time % 1_000_000_000
            parts = (big((seconds + NTP_EPOCH) & 0xFFFFFFFF, 4), big((rest << 32) // 1_000_000_000, 4))
            return np.concatenate(parts, axis=1)
        case "filetime":
            return big(time // 100 + FILETIME_EPOCH, 8, little=True)
        case "cmac" | "smac":
            return big(flows.mac[var.kind == "cmac"][flow], 6)
        case "cip" | "sip":
            return big(flows.ip[var.kind == "cip"][flow], 4)
        case "dnp3":
            crc: Any = np.zeros(count, np.int64)
            for at in range(base + var.start, base + var.at):
                crc = crc >> 8 ^ CRC[(crc ^ rows[:, at]) & 0xFF]
            return big(crc ^ 0xFFFF, 2, little=True)
    raise ValueError(f"{piece.name}: nobody knows the varying field {var.kind!r}")
