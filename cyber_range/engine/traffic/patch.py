"""A compiled frame with this flow's and this moment's fields, checksums kept right (RFC 1624), one at a time.

`rows` does the same for many at once; tests hold both to each other and to what scapy builds.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from ipaddress import IPv4Address

from cyber_range.engine.traffic.templates import (
    ABSENT,
    IP_DST,
    IP_ID,
    IP_SRC,
    IP_SUM,
    IP_TTL,
    L4,
    TCP_SEQ,
    Flow,
    Frame,
    Moment,
    Piece,
    Var,
    offsets,
)

LETTERS = b"abcdefghijklmnopqrstuvwxyz234567"
NTP_EPOCH = 2_208_988_800  # s from 1900 to 1970
FILETIME_EPOCH = 116_444_736_000_000_000  # 100 ns from 1601 to 1970
SPELL_NUMBER, SPELL_PLACE, SPELL_MIX = 0x9E3779B1, 0x85EBCA6B, 0x2C1B3C6D  # odd constants that spread bits
DNP3_POLYNOMIAL = 0xA6BC


@lru_cache(8192)
def packed_ip(ip: str) -> bytes:
    return IPv4Address(ip).packed


@lru_cache(8192)
def packed_mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def words(data: bytes, at: int) -> int:
    """What these bytes add to an Internet checksum when they stand at offset `at`."""
    if at % 2:
        data = b"\0" + data
    if len(data) % 2:
        data += b"\0"
    return sum(struct.unpack(f">{len(data) // 2}H", data))


def corrected(frame: bytearray, at: int, added: int, *, never_zero: bool = False) -> None:
    """Corrects the checksum at `at` for `added` in places that were zero."""
    total = (~struct.unpack_from(">H", frame, at)[0] & 0xFFFF) + added
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    fixed = ~total & 0xFFFF
    struct.pack_into(">H", frame, at, 0xFFFF if never_zero and fixed == 0 else fixed)


@lru_cache(1)
def crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (DNP3_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


def dnp3_crc(data: bytes) -> bytes:
    crc, table = 0, crc_table()
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return (crc ^ 0xFFFF).to_bytes(2, "little")


@lru_cache(4096)
def wander(piece: str, at: int, count: int) -> tuple[tuple[int, int, int, int], ...]:
    """(base, step, phase, period) of each word of a `process` field: a triangle wave per register, the same everywhere."""
    noise = hashlib.shake_256(f"{piece}/{at}".encode()).digest(8 * count)
    found = []
    for index in range(count):
        base, step, phase, period = struct.unpack_from("<HHHH", noise, 8 * index)
        found.append((base % 4000, step % 7, phase, 20 + period % 400))
    return tuple(found)


def wandering(piece: str, at: int, count: int, number: int) -> bytes:
    values = []
    for base, step, phase, period in wander(piece, at, count):
        turn = (number * step + phase) % (2 * period)
        values.append(base + (turn if turn < period else 2 * period - turn))
    return struct.pack(f">{count}H", *values)


def spelled(token: int, number: int, count: int) -> bytes:
    start = token + number * SPELL_NUMBER
    found = bytearray()
    for place in range(count):
        mixed = (start + place * SPELL_PLACE) & 0xFFFFFFFF
        mixed = (mixed ^ mixed >> 15) * SPELL_MIX & 0xFFFFFFFF
        found.append(LETTERS[mixed >> 27])
    return bytes(found)


def value_of(var: Var, piece: Piece, flow: Flow, moment: Moment, time: int, frame: bytearray) -> bytes:
    order = "little" if var.little else "big"
    match var.kind:
        case "count":
            number = moment.number * var.step + var.add + (flow.base if var.based else 0)
            value = ((number % var.modulo) << var.shift) + var.plus
            return (value % (1 << 8 * var.width)).to_bytes(var.width, order)  # type: ignore[arg-type]  # a Literal
        case "token":
            return (flow.token % (1 << 8 * var.width)).to_bytes(var.width, order)  # type: ignore[arg-type]
        case "random":
            return moment.dice.take(var.width)  # type: ignore[no-any-return]
        case "letters":
            return bytes(LETTERS[byte & 31] for byte in moment.dice.take(var.width))
        case "spelled":
            return spelled(flow.token, moment.number, var.width)
        case "process":
            return wandering(piece.name, var.at, var.width // 2, moment.number)
        case "ntp":
            seconds, rest = divmod(time, 1_000_000_000)
            return struct.pack(">II", (seconds + NTP_EPOCH) & 0xFFFFFFFF, (rest << 32) // 1_000_000_000)
        case "filetime":
            return struct.pack("<Q", time // 100 + FILETIME_EPOCH)
        case "cmac":
            return packed_mac(flow.client.mac)
        case "smac":
            return packed_mac(flow.server.mac)
        case "cip":
            return packed_ip(flow.client.ip)
        case "sip":
            return packed_ip(flow.server.ip)
        case "dnp3":
            return dnp3_crc(bytes(frame[var.start : var.at]))
    raise ValueError(f"{piece.name}: nobody knows the varying field {var.kind!r}")


def patched(piece: Piece, flow: Flow, moment: Moment) -> list[tuple[int, bytes]]:
    """(nanoseconds, whole frame) of every frame of the piece."""
    found = []
    counts = {True: 0, False: 0}
    last = {True: moment.client_last, False: moment.server_last}
    for frame, offset in zip(piece.frames, offsets(piece), strict=True):
        time = moment.time + ((offset * moment.pace) >> 8) * 1000
        found.append((time, bytes(one(piece, frame, flow, moment, time, counts[frame.from_client], last))))
        counts[frame.from_client] += 1
        last[frame.from_client] = time
    return found


def one(
    piece: Piece, frame: Frame, flow: Flow, moment: Moment, time: int, before: int, last: dict[bool, int]
) -> bytearray:
    changed = bytearray(frame.data)
    by_client = frame.from_client
    added = 0
    if piece.transport != "l2":
        here, there = (flow.client, flow.server) if by_client else (flow.server, flow.client)
        changed[0:6], changed[6:12] = packed_mac(there.mac), packed_mac(here.mac)
        changed[IP_SRC : IP_SRC + 4], changed[IP_DST : IP_DST + 4] = packed_ip(here.ip), packed_ip(there.ip)
        addresses = words(packed_ip(here.ip) + packed_ip(there.ip), 0)
        first_id, sent = (flow.client_id, moment.client_count) if by_client else (flow.server_id, moment.server_count)
        identification = (first_id + sent + before) & 0xFFFF
        struct.pack_into(">H", changed, IP_ID, identification)
        changed[IP_TTL] = here.ttl
        corrected(changed, IP_SUM, addresses + identification + (here.ttl << 8))
        if piece.transport in ("tcp", "udp"):
            struct.pack_into(">HH", changed, L4, here.port, there.port)
            added += addresses + here.port + there.port
    if piece.transport == "tcp":
        ours, theirs = (
            (flow.client_isn + moment.client_sent, flow.server_isn + moment.server_sent)
            if by_client
            else (flow.server_isn + moment.server_sent, flow.client_isn + moment.client_sent)
        )
        seq = 0 if frame.seq == ABSENT else (ours + frame.seq) & 0xFFFFFFFF
        ack = 0 if frame.ack == ABSENT else (theirs + frame.ack) & 0xFFFFFFFF
        struct.pack_into(">II", changed, TCP_SEQ, seq, ack)
        added += halves(seq) + halves(ack)
        if frame.stamps:
            own, other = (flow.client_clock, flow.server_clock) if by_client else (flow.server_clock, flow.client_clock)
            value = stamp(own, time)
            echo = stamp(other, last[not by_client]) if frame.echo else 0
            struct.pack_into(">II", changed, frame.stamps, value, echo)
            added += halves(value) + halves(echo)
    for var in frame.vars:
        value_bytes = value_of(var, piece, flow, moment, time, changed)
        changed[var.at : var.at + var.width] = value_bytes
        added += words(value_bytes, var.at)
    if piece.sum_at:
        corrected(changed, piece.sum_at, added, never_zero=piece.transport == "udp")
    return changed


def halves(value: int) -> int:
    return (value >> 16) + (value & 0xFFFF)


def stamp(clock: int, time: int) -> int:
    """TCP's millisecond clock (RFC 7323) of a host that showed `clock` at the epoch."""
    return (clock + time // 1_000_000) & 0xFFFFFFFF


def played(moment: Moment, piece: Piece) -> Moment:
    """Where the flow stands after the piece; `time` is that of its last frame."""
    times = [moment.time + ((offset * moment.pace) >> 8) * 1000 for offset in offsets(piece)]
    spoke = [frame.from_client for frame in piece.frames]
    return Moment(
        times[-1], moment.pace, moment.number, moment.client_sent + piece.client_bytes,
        moment.server_sent + piece.server_bytes, moment.client_count + piece.client_frames,
        moment.server_count + piece.server_frames,
        max([t for t, client in zip(times, spoke, strict=True) if client], default=moment.client_last),
        max([t for t, client in zip(times, spoke, strict=True) if not client], default=moment.server_last), moment.dice,
    )  # fmt: skip
