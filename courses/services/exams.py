"""Sitting an exam: drawn, timed, saved and marked on the server. No key and no explanation leaves this module.

The learner's browser knows options by opaque names made from the sitting's seed; what is stored are the bank's own ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from courses import rules
from courses.domain import grading, selection
from courses.domain.errors import Refused
from courses.domain.grading import Kind
from courses.models import CoursePage, Enrolment, ExamAnswer, ExamSession, Paper, Question, QuestionVersion
from courses.services import marking
from lms.accounts import audit
from lms.accounts.models import User

RULE = "grading-1"
LONGEST_NUMBER = 40  # characters


@dataclass(frozen=True, slots=True)
class Choice:
    """An option as the browser sees it."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Presented:
    """A question as the browser sees it: words and opaque names, nothing that tells right from wrong."""

    number: int
    kind: str
    stem: str
    unit: str = ""
    options: list[Choice] = field(default_factory=list)
    left: list[Choice] = field(default_factory=list)
    points: int = 1
    answer: Any = None
    seq: int = 0
    flagged: bool = False

    @property
    def answered(self) -> bool:
        return not marking.is_empty(self.answer)

    @property
    def kind_label(self) -> str:
        return str(Question.Kind(self.kind).label)

    @property
    def places(self) -> range:
        return range(1, len(self.options) + 1)


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
    now = now or timezone.now()
    sittings = list(ExamSession.objects.filter(paper=paper, user=user).order_by("attempt"))
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
    if paper.after_course and not Enrolment.objects.filter(user=user, course=paper.course, completed_at__isnull=False).exists():
        return refuse("course_first", _("学完课程后才能考试。"), _("请先学完剩下的课时。"))
    if paper.max_attempts and used >= paper.max_attempts:
        return refuse("no_attempts", _("%(count)d 次机会已用完。") % {"count": used}, _("如需再考,请联系培训师。"))
    if sittings and paper.wait_hours:
        last = sittings[-1]
        again = (last.submitted_at or last.closes_at) + timedelta(hours=paper.wait_hours)
        if now < again:
            return refuse("wait", _("两次考试之间要间隔 %(hours)d 小时。") % {"hours": paper.wait_hours}, _("可以先复习薄弱的部分。"), again)
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
        session = ExamSession(
            paper=paper, user=user, attempt=way.attempts + 1, started_at=now, rules=_rules_of(paper)
        )
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
            ExamAnswer(session=session, number=number, version=versions[d.id]) for number, d in enumerate(drawn, start=1)
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
    """The paper for its sitter: shuffled, under opaque names, with what was saved so far. Three queries at most."""
    rows = session.answers.select_related("version").order_by("number")
    return [_present(session, row, drawn["points"]) for row, drawn in zip(rows, session.drawn, strict=True)]


def _present(session: ExamSession, row: ExamAnswer, points: int) -> Presented:
    version, kind = row.version, Kind(row.version.kind)
    content, question = version.content, str(version.pk)

    def choices(options: list[dict[str, str]], *, shuffle: bool) -> list[Choice]:
        texts = {option["id"]: option["text"] for option in options}
        order = selection.shuffled(session.seed, f"options of {question}", texts) if shuffle else list(texts)
        return [Choice(selection.opaque(session.seed, question, id_), texts[id_]) for id_ in order]

    shuffle = bool(session.rules.get("shuffle_options", True))
    options: list[Choice] = []
    left: list[Choice] = []
    if kind in (Kind.SINGLE, Kind.MULTIPLE):
        options = choices(content["options"], shuffle=shuffle)
    elif kind == Kind.ORDERING:
        options = choices(content["items"], shuffle=True)
    elif kind == Kind.MATCHING:
        left = choices(content["left"], shuffle=shuffle)
        options = choices(content["right"], shuffle=True)
    return Presented(
        number=row.number,
        kind=kind.value,
        stem=version.stem,
        unit=content.get("unit", ""),
        options=options,
        left=left,
        points=points,
        answer=_translate(kind, row.answer, _names(session, version)),
        seq=row.seq,
        flagged=row.flagged,
    )


def _own_ids(version: QuestionVersion) -> list[str]:
    return [option["id"] for part in ("options", "items", "left", "right") for option in version.content.get(part, [])]


def _names(session: ExamSession, version: QuestionVersion) -> dict[str, str]:
    """The bank's ids → the browser's names."""
    return {id_: selection.opaque(session.seed, str(version.pk), id_) for id_ in _own_ids(version)}


def _translate(kind: Kind, answer: Any, names: Mapping[str, str]) -> Any:
    """An answer under other names; raises KeyError or TypeError for what is none."""
    if marking.is_empty(answer):
        return None
    match kind:
        case Kind.SINGLE:
            return names[answer]
        case Kind.MULTIPLE | Kind.ORDERING:
            return [names[id_] for id_ in answer]
        case Kind.MATCHING:
            return {names[left]: names[right] for left, right in answer.items()}
        case _:
            return answer


def _read(session: ExamSession, version: QuestionVersion, answer: Any) -> Any:
    """What the browser sent, under the bank's ids and checked against this very question."""
    kind = Kind(version.kind)
    shapes: dict[Kind, type | tuple[type, ...]] = {
        Kind.SINGLE: str, Kind.MULTIPLE: list, Kind.TRUEFALSE: bool, Kind.NUMERIC: str, Kind.MATCHING: dict, Kind.ORDERING: list,
    }
    own = {name: id_ for id_, name in _names(session, version).items()}
    try:
        if answer is not None and not isinstance(answer, shapes[kind]):
            raise TypeError(kind)
        if kind == Kind.NUMERIC and answer is not None and len(answer) > LONGEST_NUMBER:
            raise ValueError(kind)
        found = _translate(kind, answer, own)
        if isinstance(found, list) and len(set(found)) < len(found):
            raise ValueError(kind)
        if kind == Kind.MULTIPLE and found is not None:
            found = sorted(found)
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise Refused("bad_answer", _("这份作答与题目对不上,没有保存。"), _("请刷新页面后重新作答。")) from fault
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
        answered = session.answers.exclude(answer=None).count()
    kept = _translate(Kind(row.version.kind), row.answer, _names(session, row.version))
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
        raise Refused("submitted", _("已经交卷,不能再修改。"), _("交卷前保存的作答都已计分。"))
    if now > locked.closes_at:
        raise Refused("too_late", _("考试时间已到,这次修改没有计入。"), _("此前保存的作答全部有效,系统会自动交卷。"))
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
        "exam.submitted", locked.paper, by=by, session=str(locked.public_id), score=str(locked.score), passed=locked.passed,
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
        "answered": sum(not marking.is_empty(row.answer) for row in rows),
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
        raise Refused("not_submitted", _("还没有交卷,不能重新评分。"))
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
        "exam.regraded", locked.paper, by=by, session=str(locked.public_id), reason=reason.strip(), before=before.get("score"),
        after=str(locked.score),
    )
    return locked


def _asks_the_same(old: QuestionVersion, new: QuestionVersion) -> bool:
    return old.kind == new.kind and sorted(_own_ids(old)) == sorted(_own_ids(new))


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

