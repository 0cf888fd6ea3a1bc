"""When people are at work: how much of the usual traffic there is at a time of day, in 256ths.

Local time as the capture or the drill states it. Patterns: **always**; **office** (half past eight to half past five, lunch
from twelve, a little on Saturday); **two_shifts** (six to ten at night in two shifts, meals, weekends at half strength).
"""

from __future__ import annotations

from cyber_range.engine.errors import RangeError

FULL = 256
DAY = 86400
# (from minute, to minute, share); outside all of them `rest` holds
WORKING: dict[str, tuple[tuple[tuple[int, int, int], ...], int, tuple[int, int]]] = {
    "office": (((510, 720, 256), (720, 780, 70), (780, 810, 140), (810, 1050, 256), (1050, 1140, 90)), 12, (60, 20)),
    "two_shifts": (
        ((360, 480, 200), (480, 690, 256), (690, 750, 110), (750, 830, 256), (830, 850, 160), (850, 1050, 256),
         (1050, 1100, 120), (1100, 1310, 240), (1310, 1330, 160)), 25, (128, 90),
    ),
}  # fmt: skip


def share(pattern: str, local_seconds: int, weekday: int) -> int:
    """0..256 at `local_seconds` after midnight; `weekday` 0 is Monday, 5 and 6 have factors of their own."""
    if pattern == "always":
        return FULL
    try:
        hours, rest, weekend = WORKING[pattern]
    except KeyError:
        raise RangeError(
            f"there is no shift pattern {pattern!r}", remedy=f"Choose one of always, {', '.join(WORKING)}"
        ) from None
    minute = local_seconds // 60
    found = next((part for first, last, part in hours if first <= minute < last), rest)
    return found * weekend[weekday - 5] // FULL if weekday >= 5 else found


def share_at(pattern: str, local_epoch: int) -> int:
    """The same for seconds since 1970 in local time (a Thursday)."""
    return share(pattern, local_epoch % DAY, (local_epoch // DAY + 3) % 7)
