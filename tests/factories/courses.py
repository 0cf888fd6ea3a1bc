"""Courses, questions and exams for tests: dull ones. A test states what matters to it."""

from __future__ import annotations

import json
import uuid
from typing import Any

from courses.domain import notation
from courses.models import CoursePage, Enrolment, ExamSession, LessonPage, Paper, PaperCell, Question, QuestionBank
from courses.services import (
    answer_inline,
    complete_lesson,
    enrol,
    open_exam,
    prepare_teaching,
    revise_question,
    right_answer,
)
from lms.accounts.models import User

LINES = {
    "single": "+ 甲方案\n- 乙方案\n- 丙方案",
    "multiple": "+ 第一项\n+ 第二项\n- 第三项\n- 第四项",
    "truefalse": "正确",
    "numeric": "500 ± 5 毫升",
    "matching": "左一 = 右一\n左二 = 右二\n左三 = 右三",
    "ordering": "先做这个\n再做这个\n然后这个\n最后这个",
}


def publish(page: Any) -> Any:
    page.save_revision().publish()
    page.refresh_from_db()
    return page


def make_course(
    title: str = "车间网络入门", *, owner: User | None = None, live: bool = True, lessons: int = 0, **values: Any
) -> CoursePage:
    index = prepare_teaching()
    course = CoursePage(title=title, slug=f"c-{uuid.uuid4().hex[:8]}", live=False, owner=owner, **values)
    index.add_child(instance=course)
    if live:
        publish(course)
    for number in range(1, lessons + 1):
        make_lesson(course, title=f"第{number}课")
    return course


def make_lesson(
    course: CoursePage, *, title: str = "第一课", body: list[Any] | None = None, live: bool = True, **values: Any
) -> LessonPage:
    """`body`: (block type, value) pairs; a Question stands for itself."""
    raw = [
        {"type": kind, "value": value.pk if isinstance(value, Question) else value, "id": str(uuid.uuid4())}
        for kind, value in body or []
    ]
    page = LessonPage(
        title=title, slug=f"l-{uuid.uuid4().hex[:8]}", live=False, body=json.dumps(raw), **{"minutes": 45, **values}
    )
    course.add_child(instance=page)
    if live:
        publish(page)
    return LessonPage.objects.get(pk=page.pk)


def make_bank(**values: Any) -> QuestionBank:
    return QuestionBank.objects.create(**{"title": "题库", "slug": f"b-{uuid.uuid4().hex[:8]}", **values})


def make_question(
    bank: QuestionBank, code: str = "Q1", *, kind: str = "single", lines: str | None = None, **values: Any
) -> Question:
    asked = notation.parse(kind, lines or LINES[kind])
    return revise_question(
        bank=bank, code=code, kind=kind, content=asked.content, key=asked.key, by=None,
        **{"stem": f"{code} 的题干", "function": "F1", "explanation": f"解析-{code}-不可外泄", **values},
    )  # fmt: skip


def make_paper(
    course: CoursePage, bank: QuestionBank, *, cells: list[tuple[str, str, int, int]] | None = None, **values: Any
) -> Paper:
    """Open, without conditions; cells are (function, difficulty, count, points)."""
    paper = Paper.objects.create(
        **{
            "title": "结业考试", "slug": f"p-{uuid.uuid4().hex[:8]}", "course": course, "bank": bank, "minutes": 30,
            "after_course": False, "wait_hours": 0, "max_attempts": 0, "is_open": True, **values,
        }
    )  # fmt: skip
    for function, difficulty, count, points in cells or [("F1", "", 6, 5)]:
        PaperCell.objects.create(
            paper=paper,
            function=function,
            function_name=f"功能{function}",
            difficulty=difficulty,
            count=count,
            points=points,
        )
    return paper


def make_exam(**values: Any) -> Paper:
    """A course with a paper of six questions, one of each kind."""
    course, bank = make_course(lessons=1), make_bank()
    for number, kind in enumerate(LINES, start=1):
        make_question(bank, f"Q{number}", kind=kind)
    return make_paper(course, bank, **values)


def sit(paper: Paper, user: User, **values: Any) -> ExamSession:
    enrol(user=user, course=paper.course, by=user)
    return open_exam(paper=paper, user=user, **values)


def finish_course(user: User, course: CoursePage, **values: Any) -> Enrolment:
    enrolment = enrol(user=user, course=course, by=user, **values)
    for lesson in LessonPage.objects.child_of(course).live().order_by("path"):
        for block in lesson.question_blocks():
            answer_inline(
                enrolment=enrolment, lesson=lesson, block=str(block.id), answer=right_answer(block.value.current)
            )
        complete_lesson(enrolment=enrolment, lesson=lesson, by=user, **values)
    enrolment.refresh_from_db()
    return enrolment
