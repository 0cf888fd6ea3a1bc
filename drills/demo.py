"""The demo factory's next drill: planned, people invited, not started."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from cyber_range import catalogue
from drills import services
from drills.models import Drill
from lms.accounts.demo import Demo

ORDER = 30
SCENARIO = "filling_line"


def load(demo: Demo) -> None:
    """Makes the planned drill when there is none. Who holds which seat follows the scenario's cells."""
    factory = demo.organisations["factory"]
    if Drill.objects.filter(organisation=factory, scenario=SCENARIO).exists():
        return
    try:
        scenario = catalogue.entry(SCENARIO).scenario
    except LookupError:
        demo.say(f"没有场景 {SCENARIO},演练留空")
        return
    by_cell: dict[str, list[str]] = {}
    for seat in scenario.seats:
        by_cell.setdefault(seat.cell, []).append(seat.id)
    wishes = {"white": ["trainer"], "blue": ["security", "learner"], "observer": ["admin"]}
    seats = [
        (demo.people[key], by_cell[cell][number % len(by_cell[cell])])
        for cell, keys in wishes.items()
        for number, key in enumerate(keys)
        if by_cell.get(cell)
    ]  # fmt: skip
    services.plan_drill(
        title="灌装线工控安全实操演练",
        organisation=factory,
        by=demo.people["security"],
        scenario=SCENARIO,
        scheduled_at=timezone.now() + timedelta(hours=2),
        purpose="检验灌装线遭受网络入侵时的发现、研判、遏制、恢复和上报能力。",
        scope="灌装车间、设备与网络组、信息化组",
        plan_item="2026 年度网络和数据安全应急演练计划 第 3 项",
        seats=seats,
    )
    demo.say("演练 1 场(已计划,未开始)")
