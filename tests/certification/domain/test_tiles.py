from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from certification.domain.tiles import STEPS, bounds, shades


def test_unknown_is_not_zero_and_the_largest_is_darkest() -> None:
    assert shades({"a": None, "b": 0, "c": 1, "d": 50, "e": 100}) == {"a": None, "b": 0, "c": 1, "d": 3, "e": 5}


def test_nothing_anywhere_has_no_steps() -> None:
    assert shades({"a": 0, "b": None}) == {"a": 0, "b": None}
    assert bounds(0, whole=True) == []


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 10**7) | st.none(), max_size=30))
def test_more_people_are_never_lighter_and_every_count_lies_in_its_steps_bounds(values: dict[str, int | None]) -> None:
    steps = shades(values)

    ranked = sorted((value, steps[unit]) for unit, value in values.items() if value is not None)
    assert [step for _value, step in ranked] == sorted(step for _value, step in ranked)
    assert all(step in range(STEPS + 1) for _value, step in ranked)
    most = max((value for value, _step in ranked), default=0)
    legend = bounds(most, whole=True)
    assert all(any(low <= value <= high for low, high in legend) for value, _step in ranked if value)
