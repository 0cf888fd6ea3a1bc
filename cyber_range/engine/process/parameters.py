"""Parameters of a plant: numbers with a unit and the range in which such a machine can be built.

The range is part of the field, so that process.yml is refused with a sentence and tests can draw any plant allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, field, fields
from typing import Any, TypeVar

P = TypeVar("P")


def number(default: float, low: float, high: float, unit: str = "") -> Any:
    """A dataclass field holding `low` to `high` units."""
    return field(default=default, metadata={"low": low, "high": high, "unit": unit})


def checked(cls: type[P], plant: str, values: Mapping[str, Any]) -> P:
    """`cls` from process.yml; an unknown name or a value outside its range is an error that names it."""
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # P is a dataclass
    given: dict[str, float] = {}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"the {plant} has no parameter {name!r}; there are: {', '.join(sorted(known))}")
        low, high, unit = (known[name].metadata[key] for key in ("low", "high", "unit"))
        try:
            given[name] = float(value)
        except (TypeError, ValueError) as exc:
            raise ValueError(f"parameter {name!r} of the {plant} must be a number, not {value!r}") from exc
        if not math.isfinite(given[name]) or not low <= given[name] <= high:
            span = f"{low:g} to {high:g} {unit}".rstrip()
            raise ValueError(f"parameter {name!r} of the {plant} must be {span}, not {value!r}")
    return cls(**given)
