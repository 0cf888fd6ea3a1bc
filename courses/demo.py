"""The demo's course: imported, published, and its learner in the middle of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from django.contrib.auth.models import Group
from django.utils import timezone

from courses.models import Enrolment, LessonPage
from courses.rules import REVIEWERS
from courses.services import (
    align_groups,
    answer_inline,
    complete_lesson,
    enrol,
    import_course,
    prepare_teaching,
    right_answer,
    see_lesson,
)
from lms.accounts.demo import Demo

ORDER = 10
CONTENT = Path(__file__).parent / "content"
LEARNER_DONE = 3  # lessons: the learner is met in the middle, so that there is something to go on with


def load(demo: Demo) -> None:
    """Again changes nothing: the import goes by content, and a learner who has begun is left alone."""
    prepare_teaching()
    align_groups()
    Group.objects.get(name=REVIEWERS).user_set.add(demo.people["assessor"])
    now = timezone.now()
    for folder in sorted(path.parent for path in CONTENT.glob("*/course.yml")):
        done = import_course(folder, by=demo.people["trainer"], organisation=demo.organisations["provider"])
        if done.changed:
            demo.say(f"课程《{done.course.title}》{done.lessons} 课、试题 {done.questions} 道")
        learner = demo.people["learner"]
        if Enrolment.objects.filter(user=learner, course=done.course).exists():
            continue
        enrolment = enrol(
            user=learner,
            course=done.course,
            by=demo.people["admin"],
            now=now - timedelta(days=6),
            due_at=now + timedelta(days=21),
        )
        lessons = list(LessonPage.objects.child_of(done.course).live().order_by("path"))
        for number, lesson in enumerate(lessons[:LEARNER_DONE]):
            then = now - timedelta(days=5 - number)
            for block in lesson.question_blocks():
                answer_inline(
                    enrolment=enrolment,
                    lesson=lesson,
                    block=str(block.id),
                    answer=right_answer(block.value.current),
                    now=then,
                )
            complete_lesson(enrolment=enrolment, lesson=lesson, by=learner, now=then)
        if len(lessons) > LEARNER_DONE:
            see_lesson(enrolment=enrolment, lesson=lessons[LEARNER_DONE], now=now - timedelta(hours=20))
