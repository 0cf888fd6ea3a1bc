"""Screens: what they show, to whom, and what they keep to themselves."""

import json
import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils import timezone

from courses.models import Enrolment, ExamSession, Facet, Figure, LessonProgress, QuestionVersion
from courses.services import align_groups, enrol, keep_figure, presented, right_answers, save_answer, submit_exam
from courses.wagtail_hooks import courses_for_tags, hand_in_overdue, learning_of_staff
from tests.factories.courses import (
    LINES,
    finish_course,
    make_bank,
    make_course,
    make_exam,
    make_lesson,
    make_paper,
    make_question,
    sit,
)

pytestmark = pytest.mark.django_db


def text(response) -> str:
    return response.content.decode()


# --- learning ----------------------------------------------------------------------------------------------------


def test_home_goes_on_where_i_left(member, signed_in):
    user, course = member(), make_course("灌装线安全", lessons=3)
    client = signed_in(user)
    enrolment = enrol(user=user, course=course, by=user)
    first, second, _ = course.lessons()

    client.post(reverse("courses:complete", args=[first.pk]))
    page = client.get(reverse("courses:home"))

    assert page.context["next"].resume == second
    assert f'href="{second.url}"' in text(page)
    assert "已学 1/3 课" in text(page)
    assert enrolment.lessons.get(lesson=first).done_at


def test_home_of_a_newcomer_leads_to_the_catalogue(member, signed_in):
    assert reverse("courses:catalogue") in text(signed_in(member()).get(reverse("courses:home")))


def test_home_sends_to_the_exam_until_it_is_passed(member, signed_in):
    user, paper = member(), make_exam(wait_hours=24)
    finish_course(user, paper.course)
    client = signed_in(user)
    before = text(client.get(reverse("courses:home")))
    session = sit(paper, user)
    for number, answer in right_answers(session).items():
        save_answer(session=session, number=number, answer=answer, seq=1, by=user)
    submit_exam(session=session, by=user)
    after = text(client.get(reverse("courses:home")))

    assert "可以参加考试" in before
    assert ("可以参加考试" in after, "该考的都合格了" in after, "两次考试之间要间隔" in after) == (False, True, False)


@pytest.mark.parametrize("name", ["courses:home", "courses:catalogue", "courses:exams"])
def test_lists_take_the_same_queries_for_one_and_three(member, signed_in, name, django_assert_num_queries):
    user = member()
    client, counts = signed_in(user), []
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    for number in (1, 2):
        for _ in range(number):
            paper = make_exam()
            enrol(user=user, course=paper.course, by=user)
        client.get(reverse(name))
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert client.get(reverse(name)).status_code == 200
        counts.append(len(seen))

    assert counts[0] == counts[1]


def test_catalogue_filters_by_facet_tier_and_words(member, signed_in):
    scene = Facet.objects.create(kind="scene", code="设备管理", name="设备管理")
    one, two = make_course("设备联网入门", tier="intro"), make_course("数据治理进阶", tier="advanced")
    one.facets.add(scene)
    one.save()
    make_course("草稿", live=False)
    client, url = signed_in(member()), reverse("courses:catalogue")

    def found(**query):
        return {card.course for card in client.get(url, query).context["cards"]}

    assert found() == {one, two}
    assert found(f=scene.pk) == {one}
    assert found(tier="advanced") == {two}
    assert found(q="据治") == {two}
    assert found(q="没有这样的课") == set()
    assert "清除条件" in text(client.get(url, {"q": "没有这样的课"}))
    assert "<html" not in text(client.get(url, headers={"HX-Request": "true"}))


def test_course_page_joins_and_leaves(member, signed_in):
    user, course = member(), make_course(lessons=1, objectives="能够守住一条线\n能够写报告")
    client = signed_in(user)
    before = text(client.get(course.url))

    client.post(reverse("courses:join", args=[course.pk]))
    after = text(client.get(course.url))
    client.post(reverse("courses:leave", args=[course.pk]))

    assert ("加入课程" in before, "能够写报告" in before, "开始学习" in after) == (True, True, True)
    assert Enrolment.objects.get().state == "withdrawn"


def test_lesson_is_for_those_who_joined(member, signed_in, client):
    course = make_course(lessons=1)
    url = course.lessons()[0].url

    assert client.get(url).url.startswith(reverse("account_login"))
    assert client.get(course.url).url.startswith(reverse("account_login"))
    assert signed_in(member()).get(url).url == course.url


