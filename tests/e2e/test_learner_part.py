"""The learner's part at a desk, from nothing: invited, joins, finds the course, learns it whole, passes the exam."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.acts import finish_lesson, invite, join, sit_the_exam
from tests.e2e.conftest import DESK, Product, Visitor, axe_faults, picture, scrolls_sideways

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
COURSE = "中小制造企业工控网络安全入门"


def test_a_newcomer_learns_the_course_and_passes_at_a_desk(product: Product, visit: Callable[..., Visitor]) -> None:
    code = invite(visit("admin"), "fangjie", "方洁")
    newcomer = visit(None, size=DESK)
    join(newcomer, code)

    enrol(newcomer)
    lessons = learn(newcomer)
    sit_the_exam(product, newcomer, "fangjie")
    home = newcomer.go("/learn/")
    picture(home, "learning")

    assert lessons >= 6
    assert (axe_faults(home), scrolls_sideways(home)) == ([], False)
    expect(home.get_by_role("main")).to_contain_text(COURSE)
    expect(newcomer.go("/learn/exams/").get_by_role("main")).to_contain_text("100")


def enrol(newcomer: Visitor) -> None:
    """By the catalogue, as somebody who was only told the course's name."""
    page = newcomer.go("/learn/catalogue/")
    assert (axe_faults(page), scrolls_sideways(page)) == ([], False)
    picture(page, "catalogue")
    page.get_by_role("main").get_by_role("link", name=COURSE).first.click()
    page.get_by_role("button", name="加入课程").click()
    page.wait_for_load_state()
    assert (axe_faults(page), scrolls_sideways(page)) == ([], False)
    picture(page, "course")


def learn(newcomer: Visitor) -> int:
    """How many lessons there were."""
    page = newcomer.page
    page.get_by_role("main").get_by_role("link", name="开始学习").click()
    page.wait_for_load_state()
    picture(page, "lesson")
    done = 0
    while page.locator(".c-lesson").count() and done < 20:
        assert not scrolls_sideways(page)
        finish_lesson(page)
        done += 1
    return done
