"""threshold and detection_filter: how often a rule that matches is said."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

TRACKED_LIMIT = 10_000  # addresses remembered by one rule


@dataclass(frozen=True, slots=True)
class Limit:
    """`filter` is detection_filter: silent until `count` is passed, then every match until the seconds are over."""

    type: Literal["limit", "threshold", "both", "filter"]
    track: Literal["by_src", "by_dst", "by_both", "by_rule"]
    count: int
    seconds: float


class Counter:
    """The state of one rule's limit."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._windows: dict[Any, list[float]] = {}  # [begin, matches]
        self._recent: dict[Any, deque[float]] = {}

    def passes(self, at: float, src: Any, dst: Any) -> bool:
        limit = self.limit
        key = {"by_src": src, "by_dst": dst, "by_both": (src, dst), "by_rule": None}[limit.track]
        if limit.type == "filter":
            return self._filter(at, key)
        window = self._windows.get(key)
        if window is None or at - window[0] >= limit.seconds:
            if len(self._windows) >= TRACKED_LIMIT:
                self._windows.clear()
            window = self._windows[key] = [at, 0.0]
        window[1] += 1
        if limit.type == "limit":
            return window[1] <= limit.count
        if limit.type == "both":
            return window[1] == limit.count
        if window[1] >= limit.count:
            window[0], window[1] = at, 0.0
            return True
        return False

    def _filter(self, at: float, key: Any) -> bool:
        recent = self._recent.get(key)
        if recent is None:
            if len(self._recent) >= TRACKED_LIMIT:
                self._recent.clear()
            recent = self._recent[key] = deque(maxlen=self.limit.count + 1)
        recent.append(at)
        return len(recent) > self.limit.count and at - recent[0] <= self.limit.seconds