def test_draft_course_is_not_found(member, signed_in):
    course = make_course(live=False)

    assert signed_in(member()).get(course.url or f"/learn/{course.slug}/").status_code == 404
    assert signed_in(member()).post(reverse("courses:join", args=[course.pk])).status_code == 404


def test_officers_do_not_join(member, signed_in):
    course = make_course()

    assert signed_in(member("officer")).post(reverse("courses:join", args=[course.pk])).status_code == 403
    assert not Enrolment.objects.exists()


def test_lesson_shows_every_block_and_no_key_before_answering(member, signed_in):
    user, course, bank = member(), make_course(), make_bank()
    figure, _ = keep_figure(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"/>', title="图", alt="说明", by=user
    )
    questions = [make_question(bank, f"L{n}", kind=kind, use="lesson") for n, kind in enumerate(LINES)]
    lesson = make_lesson(
        course,
        body=[
            ("heading", "小标题在此"), ("markdown", "|甲|乙|\n|-|-|\n|1|2|\n\n<script>alert(1)</script>"), ("text", "<p>富文本</p>"),
            ("figure", {"drawing": figure.pk, "photo": None, "alt": "替代文字在此", "caption": "图注在此"}),
            ("callout", {"style": "warning", "title": "注意标题", "text": "**粗**"}), ("checklist", {"title": "清单", "items": ["第一项事"]}),
            *(("question", question) for question in questions),
        ],
    )  # fmt: skip
    enrol(user=user, course=course, by=user)

    page = text(signed_in(user).get(lesson.url))

    for words in (
        "小标题在此",
        "<td>1</td>",
        "富文本",
        "替代文字在此",
        "图注在此",
        "注意标题",
        "<strong>粗</strong>",
        "第一项事",
        figure.url,
    ):
        assert words in page
    assert "<script>alert" not in page
    assert [q.current.explanation in page for q in questions] == [False] * 6
    assert "正确答案" not in page


@pytest.mark.parametrize("kind", LINES)
def test_inline_answer_gives_feedback_with_and_without_script(member, signed_in, kind):
    user, course = member(), make_course()
    question = make_question(make_bank(), kind=kind, use="lesson")
    lesson = make_lesson(course, body=[("question", question)])
    block = str(lesson.question_blocks()[0].id)
    enrol(user=user, course=course, by=user)
    client, url = signed_in(user), reverse("courses:answer", args=[lesson.pk, block])
    form = as_form(question.current, "q")

    partial = text(client.post(url, form, headers={"HX-Request": "true"}))
    plain = client.post(url, form)

    assert "答对了" in partial
    assert question.current.explanation in partial
    assert "<html" not in partial
    assert plain.url == f"{lesson.url}#q-{block}"
    assert "答对了" in text(client.get(lesson.url))


def as_form(version, name):
    """The right answer as a browser's form sends it."""
    from courses.services import right_answer

    answer = right_answer(version)
    match version.kind:
        case "matching":
            return {f"{name}-{left}": right for left, right in answer.items()}
        case "ordering":
            return {f"{name}-{item}": place for place, item in enumerate(answer, start=1)}
        case "truefalse":
            return {name: "true" if answer else "false"}
        case _:
            return {name: answer}


def test_a_video_goes_on_where_its_viewer_left(member, signed_in):
    course = make_course()
    lesson = make_lesson(course)
    user = member()
    enrol(user=user, course=course, by=user)
    client = signed_in(user)
    assert "video-positions" not in client.get(lesson.url).content.decode()

    client.post(reverse("courses:position", args=[lesson.pk]), {"video": "7", "second": "75"})

    assert (
        '<script id="video-positions" type="application/json">{"7": 75}</script>'
        in client.get(lesson.url).content.decode()
    )


def test_lesson_verbs_are_only_for_the_enrolled(member, signed_in):
    course = make_course()
    lesson = make_lesson(course, body=[("question", make_question(make_bank(), use="lesson"))])
    client = signed_in(member())

    urls = [
        reverse("courses:complete", args=[lesson.pk]),
        reverse("courses:position", args=[lesson.pk]),
        reverse("courses:answer", args=[lesson.pk, str(lesson.question_blocks()[0].id)]),
    ]

    assert [client.post(url).status_code for url in urls] == [404, 404, 404]
    assert not LessonProgress.objects.exists()


# --- exams ---------------------------------------------------------------------------------------------------------


