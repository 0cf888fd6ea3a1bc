"""Sitting an exam: what is drawn, saved, timed and marked, and what never leaves the server."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from courses.domain.errors import Refused
from courses.domain.selection import BankTooSmall
from courses.models import ExamAnswer, ExamSession, QuestionVersion
from courses.services import (
    best_exam,
    close_overdue,
    enrol,
    flag,
    may_open,
    open_exam,
    presented,
    regrade,
    revise_question,
    right_answers,
    save_answer,
    submit_exam,
)
from lms.accounts.models import AuditEntry
from tests.factories.accounts import UserFactory
from tests.factories.courses import finish_course, make_bank, make_course, make_exam, make_paper, make_question, sit

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 23, 4, tzinfo=UTC)


def after(**values: float) -> datetime:
    return NOON + timedelta(**values)


def answer_all(session, by, now=None):
    for number, answer in right_answers(session).items():
        save_answer(session=session, number=number, answer=answer, seq=1, by=by, now=now)


# --- opening -------------------------------------------------------------------------------------------------------


def test_open_exam_draws_the_blueprint_and_keeps_the_rules(member):
    user, bank = member(), make_bank()
    for n in range(8):
        make_question(bank, f"E{n}", difficulty="easy", function="F1" if n < 4 else "F2")
    paper = make_paper(make_course(), bank, cells=[("F1", "easy", 2, 3), ("F2", "", 3, 1)], grace_seconds=20)

    session = sit(paper, user, now=NOON)

    assert sorted((one["function"], one["points"]) for one in session.drawn) == [
        ("F1", 3),
        ("F1", 3),
        ("F2", 1),
        ("F2", 1),
        ("F2", 1),
    ]
    assert (session.deadline, session.closes_at) == (after(minutes=30), after(minutes=30, seconds=20))
    assert session.rules["functions"] == {"F1": "功能F1", "F2": "功能F2"}
    assert ExamAnswer.objects.filter(session=session, answer__isnull=True).count() == 5


def test_open_exam_twice_is_the_same_sitting(member):
    user, paper = member(), make_exam()

    assert sit(paper, user, now=NOON) == sit(paper, user, now=after(minutes=1))
    assert ExamSession.objects.count() == 1


def test_open_exam_with_one_seed_draws_one_paper(member):
    paper = make_exam()
    one, two, three = (sit(paper, member(), seed=seed) for seed in ("aa", "aa", "bb"))

    assert one.drawn == two.drawn
    assert [q.options for q in presented(one)] == [q.options for q in presented(two)]
    assert [q.options for q in presented(one)] != [q.options for q in presented(three)]


def test_open_exam_never_draws_drafts_retired_or_lesson_questions(member):
    bank = make_bank()
    for n, (use, state) in enumerate([("lesson", "live"), ("exam", "draft"), ("exam", "retired")]):
        make_question(bank, f"N{n}", use=use, state=state)
    paper = make_paper(make_course(), bank, cells=[("F1", "", 1, 1)])

    with pytest.raises(BankTooSmall):
        sit(paper, member())

    assert not ExamSession.objects.exists()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"is_open": False}, "closed"),
        ({"open_from": after(hours=1)}, "not_yet"),
        ({"open_until": NOON}, "over"),
        ({"after_course": True}, "course_first"),
    ],
)
def test_open_exam_refuses_with_the_reason(member, values, code):
    with pytest.raises(Refused) as refused:
        sit(make_exam(**values), member(), now=NOON)

    assert refused.value.code == code
    assert not ExamSession.objects.exists()


def test_open_exam_after_the_course(member):
    user, paper = member(), make_exam(after_course=True)
    finish_course(user, paper.course)

    assert may_open(paper, user).open


def test_open_exam_counts_attempts_and_waits_between_them(member):
    user, paper = member(), make_exam(max_attempts=2, wait_hours=24)
    submit_exam(session=sit(paper, user, now=NOON), by=user, now=after(minutes=5))

    early = may_open(paper, user, now=after(hours=24))
    second = open_exam(paper=paper, user=user, now=after(hours=24, minutes=5))
    submit_exam(session=second, by=user, now=after(hours=24, minutes=6))
    late = may_open(paper, user, now=after(days=9))

    assert (early.refusal.code, early.from_when) == ("wait", after(hours=24, minutes=5))
    assert (second.attempt, late.refusal.code) == (2, "no_attempts")


def test_deadline_never_lies_beyond_the_closing_of_the_exam(member):
    session = sit(make_exam(open_until=after(minutes=10)), member(), now=NOON)

    assert session.deadline == after(minutes=10)


# --- saving --------------------------------------------------------------------------------------------------------


def test_saving_twice_keeps_it_once_and_older_changes_never_win(member):
    user = member()
    session = sit(make_exam(), user)
    question = next(q for q in presented(session) if q.kind == "single")
    a, b = question.options[0].id, question.options[1].id

    states = [
        save_answer(session=session, number=question.number, answer=answer, seq=seq, by=user)
        for answer, seq in ((a, 1), (a, 1), (b, 2), (a, 1), (a, 2))
    ]

    assert [(s.state, s.answer, s.seq) for s in states] == [
        ("saved", a, 1), ("same", a, 1), ("saved", b, 2), ("stale", b, 2), ("stale", b, 2),
    ]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 2)), min_size=1, max_size=8), st.randoms())
def test_whatever_order_a_bad_line_delivers_in_the_newest_change_stands(member, changes, chance):
    """Two tabs, repeats and detours: of each sequence number the first to arrive counts, the highest number wins."""
    user = member()
    session = sit(make_exam(), user)
    question = next(q for q in presented(session) if q.kind == "single")
    by_seq = dict(changes)
    sent = [(seq, question.options[option].id) for seq, option in by_seq.items()] * 2
    chance.shuffle(sent)

    for seq, answer in sent:
        save_answer(session=session, number=question.number, answer=answer, seq=seq, by=user)

    kept = presented(session)[question.number - 1]
    assert (kept.seq, kept.answer) == (max(by_seq), question.options[by_seq[max(by_seq)]].id)


def test_plain_forms_save_without_a_number(member):
    user = member()
    session = sit(make_exam(), user)
    question = next(q for q in presented(session) if q.kind == "numeric")

    for answer in ("1", "1", "2", None):
        save_answer(session=session, number=question.number, answer=answer, by=user)

    row = session.answers.get(number=question.number)
    assert (row.answer, row.seq) == (None, 3)


@pytest.mark.parametrize("junk", ["a", ["a"], {"a": "b"}, 7, True, "x" * 100])
def test_answers_that_do_not_belong_are_refused(member, junk):
    user = member()
    session = sit(make_exam(), user)
    codes = set()

    for question in presented(session):
        fits = (question.kind == "numeric" and isinstance(junk, str) and len(junk) < 40) or (
            question.kind == "truefalse" and junk is True
        )
        if not fits:
            with pytest.raises(Refused) as refused:
                save_answer(session=session, number=question.number, answer=junk, seq=1, by=user)
            codes.add(refused.value.code)

    assert codes == {"bad_answer"}


def test_wrong_person_saves_flags_and_submits_nothing(member):
    owner, other = member(), member()
    session = sit(make_exam(), owner)

    for attempt in (
        lambda: save_answer(session=session, number=1, answer=None, seq=1, by=other),
        lambda: flag(session=session, number=1, flagged=True, by=other),
        lambda: submit_exam(session=session, by=other),
    ):
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.code == "not_yours"
    session.refresh_from_db()
    assert session.state == "running"


# --- the clock -----------------------------------------------------------------------------------------------------


def test_saves_count_up_to_the_last_moment_of_grace_and_none_after(member):
    user = member()
    session = sit(make_exam(grace_seconds=30), user, now=NOON)
    question = next(q for q in presented(session) if q.kind == "truefalse")
    edge = after(minutes=30, seconds=30)

    kept = save_answer(session=session, number=question.number, answer=True, seq=1, by=user, now=edge)
    with pytest.raises(Refused) as refused:
        save_answer(
            session=session, number=question.number, answer=False, seq=2, by=user, now=edge + timedelta(milliseconds=1)
        )

    assert kept.state == "saved"
    assert (refused.value.code, "没有计入" in refused.value.what, "全部有效" in refused.value.remedy) == (
        "too_late",
        True,
        True,
    )
    assert session.answers.get(number=question.number).answer is True


def test_the_clock_hands_in_what_was_saved(member):
    user = member()
    session = sit(make_exam(grace_seconds=30), user, now=NOON)
    answer_all(session, user, now=after(minutes=29))

    early, on_time = close_overdue(after(minutes=30, seconds=30)), close_overdue(after(minutes=30, seconds=31))

    session.refresh_from_db()
    assert (early, on_time, close_overdue(after(hours=1))) == (0, 1, 0)
    assert (session.state, session.submitted_by, session.submitted_at, session.score) == (
        "submitted", "clock", after(minutes=30), Decimal("100.0"),
    )  # fmt: skip


def test_opening_again_hands_in_the_one_that_ran_out(member):
    user, paper = member(), make_exam()
    first = sit(paper, user, now=NOON)

    second = open_exam(paper=paper, user=user, now=after(hours=2))

    first.refresh_from_db()
    assert (first.state, first.submitted_by, second.attempt) == ("submitted", "clock", 2)


def test_nobody_hands_in_for_the_learner_before_time(member):
    session = sit(make_exam(), member(), now=NOON)

    with pytest.raises(Refused) as refused:
        submit_exam(session=session, by=None, now=after(minutes=29))

    assert refused.value.code == "still_running"


# --- marking -------------------------------------------------------------------------------------------------------


def test_submit_marks_by_function_and_twice_is_once(member):
    user, bank = member(), make_bank()
    make_question(bank, "A", kind="truefalse", function="F1")
    make_question(bank, "B", kind="multiple", function="F2")
    paper = make_paper(make_course(), bank, cells=[("F1", "", 1, 2), ("F2", "", 1, 2)], pass_mark=75)
    session = sit(paper, user, now=NOON)
    for number, answer in right_answers(session).items():
        half = answer[:1] if isinstance(answer, list) else answer
        save_answer(session=session, number=number, answer=half, seq=1, by=user, now=after(minutes=1))

    done = submit_exam(session=session, by=user, now=after(minutes=2))
    again = submit_exam(session=session, by=user, now=after(minutes=3))

    assert (again.submitted_at, AuditEntry.objects.filter(action="exam.submitted").count()) == (after(minutes=2), 1)
    assert (done.score, done.passed, done.submitted_by) == (Decimal("75.0"), True, "learner")
    assert done.result["functions"] == [
        {
            "function": "F1",
            "name": "功能F1",
            "score": "100.0",
            "earned": "2.00",
            "possible": 2,
            "right": 1,
            "questions": 1,
        },
        {
            "function": "F2",
            "name": "功能F2",
            "score": "50.0",
            "earned": "1.00",
            "possible": 2,
            "right": 0,
            "questions": 1,
        },
    ]
    with pytest.raises(Refused, match="交卷"):
        save_answer(session=session, number=1, answer=None, seq=9, by=user, now=after(minutes=3))


def test_right_answers_of_every_kind_give_full_marks(member):
    user = member()
    session = sit(make_exam(), user)
    answer_all(session, user)

    assert submit_exam(session=session, by=user).score == Decimal("100.0")


def test_best_exam_is_the_highest_and_tells_its_evidence(member):
    user, paper = member(), make_exam()
    poor = submit_exam(session=sit(paper, user), by=user)
    good = sit(paper, user, seed="abcd")
    answer_all(good, user)
    good = submit_exam(session=good, by=user)
    submit_exam(session=sit(paper, user), by=user)

    best = best_exam(user, paper.course)

    assert (best, poor.score) == (good, Decimal("0.0"))
    evidence = best.evidence()
    assert (evidence["session"], evidence["score"], evidence["seed"], evidence["attempt"]) == (
        str(good.public_id),
        "100.0",
        "abcd",
        2,
    )
    assert sorted(evidence["questions"]) == sorted(QuestionVersion.objects.values_list("pk", flat=True))
    assert best_exam(member(), paper.course) is None


def test_editing_a_question_leaves_running_papers_alone(member):
    user, bank = member(), make_bank()
    question = make_question(bank, "A", lines="+ 甲\n- 乙")
    session = sit(make_paper(make_course(), bank, cells=[("F1", "", 1, 1)]), user)

    make_question(bank, "A", lines="- 甲\n+ 乙\n- 丙", stem="改过的题干")

    shown = presented(session)[0]
    assert (shown.stem, [o.text for o in shown.options].__len__()) == ("A 的题干", 2)
    assert question.versions.count() == 2


def test_versions_never_change(member):
    version = make_question(make_bank()).current
    version.stem = "偷偷改掉"

    with pytest.raises(TypeError):
        version.save()


def test_revising_with_the_same_words_adds_no_version():
    bank = make_bank()

    assert make_question(bank).current == make_question(bank).current


def test_regrade_uses_the_corrected_key_and_keeps_the_former_result(member):
    trainer = member("trainer")
    place = trainer.memberships.get().organisation
    user, bank = member(), make_bank(organisation=place)
    make_question(bank, "A", lines="+ 甲\n- 乙")
    session = sit(make_paper(make_course(), bank, cells=[("F1", "", 1, 1)]), user)
    wrong = next(o.id for o in presented(session)[0].options if o.text == "乙")
    save_answer(session=session, number=1, answer=wrong, seq=1, by=user)
    submit_exam(session=session, by=user)
    make_question(bank, "A", lines="- 甲\n+ 乙")

    done = regrade(session=session, by=trainer, reason="答案印错", now=NOON)

    assert (done.score, done.passed) == (Decimal("100.0"), True)
    assert [(h["reason"], h["by"], h["before"]["score"]) for h in done.result["history"]] == [
        ("答案印错", trainer.pk, "0.0")
    ]
    assert AuditEntry.objects.get(action="exam.regraded").detail["after"] == "100.0"


def test_regrade_refuses_strangers_and_missing_reasons(member):
    user = member()
    session = submit_exam(session=sit(make_exam(), user), by=user)

    for by, reason, code in ((member("trainer"), " ", "no_reason"), (user, "我要高分", "may_not_regrade")):
        with pytest.raises(Refused) as refused:
            regrade(session=session, by=by, reason=reason)
        assert refused.value.code == code


# --- what the browser sees -----------------------------------------------------------------------------------------


def test_presented_tells_nothing_that_tells_right_from_wrong(member):
    session = sit(make_exam(), member())
    text = repr(presented(session))

    for version in QuestionVersion.objects.all():
        assert version.explanation not in text
    for question in presented(session):
        for choice in (*question.options, *question.left):
            assert len(choice.id) == 12
    assert "tolerance" not in text


def test_orderings_are_not_shown_in_their_right_order_as_a_rule(member):
    paper = make_exam()
    orders = []
    for n in range(12):
        session = sit(paper, UserFactory(), seed=f"seed{n}")
        orders.append(tuple(o.text for q in presented(session) if q.kind == "ordering" for o in q.options))

    assert len(set(orders)) > 4


def test_enrol_then_open_needs_a_course_person(member):
    officer, paper = member("officer"), make_exam()

    assert may_open(paper, officer).refusal.code == "may_not_sit"
    with pytest.raises(Refused):
        enrol(user=officer, course=paper.course, by=officer)


def test_revise_question_records_who(member):
    trainer = member("trainer")
    revise_question(bank=make_bank(), code="Z", kind="truefalse", stem="?", content={}, key=True, by=trainer)

    assert AuditEntry.objects.get(action="question.made").actor == trainer
