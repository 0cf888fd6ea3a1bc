"""Verbs refuse what is not possible now and say why."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from drills import log, services
from drills.domain import events as ev
from drills.models import Drill, Finding
from lms.accounts.models import AuditEntry, User

from .conftest import fresh, seat

pytestmark = pytest.mark.django_db


def begin(drill: Drill) -> Drill:
    with log.writing(drill.pk) as book:
        book.append(ev.Started(), at=timezone.now() - timedelta(minutes=1))
    return fresh(drill)


def test_a_plan_says_what_is_rehearsed_and_is_audited(planned: Drill, people: dict[str, User]) -> None:
    state = log.full_state(planned)

    assert (state.phase, state.duration_s, state.plan.report_limit_s) == ("planned", 1800, 600)
    assert state.invited == {
        str(people["white"].pseudonym): "white", str(people["blue"].pseudonym): "blue",
        str(people["blue2"].pseudonym): "blue", str(people["observer"].pseudonym): "observer",
    }  # fmt: skip
    assert AuditEntry.objects.filter(action="drill.planned", actor=people["white"]).count() == 1


def test_an_unknown_scenario_is_refused_by_name(people: dict[str, User]) -> None:
    with pytest.raises(services.Refused, match="nowhere"):
        services.plan_drill(
            title="x", organisation=people["white"].memberships.get().organisation, by=people["white"],
            scenario="nowhere", scheduled_at=timezone.now(), scope="x",
        )  # fmt: skip


def test_only_invited_people_sit_down(planned: Drill, people: dict[str, User]) -> None:
    with pytest.raises(services.Refused, match="没有被邀请"):
        services.take_seat(drill=planned, user=people["stranger"])


def test_a_full_seat_takes_no_more(planned: Drill, member) -> None:
    with pytest.raises(services.Refused, match="最多 1 人"):
        services.invite(drill=planned, user=member("security"), seat="white", by=None)


def test_sitting_down_twice_is_one_interval_and_leaving_ends_it(seated: Drill, people: dict[str, User]) -> None:
    services.take_seat(drill=seated, user=people["blue"])
    services.leave_seat(drill=seated, user=people["blue"])
    services.take_seat(drill=seated, user=people["blue"])

    held = log.full_state(fresh(seated)).held[str(people["blue"].pseudonym)]
    assert [(one.seat, one.until is None) for one in held] == [("blue", False), ("blue", True)]


def test_a_drill_without_range_does_not_start(seated: Drill, people: dict[str, User]) -> None:
    with pytest.raises(services.Refused, match="靶场还没有就绪"):
        services.start(drill=seated, by=people["white"])


def test_the_first_decision_stands(seated: Drill, people: dict[str, User]) -> None:
    drill = begin(seated)
    services.fire_inject(drill=drill, inject="call", by=people["white"])
    services.decide(drill=drill, seat=seat(drill, people["blue"]), inject="call", option="watch", reason="产线还在跑")

    with pytest.raises(services.Refused, match="以第一次为准"):
        services.decide(drill=drill, seat=seat(drill, people["blue"]), inject="call", option="stop")

    state = log.full_state(fresh(drill))
    assert (state.injects["call"].option, state.injects["call"].points) == ("watch", 6)
    evidence = services.seat_evidence(people["blue"], fresh(drill))
    row = drill.events.get(kind="inject.decided")
    assert evidence["actions"] == [
        {"drill": drill.pk, "seq": row.seq, "what": "decision", "ref": "call", "at": evidence["actions"][0]["at"]}
    ]


def test_a_message_to_others_cannot_be_answered(seated: Drill, people: dict[str, User]) -> None:
    drill = begin(seated)
    services.fire_inject(drill=drill, inject="boss", by=people["white"])

    with pytest.raises(services.Refused):
        services.reply_inject(drill=drill, seat=seat(drill, people["observer"]), inject="boss", text="我来答")


def test_a_reply_is_marked_up_to_what_it_is_worth(seated: Drill, people: dict[str, User]) -> None:
    drill = begin(seated)
    services.fire_inject(drill=drill, inject="boss", by=people["white"])
    services.reply_inject(drill=drill, seat=seat(drill, people["blue"]), inject="boss", text="正在处置")

    with pytest.raises(services.Refused, match="0 到 4"):
        services.mark_inject(drill=drill, by=people["white"], inject="boss", points=5)
    services.mark_inject(drill=drill, by=people["white"], inject="boss", points=3)

    assert log.full_state(fresh(drill)).injects["boss"].points == 3


def test_a_report_keeps_what_was_asked_for_and_its_clock(seated: Drill, people: dict[str, User]) -> None:
    drill = begin(seated)
    with pytest.raises(services.Refused, match="至少填写"):
        services.submit_report(
            drill=drill, seat=seat(drill, people["blue"]), recipients=["leader"], incident_class="NAEXPLOIT",
            grade="一般", fields={"unit": "灌装车间"},
        )  # fmt: skip

    number = services.submit_report(
        drill=drill, seat=seat(drill, people["blue"]), recipients=["regulator", "bogus"], incident_class="NAEXPLOIT",
        grade="一般", fields={"unit": "灌装车间", "what": "08:10 设定值被改"},
    )  # fmt: skip

    report = log.full_state(fresh(drill)).reports[0]
    assert (number, report.recipients, report.limit_s, report.filled) == (1, ("regulator",), 600, ("unit", "what"))
    assert report.elapsed_s is None
    assert report.in_time


def test_findings_are_put_right_by_one_and_confirmed_by_another(seated: Drill, people: dict[str, User]) -> None:
    drill = begin(seated)
    services.end(drill=drill, by=people["white"])
    drill = fresh(drill)
    finding = services.add_finding(
        drill=drill, by=people["white"], title="联系表过期", measure="更新", owner=people["blue"],
        due=timezone.localdate() + timedelta(days=3), seq=1,
    )  # fmt: skip
    services.write_lessons(drill=drill, by=people["white"], lessons="先看趋势再动手", plan_revision="")
    with pytest.raises(services.Refused, match="没有销号"):
        services.close_drill(drill=drill, by=people["white"])
    finding = services.finish_finding(finding=finding, by=people["blue"], evidence="新表已发布")
    with pytest.raises(services.Refused, match="自己的整改"):
        services.close_finding(finding=finding, by=people["blue"], accept=True)
    services.close_finding(finding=finding, by=people["white"], accept=True)

    services.close_drill(drill=drill, by=people["white"])

    assert (fresh(drill).phase, Finding.objects.get().state) == ("closed", "closed")


def test_after_the_end_nothing_more_is_played(seated: Drill, people: dict[str, User]) -> None:
    drill = begin(seated)
    blue = seat(drill, people["blue"])
    services.end(drill=drill, by=people["white"])
    services.end(drill=drill, by=people["white"])

    for work in (
        lambda: services.note(drill=drill, seat=blue, text="x"),
        lambda: services.pause(drill=drill, by=people["white"]),
        lambda: services.take_seat(drill=drill, user=people["blue2"]),
        lambda: services.launch_range(drill=drill, by=people["white"]),
    ):
        with pytest.raises(services.Refused):
            work()
    assert drill.events.filter(kind="drill.ended").count() == 1
