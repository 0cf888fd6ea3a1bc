"""What the white cell does: start, pause, extend, send messages, mark, end."""

from __future__ import annotations

import logging
import secrets
from typing import Literal

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from cyber_range import services as ranges
from cyber_range.engine.errors import RangeError
from drills import log
from drills.domain import events as ev
from drills.domain.scoring import CRITERIA, RATING_OF, score
from drills.domain.state import State
from drills.models import Drill
from drills.services import following
from drills.services.refusal import Refused
from lms.accounts import audit
from lms.accounts.models import User

logger = logging.getLogger(__name__)


def _actor(by: User | None) -> str:
    return str(by.pseudonym) if by else ""


def _soon(drill_id: int) -> None:
    """Brings the range into step right after the commit; what fails now the follower does a second later."""

    def go() -> None:
        drill = Drill.objects.select_related("instance__host").get(pk=drill_id)
        try:
            following.converge(drill, log.full_state(drill))
        except RangeError as error:
            logger.info("drill %s: range follows later: %s", drill_id, error)

    transaction.on_commit(go, robust=True)


def start(*, drill: Drill, by: User | None, speed: float | None = None) -> None:
    """The clock starts; the attack's script with it, unless a person attacks."""
    with log.writing(drill.pk) as book:
        state = book.state
        if state.phase == "planned":
            raise Refused(_("靶场还没有就绪。请先启动靶场，再开始演练。"))
        if state.phase != "ready":
            raise Refused(_("演练已经开始过了。"))
        if not any(one.cell == "blue" and state.holders(one.id) for one in _seats(state)):
            raise Refused(_("蓝队还没有人入席。至少一名蓝队成员入席后才能开始。"))
        book.append(ev.Started(speed=speed or book.drill.speed), actor=_actor(by))
        audit.record("drill.started", book.drill, by=by, organisation=book.drill.organisation)
        _soon(drill.pk)


def _seats(state: State) -> tuple[ev.SeatSpec, ...]:
    return state.script.seats if state.script else ()


def pause(*, drill: Drill, by: User | None) -> None:
    with log.writing(drill.pk) as book:
        if book.state.phase != "running":
            raise Refused(_("演练没有在进行，不能暂停。"))
        book.append(ev.Paused(), actor=_actor(by))
        _soon(drill.pk)


def resume(*, drill: Drill, by: User | None) -> None:
    with log.writing(drill.pk) as book:
        if book.state.phase != "paused":
            raise Refused(_("演练没有暂停。"))
        book.append(ev.Resumed(), actor=_actor(by))
        _soon(drill.pk)


def set_speed(*, drill: Drill, by: User | None, speed: float) -> None:
    """A rehearsal for the white cell, or a bot, may run faster; protocols stay real."""
    if not 0.1 <= speed <= 100:
        raise Refused(_("速度应在 0.1 到 100 之间。"))
    with log.writing(drill.pk) as book:
        if book.state.phase not in ("ready", "running", "paused"):
            raise Refused(_("演练没有在进行。"))
        book.append(ev.SpeedSet(speed=speed), actor=_actor(by))
        book.drill.speed = speed
        book.drill.save(update_fields=["speed"])
        _soon(drill.pk)


def extend(*, drill: Drill, by: User | None, minutes: int) -> None:
    if not 1 <= minutes <= 240:
        raise Refused(_("一次可延长 1 到 240 分钟。"))
    with log.writing(drill.pk) as book:
        if not book.state.live:
            raise Refused(_("演练没有在进行，不能延长。"))
        book.append(ev.Extended(seconds=minutes * 60), actor=_actor(by))
        audit.record("drill.extended", book.drill, by=by, organisation=book.drill.organisation, minutes=minutes)


def fire_inject(*, drill: Drill, inject: str, by: User | None, how: Literal["clock", "white"] = "white") -> None:
    """Sends a message of the script. Sending twice sends once."""
    with log.writing(drill.pk) as book:
        if not book.state.live:
            raise Refused(_("演练没有在进行，不能发送情景注入。"))
        if inject in book.state.injects:
            return
        spec = book.state.spec_of_inject(inject)
        if spec is None:
            raise Refused(_("脚本里没有“%(inject)s”。") % {"inject": inject})
        append_inject(book, spec, how=how, actor=_actor(by))


def append_inject(book: log.Book, spec: ev.InjectSpec, *, how: Literal["clock", "white"], actor: str = "") -> None:
    book.append(
        ev.InjectFired(
            inject=spec.id,
            to=spec.to,
            how=how,
            expects=spec.expects,
            deadline_s=spec.deadline_s,
            points=spec.points,
            spec=spec,
        ),
        actor=actor,
    )


