"""Marking answers. Pure: what was asked, the key, what was answered, out comes a share between 0 and 1.

Rules of partial credit (shown to learners in the exam lobby):
  single, truefalse, numeric   all or nothing; numeric is right within ±tolerance, bounds included
  multiple                     any wrong choice gives 0; otherwise the share of right choices that were found
  matching                     share of pairs that are right
  ordering                     share of neighbouring pairs of the right order that stand together in it
An unanswered or unreadable answer gives 0, never an error: marking must not fail on what a browser sent.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from enum import StrEnum
from fractions import Fraction
from typing import Any

Key = Any  # by kind: "b" | ["a", "c"] | True | {"value": "3.5", "tolerance": "0.1"} | {"l1": "r2"} | ["i2", "i1"]
ZERO, ONE = Fraction(0), Fraction(1)


class Kind(StrEnum):
    SINGLE = "single"
    MULTIPLE = "multiple"
    TRUEFALSE = "truefalse"
    NUMERIC = "numeric"
    MATCHING = "matching"
    ORDERING = "ordering"


def share(kind: str, key: Key, answer: Any) -> Fraction:
    """How much of the question is right, 0 to 1."""
    if answer is None or answer == "" or answer == [] or answer == {}:
        return ZERO
    return MARKERS[Kind(kind)](key, answer)


def _single(key: str, answer: Any) -> Fraction:
    return ONE if answer == key else ZERO


def _truefalse(key: bool, answer: Any) -> Fraction:
    return ONE if isinstance(answer, bool) and answer is key else ZERO


def _multiple(key: list[str], answer: Any) -> Fraction:
    if not isinstance(answer, list) or any(not isinstance(option, str) for option in answer):
        return ZERO
    chosen, right = set(answer), set(key)
    return ZERO if chosen - right else Fraction(len(chosen), len(right))


def read_number(text: Any) -> Decimal | None:
    """A number as people type it: full-width digits, thousands commas, a leading plus. None when it is none."""
    if isinstance(text, bool):
        return None
    plain = (
        unicodedata.normalize("NFKC", str(text)).strip().replace(",", "").replace("\u3002", ".").replace("\u2212", "-")
    )
    try:
        number = Decimal(plain)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 50 else None


def _numeric(key: Mapping[str, str], answer: Any) -> Fraction:
    number = read_number(answer)
    if number is None:
        return ZERO
    return ONE if abs(number - Decimal(key["value"])) <= Decimal(key.get("tolerance") or "0") else ZERO


def _matching(key: Mapping[str, str], answer: Any) -> Fraction:
    if not isinstance(answer, Mapping):
        return ZERO
    return Fraction(sum(answer.get(left) == right for left, right in key.items()), len(key))


def _ordering(key: list[str], answer: Any) -> Fraction:
    if not isinstance(answer, list) or any(not isinstance(item, str) for item in answer):
        return ZERO
    if sorted(answer) != sorted(key):
        return ZERO
    given = set(itertools.pairwise(answer))
    pairs = list(itertools.pairwise(key))
    return Fraction(sum(pair in given for pair in pairs), len(pairs))


MARKERS: dict[Kind, Callable[[Any, Any], Fraction]] = {
    Kind.SINGLE: _single,
    Kind.MULTIPLE: _multiple,
    Kind.TRUEFALSE: _truefalse,
    Kind.NUMERIC: _numeric,
    Kind.MATCHING: _matching,
    Kind.ORDERING: _ordering,
}


@dataclass(frozen=True, slots=True)
class Marked:
    """One question of a paper with the share that was right."""

    function: str
    points: int
    share: Fraction


@dataclass(frozen=True, slots=True)
class Score:
    """Out of 100, one decimal, halves up. `right` counts questions answered wholly right."""

    score: Decimal
    earned: Decimal
    possible: int
    right: int
    questions: int


def out_of_hundred(marked: Iterable[Marked]) -> Score:
    rows = list(marked)
    possible = sum(row.points for row in rows)
    earned = sum((row.share * row.points for row in rows), ZERO)
    whole = earned / possible * 100 if possible else ZERO
    return Score(
        score=_rounded(whole, "0.1"),
        earned=_rounded(earned, "0.01"),
        possible=possible,
        right=sum(row.share == 1 for row in rows),
        questions=len(rows),
    )


def by_function(marked: Iterable[Marked]) -> dict[str, Score]:
    """Sub-scores by function of the standard, in the order of the codes."""
    rows = list(marked)
    return {
        function: out_of_hundred(row for row in rows if row.function == function)
        for function in sorted({row.function for row in rows})
    }


def _rounded(value: Fraction, step: str) -> Decimal:
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return exact.quantize(Decimal(step), rounding=ROUND_HALF_UP)
