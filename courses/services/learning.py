"""Taking a course: enrolling, reading, answering on the way, finishing; and what others may read of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from courses import rules
from courses.domain import grading, presenting, progress
from courses.domain.errors import Refused
from courses.models import CoursePage, Enrolment, InlineAnswer, LessonPage, LessonProgress, QuestionVersion
from courses.services import marking
from lms.accounts import audit
from lms.accounts.models import Membership, Organisation, User


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a learner is told about an inline answer. Only lessons tell the key; exams never do."""

    share: Fraction
    key_text: str
    explanation: str
    tries: int
    answer: Any

    @property
    def right(self) -> bool:
        return self.share == 1


@transaction.atomic
def enrol(
    *, user: User, course: CoursePage, by: User, now: datetime | None = None, due_at: datetime | None = None
) -> Enrolment:
    """Puts the person on the course; once more changes nothing, and someone who had left is back where he was."""
    if not rules.may_enrol(user, course):
        raise Refused("may_not_enrol", _("这门课程暂时不能报名。"), _("请在课程目录里另选一门，或联系培训管理员。"))
    enrolment, made = Enrolment.objects.select_for_update().get_or_create(
        user=user, course=course, defaults={"enrolled_at": now or timezone.now(), "due_at": due_at}
    )
    if enrolment.state == Enrolment.State.WITHDRAWN:
        enrolment.state = Enrolment.State.COMPLETED if enrolment.completed_at else Enrolment.State.ACTIVE
        enrolment.save(update_fields=["state"])
        made = True
    if made:
        audit.record("course.enrolled", course, by=by, user=user.pk)
    return enrolment


@transaction.atomic
def withdraw(*, enrolment: Enrolment, by: User) -> Enrolment:
    """Leaves the course. Progress and evidence stay: a completed course remains completed."""
    if enrolment.state != Enrolment.State.WITHDRAWN:
        enrolment.state = Enrolment.State.WITHDRAWN
        enrolment.save(update_fields=["state"])
        audit.record("course.withdrawn", enrolment.course, by=by, user=enrolment.user_id)
    return enrolment


def see_lesson(*, enrolment: Enrolment, lesson: LessonPage, now: datetime | None = None) -> LessonProgress:
    """Notes that the lesson was opened, so that tomorrow goes on here."""
    now = now or timezone.now()
    row, made = LessonProgress.objects.get_or_create(
        enrolment=enrolment, lesson=lesson, defaults={"first_seen_at": now, "seen_at": now}
    )
    if not made:
        row.seen_at = now
        row.save(update_fields=["seen_at"])
    return row


def save_position(
    *, enrolment: Enrolment, lesson: LessonPage, scroll: int | None = None, video: tuple[str, int] | None = None
) -> None:
    """How far down the page (per mille), and how far into a video (its block, seconds)."""
    row = see_lesson(enrolment=enrolment, lesson=lesson)
    if scroll is not None:
        row.position["scroll"] = max(0, min(1000, scroll))
    if video is not None:
        row.position.setdefault("video", {})[video[0]] = max(0, video[1])
    row.save(update_fields=["position"])


def inline_seed(version: QuestionVersion) -> str:
    """Inline questions look the same to everyone: their seed is their version."""
    return f"inline {version.pk}"


def right_answer(version: QuestionVersion) -> Any:
    """The right answer to an inline question as a browser would send it: for the demo, the tour and tests."""
    answer = version.key["value"] if version.kind == "numeric" else version.key
    return presenting.translate(
        version.kind, answer, presenting.names(version.content, inline_seed(version), str(version.pk))
    )


def feedback_on(row: InlineAnswer) -> Feedback:
    version = row.version
    share = grading.share(version.kind, version.key, row.answer)
    return Feedback(share, version.key_text, version.explanation, row.tries, row.answer)


@transaction.atomic
def answer_inline(
    *, enrolment: Enrolment, lesson: LessonPage, block: str, answer: Any, now: datetime | None = None
) -> Feedback:
    """Marks an answer inside a lesson and tells what is right. `answer` is as the browser names it."""
    found = next((child for child in lesson.question_blocks() if str(child.id) == block), None)
    if found is None or found.value.current is None:
        raise Refused("no_such_question", _("这道题已被修改或删除。"), _("请刷新页面后再答。"))
    version = found.value.current
    if presenting.is_empty(answer):
        raise Refused("empty_answer", _("还没有作答，或者排序的位置有重复。"), _("请答完整再提交。"))
    try:
        answer = presenting.read(version.kind, version.content, inline_seed(version), str(version.pk), answer)
    except presenting.BadAnswer as fault:
        raise Refused("bad_answer", _("这道题刚被修改过。"), _("请刷新页面后再答。")) from fault
    share = grading.share(version.kind, version.key, answer)
    row = see_lesson(enrolment=enrolment, lesson=lesson, now=now)
    kept, made = InlineAnswer.objects.select_for_update().get_or_create(
        progress=row,
        block=block,
        defaults={
            "version": version,
            "answer": answer,
            "share": marking.as_decimal(share),
            "answered_at": now or timezone.now(),
        },
    )
    if not made:
        kept.version, kept.answer, kept.share = version, answer, marking.as_decimal(share)
        kept.tries += 1
        kept.answered_at = now or timezone.now()
        kept.save()
    return feedback_on(kept)


