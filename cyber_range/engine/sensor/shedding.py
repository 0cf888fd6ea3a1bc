"""How much is left out when more comes than can be read: control protocols last, and every frame left out is counted.

The measure is how old a frame is when it is looked at. The kernel's ring holds about a second of a busy segment; when
frames are older than that, the next thing lost would be lost without a trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NOTHING, SIGNATURES, READING, ALL = 0, 1, 2, 3
# s of lag at which a level begins; it ends at half of that, so that it does not flutter
BEGINS = (0.0, 0.25, 0.6, 1.5)


@dataclass
class Shedding:
    """`level` 1: no rules on payloads that are no control protocol, 2: those conversations are not read at all, 3: frames
    are only counted. `counts` has the frames that came at each level above 0."""

    level: int = NOTHING
    counts: dict[int, int] = field(default_factory=lambda: {SIGNATURES: 0, READING: 0, ALL: 0})

    def judge(self, lag: float, frames: int) -> int:
        """The level for a batch whose oldest frame is `lag` seconds old."""
        while self.level < ALL and lag >= BEGINS[self.level + 1]:
            self.level += 1
        while self.level > NOTHING and lag < BEGINS[self.level] / 2:
            self.level -= 1
        if self.level:
            self.counts[self.level] += frames
        return self.level

    def counters(self) -> dict[str, int]:
        return {
            "shed_level": self.level, "shed_rules": self.counts[SIGNATURES], "shed_reading": self.counts[READING],
            "shed_frames": self.counts[ALL],
        }  # fmt: skip
