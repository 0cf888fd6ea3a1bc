"""Numbers, codes and days."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certification.domain.credential import (
    ALPHABET,
    CODE_LENGTH,
    Status,
    add_months,
    check_code_fits,
    check_code_hash,
    last_valid_day,
    new_check_code,
    new_number,
    read_check_code,
    read_number,
    shown_check_code,
    status_on,
)


def test_a_check_code_has_at_least_sixty_bits_and_no_letter_that_looks_like_another() -> None:
    assert CODE_LENGTH * math.log2(len(ALPHABET)) >= 60
    assert not set("ILOU") & set(ALPHABET)


@given(st.integers(2020, 2099))
def test_a_number_is_read_as_people_type_it(year: int) -> None:
    number = new_number(year)

    for typed in (number, number.lower(), number.replace("-", ""), number.replace("-", " "), number[2:]):
        assert read_number(typed) == number
    assert read_number("".join(chr(ord(c) + 0xFEE0) if c != "-" else c for c in number)) == number


@given(st.data())
def test_one_wrong_digit_or_two_swapped_ones_are_noticed(data: st.DataObject) -> None:
    number = new_number(2026)
    digits = [place for place, character in enumerate(number) if character.isdigit()]
    place = data.draw(st.sampled_from(digits))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != number[place]]))
    swapped = list(number)
    here, there = digits[digits.index(place) - 1], place
    if here < there:
        swapped[here], swapped[there] = swapped[there], swapped[here]

    assert read_number(number[:place] + other + number[place + 1 :]) is None
    assert read_number("".join(swapped)) in (None, number)  # equal digits swapped are the same number


def test_a_code_is_read_as_people_type_it_and_only_fits_its_number() -> None:
    code = new_check_code()
    stored = check_code_hash("LB26-1", code)

    assert read_check_code(shown_check_code(code).lower().replace("0", "o").replace("1", "l")) == code
    assert read_check_code(code[:-1]) is None
    assert check_code_fits("LB26-1", code, stored)
    assert not check_code_fits("LB26-2", code, stored)


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        (date(2026, 11, 23), 24, date(2028, 11, 22)),
        (date(2026, 1, 31), 1, date(2026, 2, 27)),
        (date(2024, 2, 29), 12, date(2025, 2, 27)),
    ],
)
def test_a_term_ends_the_day_before_its_anniversary(start: date, months: int, end: date) -> None:
    assert last_valid_day(start, months) == end
    assert add_months(start, months) == end + timedelta(days=1)


def test_what_a_certificate_was_on_a_day() -> None:
    dates = {"issued_on": date(2026, 1, 10), "expires_on": date(2028, 1, 9), "revoked_on": None, "reissued_on": None}

    assert status_on(date(2026, 1, 9), **dates) is Status.NOT_YET
    assert status_on(date(2028, 1, 9), **dates) is Status.VALID
    assert status_on(date(2028, 1, 10), **dates) is Status.EXPIRED
    assert status_on(date(2030, 1, 1), **{**dates, "revoked_on": date(2027, 5, 1)}) is Status.REVOKED
    assert status_on(date(2027, 4, 30), **{**dates, "revoked_on": date(2027, 5, 1)}) is Status.VALID
    assert status_on(date(2027, 5, 1), **{**dates, "reissued_on": date(2027, 5, 1)}) is Status.REISSUED
