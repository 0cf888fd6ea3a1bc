"""What courses and drills know about a person, in the words of the rule. The only module that asks them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from certification.domain.criteria import DrillEvidence, ExamEvidence, Inputs, Rule
from courses import services as courses
from courses.models import CoursePage
from drills import services as drills
from drills.models import Drill
from lms.accounts.models import User


def course_of(rule: Rule) -> CoursePage | None:
    """The published course a rule asks for; None when it asks for none or it was taken down."""
    return CoursePage.objects.live().filter(slug=rule.course).first() if rule.course else None


def collect(user: User, rule: Rule, *, since: datetime | None = None) -> Inputs:
    """The evidence as it stands now. Exams and drills up to `since` were spent on an earlier certificate."""
    hours, completed_at, exam = Decimal(0), None, None
    sources: dict[str, Any] = {}
    course = CoursePage.objects.filter(slug=rule.course).first() if rule.course else None
    if course is not None:
        hours = courses.hours_earned(user, course)
        completion = courses.course_completed(user, course)
        if completion is not None:
            completed_at = datetime.fromisoformat(completion["completed_at"])
            sources["course"] = completion
        sitting = courses.best_exam(user, course) if rule.exam is not None else None
        if sitting is not None and (since is None or sitting.submitted_at > since):
            exam = ExamEvidence(sitting.score, str(sitting.public_id), sitting.submitted_at)
            sources["exam"] = sitting.evidence()
    found: tuple[DrillEvidence, ...] = ()
    if rule.drill is not None:
        found, sources["drills"] = _drills(user, since)
    return Inputs(hours=hours, course_completed_at=completed_at, exam=exam, drills=found, sources=sources)


def _drills(user: User, since: datetime | None) -> tuple[tuple[DrillEvidence, ...], dict[str, Any]]:
    """Ended practical drills in which the person had a seat, and what the log says about each. A table-top drill proves
    talk, not deeds; a cancelled one proves nothing."""
    over = Drill.objects.past().filter(seats__user=user, ended_at__isnull=False).distinct().order_by("pk")
    if since is not None:
        over = over.filter(ended_at__gt=since)
    found, told = [], {}
    for drill in over:
        seen = drills.seat_evidence(user, drill)
        if not (seen["ended"] and seen["practical"]):
            continue
        told[str(drill.pk)] = seen
        found.append(
            DrillEvidence(
                drill=str(drill.pk),
                scenario=seen["scenario"],
                score=Decimal(str(seen["score"])),
                held=Decimal(str(seen["held_share"])),
                own_actions=tuple(action["seq"] for action in seen["actions"]),
                ended_at=drill.ended_at,
                driver=seen["driver"],
                title=seen["title"],
            )
        )
    return tuple(found), told
