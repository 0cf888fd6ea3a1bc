"""A criterion in words a shop-floor worker uses: what is asked, what is there, where to go for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from certification.evidence import course_of
from certification.models import AwardRule


@dataclass(frozen=True, slots=True)
class Row:
    code: str
    title: str
    wanted: str
    got: str
    met: bool
    url: str = ""
    action: str = ""
    recognised: bool = False


def percent(share: str) -> str:
    number = f"{float(share) * 100:.1f}"
    return f"{number.removesuffix('.0')}%"


def rows(outcome: Mapping[str, Any], rule: AwardRule | None = None) -> list[Row]:
    """`outcome` as recorded (plain data). With a rule the unmet rows carry the way to mend them."""
    ways = _ways(rule) if rule is not None else {}
    found = []
    for criterion in outcome["criteria"]:
        code, met = criterion["code"], criterion["met"]
        title, wanted, got = _words(code, criterion["wanted"], criterion["got"])
        url, action = ("", "") if met else ways.get(code, ("", ""))
        found.append(Row(code, title, wanted, got, met, url, action, criterion["recognised"]))
    return found


def title_of(code: str) -> str:
    return _words(code, "0", "")[0]


def _words(code: str, wanted: str, got: str) -> tuple[str, str, str]:
    nothing = _("还没有")
    if code == "hours":
        return _("学时"), _("不少于 %s 学时") % wanted, _("%s 学时") % got
    if code == "course":
        moment = parse_datetime(got) if got else None
        return _("课程"), _("学完全部课时"), date_format(localtime(moment), "DATE_FORMAT") if moment else _("未学完")
    if code == "exam":
        return _("理论考试"), _("%s 分及以上") % wanted, _("%s 分") % got if got else nothing
    if code == "drill":
        return _("演练得分"), _("%s 分及以上") % wanted, _("%s 分") % got if got else nothing
    if code == "seat":
        return _("在席时长"), _("不少于全程 %s") % percent(wanted), percent(got) if got else nothing
    if code == "own_action":
        return _("本人核实动作"), _("至少 %s 项") % wanted, _("%s 项") % got if got else nothing
    if code == "review":
        return _("综合评审"), _("%s 分及以上") % wanted, _("%s 分") % got if got else _("评阅中")
    return _("考评员确认"), _("须确认"), _("已确认") if got == "1" else _("待确认")


def _ways(rule: AwardRule) -> dict[str, tuple[str, str]]:
    course = course_of(rule.rule)
    learn = (
        (course.url, _("去学习")) if course is not None and course.url else (reverse("courses:catalogue"), _("找课程"))
    )
    drill = (reverse("drills:home"), _("去演练"))
    return {
        "hours": learn,
        "course": learn,
        "exam": (reverse("courses:exams"), _("去考试")),
        "drill": drill,
        "seat": drill,
        "own_action": drill,
    }
