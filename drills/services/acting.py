"""What those on a seat do: read, decide, submit, take a hint, note, report."""

from __future__ import annotations

from typing import Any, Literal

from django.utils import timezone
from django.utils.translation import gettext as _

from cyber_range import services as ranges
from cyber_range.engine.errors import RangeError
from drills import log
from drills.domain import events as ev
from drills.domain.scoring import known_since
from drills.models import Drill, EventText, Seat
from drills.services import following
from drills.services.refusal import Refused
from lms.accounts import audit
from lms.accounts.models import User

REPORT_FIELDS = ("unit", "what", "impact", "measures", "trend", "cause", "clues", "next")
RECIPIENTS = ("leader", "regulator", "cyberspace", "police")
GRADES = ("特别重大", "重大", "较大", "一般")
NOTE_LENGTH = 2000


def _who(seat: Seat) -> str:
    return str(seat.user.pseudonym)


def _range_of(drill: Drill) -> Any:
    row = Drill.objects.select_related("instance__host").get(pk=drill.pk)
    if not row.live:
        raise Refused(_("演练没有在进行。"))
    if row.phase == Drill.Phase.PAUSED:
        raise Refused(_("演练已暂停，请等导调组恢复。"))
    if row.instance is None or not row.instance.living:
        raise Refused(_("靶场没有运行。导调组正在处理，请稍候。"))
    return row


def submit_objective(*, drill: Drill, seat: Seat, objective: str, value: Any) -> dict[str, Any]:
    """Hands in a value. Range-host judges and says so in its own events; they are copied at once."""
    row = _range_of(drill)
    try:
        answer = ranges.call(
            row.instance, "submit", objective=objective, value=value, session=_who(seat), seat=seat.seat
        )
    except RangeError as error:
        raise Refused(str(error)) from error
    following.copy_range_events(drill=row)
    return {"right": answer["right"], "tries_left": answer.get("tries_left")}


def take_hint(*, drill: Drill, seat: Seat, hint: str) -> dict[str, Any]:
    """A hint for everyone of the team, for its cost, once."""
    row = _range_of(drill)
    known = log.full_state(row).hints.get(hint)
    if known and known.get("text"):
        return {"hint": hint, "text": known["text"], "cost": known["cost"]}
    try:
        answer = ranges.call(row.instance, "hint", hint=hint, session=_who(seat), seat=seat.seat)
    except RangeError as error:
        raise Refused(str(error)) from error
    with log.writing(drill.pk) as book:
        before = book.state.hints.get(hint)
        if not (before and before.get("text")):
            objective = next(
                (h.objective for h in (book.state.script.hints if book.state.script else ()) if h.id == hint), ""
            )
            book.append(
                ev.HintGiven(hint=hint, objective=objective, cost=answer["cost"], text=answer["text"]), actor=_who(seat)
            )
    return {"hint": hint, "text": answer["text"], "cost": answer["cost"]}


def mark_inject_read(*, drill: Drill, seat: Seat, inject: str) -> None:
    with log.writing(drill.pk) as book:
        found = book.state.injects.get(inject)
        if found is None or seat.seat not in found.to:
            raise Refused(_("没有这条消息。"))
        if _who(seat) not in found.read_by:
            book.append(ev.InjectRead(inject=inject, seat=seat.seat), actor=_who(seat))


def reply_inject(*, drill: Drill, seat: Seat, inject: str, text: str) -> None:
    text = text.strip()
    if not text:
        raise Refused(_("回复不能为空。"))
    with log.writing(drill.pk) as book:
        found = book.state.injects.get(inject)
        if found is None or seat.seat not in found.to or found.expects == "decision":
            raise Refused(_("这条消息不能回复。"))
        _refuse_unless_running(book)
        book.append(
            ev.InjectReplied(inject=inject, seat=seat.seat), actor=_who(seat), texts={"reply": text[:NOTE_LENGTH]}
        )