def test_exam_responses_never_hold_a_key_or_an_explanation(member, signed_in):
    """Every exam address, before, during and after; also the stored ids of options, which would tell matching and order."""
    user = member()
    paper = make_exam()
    client = signed_in(user)
    enrol(user=user, course=paper.course, by=user)
    answers = [client.get(reverse("courses:exams")), client.get(reverse("courses:exam_lobby", args=[paper.pk]))]
    answers.append(client.post(reverse("courses:exam_start", args=[paper.pk]), follow=True))
    session = ExamSession.objects.get()
    at = [session.public_id]
    for question in presented(session):
        right = right_answers(session)[question.number]
        answers.append(
            client.post(
                reverse("courses:exam_save", args=at),
                {"number": question.number, "seq": 1, "answer": json.dumps(right)},
            )
        )
        answers.append(
            client.post(
                reverse("courses:exam_save", args=at), {"number": question.number, "seq": 1, "answer": '"junk"'}
            )
        )
    answers.append(client.get(reverse("courses:exam", args=at)))
    answers.append(client.post(reverse("courses:exam_save_all", args=at), {"hand_in": "1"}, follow=True))
    answers.append(client.post(reverse("courses:exam_hand_in", args=at), follow=True))
    answers.append(client.get(reverse("courses:exam_result", args=at)))
    answers.append(client.get(reverse("courses:exams")))

    pages = [text(answer) for answer in answers]

    for page in pages:
        assert "不可外泄" not in page
        assert "tolerance" not in page
        assert '"key"' not in page
        assert session.seed not in page
        assert not re.search(r'value="(?:[a-d]|[lr]\d)"', page)
    for version in QuestionVersion.objects.all():
        assert all(version.explanation not in page for page in pages)
        assert all(version.digest not in page for page in pages)


def test_exam_saves_come_back_in_another_window(member, signed_in):
    user = member()
    session = sit(make_exam(), user)
    question = next(q for q in presented(session) if q.kind == "single")
    chosen, other = question.options[0].id, question.options[1].id
    first, second = signed_in(user), signed_in(user)
    url = reverse("courses:exam_save", args=[session.public_id])

    one = first.post(url, {"number": question.number, "seq": 1, "answer": json.dumps(chosen)}).json()
    two = second.post(url, {"number": question.number, "seq": 1, "answer": json.dumps(other)}).json()
    page = text(second.get(reverse("courses:exam", args=[session.public_id])))

    assert (one["state"], one["answered"]) == ("saved", 1)
    assert (two["state"], two["answer"], two["seq"]) == ("stale", chosen, 1)
    assert re.search(rf'value="{chosen}" checked', page)
    assert abs(one["now"] - timezone.now().timestamp() * 1000) < 60_000
    assert one["deadline"] == int(session.deadline.timestamp() * 1000)


def test_exam_save_after_the_deadline_says_so_and_loses_nothing(member, signed_in):
    user = member()
    session = sit(make_exam(), user)
    question = next(q for q in presented(session) if q.kind == "truefalse")
    save_answer(session=session, number=question.number, answer=True, seq=1, by=user)
    ExamSession.objects.update(
        deadline=timezone.now() - timedelta(minutes=2), closes_at=timezone.now() - timedelta(minutes=1)
    )
    client = signed_in(user)

    late = client.post(
        reverse("courses:exam_save", args=[session.public_id]), {"number": question.number, "seq": 2, "answer": "false"}
    )
    page = client.get(reverse("courses:exam", args=[session.public_id]), follow=True)

    assert (late.status_code, late.json()["code"], late.json()["over"]) == (409, "too_late", True)
    assert "考试时间已到" in late.json()["what"]
    session.refresh_from_db()
    assert (session.state, session.submitted_by, session.result["answered"]) == ("submitted", "clock", 1)
    assert "到时自动交卷" in text(page)


def test_exam_works_as_a_plain_form(member, signed_in):
    user = member()
    session = sit(make_exam(), user)
    right, form = right_answers(session), {}
    for question in presented(session):
        name, answer = f"q{question.number}", right[question.number]
        form[f"shown{question.number}"] = "1"
        if question.kind == "matching":
            form.update({f"{name}-{left}": value for left, value in answer.items()})
        elif question.kind == "ordering":
            form.update({f"{name}-{item}": place for place, item in enumerate(answer, start=1)})
        else:
            form[name] = {True: "true", False: "false"}.get(answer, answer) if isinstance(answer, bool) else answer
    form["flag2"] = "1"
    client, at = signed_in(user), [session.public_id]

    kept = client.post(reverse("courses:exam_save_all", args=at), {**form, "keep": "1"})
    ask = client.post(reverse("courses:exam_save_all", args=at), {**form, "hand_in": "1"}, follow=True)
    client.post(reverse("courses:exam_hand_in", args=at))
    again = client.post(reverse("courses:exam_hand_in", args=at), follow=True)

    session.refresh_from_db()
    assert kept.url == reverse("courses:exam", args=at)
    assert "全部作答完毕" in text(ask)
    assert (ask.context["flagged"], str(session.score), session.submitted_by) == ([2], "100.0", "learner")
    assert "100.0" in text(again)


