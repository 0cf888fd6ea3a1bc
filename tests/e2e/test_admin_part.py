"""The enterprise admin's part by clicking, on a phone and at a desk: assess, read the plan, invite; the new one joins."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.acts import invite, join
from tests.e2e.conftest import DESK, PHONE, Product, Visitor, axe_faults, picture, scrolls_sideways

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_admin_assesses_plans_and_invites(
    product: Product, visit: Callable[..., Visitor], size: dict[str, int]
) -> None:
    admin = visit("admin", size=size)

    assess(admin)
    read_the_plan(admin)
    username, name = ("zhengji", "郑𠮷") if size is PHONE else ("wangyan", "王䶮")
    code = invite(admin, username, name)
    newcomer = visit(None, size=PHONE)
    join(newcomer, code)

    expect(newcomer.page.get_by_role("main")).to_be_visible()
    assert "/people/join" not in newcomer.page.url
    staff = admin.go(f"/people/staff/?q={username}")
    expect(staff.get_by_role("main")).to_contain_text(username)


def assess(admin: Visitor) -> None:
    """Every question answered with its second choice, then handed in with the pledge."""
    page = admin.go("/maturity/")
    page.get_by_role("main").get_by_role("button", name=re.compile("开始自评|接着填|重新自评")).click()
    total = int(page.locator(".lb-meter span").first.inner_text().split("/")[1])
    page.goto(admin.url + "/maturity/question/1/")
    for number in range(1, total + 1):
        page.wait_for_url(re.compile(f"/question/{number}/"))
        if number == 1:
            assert (axe_faults(page), scrolls_sideways(page)) == ([], False)
            picture(page, "assessment")
        options = page.locator(".lb-option input")
        options.nth(min(1, options.count() - 1)).check()
        page.get_by_role("main").get_by_role("button", name=re.compile("下一题|保存并检查")).click()
    page.wait_for_url(re.compile("/check/"))
    page.locator("input[name=pledge]").check()
    page.get_by_role("main").get_by_role("button", name="提交并生成计划").click()
    page.wait_for_load_state()
    page.goto(admin.url + "/maturity/")
    page.get_by_role("main").get_by_role("link", name="看结果明细").click()
    expect(page.locator(".lb-scenes li")).to_have_count(16)
    assert (axe_faults(page), scrolls_sideways(page)) == ([], False)
    picture(page, "level")


def read_the_plan(admin: Visitor) -> None:
    """A row of the plan leads to a course of the hub."""
    page = admin.go("/maturity/plan/?show=all")
    assert (axe_faults(page), scrolls_sideways(page)) == ([], False)
    picture(page, "plan")
    page.locator(".lb-plan .lb-facets a").first.click()
    page.wait_for_load_state()
    expect(page.get_by_role("main").get_by_role("heading").first).to_be_visible()
    assert "/maturity/" not in page.url
