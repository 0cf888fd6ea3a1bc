"""Sitting an exam: drawn, timed, saved and marked on the server. No key and no explanation leaves this module.

The learner's browser knows options by opaque names made from the sitting's seed; what is stored are the bank's own ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from courses import rules
from courses.domain import grading, presenting, selection
from courses.domain.errors import Refused
from courses.domain.presenting import Presented, present
from courses.models import CoursePage, Enrolment, ExamAnswer, ExamSession, Paper, QuestionVersion
from courses.services import marking
from lms.accounts import audit
from lms.accounts.models import User

RULE = "grading-1"


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of a save. `state`: saved, same (sent twice), stale (an older change, or another window was faster);
    with stale, `answer` and `seq` are what counts now."""

    state: str
    number: int
    seq: int
    answer: Any
    answered: int


# --- may one start -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """Whether a sitting may be opened, and if not, why and when."""

    running: ExamSession | None
    attempts: int
    refusal: Refused | None
    from_when: datetime | None = None

    @property
    def open(self) -> bool:
        return self.refusal is None


def may_open(paper: Paper, user: User, *, now: datetime | None = None) -> Way:
    """What the lobby says. Opening checks the same again, under lock."""
    return exam_ways([paper], user, now=now)[paper.pk]


def exam_ways(papers: Iterable[Paper], user: User, *, now: datetime | None = None) -> dict[int, Way]:
    """The same for many papers, by their ids, in two queries."""
    now = now or timezone.now()
    wanted = list(papers)
    sittings: dict[int, list[ExamSession]] = {paper.pk: [] for paper in wanted}
    for session in ExamSession.objects.filter(paper__in=wanted, user=user).order_by("attempt"):
        sittings[session.paper_id].append(session)
    done = set(
        Enrolment.objects.filter(
            user=user, course__in={paper.course_id for paper in wanted}, completed_at__isnull=False
        ).values_list("course_id", flat=True)
    )
    return {paper.pk: _way(paper, user, sittings[paper.pk], paper.course_id in done, now) for paper in wanted}


def _way(paper: Paper, user: User, sittings: list[ExamSession], course_done: bool, now: datetime) -> Way:
    running = next((s for s in sittings if s.state == ExamSession.State.RUNNING and s.closes_at >= now), None)
    used = len(sittings)

    def refuse(code: str, what: str, remedy: str, when: datetime | None = None) -> Way:
        return Way(None, used, Refused(code, what, remedy), when)

    if running is not None:
        return Way(running, used, None)
    if not rules.may_learn(user):
        return refuse("may_not_sit", _("您的角色不参加考试。"), "")
    if not paper.is_open:
        return refuse("closed", _("考试没有开放。"), _("开放时间请问培训师。"))
    if paper.open_from and now < paper.open_from:
        return refuse("not_yet", _("还没到开放时间。"), _("请在开放后再来。"), paper.open_from)
    if paper.open_until and now >= paper.open_until:
        return refuse("over", _("考试已经截止。"), _("请联系培训师安排补考。"))
    if paper.after_course and not course_done:
        return refuse("course_first", _("学完课程后才能考试。"), _("请先学完剩下的课时。"))
    if paper.max_attempts and used >= paper.max_attempts:
        return refuse("no_attempts", _("%(count)d 次机会已用完。") % {"count": used}, _("如需再考，请联系培训师。"))
    if sittings and paper.wait_hours:
        last = sittings[-1]
        again = (last.submitted_at or last.closes_at) + timedelta(hours=paper.wait_hours)
        if now < again:
            return refuse(
                "wait",
                _("两次考试之间要间隔 %(hours)d 小时。") % {"hours": paper.wait_hours},
                _("可以先复习薄弱的部分。"),
                again,
            )
    return Way(None, used, None)


# --- opening -------------------------------------------------------------------------------------------------------


def open_exam(*, paper: Paper, user: User, now: datetime | None = None, seed: str | None = None) -> ExamSession:
    """Starts a sitting, or returns the one that is running: two taps and two tabs lead to the same paper.

    Raises Refused (with the reason) or BankTooSmall. `seed` is given by tests and by re-checking old sittings only.
    """
    now = now or timezone.now()
    for overdue in ExamSession.objects.overdue(now).filter(paper=paper, user=user):
        submit_exam(session=overdue, by=None, now=now)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # one opening at a time for a person
        way = may_open(paper, user, now=now)
        if way.running is not None:
            return way.running
        if way.refusal is not None:
            raise way.refusal
        session = ExamSession(paper=paper, user=user, attempt=way.attempts + 1, started_at=now, rules=_rules_of(paper))
        if seed is not None:
            session.seed = seed
        versions = {
            str(version.pk): version
            for version in QuestionVersion.objects.filter(current_of__in=paper.bank.questions.drawable())
        }
        items = [selection.Item(id_, v.function, v.difficulty) for id_, v in versions.items()]
        drawn = selection.draw(items, paper.blueprint(), session.seed)
        session.drawn = [{"version": int(d.id), "function": d.function, "points": d.points} for d in drawn]
        deadline = now + timedelta(minutes=paper.minutes)
        session.deadline = min(deadline, paper.open_until) if paper.open_until else deadline
        session.closes_at = session.deadline + timedelta(seconds=paper.grace_seconds)
        session.save()
        ExamAnswer.objects.bulk_create(
            ExamAnswer(session=session, number=number, version=versions[d.id])
            for number, d in enumerate(drawn, start=1)
        )
        audit.record("exam.opened", paper, by=user, session=str(session.public_id), attempt=session.attempt)
    return session