def decide(*, drill: Drill, seat: Seat, inject: str, option: str, reason: str = "") -> None:
    """The team's decision; the first one stands."""
    with log.writing(drill.pk) as book:
        found = book.state.injects.get(inject)
        if found is None or seat.seat not in found.to or found.expects != "decision":
            raise Refused(_("这条消息不需要决策。"))
        if found.option is not None:
            raise Refused(_("已经决定过了，以第一次为准。"))
        _refuse_unless_running(book)
        spec = book.state.spec_of_inject(inject)
        chosen = next((one for one in (spec.options if spec else ()) if one.id == option), None)
        if chosen is None:
            raise Refused(_("没有这个选项。"))
        book.append(
            ev.InjectDecided(inject=inject, seat=seat.seat, option=option, points=chosen.points),
            actor=_who(seat),
            texts={"reason": reason.strip()[:NOTE_LENGTH]},
        )


def _refuse_unless_running(book: log.Book) -> None:
    if book.state.phase != "running":
        raise Refused(_("演练没有在进行。"))


def note(
    *,
    drill: Drill,
    seat: Seat,
    text: str,
    scope: Literal["white", "team", "all"] = "team",
    topic: Literal["note", "finding", "action", "observation"] = "note",
) -> None:
    text = text.strip()
    if not text:
        raise Refused(_("记录不能为空。"))
    if scope == "all" and seat.cell != "white":
        scope = "team"
    with log.writing(drill.pk) as book:
        if book.drill.over:
            raise Refused(_("演练已经结束。请在复盘页写问题和建议。"))
        book.append(
            ev.NoteAdded(scope=scope, cell=seat.cell, topic=topic), actor=_who(seat), texts={"text": text[:NOTE_LENGTH]}
        )


def acknowledge_alarm(*, drill: Drill, seat: Seat, name: str) -> None:
    with log.writing(drill.pk) as book:
        alarm = book.state.alarms.get(name)
        if alarm is None:
            raise Refused(_("没有这个告警。"))
        if not alarm.acknowledged_by:
            book.append(ev.AlarmAcknowledged(name=name), actor=_who(seat))


def submit_report(
    *,
    drill: Drill,
    seat: Seat,
    recipients: list[str],
    incident_class: str,
    grade: str,
    fields: dict[str, str],
) -> int:
    """事件报告, sent to nobody: recipients are recorded, every copy is marked 演练. First what is known, the rest in a
    follow-up: unit and what happened are asked for, no more. Returns its number."""
    wanted = [one for one in RECIPIENTS if one in recipients]
    if not wanted:
        raise Refused(_("请选择报告对象。"))
    if grade not in GRADES:
        raise Refused(_("请选择事件级别。"))
    texts = {name: fields.get(name, "").strip()[:4000] for name in REPORT_FIELDS}
    if not texts["unit"] or not texts["what"]:
        raise Refused(_("至少填写单位和系统、时间与类型；其余可以续报。"))
    with log.writing(drill.pk) as book:
        if not book.state.live:
            raise Refused(_("演练没有在进行。"))
        now = book.state.now(timezone.now().timestamp())
        since = known_since(book.state)
        number = len(book.state.reports) + 1
        book.append(
            ev.ReportSubmitted(
                number=number,
                seat=seat.seat,
                recipients=tuple(wanted),
                incident_class=incident_class[:20],
                grade=grade,
                elapsed_s=None if since is None else max(0.0, now - since),
                limit_s=book.drill.report_minutes * 60,
                filled=tuple(name for name in REPORT_FIELDS if texts[name]),
            ),
            actor=_who(seat),
            texts=texts,
        )
    return number


def erase_words(*, user: User, by: User) -> int:
    """Erases a person's free text from every drill; the events stay under the pseudonym. How many texts."""
    rows = EventText.objects.filter(event__actor=str(user.pseudonym), erased_at=None)
    count = rows.update(text="", erased_at=timezone.now())
    if count:
        audit.record("drill.words_erased", user, by=by, texts=count)
    return count
