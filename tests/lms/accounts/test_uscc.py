"""Unified social credit codes: the check character's law, and the codes a narrower check would refuse."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from lms.accounts.uscc import ALPHABET, check_character, check_uscc, normalise_uscc

bodies = st.builds(
    lambda head, region, rest: head + region + rest,
    st.text(ALPHABET, min_size=2, max_size=2),
    st.text("0123456789", min_size=6, max_size=6),
    st.text(ALPHABET, min_size=9, max_size=9),
)


def complete(body: str) -> str:
    return body + check_character(body)


def code_of(text: str) -> str:
    """The rule the text breaks; "" for none."""
    try:
        check_uscc(text)
    except ValidationError as error:
        return str(error.code)
    return ""


@given(bodies)
def test_check_accepts_every_completed_code(body: str) -> None:
    assert code_of(complete(body)) == ""


@given(bodies, st.integers(0, 17), st.sampled_from(ALPHABET))
def test_check_detects_every_change_of_one_character(body: str, place: int, other: str) -> None:
    code = complete(body)
    changed = code[:place] + other + code[place + 1 :]

    assert (code_of(changed) == "") is (changed == code)


@given(bodies, st.integers(0, 16))
def test_check_detects_neighbours_that_changed_places(body: str, place: int) -> None:
    code = complete(body)
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]

    assert (code_of(swapped) == "") is (swapped == code)


@pytest.mark.parametrize("code", ["91330000747735638J", "91310000607378229H", "12100000400000456Y"])
def test_check_accepts_or_refuses_by_the_published_formula_alone(code: str) -> None:
    """Computed by hand from GB 32100-2015, 5.5: the sum of value x weight, modulo 31, taken from 31."""
    weights = [pow(3, i, 31) for i in range(17)]
    total = sum(ALPHABET.index(c) * w for c, w in zip(code[:17], weights, strict=True))
    expected = ALPHABET[-total % 31]

    assert (code_of(code) == "") is (code[17] == expected)


@pytest.mark.parametrize("head", ["N2", "Y1", "A1"])
def test_check_accepts_codes_led_by_a_letter(head: str) -> None:
    assert code_of(complete(f"{head}330681MA2D0001Q")) == ""


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("91330681MA2D0001Q", "length"),
        ("91330681MA2D0001QAA", "length"),
        ("91330681MAID0001QA", "alphabet"),
        ("9133O681MA2D0001QA", "alphabet"),
        ("9133A681MA2D0001QA", "region"),
    ],
)
def test_check_names_the_rule_that_is_broken(text: str, rule: str) -> None:
    assert code_of(text) == rule


def test_normalise_takes_what_input_methods_produce() -> None:
    assert normalise_uscc("91330681 ma2d0001qr") == "91330681MA2D0001QR"
