"""What several browser tests do by clicking: invite and join, learn a lesson, sit the exam."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import ROOT, Product, Visitor, axe_faults, picture

NEW_PASSWORD = "yanlian-2026-mimai"


def ask(product: Product, *words: str) -> Any:
    """An answer from inside the product (see inside.py)."""
    environment = {**os.environ, "LIANBING_STATE": str(product.state), "DJANGO_SETTINGS_MODULE": "lms.project.settings",
                   "LIANBING_RANGE_SOCKET": str(product.state / "range" / "host.sock"), "PYTHONPATH": str(ROOT)}  # fmt: skip
    for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "e2e" / "inside.py"), *words],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def invite(admin: Visitor, username: str, name: str) -> str:
    """The one-use code."""
    page = admin.go("/people/staff/invite/")
    page.locator("#id_username").fill(username)
    page.locator("#id_name").fill(name)
    page.get_by_label("员工", exact=True).check()
    page.get_by_role("main").get_by_role("button", name="生成加入码").click()
    expect(page.locator(".lb-code")).to_contain_text(name)
    assert axe_faults(page) == []
    return page.locator(".lb-code code").inner_text().strip()


def join(newcomer: Visitor, code: str) -> None:
    page = newcomer.go("/people/join/")
    page.locator("#id_code").fill(code)
    page.locator("#id_password").fill(NEW_PASSWORD)
    page.locator("#id_consent").check()
    page.get_by_role("main").get_by_role("button", name="设置密码并进入").click()
    page.wait_for_url(lambda url: "/people/join" not in url)


def finish_lesson(page: Page) -> None:
    assert axe_faults(page) == []
    for number in range(page.locator(".c-inline form").count()):
        section = page.locator(".c-inline").nth(number)
        if section.locator(".c-feedback").count():
            continue
        answer_anything(section.locator("form"))
        section.get_by_role("button", name="看看对不对").click()
        expect(page.locator(".c-inline").nth(number).locator(".c-feedback")).to_be_visible()
    done = page.get_by_role("button", name="学完本课时")
    if done.count():
        done.click()
        page.wait_for_load_state()
    forward = page.get_by_role("link", name=re.compile("下一课|回到课程"))
    if forward.count() and page.locator(".c-lesson").count():
        forward.first.click()
        page.wait_for_load_state()


def answer_anything(form: Locator) -> None:
    """Some complete answer: inline questions teach, they do not count."""
    kind = form.locator(".c-q").get_attribute("data-kind")
    if kind in ("single", "truefalse", "multiple"):
        form.locator(".c-option input").first.check()
    elif kind == "numeric":
        form.locator("input[inputmode=decimal]").fill("1")
    else:
        for place, select in enumerate(form.locator("select").all(), start=1):
            select.evaluate(
                "(s, i) => { s.value = s.options[Math.min(i, s.options.length - 1)].value;"
                " s.dispatchEvent(new Event('change', {bubbles: true})); }",
                place,
            )


def sit_the_exam(product: Product, learner: Visitor, username: str = "learner") -> None:
    """Every answer right; the line drops once in the middle."""
    page = learner.go("/learn/exams/")
    page.get_by_role("main").get_by_role("link", name="去考试").click()
    page.get_by_role("button", name=re.compile("开始考试")).click()
    page.wait_for_selector(".c-exam")
    assert "解析" not in page.content()
    answers = ask(product, "exam_answers", username)
    for number in sorted(map(int, answers)):
        choose(page, number, answers[str(number)])
        forward = page.locator("[data-thumb] [data-step='1']")  # a phone shows one question at a time, a desk all
        if number < len(answers) and forward.is_visible():
            forward.click()
    expect(page.locator("[data-answered]")).to_have_text(str(len(answers)), timeout=20_000)
    picture(page, "exam")
    page.goto(page.url.split("#")[0])  # the line comes back: everything is still there
    expect(page.locator("[data-answered]")).to_have_text(str(len(answers)))
    page.goto(page.url.split("#")[0].rstrip("/") + "/hand-in/")
    page.get_by_role("main").get_by_role("button", name="交卷").click()
    page.wait_for_url(re.compile("/result/"))
    expect(page.get_by_role("main")).to_contain_text("100")
    assert axe_faults(page) == []


def choose(page: Page, number: int, answer: Any) -> None:
    question = page.locator(f"#q{number}")
    match question.get_attribute("data-kind"):
        case "single":
            question.locator(f"input[value='{answer}']").check()
        case "truefalse":
            question.locator(f"input[value='{'true' if answer else 'false'}']").check()
        case "multiple":
            for option in answer:
                question.locator(f"input[value='{option}']").check()
        case "numeric":
            question.locator("input[inputmode=decimal]").fill(str(answer))
            question.locator("input[inputmode=decimal]").blur()
        case "matching":
            pairs = answer.items() if isinstance(answer, dict) else answer
            for left, right in pairs:
                question.locator(f"select[name$='-{left}']").select_option(right)
        case "ordering":
            put_in_order(question, answer)
    expect(question.locator("[data-mark]")).to_have_text("已保存", timeout=20_000)


def put_in_order(question: Locator, wanted: list[str]) -> None:
    """By the buttons, as on a phone; what already stands right is confirmed."""
    for place, item in enumerate(wanted):
        rows = question.locator("[data-order] > li")
        now = [row.get_attribute("data-item") for row in rows.all()].index(item)
        for _ in range(now - place):
            question.locator(f"[data-item='{item}'] [data-move='-1']").click()
    keep = question.locator("[data-order-keep]")
    if keep.is_visible():
        keep.click()
