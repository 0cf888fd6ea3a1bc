"""Who may do what with courses, questions and exams. Deny by default; nothing here writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lms.accounts.rules import Role, has_role, organisation_ids, roles_of

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from courses.models import CoursePage, Enrolment, ExamSession, QuestionBank
    from lms.accounts.models import User

TRAINERS = "培训师"  # group names in Wagtail: who writes, who approves
REVIEWERS = "审核人"


def may_learn(user: User | AnonymousUser) -> bool:
    """Anyone signed in; an officer who holds no other role looks at figures, he is not counted as a learner."""
    return bool(user.is_authenticated) and (
        not roles_of(user) or any(role != Role.OFFICER for _, role in roles_of(user))
    )


def may_enrol(user: User | AnonymousUser, course: CoursePage) -> bool:
    return may_learn(user) and course.live


def may_read_lesson(user: User | AnonymousUser, course: CoursePage, enrolment: Enrolment | None) -> bool:
    """Enrolled learners, and whoever wrote the course."""
    return user.is_authenticated and (
        (enrolment is not None and enrolment.state != "withdrawn") or course.owner_id == user.pk
    )


def may_teach(user: User | AnonymousUser) -> bool:
    return has_role(user, Role.TRAINER)


def may_see_bank(user: User | AnonymousUser, bank: QuestionBank) -> bool:
    """Keys and explanations: trainers of the bank's organisation; the platform's own bank is every trainer's."""
    places = organisation_ids(user, Role.TRAINER)
    return bool(places) and (bank.organisation_id is None or bank.organisation_id in places)


def may_edit_bank(user: User | AnonymousUser, bank: QuestionBank) -> bool:
    """The platform's own banks change by import only."""
    return bank.organisation_id is not None and bank.organisation_id in organisation_ids(user, Role.TRAINER)


def may_sit(user: User | AnonymousUser, session: ExamSession) -> bool:
    return user.is_authenticated and session.user_id == user.pk
