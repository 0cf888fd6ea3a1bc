"""A score becomes a capture: pcapng with nanosecond stamps, one interface per zone, and a label for every flow.

Rendered window by window, so that a day takes no more memory than an hour; within one window all frames are sorted by
time. The file depends on the score and the seed alone: no clock, no host name, no hash order.
"""

from __future__ import annotations

import csv
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cyber_range.engine.traffic.dice import Dice
from cyber_range.engine.traffic.rows import Bytes, Ints, rendered
from cyber_range.engine.traffic.score import Score, moments

SECTION, INTERFACE, ENHANCED, ETHERNET = 0x0A0D0D0A, 1, 6, 1
WINDOW = 120 * 1_000_000_000  # ns rendered at once
HEAD, TAIL = 28, 4  # bytes of an enhanced packet block around its padded frame
FIELDS = (
    "id", "label", "profile", "technique", "step", "zone", "proto", "protocol", "src_node", "src_mac", "src_ip", "src_port",
    "dst_node", "dst_mac", "dst_ip", "dst_port", "start", "end", "packets", "bytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Written:
    packets: int
    bytes: int
    flows: int
    attacks: int  # packets of flows labelled attack


def block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def header(zones: Sequence[str]) -> bytes:
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + option(4, b"lianbing traffic") + option(0, b"")
    found = block(SECTION, section)
    for zone in zones:
        options = option(2, zone.encode()) + option(9, b"\x09") + option(0, b"")
        found += block(INTERFACE, struct.pack("<HHI", ETHERNET, 0, 0) + options)
    return found


def write(score: Score, zones: Sequence[str], capture: Path, labels: Path, dice: Dice) -> Written:
    """Both files."""
    columns = score.columns()
    first, last = np.full(len(score.flows), 1 << 62, np.int64), np.zeros(len(score.flows), np.int64)
    packets, size = np.zeros(len(score.flows), np.int64), np.zeros(len(score.flows), np.int64)
    numbers = {zone: index for index, zone in enumerate(zones)}
    interface = np.array([numbers[label.zone] for label in score.labels], np.int64)
    with capture.open("wb") as file:
        file.write(header(zones))
        waiting: list[tuple[Ints, Bytes]] = []
        if columns:
            flows = score.table()
            order = np.argsort(columns["time"], kind="stable")
            times = columns["time"][order]
            begin = int(times[0])
            while True:
                end = begin + WINDOW
                low, high = np.searchsorted(times, [begin, end])
                chosen = order[low:high]
                for number in np.unique(columns["piece"][chosen]).tolist():
                    rows = np.sort(chosen[columns["piece"][chosen] == number])
                    piece = score.pieces[score.names[number]]
                    some = moments(columns, rows)
                    made = rendered(piece, flows, some, dice.child(piece.name, begin), HEAD, TAIL + 3)
                    for frame, (at, matrix) in zip(piece.frames, made, strict=True):
                        waiting.append((at, blocks(matrix, len(frame.data), at, interface[some.flow])))
                        np.minimum.at(first, some.flow, at)
                        np.maximum.at(last, some.flow, at)
                        np.add.at(packets, some.flow, 1)
                        np.add.at(size, some.flow, len(frame.data))
                done = high == len(times)
                waiting = flushed(file.write, waiting, None if done else end)
                if done:
                    break
                begin = end
    write_labels(labels, score, first, last, packets, size)
    hostile = np.array([label.kind == "attack" for label in score.labels], bool)
    return Written(int(packets.sum()), capture.stat().st_size, len(score.flows), int(packets[hostile].sum()))


def blocks(matrix: Bytes, size: int, at: Ints, interface: Ints) -> Bytes:
    """Fills the block around each frame; the matrix has room for it and for three bytes of padding."""
    total = HEAD + size + -size % 4 + TAIL
    whole = np.zeros((len(matrix), total), np.uint8)
    whole[:, : HEAD + size] = matrix[:, : HEAD + size]
    fields = whole.view("<u4")
    fields[:, 0], fields[:, 1], fields[:, 2] = ENHANCED, total, interface
    fields[:, 3], fields[:, 4] = at >> 32, at & 0xFFFFFFFF
    fields[:, 5], fields[:, 6] = size, size
    whole[:, -TAIL:] = np.frombuffer(struct.pack("<I", total), np.uint8)
    return whole


def flushed(
    out: Callable[[memoryview], object], waiting: list[tuple[Ints, Bytes]], end: int | None
) -> list[tuple[Ints, Bytes]]:
    """Writes every block whose time has come in the order of time; returns those after `end`."""
    due: list[tuple[Ints, Bytes]] = []
    later: list[tuple[Ints, Bytes]] = []
    for at, whole in waiting:
        if end is None or int(at.max()) < end:
            due.append((at, whole))
            continue
        now = at < end
        if now.any():
            due.append((at[now], whole[now]))
        later.append((at[~now], whole[~now]))
    if not due:
        return later
    times = np.concatenate([at for at, _ in due])
    sizes = np.concatenate([np.full(len(at), whole.shape[1] // 4, np.int64) for at, whole in due])
    order = np.argsort(times, kind="stable")
    starts = np.empty(len(times), np.int64)
    ends = np.cumsum(sizes[order])
    starts[order] = ends - sizes[order]
    buffer = np.empty(int(ends[-1]), np.uint32)  # blocks are whole 32-bit words, so they are moved as words
    done = 0
    for at, whole in due:
        words = whole.view(np.uint32)
        places = starts[done : done + len(at), None] + np.arange(words.shape[1])
        buffer[places] = words
        done += len(at)
    out(buffer.data.cast("B"))
    return later


def write_labels(path: Path, score: Score, first: Ints, last: Ints, packets: Ints, size: Ints) -> None:
    """One row per flow; `start` and `end` are the times of its first and last packet (seconds, nanoseconds kept)."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for index, (flow, label) in enumerate(zip(score.flows, score.labels, strict=True)):
            network = label.proto in ("tcp", "udp", "icmp")
            ports = label.proto in ("tcp", "udp")
            writer.writerow((
                index + 1, label.kind, label.profile, label.technique, label.step, label.zone, label.proto, label.protocol,
                label.client_node, flow.client.mac, flow.client.ip if network or label.proto == "arp" else "",
                flow.client.port if ports else "", label.server_node, flow.server.mac,
                flow.server.ip if network or label.proto == "arp" else "", flow.server.port if ports else "",
                stamp(int(first[index])), stamp(int(last[index])), int(packets[index]), int(size[index]),
            ))  # fmt: skip


def stamp(nanoseconds: int) -> str:
    return f"{nanoseconds // 1_000_000_000}.{nanoseconds % 1_000_000_000:09d}"
