"""Marking: every kind by example, and the laws they share."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courses.domain.grading import Marked, Score, by_function, out_of_hundred, share

KEYS = {
    "single": "b",
    "multiple": ["a", "c"],
    "truefalse": False,
    "numeric": {"value": "3.5", "tolerance": "0.1"},
    "matching": {"l0": "r1", "l1": "r0", "l2": "r2"},
    "ordering": ["c", "a", "b", "d"],
}
RIGHT = {**KEYS, "numeric": "3.5"}


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("single", "b", 1), ("single", "a", 0), ("single", ["b"], 0),
        ("multiple", ["c", "a"], 1), ("multiple", ["a"], Fraction(1, 2)), ("multiple", ["a", "b"], 0), ("multiple", ["a", "b", "c"], 0),
        ("truefalse", False, 1), ("truefalse", True, 0), ("truefalse", "false", 0), ("truefalse", 0, 0),
        ("numeric", "3.5", 1), ("numeric", "3.6", 1), ("numeric", "3.4", 1), ("numeric", "3.61", 0), ("numeric", " \uff13\uff0e\uff15 ", 1),
        ("numeric", "三点五", 0), ("numeric", "1e999", 0), ("numeric", "nan", 0),
        ("matching", {"l0": "r1", "l1": "r0", "l2": "r2"}, 1), ("matching", {"l0": "r1", "l1": "r1"}, Fraction(1, 3)), ("matching", ["r1"], 0),
        ("ordering", ["c", "a", "b", "d"], 1), ("ordering", ["d", "c", "a", "b"], Fraction(2, 3)),
        ("ordering", ["d", "b", "a", "c"], 0), ("ordering", ["c", "a", "b"], 0),
    ],
)  # fmt: skip
def test_share_by_kind(kind, answer, expected):
    assert share(kind, KEYS[kind], answer) == expected


@pytest.mark.parametrize("kind", KEYS)
def test_right_answer_is_whole_and_no_answer_is_nothing(kind):
    assert share(kind, KEYS[kind], RIGHT[kind]) == 1
    assert [share(kind, KEYS[kind], nothing) for nothing in (None, "", [], {})] == [0, 0, 0, 0]


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=6,
)


@given(st.sampled_from(sorted(KEYS)), junk)
def test_share_never_fails_and_stays_within_nought_and_one(kind, answer):
    assert 0 <= share(kind, KEYS[kind], answer) <= 1


marks = st.lists(
    st.builds(Marked, st.sampled_from(["F1", "F2"]), st.integers(1, 5), st.fractions(0, 1, max_denominator=6)),
    min_size=1,
    max_size=20,
)


@given(marks)
def test_functions_add_up_to_the_whole(rows):
    whole, parts = out_of_hundred(rows), by_function(rows)

    assert sum(part.possible for part in parts.values()) == whole.possible
    assert sum(part.right for part in parts.values()) == whole.right
    assert abs(sum(part.earned for part in parts.values()) - whole.earned) <= Decimal("0.01") * len(parts)
    assert 0 <= whole.score <= 100


def test_score_rounds_half_up_to_a_tenth():
    rows = [Marked("F1", 1, Fraction(1)), Marked("F1", 1, Fraction(0)), Marked("F1", 1, Fraction(1, 3))]

    assert out_of_hundred(rows) == Score(Decimal("44.4"), Decimal("1.33"), 3, 1, 3)
    assert out_of_hundred([Marked("F1", 2, Fraction(1, 800))]).score == Decimal("0.1")
    assert out_of_hundred([]) == Score(Decimal("0.0"), Decimal("0.00"), 0, 0, 0)
