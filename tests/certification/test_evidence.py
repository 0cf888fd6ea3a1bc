"""What courses and drills say, in the words of the rule: real courses and exams, a drill's evidence as its service gives it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from certification import evidence
from certification.domain.criteria import Inputs, Rule, as_data, decide
from certification.evidence import collect
from courses.models import ExamSession
from drills.models import Drill, Seat
from lms.accounts.models import User
from tests.factories.accounts import UserFactory
from tests.factories.certification import RULE
from tests.factories.courses import finish_course, make_exam, sit
from tests.factories.drills import DrillFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def user(db: None) -> User:
    return UserFactory()


def told(user: User, drill: Drill, **changes: Any) -> dict[str, Any]:
    """The shape of drills.services.seat_evidence."""
    return {
        "drill": drill.pk, "title": drill.title, "scenario": drill.scenario, "ended": True, "practical": True,
        "driver": "netns", "held_share": 0.93, "score": 82.5, "objectives": [], "range": {"captures": []},
        "actions": [{"drill": drill.pk, "seq": 41, "what": "objective", "ref": "o1", "at": 60.0}], **changes,
    }  # fmt: skip


def take_part(user: User, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Drill:
    drill = DrillFactory(scenario="filling_line", phase="ended", ended_at=timezone.now())
    Seat.objects.create(drill=drill, user=user, seat="blue", cell="blue")
    monkeypatch.setattr(evidence.drills, "seat_evidence", lambda who, which: told(who, which, **changes))
    return drill


def test_a_whole_way_is_collected_and_passes(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = make_exam()
    course = paper.course
    course.hours = Decimal("8")
    course.save()
    sitting = sit(paper, user)
    finish_course(user, course)
    ExamSession.objects.filter(pk=sitting.pk).update(
        state="submitted", score=Decimal("60"), submitted_at=timezone.now()
    )
    drill = take_part(user, monkeypatch)
    rule = Rule.from_data({**RULE, "course": course.slug})

    found = collect(user, rule)

    assert found.hours == 8
    assert found.course_completed_at is not None
    assert (found.exam.score, found.exam.attempt) == (Decimal("60"), str(sitting.public_id))
    (seen,) = found.drills
    assert (seen.drill, seen.held, seen.score, seen.own_actions) == (
        str(drill.pk),
        Decimal("0.93"),
        Decimal("82.5"),
        (41,),
    )
    assert set(found.sources) == {"course", "exam", "drills"}
    assert decide(rule, found).met
    assert as_data(found) == as_data(collect(user, rule))  # asking twice gives one record


def test_nothing_done_is_nothing_found(user: User) -> None:
    assert collect(user, Rule.from_data({**RULE, "course": "no-such-course"})) == Inputs(sources={"drills": {}})


@pytest.mark.parametrize("changes", [{"ended": False}, {"practical": False}])
def test_a_cancelled_or_table_top_drill_proves_nothing(
    user: User, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    take_part(user, monkeypatch, **changes)

    assert collect(user, Rule.from_data(RULE)).drills == ()


def test_what_was_spent_on_an_earlier_certificate_does_not_count_again(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = make_exam()
    sitting = sit(paper, user)
    ExamSession.objects.filter(pk=sitting.pk).update(
        state="submitted", score=Decimal("90"), submitted_at=timezone.now()
    )
    take_part(user, monkeypatch)
    rule = Rule.from_data({**RULE, "course": paper.course.slug})

    later = collect(user, rule, since=timezone.now() + timedelta(seconds=1))

    assert (later.exam, later.drills) == (None, ())
