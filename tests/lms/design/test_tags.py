"""The design system's words."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser
from django.forms import CharField, Form
from django.template import engines
from django.test import RequestFactory
from django.utils import timezone, translation
from wagtail import hooks

from lms.design.icons import ICONS
from lms.design.slots import fill
from lms.design.templatetags.design import STATUS_ICONS, days_left, masked


def render(source: str, **context: object) -> str:
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    return engines["django"].from_string(source).render(context, request)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("张三丰", "张**"),
        ("李四", "李*"),
        ("欧阳锋", "欧阳*"),
        ("欧阳", "欧*"),
        ("𠮷田", "𠮷*"),
        ("王", "王*"),
        ("", ""),
    ],
)
def test_masked_keeps_the_surname(name: str, shown: str) -> None:
    assert masked(name) == shown


def test_icon_is_hidden_from_readers_and_unknown_ones_fail() -> None:
    assert 'aria-hidden="true"' in render('{% icon "user" %}')
    with pytest.raises(KeyError):
        render('{% icon "no-such-icon" %}')


def test_every_status_has_an_icon_and_a_word() -> None:
    assert set(STATUS_ICONS.values()) <= ICONS.keys()
    shown = render('{% status "danger" "告警" %}')
    assert "<svg" in shown
    assert "告警" in shown


@pytest.mark.django_db
def test_page_s_title_stands_in_the_tab_and_on_top() -> None:
    source = '{% extends "design/base.html" %}{% block title %}甲 & {{ x }}{% endblock %}'

    page = render(source, x="<乙>")

    assert "<title>甲 & &lt;乙&gt; · 练兵</title>" in page
    assert "<h1>甲 & &lt;乙&gt;</h1>" in page


@pytest.mark.django_db
def test_page_may_say_another_heading_than_its_title() -> None:
    source = '{% extends "design/base.html" %}{% block title %}甲{% endblock %}{% block page_title %}乙{% endblock %}'

    assert "<h1>乙</h1>" in render(source)


def test_slot_shows_what_apps_put_there_in_their_order() -> None:
    with (
        hooks.register_temporarily("slot:x", lambda request, context: f"<b>{context['n']}</b>", order=2),
        hooks.register_temporarily("slot:x", lambda request, context: "", order=1),
        hooks.register_temporarily("slot:x", lambda request, context: "<i>先</i>", order=0),
    ):
        assert fill("x", RequestFactory().get("/"), {"n": 1}) == ["<i>先</i>", "<b>1</b>"]
        assert render('{% slot "x" n=3 %}') == "<i>先</i><b>3</b>"


class One(Form):
    name = CharField(label="姓名", help_text="如身份证")


def test_field_ties_label_help_and_errors_to_the_input() -> None:
    shown = render("{% field form.name %}", form=One({"name": ""}))

    assert '<label class="form-label required" for="id_name">姓名</label>' in shown
    assert 'aria-describedby="id_name-help id_name-errors"' in shown
    assert 'aria-invalid="true"' in shown
    assert 'id="id_name-errors"' in shown


def test_form_errors_say_how_many_places_need_a_look() -> None:
    assert "有 1 处需要改正" in render("{% form_errors form %}", form=One({"name": ""}))
    assert render("{% form_errors form %}", form=One()).strip() == ""


@pytest.mark.parametrize(("days", "zh"), [(45, "还有 45 天"), (1, "还有 1 天"), (0, "今天到期"), (-3, "已过期 3 天")])
def test_days_left_in_words(days: int, zh: str) -> None:
    day = timezone.localdate() + timedelta(days=days)

    assert days_left(day) == zh
    assert days_left(timezone.now() + timedelta(days=days)) == zh
    with translation.override("en"):
        assert re.fullmatch("[ -~]+", days_left(day))  # whichever app's English for these words is found first
