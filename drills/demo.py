"""The demo factory's next drill: planned, people invited, not started."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from courses.models import CoursePage
from cyber_range import catalogue
from drills import services
from drills.models import Drill, DrillPage
from lms.accounts.demo import Demo

ORDER = 30
SCENARIO, COURSE = "filling_line", "ics-security-basics"


def load(demo: Demo) -> None:
    """Makes the planned drill when there is none, and the page about it under the course. Who holds which seat follows the
    scenario's cells."""
    page_under_course(demo)
    factory = demo.organisations["factory"]
    if Drill.objects.filter(organisation=factory, scenario=SCENARIO).exists():
        return
    try:
        scenario = catalogue.entry(SCENARIO).scenario
    except LookupError:
        demo.say(f"没有场景 {SCENARIO}，演练留空")
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
    demo.say("演练 1 场（已计划，未开始）")


def page_under_course(demo: Demo) -> None:
    """The drill as a part of the course: what is rehearsed, after which lesson, and what counts as passed."""
    course = CoursePage.objects.filter(slug=COURSE).first()
    if course is None or DrillPage.objects.child_of(course).exists():
        return
    page = DrillPage(
        title="实操：守住一条灌装线",
        slug="drill-filling-line",
        owner=demo.people["trainer"],
        scenario=SCENARIO,
        brief="把前八课用到一条正在生产的灌装线上：发现入侵，切断通路，恢复设定值，按时上报，产线不停。",
        body=(
            "<h3>开始之前</h3><ul><li>学完《发现异常：日志、流量与报警》《处置与恢复、备份》两课，带上自己整理的通信矩阵。</li>"
            "<li>每队 2 至 4 人，先商定谁看画面、谁管防火墙、谁写报告。</li></ul>"
            "<h3>怎样算做到了</h3><ul><li>攻击被挡住，而上位机仍能正常轮询 PLC：拔网线、停机都不得分。</li>"
            "<li>灌装量回到工艺规定值，并说得出它是什么时候、从哪里被改的。</li>"
            "<li>在时限内交出首份事件报告，要素不全先报已知部分。</li></ul>"
        ),
    )
    course.add_child(instance=page)
    page.save_revision(user=demo.people["trainer"]).publish(user=demo.people["assessor"])
    demo.say(f"演练页《{page.title}》")