@transaction.atomic
def complete_lesson(
    *, enrolment: Enrolment, lesson: LessonPage, by: User, now: datetime | None = None
) -> LessonProgress:
    """Ends the lesson once its questions are answered (rightly or not); the last one ends the course."""
    now = now or timezone.now()
    enrolment = Enrolment.objects.select_for_update().get(pk=enrolment.pk)
    if enrolment.state == Enrolment.State.WITHDRAWN:
        raise Refused("withdrawn", _("您已退出这门课程。"), _("请先重新加入课程。"))
    row = see_lesson(enrolment=enrolment, lesson=lesson, now=now)
    if row.done_at is None:
        answered = set(row.answers.values_list("block", flat=True))
        questions = [str(child.id) for child in lesson.question_blocks()]
        left = progress.unanswered(questions, answered)
        if left:
            raise Refused(
                "questions_left",
                _("还有 %(count)d 道随堂题没有作答。") % {"count": len(left)},
                _("请答完随堂题，再点“学完本课时”。"),
            )
        row.done_at, row.revision = now, lesson.live_revision_id
        row.save(update_fields=["done_at", "revision"])
        audit.record("lesson.done", lesson, by=by, user=enrolment.user_id)
    if enrolment.state == Enrolment.State.ACTIVE:
        _complete_course(enrolment, by=by, now=now)
    return row


def _complete_course(enrolment: Enrolment, *, by: User, now: datetime) -> None:
    course = enrolment.course
    if not course_progress(enrolment).complete:
        return
    rows = {row.lesson_id: row for row in enrolment.lessons.all()}
    enrolment.state, enrolment.completed_at = Enrolment.State.COMPLETED, now
    enrolment.evidence = {
        "rule": progress.RULE,
        "course": course.pk,
        "slug": course.slug,
        "title": course.title,
        "revision": course.live_revision_id,
        "hours": str(course.hours),
        "lessons": [
            {
                "id": lesson.pk,
                "title": lesson.title,
                "minutes": lesson.minutes,
                "revision": rows[lesson.pk].revision,
                "done_at": rows[lesson.pk].done_at.isoformat(),
            }
            for lesson in course.lessons()
        ],
    }
    enrolment.save(update_fields=["state", "completed_at", "evidence"])
    audit.record("course.completed", course, by=by, user=enrolment.user_id)


def lessons_of(courses: Iterable[CoursePage]) -> dict[int, list[LessonPage]]:
    """Published lessons of many courses in reading order, without their bodies, in one query."""
    wanted = {course.path: course.pk for course in courses}
    found: dict[int, list[LessonPage]] = {pk: [] for pk in wanted.values()}
    if not wanted:
        return found
    below = Q()
    for path in wanted:
        below |= Q(path__startswith=path)
    for lesson in LessonPage.objects.live().filter(below).defer("body", "search_text").order_by("path"):
        parent = wanted.get(lesson.path[: -LessonPage.steplen])
        if parent is not None:
            found[parent].append(lesson)
    return found


def standing(enrolment: Enrolment | None, lessons: list[LessonPage]) -> list[progress.Lesson]:
    """The lessons as the learner stands to them (all untouched for someone not enrolled)."""
    rows = {row.lesson_id: row for row in enrolment.lessons.all()} if enrolment else {}
    return [
        progress.Lesson(
            id=lesson.pk,
            minutes=lesson.minutes,
            done=lesson.pk in rows and rows[lesson.pk].done_at is not None,
            seen_at=rows[lesson.pk].seen_at if lesson.pk in rows else None,
        )
        for lesson in lessons
    ]


def course_progress(enrolment: Enrolment) -> progress.Progress:
    return progress.progress(standing(enrolment, list(enrolment.course.lessons())))


def course_completed(user: User, course: CoursePage) -> dict[str, Any] | None:
    """Evidence that the course was completed, or None: enrolment, time, rule, hours, every lesson with its revision."""
    enrolment = Enrolment.objects.filter(user=user, course=course, completed_at__isnull=False).first()
    if enrolment is None:
        return None
    return {"enrolment": enrolment.pk, "completed_at": enrolment.completed_at.isoformat(), **enrolment.evidence}


def hours_earned(user: User, course: CoursePage) -> Decimal:
    """Standard hours of this course credited so far."""
    enrolment = Enrolment.objects.filter(user=user, course=course).first()
    if enrolment is None:
        return Decimal("0.0")
    if enrolment.completed_at is not None:
        return Decimal(enrolment.evidence.get("hours", course.hours))
    return progress.hours_earned(course.hours, standing(enrolment, list(course.lessons())))


def staff_learning(organisation: Organisation, *, now: datetime | None = None) -> dict[str, Any]:
    """Distinct people of the organisation who learn and who finished something, and who is late with what."""
    mine = Enrolment.objects.standing().filter(user__in=Membership.objects.active().of(organisation).values("user"))
    late = (
        mine.filter(completed_at=None, due_at__lt=now or timezone.now())
        .select_related("user", "course")
        .order_by("due_at")
    )
    return {
        "learning": mine.filter(completed_at=None).values("user").distinct().count(),
        "finished": mine.filter(completed_at__isnull=False).values("user").distinct().count(),
        "late": list(late[:10]),
    }
