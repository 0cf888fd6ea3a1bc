"""The after-action report as the printer's template wants it: words only, every number already written out."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from cyber_range.templatetags.cyber_range_map import in_words
from drills.templatetags.drills_words import clock

TEMPLATE = Path(__file__).resolve().parent.parent / "typst" / "report.typ"


def _day(day: date) -> str:
    return f"{day.year}年{day.month}月{day.day}日"


def _moment(at: datetime | None) -> str:
    if at is None:
        return "—"
    at = timezone.localtime(at)
    return f"{_day(at)} {at:%H:%M:%S}"


def report_data(account: dict[str, Any], *, printed: datetime) -> dict[str, Any]:
    """In the parts of GB/T 38645-2020; `account` is what the print page shows."""
    drill, state, action, entry = account["drill"], account["state"], account["action"], account["entry"]
    score = action.score
    return {
        "title": drill.title,
        "organisation": drill.organisation.name,
        "printed": _moment(printed),
        "words": {
            "report": _("复盘报告"), "mark": _("演练"), "printed": _("生成于"), "none": _("无"),
            "subtitle": _("应急演练评估与总结（参照 GB/T 38645-2020）"), "overview": _("概况"), "purpose": _("目的"),
            "scenario": _("场景"), "course": _("过程"), "result": _("评估结果"), "findings": _("问题清单与整改措施"),
            "revision": _("预案修订记录"), "lessons": _("经验教训"), "signatures": _("签字"),
        },
        "heads": {
            "course": [_("演练时间"), _("事项"), _("记录号")],
            "times": [_("用时"), _("实际"), _("目标")],
            "criteria": [_("评估项"), _("要点"), _("评分")],
            "objectives": [_("目标"), _("结果"), _("记录号")],
            "findings": [_("问题"), _("整改措施"), _("责任人"), _("期限"), _("状态")],
        },
        "facts": [
            [_("单位"), drill.organisation.name],
            [_("时间"), f"{_moment(drill.started_at)} – {_moment(drill.ended_at)}"],
            [_("形式"), f"{drill.get_form_display()} · {drill.get_type_display()}"],
            [_("范围"), drill.scope],
            [_("事件分类"), f"{drill.incident_class} · {drill.get_data_class_display()}"],
            [_("年度计划项"), drill.plan_item or "—"],
            *([str(cell), "、".join(names)] for cell, names in account["roles"]),
        ],
        "purpose": drill.purpose,
        "scenario": _("%(title)s（v%(version)s）：%(summary)s") % {
            "title": in_words(entry.scenario.title), "version": state.lab.scenario_version,
            "summary": in_words(entry.scenario.summary),
        } if entry else "",
        "range": f"{_('靶场')} {state.lab.range_id} · {state.lab.driver} · SHA-256 {state.lab.digest}" if state.lab.range_id else "",
        "course": [[clock(moment.at), name, str(moment.seq)] for moment, name in account["course"]],
        "reports": [
            {
                "title": _("事件报告 %(n)s") % {"n": one.number},
                "line": " · ".join(
                    [who, clock(one.at), str(one.grade), one.incident_class, _("时限内") if one.in_time else _("超时限")]
                ),
                "texts": list(texts.values()),
            }
            for one, texts, who in account["reports"]
        ],
        "result": _("得分 %(percent)s（%(points)s/%(possible)s），目标达成 %(done)s/%(all)s，提示 %(hints)s 次。") % {
            "percent": score.percent, "points": score.points, "possible": score.possible,
            "done": len(action.verified), "all": len(account["objectives"]), "hints": action.hints,
        },
        "times": [[str(name), clock(time.took), clock(time.target)] for name, time in account["times"]],
        "criteria": [
            [str(one.title), str(one.look_for), "—" if one.points is None else f"{one.points}/{one.of}"]
            for one in action.criteria
        ],
        "objectives": [
            [
                in_words(row["spec"].title),
                _("达成 %(at)s") % {"at": clock(row["done"].verified_at)} if row["verified"] else _("未达成"),
                str(row["done"].verified_seq) if row["verified"] else "—",
            ]
            for row in account["objectives"]
        ],
        "findings": [
            [finding.title, finding.measure, finding.owner.name if finding.owner else "—", _day(finding.due), str(finding.get_state_display())]
            for finding in account["findings"]
        ],
        "revision": drill.plan_revision,
        "lessons": drill.lessons,
        "signers": [_("导调组："), _("参演组："), _("日期：")],
    }  # fmt: skip