def send_adhoc(
    *, drill: Drill, by: User, title: str, body: str, to: list[str], expects: Literal["nothing", "reply"] = "nothing"
) -> str:
    """A message the white cell writes on the spot."""
    if not title.strip() or not to:
        raise Refused(_("请填写标题并选择收件席位。"))
    with log.writing(drill.pk) as book:
        if not book.state.live:
            raise Refused(_("演练没有在进行，不能发送情景注入。"))
        known = {one.id for one in _seats(book.state)}
        if not set(to) <= known:
            raise Refused(_("收件席位不存在。"))
        name = f"adhoc-{secrets.token_hex(4)}"
        book.append(
            ev.InjectFired(inject=name, to=tuple(to), how="white", expects=expects, adhoc=True),
            actor=_actor(by),
            texts={"title": title.strip()[:200], "body": body.strip()[:4000]},
        )
    return name


def steer_campaign(*, drill: Drill, by: User, action: str, step: str | None = None) -> None:
    """The white cell's hand on the attack: its script started or stopped, or one step of it now."""
    if action not in ("start", "stop", "step"):
        raise Refused(_("未知操作。"))
    row = Drill.objects.select_related("instance__host").get(pk=drill.pk)
    if not row.live or row.instance is None:
        raise Refused(_("演练没有在进行。"))
    try:
        ranges.call(row.instance, "campaign", action=action, **({"step": step} if step else {}))
    except RangeError as error:
        raise Refused(str(error)) from error
    with log.writing(drill.pk) as book:
        if not book.drill.over:
            book.append(ev.CampaignSteered.model_validate({"action": action, "step": step or ""}), actor=_actor(by))
    audit.record("drill.campaign", row, by=by, organisation=row.organisation, verb=action, step=step or "")
    following.copy_range_events(drill=row)


def mark_inject(*, drill: Drill, by: User, inject: str, points: int) -> None:
    """Points for a reply, up to what the script gives."""
    with log.writing(drill.pk) as book:
        found = book.state.injects.get(inject)
        if found is None or not found.replies:
            raise Refused(_("这条注入还没有人回复。"))
        if not 0 <= points <= found.possible:
            raise Refused(_("分值应在 0 到 %(n)d 之间。") % {"n": found.possible})
        _refuse_closed(book)
        book.append(ev.InjectMarked(inject=inject, points=points), actor=_actor(by))
        _keep_score(book)
        audit.record(
            "drill.marked", book.drill, by=by, organisation=book.drill.organisation, inject=inject, points=points
        )


def rate(*, drill: Drill, by: User, subject: str, points: int) -> None:
    """A mark on the marking sheet."""
    if subject not in {one[0] for one in CRITERIA} or not 0 <= points <= RATING_OF:
        raise Refused(_("评分项或分值不对。"))
    with log.writing(drill.pk) as book:
        if book.state.started_at is None:
            raise Refused(_("演练还没有开始，不能评分。"))
        _refuse_closed(book)
        book.append(ev.RatingGiven(subject=subject, points=points, of=RATING_OF), actor=_actor(by))
        audit.record(
            "drill.rated", book.drill, by=by, organisation=book.drill.organisation, subject=subject, points=points
        )


def _refuse_closed(book: log.Book) -> None:
    if book.state.phase == "closed":
        raise Refused(_("演练已归档，评分不能再改。"))


def _keep_score(book: log.Book) -> None:
    if book.state.ended_at is not None:
        book.drill.score = score(book.state).percent
        book.drill.save(update_fields=["score"])


def end(*, drill: Drill, by: User | None, reason: Literal["white", "time", "cancelled"] = "white") -> None:
    """Ends the drill. Last words of the range are copied first, so that a fix of the last second counts."""
    row = Drill.objects.select_related("instance__host").get(pk=drill.pk)
    if row.over:
        return
    following.last_look(row)
    with log.writing(drill.pk) as book:
        if book.drill.over:
            return
        if not book.state.live and reason != "cancelled":
            raise Refused(_("演练还没有开始。要取消请用“取消演练”。"))
        book.append(ev.Ended(reason=reason), actor=_actor(by))
        book.drill.score = score(book.state).percent if book.state.started_at is not None else None
        book.drill.save(update_fields=["score"])
        book.drill.seats.filter(left_at=None, taken_at__isnull=False).update(left_at=timezone.now())
        audit.record("drill.ended", book.drill, by=by, organisation=book.drill.organisation, reason=reason)
        _soon(drill.pk)
