"""Every field of every frame patched anew, in the slots of the transmit ring itself, and sent round after round (numpy)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from cyber_range.engine.traffic.dice import Dice
from cyber_range.engine.traffic.rows import Flows, Ints, Moments, fill
from cyber_range.engine.traffic.sender import FRAME_AT, FrameSender
from cyber_range.engine.traffic.templates import Flow, Piece


class Flood:
    """Frame `index` of a piece, one per slot, over many flows in turn. Numbers go on from round to round.

    While a flood lives its sender cannot be closed: the matrix is the sender's own memory.
    """

    def __init__(
        self, sender: FrameSender, piece: Piece, flows: Sequence[Flow], *, index: int = 0, seed: str = ""
    ) -> None:
        self.piece, self.frame, self._sender = piece, piece.frames[index], sender
        sender.load([self.frame.data])
        self.rows = sender.slots
        self.matrix = np.frombuffer(sender.memory, np.uint8).reshape(self.rows, sender.stride)
        self._flows, self._dice = Flows(flows), Dice(seed, "flood")
        self._which: Ints = np.arange(self.rows, dtype=np.int64) % len(flows)
        self._turn: Ints = np.arange(self.rows, dtype=np.int64) // len(flows)  # its flow's earlier rows of this round
        self._per_round = -(-self.rows // len(flows))
        self._pace: Ints = np.full(self.rows, 256, np.int64)
        self.round = 0

    def patch(self, now: int | None = None) -> None:
        """Addresses, ports, numbers, stamps, values, checksums: all anew."""
        when = np.full(self.rows, time.time_ns() if now is None else now, np.int64)
        number = self._turn + self.round * self._per_round
        sides = {
            True: number * self.piece.client_bytes,
            False: number * self.piece.server_bytes,
        }
        moments = Moments(
            self._which, when, self._pace, number, sides, {True: number, False: number}, {True: when, False: when}
        )
        fill(self.matrix, FRAME_AT, self.piece, self.frame, self._flows, moments, when, 0, moments.last,
             self._dice.child(self.round))  # fmt: skip
        self.round += 1

    def frames(self) -> list[bytes]:
        """What lies in the ring now."""
        end = FRAME_AT + len(self.frame.data)
        return [bytes(row[FRAME_AT:end]) for row in self.matrix]

    def run(self, rounds: int = 1) -> int:
        """Frames sent in so many rounds."""
        sent = 0
        for _ in range(rounds):
            self.patch()
            sent += self._sender.go()
        return sent