def test_emptying_a_plain_form_empties_the_answer(member, signed_in):
    user = member()
    session = sit(make_exam(), user)
    number = next(q.number for q in presented(session) if q.kind == "numeric")
    save_answer(session=session, number=number, answer="5", seq=1, by=user)

    signed_in(user).post(
        reverse("courses:exam_save_all", args=[session.public_id]), {f"shown{number}": "1", f"q{number}": ""}
    )

    assert session.answers.get(number=number).answer is None


def test_exams_of_others_do_not_exist_for_me(member, signed_in):
    session = sit(make_exam(), member())
    client, at = signed_in(member("learner", "trainer")), [session.public_id]

    assert [
        client.get(reverse(f"courses:{name}", args=at)).status_code for name in ("exam", "exam_hand_in", "exam_result")
    ] == [404] * 3
    assert [
        client.post(reverse(f"courses:{name}", args=at)).status_code
        for name in ("exam_save", "exam_flag", "exam_save_all")
    ] == [404] * 3
    assert client.get(reverse("courses:exam", args=[uuid.uuid4()])).status_code == 404


def test_exam_lobby_is_for_the_enrolled(member, signed_in):
    paper = make_exam()
    client = signed_in(member())

    assert client.get(reverse("courses:exam_lobby", args=[paper.pk])).status_code == 404
    assert client.post(reverse("courses:exam_start", args=[paper.pk])).status_code == 404


def test_lobby_says_why_not(member, signed_in):
    user, paper = member(), make_exam(after_course=True)
    enrol(user=user, course=paper.course, by=user)
    client = signed_in(user)

    page = text(client.get(reverse("courses:exam_lobby", args=[paper.pk])))
    client.post(reverse("courses:exam_start", args=[paper.pk]))

    assert "学完课程后才能考试" in page
    assert "开始考试" not in page
    assert not ExamSession.objects.exists()


def test_start_with_a_short_bank_costs_no_attempt(member, signed_in):
    user, course = member(), make_course()
    paper = make_paper(course, make_bank())
    enrol(user=user, course=course, by=user)

    page = signed_in(user).post(reverse("courses:exam_start", args=[paper.pk]), follow=True)

    assert "没有占用您的考试次数" in text(page)
    assert not ExamSession.objects.exists()


def test_result_sends_to_the_lessons_of_weak_functions(member, signed_in):
    user, paper = member(), make_exam()
    lesson = make_lesson(paper.course, title="要复习的这一课", functions="F1 F9")
    session = submit_exam(session=sit(paper, user), by=user)

    page = signed_in(user).get(reverse("courses:exam_result", args=[session.public_id]))

    assert [(row["function"], lessons) for row, lessons in page.context["study"]] == [("F1", [lesson])]
    assert lesson.url in text(page)


def test_follower_tick_hands_in_overdue_exams(member):
    session = sit(make_exam(), member(), now=timezone.now() - timedelta(hours=2))

    hand_in_overdue(timezone.now())

    session.refresh_from_db()
    assert session.submitted_by == "clock"


# --- teaching --------------------------------------------------------------------------------------------------------


def test_desk_is_for_trainers(member, signed_in):
    refused = signed_in(member()).get(reverse("courses:teaching"))

    assert refused.status_code == 403
    assert "培训师角色" in text(refused)


def test_desk_shows_my_courses_and_the_banks_of_my_place(member, signed_in):
    trainer = member("trainer")
    place = trainer.memberships.get().organisation
    mine, theirs = make_course("我写的课", owner=trainer), make_course("别人写的课", owner=member("trainer"))
    bank, hidden = (
        make_bank(title="本单位题库", organisation=place),
        make_bank(title="别家题库", organisation=theirs.owner.memberships.get().organisation),
    )
    finish_course(member(), mine)

    page = signed_in(trainer).get(reverse("courses:teaching"))

    assert [(row[0], row[0].learners) for row in page.context["rows"]] == [(mine, 1)]
    assert set(page.context["banks"]) == {bank}
    assert hidden.title not in text(page)


