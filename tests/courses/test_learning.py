"""Taking a course, from enrolling to evidence."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from courses.domain.errors import Refused
from courses.models import Enrolment, InlineAnswer, LessonPage, LessonProgress
from courses.services import (
    answer_inline,
    complete_lesson,
    course_completed,
    course_progress,
    enrol,
    hours_earned,
    right_answer,
    save_position,
    withdraw,
)
from lms.accounts.models import AuditEntry
from tests.factories.courses import LINES, finish_course, make_bank, make_course, make_lesson, make_question, publish

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 23, 4, tzinfo=UTC)


def test_enrol_is_once_and_audited(member):
    user, course = member(), make_course()

    first, second = enrol(user=user, course=course, by=user), enrol(user=user, course=course, by=user)

    assert first == second
    assert AuditEntry.objects.filter(action="course.enrolled").count() == 1


def test_enrol_refuses_officers_and_drafts(member):
    officer, learner = member("officer"), member()

    for user, course in ((officer, make_course()), (learner, make_course(live=False))):
        with pytest.raises(Refused) as refused:
            enrol(user=user, course=course, by=user)
        assert refused.value.code == "may_not_enrol"
    assert not Enrolment.objects.exists()


def test_leaving_keeps_progress_and_coming_back_goes_on(member):
    user, course = member(), make_course(lessons=2)
    enrolment = enrol(user=user, course=course, by=user)
    complete_lesson(enrolment=enrolment, lesson=course.lessons()[0], by=user)

    withdraw(enrolment=enrolment, by=user)
    with pytest.raises(Refused, match="退出"):
        complete_lesson(enrolment=enrolment, lesson=course.lessons()[1], by=user)
    again = enrol(user=user, course=course, by=user)

    assert (again, again.state, course_progress(again).done) == (enrolment, "active", 1)


@pytest.mark.parametrize("kind", LINES)
def test_answer_inline_tells_right_from_wrong(member, kind):
    user, bank, course = member(), make_bank(), make_course()
    question = make_question(bank, kind=kind, use="lesson")
    lesson = make_lesson(course, body=[("question", question)])
    enrolment, block = enrol(user=user, course=course, by=user), str(lesson.question_blocks()[0].id)
    right = right_answer(question.current)

    told = answer_inline(enrolment=enrolment, lesson=lesson, block=block, answer=right)

    assert (told.right, told.explanation, told.tries) == (True, question.current.explanation, 1)
    assert answer_inline(enrolment=enrolment, lesson=lesson, block=block, answer=right).tries == 2
    assert InlineAnswer.objects.count() == 1


@pytest.mark.parametrize(
    ("answer", "code"), [(None, "empty_answer"), ("nonsense", "bad_answer"), ({"a": "b"}, "bad_answer")]
)
def test_answer_inline_refuses_what_is_no_answer(member, answer, code):
    user, course = member(), make_course()
    lesson = make_lesson(course, body=[("question", make_question(make_bank(), use="lesson"))])
    enrolment = enrol(user=user, course=course, by=user)

    with pytest.raises(Refused) as refused:
        answer_inline(enrolment=enrolment, lesson=lesson, block=str(lesson.question_blocks()[0].id), answer=answer)

    assert refused.value.code == code


def test_complete_lesson_wants_its_questions_answered_rightly_or_not(member):
    user, course = member(), make_course()
    question = make_question(make_bank(), kind="truefalse", use="lesson")
    lesson = make_lesson(course, body=[("heading", "先想一想"), ("question", question)])
    enrolment = enrol(user=user, course=course, by=user)
    with pytest.raises(Refused) as refused:
        complete_lesson(enrolment=enrolment, lesson=lesson, by=user)

    answer_inline(enrolment=enrolment, lesson=lesson, block=str(lesson.question_blocks()[0].id), answer=False)
    row = complete_lesson(enrolment=enrolment, lesson=lesson, by=user, now=NOON)

    assert refused.value.code == "questions_left"
    assert (row.done_at, row.revision) == (NOON, lesson.live_revision_id)


def test_the_last_lesson_completes_the_course_with_evidence(member):
    user, course = member(), make_course(lessons=2, hours=3)
    first, second = course.lessons()
    enrolment = enrol(user=user, course=course, by=user)
    complete_lesson(enrolment=enrolment, lesson=first, by=user, now=NOON)
    assert (course_completed(user, course), hours_earned(user, course)) == (None, Decimal("1.5"))

    later = NOON + timedelta(hours=1)
    complete_lesson(enrolment=enrolment, lesson=second, by=user, now=later)
    complete_lesson(enrolment=enrolment, lesson=second, by=user, now=later + timedelta(days=1))

    assert course_completed(user, course) == {
        "enrolment": enrolment.pk,
        "completed_at": later.isoformat(),
        "rule": "every-lesson-1",
        "course": course.pk,
        "slug": course.slug,
        "title": course.title,
        "revision": course.live_revision_id,
        "hours": "3.0",
        "lessons": [
            {
                "id": first.pk,
                "title": first.title,
                "minutes": 45,
                "revision": first.live_revision_id,
                "done_at": NOON.isoformat(),
            },
            {
                "id": second.pk,
                "title": second.title,
                "minutes": 45,
                "revision": second.live_revision_id,
                "done_at": later.isoformat(),
            },
        ],
    }
    assert hours_earned(user, course) == Decimal("3.0")


def test_a_completed_course_stays_completed_when_lessons_are_added(member):
    user, course = member(), make_course(lessons=1)
    finish_course(user, course)
    evidence = course_completed(user, course)

    make_lesson(course, title="后来加的")

    assert course_completed(user, course) == evidence


def test_drafts_do_not_count(member):
    user, course = member(), make_course(lessons=1)
    draft = make_lesson(course, title="还没写完", live=False)

    enrolment = finish_course(user, course)

    assert enrolment.state == "completed"
    publish(draft)
    assert list(course.lessons().values_list("title", flat=True)) == ["第1课", "还没写完"]


def test_hours_are_nothing_for_strangers(member):
    assert hours_earned(member(), make_course(lessons=1)) == Decimal("0.0")


def test_position_is_kept_within_bounds(member):
    user, course = member(), make_course(lessons=1)
    enrolment, lesson = enrol(user=user, course=course, by=user), course.lessons()[0]

    save_position(enrolment=enrolment, lesson=lesson, scroll=5000)
    save_position(enrolment=enrolment, lesson=lesson, video=("v1", 75))

    assert LessonProgress.objects.get().position == {"scroll": 1000, "video": {"v1": 75}}


def test_search_finds_chinese_inside_words():
    course = make_course("中小企业数字化转型", subtitle="数据安全与应急演练")
    lesson = make_lesson(course, title="清点家底", body=[("markdown", "网络安全**演练**怎么做，读 Modbus 报文")])
    other = make_course("采购入门")

    found = {
        q: set(type(course).objects.found(q))
        for q in ("数据", "演练", "数字化", "据安", "练", "转型 演练", "采购", "炼铁", "。")
    }

    assert found == {
        "数据": {course}, "演练": {course}, "数字化": {course}, "据安": {course}, "练": {course}, "转型 演练": {course},
        "采购": {other}, "炼铁": set(), "。": set(),
    }  # fmt: skip
    assert [set(LessonPage.objects.found(q)) for q in ("演练", "络安全演", "modb", "数字化")] == [
        {lesson},
        {lesson},
        {lesson},
        set(),
    ]


def test_search_ranks_the_title_first():
    body = make_course("车间管理", intro="讲一点演练")
    title = make_course("演练入门")

    assert list(type(body).objects.found("演练")) == [title, body]
