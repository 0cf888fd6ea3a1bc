"""Any plant that can be built: parameters drawn from the range that each field states."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from hypothesis import strategies as st

P = TypeVar("P")


def parameters(cls: type[P]) -> st.SearchStrategy[P]:
    ranges = {f.name: (f.metadata["low"], f.metadata["high"]) for f in fields(cls)}  # type: ignore[arg-type]
    drawn: dict[str, Any] = {name: st.floats(low, high) for name, (low, high) in ranges.items()}
    return st.one_of(st.just(cls()), st.builds(cls, **drawn))
