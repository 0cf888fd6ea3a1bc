"""A long lesson on a phone: where one is, and the way out, stay in sight."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import PHONE, Visitor

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_top_bar_and_the_courses_progress_stay_in_sight(visit: Callable[..., Visitor]) -> None:
    visitor = visit("learner", size=PHONE)
    page = visitor.go("/learn/ics-security-basics/ics-vs-it/")
    page.evaluate("scrollTo(0, 3000)")
    page.wait_for_function("scrollY > 2000")

    tops = page.evaluate(
        "['.lb-top', '.c-lesson-top'].map((name) => document.querySelector(name).getBoundingClientRect().top)"
    )

    assert tops[0] == 0
    assert 0 < tops[1] < 120
