"""Classical item analysis: how hard a question was, and whether it told strong from weak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

ENOUGH = 10  # below this many answers a figure says more about chance than about the question


@dataclass(frozen=True, slots=True)
class ItemFigures:
    """`facility`: mean share of points, 0-1. `discrimination`: correlation of the item with the rest of the paper,
    -1 to 1, None when it cannot be told (too few answers, or all alike)."""

    answers: int
    facility: float | None
    discrimination: float | None

    @property
    def verdict(self) -> str:
        """Why a trainer should look at it: "", "few", "reversed", "weak", "hard", "easy"."""
        if self.answers < ENOUGH or self.facility is None:
            return "few"
        if self.discrimination is not None and self.discrimination < 0:
            return "reversed"
        if self.facility < 0.2:
            return "hard"
        if self.facility > 0.95:
            return "easy"
        if self.discrimination is not None and self.discrimination < 0.15:
            return "weak"
        return ""


def item_figures(pairs: Sequence[tuple[float, float]]) -> ItemFigures:
    """From (share of this item, score of the rest of the paper) of each person who sat it."""
    count = len(pairs)
    if not count:
        return ItemFigures(0, None, None)
    items, rests = [item for item, _ in pairs], [rest for _, rest in pairs]
    return ItemFigures(count, sum(items) / count, _correlation(items, rests))


def _correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    n = len(xs)
    mean_x, mean_y = sum(xs) / n, sum(ys) / n
    spread_x = sqrt(sum((x - mean_x) ** 2 for x in xs))
    spread_y = sqrt(sum((y - mean_y) ** 2 for y in ys))
    if spread_x < 1e-9 or spread_y < 1e-9:
        return None
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / (spread_x * spread_y)
