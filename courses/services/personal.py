"""What courses hold of a person, for "download my data" (PIPL art. 45)."""

from __future__ import annotations

from typing import Any

from courses.models import Enrolment, ExamSession
from lms.accounts.models import User


def personal_data(user: User) -> dict[str, Any]:
    """Learning and exams. No answer key: what was answered is shown as it was shown after the exam."""
    enrolments = Enrolment.objects.filter(user=user).select_related("course").prefetch_related("lessons__lesson")
    return {
        "enrolments": [
            {
                "course": one.course.title,
                "state": one.state,
                "enrolled": one.enrolled_at.isoformat(),
                "completed": one.completed_at and one.completed_at.isoformat(),
                "lessons": [
                    {"lesson": row.lesson.title, "first_seen": row.first_seen_at.isoformat()}
                    for row in one.lessons.all()
                ],
            }
            for one in enrolments
        ],
        "exams": [
            {
                "paper": str(one.paper),
                "attempt": one.attempt,
                "started": one.started_at.isoformat(),
                "submitted": one.submitted_at and one.submitted_at.isoformat(),
                "score": one.score,
                "passed": one.passed,
            }
            for one in ExamSession.objects.filter(user=user).select_related("paper")
        ],
    }