def _rules_of(paper: Paper) -> dict[str, Any]:
    return {
        "paper": paper.slug,
        "title": paper.title,
        "course": paper.course_id,
        "minutes": paper.minutes,
        "grace_seconds": paper.grace_seconds,
        "pass_mark": paper.pass_mark,
        "shuffle_options": paper.shuffle_options,
        "grading": RULE,
        "functions": paper.function_names(),
        "blueprint": [asdict(cell) for cell in paper.blueprint()],
    }


# --- what the browser sees ------------------------------------------------------------------------------------------


def presented(session: ExamSession) -> list[Presented]:
    """The paper for its sitter: shuffled, under opaque names, with what was saved so far. One query."""
    rows = session.answers.select_related("version").order_by("number")
    return [
        present(
            kind=row.version.kind,
            stem=row.version.stem,
            content=row.version.content,
            seed=session.seed,
            question=str(row.version_id),
            shuffle=bool(session.rules.get("shuffle_options", True)),
            number=row.number,
            points=drawn["points"],
            answer=row.answer,
            seq=row.seq,
            flagged=row.flagged,
        )
        for row, drawn in zip(rows, session.drawn, strict=True)
    ]


def _read(session: ExamSession, version: QuestionVersion, answer: Any) -> Any:
    try:
        return presenting.read(version.kind, version.content, session.seed, str(version.pk), answer)
    except presenting.BadAnswer as fault:
        raise Refused("bad_answer", _("这份作答与题目对不上，没有保存。"), _("请刷新页面后重新作答。")) from fault


def right_answers(session: ExamSession) -> dict[int, Any]:
    """The right answers as this sitting's browser would send them. For the tour's scripted learner and for tests; no view
    calls it, and a test holds that."""
    found = {}
    for row in session.answers.select_related("version"):
        version = row.version
        answer = version.key["value"] if version.kind == "numeric" else version.key
        as_shown = presenting.names(version.content, session.seed, str(version.pk))
        found[row.number] = presenting.translate(version.kind, answer, as_shown)
    return found


# --- answering -----------------------------------------------------------------------------------------------------


def save_answer(
    *, session: ExamSession, number: int, answer: Any, by: User, seq: int | None = None, now: datetime | None = None
) -> Saved:
    """Keeps one answer. Sent twice it is kept once; an older change never overwrites a newer one.

    `seq` counts this question's changes in the browser, starting from the number it was given; without one (a plain form)
    the answer counts as the newest. After deadline + grace it is refused: what was saved before stays and is marked.
    """
    now = now or timezone.now()
    with transaction.atomic():
        session = _writable(session, by=by, now=now)
        row = session.answers.select_for_update().select_related("version").filter(number=number).first()
        if row is None:
            raise Refused("no_such_question", _("试卷里没有第 %(number)s 题。") % {"number": number}, _("请刷新页面。"))
        answer = _read(session, row.version, answer)
        if seq is None:
            seq = row.seq + 1 if answer != row.answer else row.seq
        state = "saved"
        if seq <= row.seq:
            state = "same" if answer == row.answer else "stale"
        else:
            row.answer, row.seq, row.saved_at = answer, seq, now
            row.save(update_fields=["answer", "seq", "saved_at"])
        answered = session.answers.filter(answer__isnull=False).count()
    as_shown = presenting.names(row.version.content, session.seed, str(row.version_id))
    kept = presenting.translate(row.version.kind, row.answer, as_shown)
    return Saved(state, number, row.seq, kept, answered)


@transaction.atomic
def flag(*, session: ExamSession, number: int, flagged: bool, by: User, now: datetime | None = None) -> None:
    """Marks a question to come back to; it has no effect on the score."""
    session = _writable(session, by=by, now=now or timezone.now())
    if not session.answers.filter(number=number).update(flagged=flagged):
        raise Refused("no_such_question", _("试卷里没有第 %(number)s 题。") % {"number": number}, _("请刷新页面。"))


def _writable(session: ExamSession, *, by: User, now: datetime) -> ExamSession:
    """The row under lock, still the sitter's and still in time."""
    locked = ExamSession.objects.select_for_update().get(pk=session.pk)
    if not rules.may_sit(by, locked):
        raise Refused("not_yours", _("这不是您的考试。"))
    if locked.state != ExamSession.State.RUNNING:
        raise Refused("submitted", _("已经交卷，不能再修改。"), _("交卷前保存的作答都已计分。"))
    if now > locked.closes_at:
        raise Refused("too_late", _("考试时间已到，这次修改没有计入。"), _("此前保存的作答全部有效，系统会自动交卷。"))
    return locked


# --- handing in and marking ----------------------------------------------------------------------------------------


