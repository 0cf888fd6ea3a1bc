"""The main job by clicking, in Chinese: course and exam on a phone, the drill at a desk, certificate, count."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.acts import ask, finish_lesson, sit_the_exam
from tests.e2e.conftest import DESK, PHONE, Product, Visitor, axe_faults, picture, scrolls_sideways

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
SPEED = "6"


def test_the_main_job_by_clicking(product: Product, visit: Callable[..., Visitor]) -> None:
    before = holders(visit("officer"))
    learn_on_a_phone(visit("learner", size=PHONE))
    sit_the_exam(product, visit("learner", size=PHONE))
    fight_the_drill(product, visit)
    apply_and_verify(visit)
    after = holders(visit("officer"))

    assert after == before + 1


def holders(officer: Visitor) -> int:
    """人数 with our own credential type on the bureau's page."""
    page = officer.go("/certification/bureau/")
    figure = page.locator("section:has(#figure-platform_competency) .ct-big b")
    picture(page, "bureau")
    return int(figure.inner_text().replace(",", ""))


def learn_on_a_phone(learner: Visitor) -> None:
    """Goes on where the demo's learner stopped and finishes every lesson by thumb."""
    page = learner.go("/learn/")
    assert not scrolls_sideways(page)
    picture(page, "learning")
    page.get_by_role("main").get_by_role("link", name="接着学").click()
    page.wait_for_load_state()
    picture(page, "lesson")
    for _ in range(12):
        if not page.locator(".c-lesson").count():
            break
        finish_lesson(page)
    page.goto(learner.url + "/learn/")
    expect(
        page.get_by_text("100%").or_(page.get_by_text("已完成")).or_(page.get_by_text("已学完")).first
    ).to_be_visible()


def fight_the_drill(product: Product, visit: Callable[..., Visitor]) -> None:
    ask(product, "hurry", SPEED)
    white = visit("trainer", size=DESK)
    learner = visit("learner", size=DESK)
    lobby = white.go("/drills/")
    lobby.get_by_role("main").get_by_role("link", name=re.compile("备战|进入|灌装线")).first.click()
    path = re.search(r"/drills/\d+/", white.page.url).group(0)
    white.page.get_by_role("button", name="入席").click()
    learner.go(path).get_by_role("button", name="入席").click()
    white.page.get_by_role("button", name=re.compile("启动靶场")).click()
    expect(white.page.get_by_role("button", name="开始演练")).to_be_visible(timeout=150_000)
    white.page.get_by_role("button", name="开始演练").click()
    room = learner.go(path + "room/")
    expect(room.locator("#clock")).not_to_have_text("--:--", timeout=20_000)
    assert axe_faults(room) == []
    observer = visit("admin", size=PHONE)
    observer.go(path).get_by_role("button", name="入席").click()
    phone = observer.go(path + "room/")
    assert not scrolls_sideways(phone)
    assert phone.locator("#t-term").count() == 0

    act_out(product, room)

    expect(room.locator(".dr-objective[data-state='verified']")).to_have_count(
        room.locator(".dr-objective").count(), timeout=120_000
    )
    picture(room, "room-terminal")
    reloaded = learner.go(path + "room/")
    expect(reloaded.locator(".dr-objective[data-state='verified']").first).to_be_visible(timeout=20_000)
    picture(reloaded, "room")
    picture(phone, "room")
    director = white.go(path + "room/")
    director.get_by_role("tab", name="导调台").click()
    picture(director, "white-cell")
    director.locator("#end-word").fill("结束演练")
    director.locator("#end").get_by_role("button").click()
    director.wait_for_url(re.compile("/review/"), timeout=60_000)
    assert axe_faults(director) == []
    picture(director, "review")


def act_out(product: Product, room: Page) -> None:
    """The scenario's scripted blue team, by keyboard in the learner's terminals and by the objectives' own forms."""
    for action in ask(product, "solver"):
        match action["do"]:
            case "exec":
                type_line(room, action["node"], shlex.join(action["argv"]))
            case "submit":
                room.locator("#t-map").click()
                form = room.locator(f".dr-submit:has(#s-{action['objective']})")
                field = form.locator("input, select").first
                if field.evaluate("f => f.tagName") == "SELECT":
                    field.select_option(str(action["value"]))
                else:
                    field.fill(str(action["value"]))
                form.get_by_role("button").click()
            case "wait":
                time.sleep(action["seconds"] / float(SPEED))
            case "wait_step":
                deadline = time.monotonic() + 200
                while ask(product, "campaign")[action["step"]] != "done":
                    assert time.monotonic() < deadline, f"attack step {action['step']} did not happen"
                    time.sleep(1)


def type_line(room: Page, node: str, line: str) -> None:
    room.locator("#t-term").click()
    room.locator(f"#term-tabs [data-node='{node}']").click()
    screen = room.locator(f".dr-term[data-node='{node}'] .dr-term-screen")
    expect(screen).to_be_visible(timeout=20_000)
    before = screen.inner_text()
    screen.click()
    room.wait_for_timeout(1200)
    room.keyboard.type(line)
    room.keyboard.press("Enter")
    deadline = time.monotonic() + 25
    while time.monotonic() < deadline and len(screen.inner_text()) <= len(before) + len(line):
        room.wait_for_timeout(200)
    room.wait_for_timeout(1500)


def apply_and_verify(visit: Callable[..., Visitor]) -> None:
    learner = visit("learner", size=PHONE)
    page = learner.go("/certification/")
    page.get_by_role("button", name=re.compile("申请|更新|领取|提交")).first.click()
    page.goto(learner.url + "/certification/")
    page.locator("a.ct-card").first.click()
    number = page.locator(".ct-sheet .ct-number").inner_text().strip()
    code = page.locator(".ct-code b").inner_text().strip()
    assert axe_faults(page) == []
    picture(page, "certificate")
    anyone = visit(None, size=PHONE)
    check = anyone.go("/certification/verify/")
    check.locator("#number").fill(number)
    check.locator("#code").fill(code)
    check.get_by_role("button", name="查验").click()
    expect(check.locator("#verdict")).to_contain_text("有效")
    expect(check.locator("#verdict")).to_contain_text("陈*")
    assert axe_faults(check) == []
    picture(check, "verification")