def test_banks_questions_and_papers_of_others_are_not_found(member, signed_in):
    other = member("trainer").memberships.get().organisation
    bank = make_bank(organisation=other)
    question, paper = make_question(bank), make_paper(make_course(), bank)
    client, learner = signed_in(member("trainer")), signed_in(member())

    urls = [
        reverse("courses:bank", args=[bank.pk]),
        reverse("courses:question", args=[question.pk]),
        reverse("courses:paper", args=[paper.pk]),
    ]

    assert [client.get(url).status_code for url in urls] == [404] * 3
    assert [learner.get(url).status_code for url in urls] == [403] * 3


def test_trainer_sees_key_statistics_and_shortage(member, signed_in):
    trainer = member("trainer")
    bank = make_bank(organisation=trainer.memberships.get().organisation)
    question = make_question(bank, lines="+ 甲方案\n- 乙方案")
    course = make_course()
    paper = make_paper(course, bank, cells=[("F1", "", 1, 1)])
    user = member()
    submit_exam(session=sit(paper, user), by=user)
    short = make_paper(course, bank, cells=[("F1", "hard", 3, 1)])
    client = signed_in(trainer)

    shown = text(client.get(reverse("courses:question", args=[question.pk])))
    figures = client.get(reverse("courses:paper", args=[paper.pk])).context["figures"]

    assert question.current.explanation in shown
    assert [(version.pk, row.answers, row.facility) for version, row in figures] == [(question.current_id, 1, 0.0)]
    assert "需要 3 题" in text(client.get(reverse("courses:paper", args=[short.pk])))


@pytest.mark.parametrize("kind", LINES)
def test_bank_lists_filter_and_take_equal_queries(member, signed_in, kind):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    trainer = member("trainer")
    bank = make_bank(organisation=trainer.memberships.get().organisation)
    client, url, counts = signed_in(trainer), reverse("courses:bank", args=[bank.pk]), []
    for number in (1, 2):
        for _ in range(number):
            make_question(bank, uuid.uuid4().hex[:6], kind=kind)
        client.get(url)
        with CaptureQueriesContext(connection) as seen:
            page = client.get(url, {"kind": kind})
        counts.append(len(seen))

    assert len(page.context["page"].object_list) == 3
    assert counts[0] == counts[1]


def test_groups_follow_roles(member):
    make_course()
    trainer = member("trainer")

    assert align_groups() == (1, 0)
    trainer.memberships.update(ended_at=timezone.now())
    assert align_groups() == (0, 1)
    assert not Group.objects.get(name="培训师").user_set.exists()


# --- media -----------------------------------------------------------------------------------------------------------


def test_figures_are_pictures_in_a_box_for_signed_in_people(member, signed_in, client):
    figure, removed = keep_figure(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><script>alert(1)</script><rect/></svg>',
        title="图",
        alt="说明",
        by=None,
    )

    page = signed_in(member()).get(figure.url)

    assert client.get(figure.url).status_code == 302
    assert (page["Content-Type"], "sandbox" in page["Content-Security-Policy"]) == (
        "image/svg+xml; charset=utf-8",
        True,
    )
    assert "alert" not in text(page)
    assert removed == ("<script>",)
    assert Figure.objects.count() == 1
    assert signed_in(member()).get(reverse("courses:figure", args=["0" * 64])).status_code == 404


# --- for other screens -------------------------------------------------------------------------------------------------


def test_plan_rows_get_their_courses(member, rf):
    tag, other = "item:network:ics_network", "item:talent:staff"
    course, draft = make_course("分区入门"), make_course("草稿", live=False)
    for page in (course, draft):
        page.facets.add(Facet.objects.get_or_create(kind="plan", code=tag, defaults={"name": tag})[0])
        page.save()
    request = rf.get("/")
    request.user = member()

    assert courses_for_tags(request, {tag, other}) == {tag: [("分区入门", course.url)]}


def test_dossier_tells_the_admin_who_is_late(member, rf):
    admin, course = member("admin"), make_course(lessons=1)
    place = admin.memberships.get().organisation
    late, done, foreign = (
        member(organisation=place, name="迟到的人"),
        member(organisation=place),
        member(name="外厂的人"),
    )
    for user in (late, foreign):
        enrol(user=user, course=course, by=user, due_at=timezone.now() - timedelta(days=1))
    finish_course(done, course)
    request = rf.get("/")

    request.user = admin
    card = learning_of_staff(request, {"organisation": place})
    request.user = late

    assert learning_of_staff(request, {"organisation": place}) == ""
    assert ["迟到的人" in card, "外厂的人" in card, card.count('<b class="h2">1</b>')] == [True, False, 2]
