"""Findings on their way to the lab: said once, counted while they last, with the frames that caused them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Item = tuple[int, bytes]  # nanoseconds since the epoch, whole Ethernet frame

QUIET = 30.0  # s in which the same alert only counts
RUNNING_LIMIT = 20_000  # beyond, what has been quiet is forgotten: a flood of senders may not eat the sensor's memory
FRAMES_KEPT, FRAME_BYTES = 8, 8192  # of one alert
AROUND = 1.0  # s before and after that a slice of the rolling capture shows


@dataclass(slots=True)
class Alert:
    """One finding. `source`: policy (what the sensor was told belongs here), rules (signatures), suricata."""

    rule: str
    severity: int
    text: str
    src: str
    dst: str
    zone: str
    technique: str
    at: float
    source: str = "policy"
    packets: int = 1
    repeated: int = 0  # how often it came again since it was last said
    frames: Sequence[Item] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        first = min((at for at, _ in self.frames), default=int(self.at * 1e9)) / 1e9
        said = {
            "rule": self.rule, "severity": self.severity, "text": self.text, "src": self.src, "dst": self.dst,
            "zone": self.zone, "technique": self.technique, "packets": self.packets, "source": self.source,
            "seen": self.at, "frames": encoded(self.frames),
            "capture": {"zone": self.zone, "from": min(first, self.at) - AROUND, "to": self.at + AROUND},
        }  # fmt: skip
        if self.repeated:
            said["repeated"] = self.repeated
        return {**self.more, **said}


def encoded(frames: Sequence[Item]) -> list[list[Any]]:
    """[time in ns, base64] of the newest frames that fit; a longer frame is cut, as a capture's snap length does."""
    kept: list[list[Any]] = []
    left = FRAME_BYTES
    for at, frame in reversed(frames[-FRAMES_KEPT:]):
        if left <= 0:
            break
        kept.append([at, base64.b64encode(frame[:left]).decode()])
        left -= len(frame)
    return kept[::-1]


class Alerts:
    """`current` is the frame being looked at and `before` what led to it; the monitor keeps both."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {
            "alerts": 0,
            "unauthorized_writes": 0,
            "rogue_requests": 0,
            "out_of_limit_writes": 0,
        }
        self.current: Item | None = None
        self.before: Item | None = None
        self._running: dict[tuple[str, str, str, str], Alert] = {}
        self._new: list[Alert] = []

    def raise_alert(
        self,
        rule: str,
        severity: int,
        technique: str,
        at: float,
        zone: str,
        src: str,
        dst: str,
        text: str,
        *,
        source: str = "policy",
        frames: Sequence[Item] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        key = (rule, zone, src, dst)
        running = self._running.get(key)
        if running is not None and at - running.at < QUIET:
            running.packets += 1
            return
        if frames is None:
            frames = [item for item in (self.before, self.current) if item is not None]
        alert = Alert(rule, severity, text, src, dst, zone, technique, at, source, frames=frames, more=more or {})
        if running is not None:
            alert.repeated = running.packets - 1
        if len(self._running) >= RUNNING_LIMIT:
            self._running = {k: a for k, a in self._running.items() if at - a.at < QUIET}
            if len(self._running) >= RUNNING_LIMIT:
                self._running.clear()
        self._running[key] = alert
        self._new.append(alert)
        self.counters["alerts"] += 1

    def drain(self) -> list[Alert]:
        new, self._new = self._new, []
        return new
