"""A map without a map: one tile per unit, shaded in five steps. Which step a value gets is worked out here, purely."""

from __future__ import annotations

from collections.abc import Mapping

STEPS = 5


def shades(values: Mapping[str, float | None]) -> dict[str, int | None]:
    """Unit → step: None where the value is unknown, 0 for nothing, else 1..STEPS by equal widths up to the largest.

    Equal widths, not ranks: two units with like values look alike, and one giant does not hide behind its place.
    """
    most = max((value for value in values.values() if value), default=0)
    return {
        unit: None if value is None else 0 if value <= 0 else min(STEPS, int(value / most * STEPS - 1e-9) + 1)
        for unit, value in values.items()
    }


def bounds(most: float, whole: bool) -> list[tuple[float, float]]:
    """Lower and upper end of each step for the legend; whole numbers where people are counted."""
    if most <= 0:
        return []
    ends = [(most * n / STEPS, most * (n + 1) / STEPS) for n in range(STEPS)]
    if not whole:
        return ends
    rounded = [(int(low) + 1, int(high)) for low, high in ends]
    return [(low, high) for low, high in rounded if low <= high]
