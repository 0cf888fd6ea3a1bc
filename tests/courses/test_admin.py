"""Wagtail: who writes, who approves, and the question editor with its preview."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from wagtail.models import Workflow

from courses.models import CatalogueIndexPage, CoursePage, Paper, Question
from courses.rules import REVIEWERS
from courses.services import align_groups, enrol, prepare_teaching
from tests.factories.courses import make_bank, make_course, make_lesson, make_question

pytestmark = pytest.mark.django_db
PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def trainer(member):
    prepare_teaching()
    user = member("trainer")
    align_groups()
    return user


@pytest.fixture
def reviewer(member):
    prepare_teaching()
    user = member("assessor")
    Group.objects.get(name=REVIEWERS).user_set.add(user)
    return user


def question_form(bank, **values):
    return {
        "bank": bank.pk, "code": "N1", "use": "exam", "state": "live", "kind": "single", "stem": "先做什么？",
        "answer_lines": "+ 先看\n- 先拔线", "explanation": "", "function": "F1", "requirements": "L1.F1.1.K1", "difficulty": "easy", **values,
    }  # fmt: skip


def test_prepare_teaching_twice_changes_nothing():
    first = prepare_teaching()

    assert prepare_teaching() == first
    assert (CatalogueIndexPage.objects.count(), Workflow.objects.filter(name="课程审核").count()) == (1, 1)


def test_admin_is_open_to_trainers_and_closed_to_learners(trainer, member, signed_in):
    assert signed_in(trainer).get(reverse("wagtailadmin_home")).status_code == 200
    assert signed_in(member()).get(reverse("wagtailadmin_home")).status_code == 302


def test_menu_speaks_chinese(trainer, signed_in):
    page = signed_in(trainer).get(reverse("wagtailadmin_home")).content.decode()

    for word in ("课程", "题库", "试题", "试卷", "审核"):
        assert word in page or word.encode("unicode_escape").decode() in page


def test_draft_review_publish(trainer, reviewer, signed_in):
    course = make_course("待审的课", owner=trainer, live=False)
    course.save_revision(user=trainer)
    edit = reverse("wagtailadmin_pages:edit", args=[course.pk])
    form = {
        "title": "待审的课", "slug": course.slug, "subtitle": "", "tier": "intro", "hours": "1", "intro": "", "objectives": "",
        "audience": "", "seo_title": "", "search_description": "", "go_live_at": "", "expire_at": "", "comments-TOTAL_FORMS": 0,
        "comments-INITIAL_FORMS": 0, "comments-MIN_NUM_FORMS": 0, "comments-MAX_NUM_FORMS": "",
    }  # fmt: skip
    client = signed_in(trainer)

    client.post(edit, {**form, "action-publish": "1"})
    course.refresh_from_db()
    assert not course.live
    client.post(edit, {**form, "action-submit": "1"})
    state = course.current_workflow_state
    assert (state.workflow.name, state.status) == ("课程审核", "in_progress")
    state.current_task_state.approve(user=reviewer)

    course.refresh_from_db()
    assert course.live


def test_an_approved_course_waits_for_its_hour_and_the_follower_publishes_it(trainer, reviewer, signed_in, monkeypatch):
    course = make_course("下周开课", owner=trainer, live=False)
    course.go_live_at = timezone.now() + timedelta(hours=1)
    course.save_revision(user=trainer).publish(user=reviewer)
    course.refresh_from_db()
    assert (course.live, course.approved_schedule) == (False, True)
    call_command("publish_scheduled")
    course.refresh_from_db()
    assert not course.live

    later = timezone.now() + timedelta(hours=2)
    monkeypatch.setattr(timezone, "now", lambda: later)
    call_command("publish_scheduled")

    course.refresh_from_db()
    assert course.live
    assert "下周开课" in signed_in(trainer).get(reverse("courses:catalogue")).content.decode()


def test_a_course_goes_off_at_its_end(trainer):
    course = make_course("只开一季", owner=trainer)
    course.expire_at = timezone.now() + timedelta(hours=1)
    course.save_revision(user=trainer).publish()

    CoursePage.objects.filter(pk=course.pk).update(expire_at=PAST)  # its hour has come
    call_command("publish_scheduled")

    course.refresh_from_db()
    assert (course.live, course.expired) == (False, True)


def test_trainers_edit_their_own_courses_only(trainer, signed_in):
    mine, theirs = make_course(owner=trainer), make_course()
    client = signed_in(trainer)

    assert client.get(reverse("wagtailadmin_pages:edit", args=[mine.pk])).status_code == 200
    assert client.get(reverse("wagtailadmin_pages:edit", args=[theirs.pk])).status_code == 302


def test_previews_of_course_and_lesson_render(trainer):
    bank = make_bank(organisation=trainer.memberships.get().organisation)
    question = make_question(bank, use="lesson")
    course = make_course(owner=trainer, live=False)
    lesson = make_lesson(course, live=False, body=[("heading", "预览里的标题"), ("question", question)])

    pages = [page.make_preview_request().content.decode() for page in (course, lesson)]

    assert course.title in pages[0]
    assert "预览里的标题" in pages[1]
    assert question.current.stem in pages[1]
    assert question.current.explanation not in pages[1]


def test_question_editor_makes_versions(trainer, signed_in):
    bank = make_bank(organisation=trainer.memberships.get().organisation)
    client = signed_in(trainer)

    made = client.post(reverse("wagtailsnippets_courses_question:add"), question_form(bank))
    question = Question.objects.get()
    client.post(
        reverse("wagtailsnippets_courses_question:edit", args=[question.pk]), question_form(bank, stem="第一步做什么？")
    )

    question.refresh_from_db()
    assert made.status_code == 302
    assert list(question.versions.values_list("number", "stem", "created_by")) == [
        (2, "第一步做什么？", trainer.pk), (1, "先做什么？", trainer.pk),
    ]  # fmt: skip
    assert question.current.requirements == ["L1.F1.1.K1"]


def test_question_editor_names_the_faulty_line(trainer, signed_in):
    bank = make_bank(organisation=trainer.memberships.get().organisation)

    page = signed_in(trainer).post(
        reverse("wagtailsnippets_courses_question:add"), question_form(bank, answer_lines="+ 先看\n先拔线")
    )

    assert "第 2 行" in page.content.decode()
    assert not Question.objects.exists()


def test_question_editor_keeps_to_the_own_banks(trainer, member, signed_in):
    foreign = make_bank(organisation=member("trainer").memberships.get().organisation)
    question = make_question(foreign)
    client = signed_in(trainer)

    page = client.post(reverse("wagtailsnippets_courses_question:add"), question_form(foreign))
    edit = client.get(reverse("wagtailsnippets_courses_question:edit", args=[question.pk]))

    chosen = client.get(
        reverse(Question.snippet_viewset.chooser_viewset.get_url_name("choose_results"))
    ).content.decode()

    others = [
        client.get(reverse(f"wagtailsnippets_courses_question:{name}", args=[question.pk])).status_code
        for name in ("copy", "usage", "history")
    ]
    assert (page.status_code, edit.status_code, others) == (200, 404, [302, 404, 404])
    assert question.current.stem not in chosen
    assert Question.objects.count() == 1


def test_question_preview_shows_what_is_being_typed(trainer, signed_in):
    bank = make_bank(organisation=trainer.memberships.get().organisation)
    question = make_question(bank)
    client = signed_in(trainer)
    url = reverse("wagtailsnippets_courses_question:preview_on_edit", args=[question.pk])

    client.post(url, question_form(bank, code="Q1", stem="正在改的题干"))
    page = client.get(url).content.decode()

    assert "正在改的题干" in page
    assert question.versions.count() == 1


def test_pages_that_people_took_are_not_deleted(reviewer, member, signed_in):
    user, course = member(), make_course(lessons=1)
    enrol(user=user, course=course, by=user)

    signed_in(reviewer).post(reverse("wagtailadmin_pages:delete", args=[course.pk]))

    assert type(course).objects.filter(pk=course.pk).exists()


def test_lessons_take_no_exam_questions(trainer):
    bank = make_bank(organisation=trainer.memberships.get().organisation)
    exam, inline = make_question(bank, "E"), make_question(bank, "L", use="lesson")
    course = make_course()
    block = make_lesson(course).body.stream_block.child_blocks["question"]
    smuggled = make_lesson(course, body=[("question", exam), ("question", inline)])

    with pytest.raises(ValidationError):
        block.clean(exam)
    assert block.clean(inline) == inline
    assert [child.value for child in smuggled.question_blocks()] == [inline]


def test_paper_editor_takes_own_banks_and_courses_only(trainer, signed_in):
    own, foreign = (
        make_bank(title="自家的题库", organisation=trainer.memberships.get().organisation),
        make_bank(title="外人的题库"),
    )
    mine, theirs = make_course("自己写的课程", owner=trainer), make_course("别人写的课程")
    client = signed_in(trainer)
    form = {
        "title": "小考", "slug": "small", "minutes": 20, "grace_seconds": 30, "pass_mark": 60, "max_attempts": 3, "wait_hours": 24,
        "intro": "", "open_from": "", "open_until": "", "cells-TOTAL_FORMS": 1, "cells-INITIAL_FORMS": 0, "cells-MIN_NUM_FORMS": 1,
        "cells-MAX_NUM_FORMS": 1000, "cells-0-function": "F1", "cells-0-function_name": "资产", "cells-0-difficulty": "",
        "cells-0-count": 2, "cells-0-points": 5, "cells-0-id": "",
    }  # fmt: skip
    url = reverse("wagtailsnippets_courses_paper:add")

    refused = [
        client.post(url, {**form, "bank": bank.pk, "course": course.pk}).status_code
        for bank, course in ((foreign, mine), (own, theirs))
    ]
    assert (refused, Paper.objects.count()) == ([200, 200], 0)
    client.post(url, {**form, "bank": own.pk, "course": mine.pk})

    paper = Paper.objects.get()
    assert (paper.bank, paper.course_id, paper.question_count, paper.is_open) == (own, mine.pk, 2, False)
    offered = client.get(
        reverse(type(own).snippet_viewset.chooser_viewset.get_url_name("choose_results"))
    ).content.decode()
    assert [bank.title in offered for bank in (own, foreign)] == [True, False]