@transaction.atomic
def submit_exam(*, session: ExamSession, by: User | None, now: datetime | None = None) -> ExamSession:
    """Hands in and marks, exactly once: a second tap, a second window or the clock find it done. `by` None is the clock."""
    now = now or timezone.now()
    locked = ExamSession.objects.select_for_update().get(pk=session.pk)
    if by is not None and not rules.may_sit(by, locked):
        raise Refused("not_yours", _("这不是您的考试。"))
    if locked.state == ExamSession.State.SUBMITTED:
        return locked
    if by is None and now <= locked.closes_at:
        raise Refused("still_running", _("还没有到交卷时间。"))
    in_time = by is not None and now <= locked.closes_at
    locked.state = ExamSession.State.SUBMITTED
    locked.submitted_at = now if in_time else locked.deadline
    locked.submitted_by = ExamSession.By.LEARNER if in_time else ExamSession.By.CLOCK
    rows = list(locked.answers.select_related("version").order_by("number"))
    _mark(locked, rows, {})
    locked.save()
    audit.record(
        "exam.submitted",
        locked.paper,
        by=by,
        session=str(locked.public_id),
        score=str(locked.score),
        passed=locked.passed,
        how=locked.submitted_by,
    )
    return locked


def _mark(session: ExamSession, rows: list[ExamAnswer], replaced: Mapping[int, QuestionVersion]) -> None:
    """Fills shares, score and result. `replaced`: versions whose corrected successors decide."""
    marked = []
    for row, drawn in zip(rows, session.drawn, strict=True):
        version = replaced.get(row.version_id, row.version)
        share = grading.share(version.kind, version.key, row.answer)
        row.share = marking.as_decimal(share)
        marked.append(grading.Marked(drawn["function"], drawn["points"], share))
    ExamAnswer.objects.bulk_update(rows, ["share"])
    whole = grading.out_of_hundred(marked)
    names = session.rules.get("functions", {})
    session.score, session.passed = whole.score, whole.score >= session.rules["pass_mark"]
    session.result = {
        "rule": RULE,
        "score": str(whole.score),
        "earned": str(whole.earned),
        "possible": whole.possible,
        "right": whole.right,
        "questions": whole.questions,
        "answered": sum(not presenting.is_empty(row.answer) for row in rows),
        "functions": [
            {
                "function": function,
                "name": names.get(function, function),
                "score": str(score.score),
                "earned": str(score.earned),
                "possible": score.possible,
                "right": score.right,
                "questions": score.questions,
            }
            for function, score in grading.by_function(marked).items()
        ],
        "replaced": {str(old): new.pk for old, new in replaced.items()},
        "history": session.result.get("history", []),
    }


@transaction.atomic
def regrade(*, session: ExamSession, by: User, reason: str, now: datetime | None = None) -> ExamSession:
    """Marks a sitting again after a key was corrected: a question's newest version decides where it asks the same with the
    same options. The former result stays in `history`; a certificate that was decided on it is certification's to review."""
    locked = ExamSession.objects.select_for_update().get(pk=session.pk)
    if locked.state != ExamSession.State.SUBMITTED:
        raise Refused("not_submitted", _("还没有交卷，不能重新评分。"))
    if not reason.strip():
        raise Refused("no_reason", _("重新评分要写明理由。"))
    if not rules.may_see_bank(by, locked.paper.bank):
        raise Refused("may_not_regrade", _("只有题库所属单位的培训师可以重新评分。"))
    rows = list(locked.answers.select_related("version__question__current").order_by("number"))
    replaced = {}
    for row in rows:
        newest = row.version.question.current
        if newest is not None and newest.pk != row.version_id and _asks_the_same(row.version, newest):
            replaced[row.version_id] = newest
    before = {key: value for key, value in locked.result.items() if key != "history"}
    _mark(locked, rows, replaced)
    locked.result["history"].append(
        {"at": (now or timezone.now()).isoformat(), "by": by.pk, "reason": reason.strip(), "before": before}
    )
    locked.save(update_fields=["score", "passed", "result"])
    audit.record(
        "exam.regraded",
        locked.paper,
        by=by,
        session=str(locked.public_id),
        reason=reason.strip(),
        before=before.get("score"),
        after=str(locked.score),
    )
    return locked


def _asks_the_same(old: QuestionVersion, new: QuestionVersion) -> bool:
    return old.kind == new.kind and sorted(presenting.own_ids(old.content)) == sorted(presenting.own_ids(new.content))


def close_overdue(now: datetime, *, limit: int = 200) -> int:
    """Hands in what ran out of time; how many. The follower calls it every second."""
    closed = 0
    for session in ExamSession.objects.overdue(now)[:limit]:
        submit_exam(session=session, by=None, now=now)
        closed += 1
    return closed


# --- for other apps --------------------------------------------------------------------------------------------------


def best_exam(user: User, course: CoursePage) -> ExamSession | None:
    """The highest marked sitting of this course's papers, the earlier of equals. `ExamSession.evidence()` tells the rest."""
    return (
        ExamSession.objects.marked()
        .filter(user=user, paper__course=course, score__isnull=False)
        .order_by("-score", "submitted_at")
        .first()
    )
