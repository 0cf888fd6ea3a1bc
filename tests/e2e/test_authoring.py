"""A trainer writes a scenario: by clicking, by dragging, by keyboard, in the file; publishes and tries it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import DESK, PHONE, Visitor, axe_faults, picture, scrolls_sideways

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SAVED = re.compile("已自动保存")


def begin(visitor: Visitor, title: str) -> Page:
    page = visitor.go("/range/write/")
    page.get_by_label("场景名称").fill(title)
    page.get_by_role("button", name="新建", exact=True).click()
    page.wait_for_url(re.compile(r"/range/write/\d+/$"))
    expect(page.locator("[data-zone]")).to_have_count(3)
    return page


def card(page: Page, name: str) -> object:
    return page.locator(f'[data-node="{name}"]')


def text(page: Page) -> str:
    return str(page.locator("#text").input_value())


def centre(page: Page, selector: str) -> tuple[float, float]:
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Page, start: str, end: str) -> None:
    page.locator(start).evaluate("one => one.scrollIntoView({block: 'center'})")  # clear of the bar that sticks on top
    x, y = centre(page, start)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 10, y + 10, steps=3)
    to = page.locator(end).bounding_box()
    assert to is not None
    page.mouse.move(to["x"] + to["width"] - 20, to["y"] + to["height"] / 2, steps=8)
    page.mouse.up()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_scenario_is_written_by_clicking_checked_published_and_tried(
    visit: Callable[..., Visitor], size: dict[str, int]
) -> None:
    trainer = visit("trainer", size=size)
    page = begin(trainer, f"点选灌装线 {size['width']}")

    # A node by the form: drawing and file show it.
    page.locator('[data-add="historian"]').click()
    form = page.locator("[data-form]")
    form.get_by_label("名称", exact=True).fill("厂区历史库")
    form.get_by_label("放进分区").select_option("workshop")
    form.get_by_role("button", name="添加", exact=True).click()
    expect(card(page, "historian")).to_contain_text("厂区历史库")
    expect(page.locator("#text")).to_have_value(re.compile("title: 厂区历史库"))
    expect(page.locator("[data-state]")).to_have_text(SAVED)

    # To another zone, one more leg, one more service: each by the form alone (WCAG 2.5.7).
    form.get_by_label("移到分区").select_option("office")
    form.get_by_role("button", name="移动").click()
    expect(page.locator('[data-zone="office"] [data-node="historian"]')).to_be_visible()
    form.get_by_label("再接入").select_option("workshop")
    form.get_by_role("button", name="再接入").click()
    expect(card(page, "historian")).to_have_attribute("data-also", "workshop")
    form.get_by_label("添加服务").select_option("log_collector")
    form.locator('[data-key="add-service"]').click()
    expect(page.locator("#text")).to_have_value(re.compile("use: log_collector"))

    # A mistake in the file: said with place and remedy, shown on the card, and gone again with undo.
    good = text(page)
    page.locator("#text").fill(good.replace("role: historian", "role: historan", 1))
    faults = page.locator("[data-faults]")
    expect(faults).to_contain_text("节点“historian” › 角色")
    expect(faults).to_contain_text("可以用：")
    expect(page.locator("[data-publish]")).to_be_disabled()
    faults.get_by_role("button", name=re.compile("去改")).first.click()
    assert "historan" in page.evaluate(
        "document.getSelection().toString() || document.activeElement.value.slice(document.activeElement.selectionStart, document.activeElement.selectionEnd)"
    )
    page.evaluate("scrollTo(0, 0)")  # else what lies half under the bar that sticks counts as too small
    assert axe_faults(page) == []
    assert not scrolls_sideways(page)
    page.get_by_role("button", name="撤销").click()
    expect(page.locator("#text")).to_have_value(good)
    expect(faults).to_contain_text("没有问题，可以发布")
    picture(page, "scenario-editor")

    # Published, looked over, tried.
    page.get_by_label("版本说明").fill("加了历史库")
    page.get_by_role("button", name="发布版本").click()
    page.wait_for_url(re.compile("/range/preview/own-"))
    expect(page.get_by_text("第 1 版已发布")).to_be_visible()
    expect(page.locator('[data-node="historian"]')).to_contain_text("厂区历史库")
    assert axe_faults(page) == []
    assert not scrolls_sideways(page)
    picture(page, "scenario-preview")
    page.get_by_role("button", name="试运行").click()
    page.wait_for_url(re.compile(r"/range/instances/\d+/"))
    # The job's card brings the page up to date by itself once the range stands.
    expect(page.locator(".cr-nodes")).to_contain_text("historian", timeout=180_000)
    page.get_by_role("button", name="结束靶场").click()
    page.wait_for_url(re.compile("/range/$"))


def test_a_scenario_is_written_by_keyboard_alone(visit: Callable[..., Visitor]) -> None:
    trainer = visit("trainer")
    page = begin(trainer, "键盘灌装线")

    def enter(selector: str) -> None:
        page.locator(selector).focus()
        page.keyboard.press("Enter")

    enter('[data-add="zone"]')
    page.locator("[data-form] [name=title]").focus()
    page.keyboard.type("隔离区")
    page.locator("[data-form] [name=purdue]").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("3.5")
    page.keyboard.press("Enter")
    expect(page.locator("[data-zone]")).to_have_count(4)
    expect(page.locator("#text")).to_have_value(re.compile(r"title: 隔离区, purdue: 3\.5"))

    enter('[data-focus="node hmi"]')
    expect(page.locator('[data-focus="node hmi"]')).to_have_attribute("aria-pressed", "true")
    page.locator("[data-form] [name=to]").focus()
    page.keyboard.press("ArrowDown")  # from the office to the new zone
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator('[data-zone="zone"] [data-node="hmi"]')).to_be_visible()

    enter('[data-focus="zone zone"]')
    enter("[data-form] [data-key=上移一层]")
    expect(page.locator("[data-zone]").first).to_have_attribute("data-zone", "zone")
    page.keyboard.press("Control+Z")
    expect(page.locator("[data-zone]").nth(1)).to_have_attribute("data-zone", "zone")

    # What may be written at the cursor.
    page.locator("#text").focus()
    page.keyboard.press("Control+Home")
    page.evaluate(
        "() => { const t = document.getElementById('text'); const at = t.value.indexOf('role: plc') + 9; t.setSelectionRange(at, at); document.dispatchEvent(new Event('selectionchange')); }"
    )
    expect(page.locator("[data-here]")).to_contain_text("firewall")
    expect(page.locator("[data-here]")).to_contain_text("routes")


def test_a_scenario_is_written_by_dragging(visit: Callable[..., Visitor]) -> None:
    trainer = visit("trainer")
    page = begin(trainer, "拖动灌装线")

    drag(page, '[data-add="share"]', '[data-zone="office"]')
    expect(page.locator('[data-zone="office"] [data-node="share"]')).to_be_visible()
    drag(page, '[data-node="share"] .ca-card-open', '[data-zone="workshop"]')
    expect(page.locator('[data-zone="workshop"] [data-node="share"]')).to_be_visible()
    drag(page, '[data-node="ws"] .ca-handle', '[data-zone="workshop"]')
    expect(page.locator('[data-node="ws"]')).to_have_attribute("data-also", "workshop")
    expect(page.locator("#text")).to_have_value(re.compile(r"legs: \[office, workshop\]\n    gateway: fw\n    caps"))
    drag(page, '[data-add="zone"]', '[data-zone="office"]')
    expect(page.locator("[data-zone]")).to_have_count(4)
    expect(page.locator("[data-zone]").nth(1)).to_contain_text("Purdue 2.5")

    # Escape lets go without a change.
    before = text(page)
    x, y = centre(page, '[data-node="share"] .ca-card-open')
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 150, steps=6)
    expect(page.locator(".ca-ghost")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".ca-ghost")).to_have_count(0)
    page.mouse.up()
    assert text(page) == before


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_script_is_written_by_keyboard_tried_as_a_draft_and_published(
    visit: Callable[..., Visitor], size: dict[str, int]
) -> None:
    trainer = visit("trainer", size=size)
    page = begin(trainer, f"脚本灌装线 {size['width']}")
    form = page.locator("[data-form]")

    def tab(name: str) -> None:
        page.locator('[role="tab"][aria-selected="true"]').focus()
        for _turn in range(5):
            if page.locator(f'[data-tab="{name}"]').get_attribute("aria-selected") == "true":
                return
            page.keyboard.press("ArrowRight")
        expect(page.locator(f'[data-tab="{name}"]')).to_have_attribute("aria-selected", "true")

    def press(selector: str) -> None:
        page.locator(selector).first.focus()
        page.keyboard.press("Enter")

    def write(name: str, words: str) -> None:
        page.locator(f'[data-form] [name="{name}"]').focus()
        page.keyboard.type(words)

    def pick(name: str, value: str) -> None:
        page.locator(f'[data-form] [name="{name}"]').select_option(value)

    def look() -> None:
        page.evaluate("scrollTo(0, 0)")
        assert axe_faults(page) == []
        assert not scrolls_sideways(page)

    # An objective: what is missing is said at its field, with the focus there.
    tab("objective")
    press('[data-focus="add objective"]')
    write("objective.title.zh", "问出账号")
    pick("objective.kind", "detect")
    write("objective.points", "很多")
    press("[data-form] [data-key=add]")
    expect(page.locator('[data-form] [name="objective.points"]')).to_be_focused()
    expect(form.locator(".ca-wrong")).to_contain_text("“分值”要填整数或引用，不能是“很多”")
    look()
    page.keyboard.press("Control+A")
    page.keyboard.type("15")
    write("new.prompt.zh", "资产编号是什么")
    write("new.answer", "${draw.asset_tag}")
    press("[data-form] [data-key=add]")
    expect(page.locator('[data-item="objective"]')).to_contain_text("提交答案")
    expect(page.locator("#text")).to_have_value(
        re.compile("id: objective\n    title: 问出账号\n    kind: detect\n    points: 15")
    )
    press('[data-focus="up objective objective"]')
    expect(page.locator("[data-item]").nth(3)).to_have_attribute("data-item", "objective")
    expect(page.locator('[data-focus="up objective objective"]')).to_be_focused()
    picture(page, "scenario-objectives")
    look()

    # A seat with a terminal.
    tab("seat")
    press('[data-focus="add seat"]')
    pick("seat.cell", "blue")
    write("seat.title.zh", "应急组长")
    page.locator('[data-form] [name="seat.consoles"][value="ws"]').focus()
    page.keyboard.press("Space")
    press("[data-form] [data-key=add]")
    expect(page.locator('[data-item="seat"]')).to_contain_text("终端：ws")
    look()

    # An inject, written into story.yml, moved up by keyboard.
    tab("inject")
    press('[data-focus="add inject"]')
    write("inject.at", "4")
    write("inject.title.zh", "厂长来电")
    write("inject.body.zh", "还能不能交货？")
    pick("inject.expects", "reply")
    press("[data-form] [data-key=add]")
    expect(page.locator('[data-item="inject"]')).to_contain_text("第 4 分钟")
    press('[data-focus="up inject inject"]')
    expect(page.locator("[data-item]").first).to_have_attribute("data-item", "inject")
    picture(page, "scenario-injects")
    look()

    # A campaign step wants an attacker; then technique, step and parameters. What it leaves open is a fault at its field.
    tab("network")
    press('[data-add="attacker"]')
    page.locator("[data-form] [name=title]").focus()
    page.keyboard.type("外来电脑")
    page.keyboard.press("Enter")
    expect(card(page, "attacker")).to_be_visible()
    for name, technique, step, args in (
        ("接入", "T0864", "foothold", {"how": "U 盘"}), ("认出设备", "T0888", "identify", {}),
    ):  # fmt: skip
        tab("step")
        press('[data-focus="add step"]')
        pick("technique", technique)
        pick("step", step)
        write("step.title.zh", name)
        pick("step.node", "attacker")
        for key, value in args.items():
            write(f"args.{key}", value)
        if step == "identify":
            page.locator('[data-form] [name="step.after"][value="step"]').focus()
            page.keyboard.press("Space")
        press("[data-form] [data-key=add]")
        expect(page.locator(".ca-step").last).to_contain_text(name)
    expect(page.locator(".ca-edge-after")).to_have_count(1)
    expect(page.locator("#text")).to_have_value(
        re.compile(r"technique: T0888, title: 认出设备, node: attacker, step: identify, after: \[step\]")
    )
    look()
    picture(page, "scenario-campaign")

    # Wrong: said at the field, with its line; a try says what the draft lacks.
    page.locator("#text").fill(text(page).replace("points: 15", "points: 0"))
    expect(page.locator("[data-publish]")).to_be_disabled()
    page.get_by_role("button", name="试运行草稿").click()
    expect(
        page.get_by_text(re.compile("草稿还不能试运行，有 1 处问题：scenario.yml 第 .* 行 目标“objective” › points"))
    ).to_be_visible()
    tab("objective")
    press('[data-focus="objective objective"]')
    expect(form.locator(".ca-wrong")).to_contain_text("不能小于 1")
    write("objective.points", "")
    page.keyboard.press("Control+A")
    page.keyboard.type("15")
    press("[data-form] [data-key=apply]")
    expect(page.locator("[data-faults]")).to_contain_text("没有问题，可以发布")

    # Tried as it stands, listed nowhere; then published.
    editor = page.url
    page.get_by_role("button", name="试运行草稿").click()
    page.wait_for_url(re.compile(r"/range/instances/\d+/"))
    expect(page.get_by_role("main")).to_contain_text("草稿试运行")
    expect(page.locator(".cr-nodes")).to_contain_text("attacker", timeout=180_000)
    look()
    page.get_by_role("button", name="结束靶场").click()
    page.wait_for_url(re.compile("/range/$"))
    page.goto(f"{trainer.url}/range/write/")
    expect(page.locator("#source")).not_to_contain_text(f"脚本灌装线 {size['width']}")
    page.goto(editor)
    page.get_by_role("button", name="发布版本").click()
    page.wait_for_url(re.compile("/range/preview/own-"))
    expect(page.get_by_role("main")).to_contain_text("厂长来电")
    look()
    # The browser notes the refusal that was asked for.
    trainer.complaints[:] = [one for one in trainer.complaints if "status of 422" not in one]
