"""Who plays which piece when: conversations laid out as columns before a single byte is rendered (numpy).

A `Score` collects flows and, per flow, the pieces in order with their times. From how far each piece moves TCP's
sequence numbers follow all the rest: numbers, identifications, echoed time stamps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cyber_range.engine.traffic.dice import Dice
from cyber_range.engine.traffic.rows import Flows, Ints, Moments
from cyber_range.engine.traffic.templates import Flow, Piece, offsets

BREATH = 20_000  # ns between two pieces of a flow at least


@dataclass(frozen=True, slots=True)
class Label:
    """What a flow's row says besides its addresses."""

    kind: str  # benign or attack
    profile: str
    technique: str = ""
    step: str = ""
    proto: str = ""  # tcp, udp, icmp or what the layer-2 frame is
    protocol: str = ""
    zone: str = ""
    client_node: str = ""
    server_node: str = ""


@dataclass
class Score:
    """`pieces` by key; row numbers of `names` are what `play` takes."""

    pieces: Mapping[str, Piece]
    flows: list[Flow] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = sorted(self.pieces)
        self.number = {name: index for index, name in enumerate(self.names)}
        ordered = [self.pieces[name] for name in self.names]
        every = [offsets(piece) for piece in ordered]
        self.moves = {
            True: np.array([p.client_bytes for p in ordered], np.int64),
            False: np.array([p.server_bytes for p in ordered], np.int64),
        }
        self.frames = {
            True: np.array([p.client_frames for p in ordered], np.int64),
            False: np.array([p.server_frames for p in ordered], np.int64),
        }
        self.length = np.array([at[-1] for at in every], np.int64)  # µs at pace 256
        self.size = np.array([sum(len(frame.data) for frame in p.frames) for p in ordered], np.int64)
        self.spoke = {
            side: np.array(
                [max((at for at, frame in zip(when, p.frames, strict=True) if frame.from_client is side), default=-1)
                 for when, p in zip(every, ordered, strict=True)], np.int64,
            )
            for side in (True, False)
        }  # fmt: skip
        self._columns: list[dict[str, Ints]] = []

    def seconds(self, keys: Sequence[str]) -> int:
        """Nanoseconds that these pieces take at the slowest pace used."""
        return sum(self.span(key) for key in keys)

    def span(self, key: str) -> int:
        return int(self.length[self.number[key]]) * 1000 * 330 // 256 + BREATH

    def play(
        self,
        flow: Flow,
        label: Label,
        pieces: Ints,
        times: Ints,
        dice: Dice,
        opening: int = 0,
        until: int | None = None,
    ) -> int:
        """Adds a flow; pieces that would overlap are moved back. With `until` nothing of the flow is later than that:
        what does not fit any more is left out, the last piece (the close) never. Returns when it ends."""
        count = len(pieces)
        pace = 200 + np.frombuffer(dice.take(count), np.uint8).astype(np.int64) // 2
        length = ((self.length[pieces] * pace) >> 8) * 1000 + BREATH
        if until is not None:
            # The close follows at once on the last piece that still leaves room for it.
            before = np.concatenate(([0], np.cumsum(length)[:-1]))
            starts = np.maximum.accumulate(times - before) + before
            fits = starts[:-1] + length[:-1] + length[-1] <= until
            keep = int(np.argmin(fits)) if not fits.all() else count - 1
            keep = max(keep, opening)
            chosen = np.concatenate((np.arange(keep), [count - 1]))
            pieces, times, pace, length = pieces[chosen], times[chosen], pace[chosen], length[chosen]
            count = len(pieces)
            times = times.copy()
            times[-1] = min(times[-1], until - length[-1])
        before = np.concatenate(([0], np.cumsum(length)[:-1]))
        times = np.maximum.accumulate(times - before) + before
        index = len(self.flows)
        self.flows.append(flow)
        self.labels.append(label)
        columns: dict[str, Ints] = {
            "piece": pieces.astype(np.int64), "time": times.astype(np.int64), "pace": pace,
            "flow": np.full(count, index, np.int64), "number": np.maximum(np.arange(count, dtype=np.int64) - opening, 0),
        }  # fmt: skip
        for side, mark in ((True, "client"), (False, "server")):
            columns[f"{mark}_sent"] = exclusive(self.moves[side][pieces])
            columns[f"{mark}_count"] = exclusive(self.frames[side][pieces])
            at = self.spoke[side][pieces]
            spoke = np.where(at < 0, 0, times + ((at * pace) >> 8) * 1000)
            columns[f"{mark}_last"] = np.concatenate(([0], np.maximum.accumulate(spoke)[:-1]))
        self._columns.append(columns)
        return int(times[-1] + length[-1])

    def columns(self) -> dict[str, Ints]:
        """Everything played, flow by flow."""
        if not self._columns:
            return {}
        return {key: np.concatenate([part[key] for part in self._columns]) for key in self._columns[0]}

    def table(self) -> Flows:
        return Flows(self.flows)


def exclusive(values: Ints) -> Ints:
    """Running sum of what came before each."""
    return np.concatenate(([0], np.cumsum(values)[:-1])).astype(np.int64)


def moments(columns: Mapping[str, Ints], rows: Ints) -> Moments:
    """The columns of some rows as `rows.rendered` takes them."""
    return Moments(
        columns["flow"][rows], columns["time"][rows], columns["pace"][rows], columns["number"][rows],
        {True: columns["client_sent"][rows], False: columns["server_sent"][rows]},
        {True: columns["client_count"][rows], False: columns["server_count"][rows]},
        {True: columns["client_last"][rows], False: columns["server_last"][rows]},
    )  # fmt: skip
