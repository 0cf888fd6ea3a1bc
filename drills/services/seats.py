"""Inviting, sitting down, standing up."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from drills import log
from drills.domain import events as ev
from drills.domain.state import State
from drills.models import Drill, Seat
from drills.services.refusal import Refused
from lms.accounts import audit
from lms.accounts.models import User


def _spec(state: State, seat: str) -> ev.SeatSpec:
    spec = state.spec_of_seat(seat)
    if spec is None:
        known = "、".join(one.id for one in (state.script.seats if state.script else ()))
        raise Refused(_("场景里没有席位“%(seat)s”。可选：%(known)s") % {"seat": seat, "known": known})
    return spec


def invite(*, drill: Drill, user: User, seat: str, by: User | None) -> Seat:
    """Reserves a place for a person. Inviting again moves the invitation, unless he already sits."""
    with log.writing(drill.pk) as book:
        if book.drill.over:
            raise Refused(_("演练已经结束，不能再邀请。"))
        spec = _spec(book.state, seat)
        if spec.cell == "red" and book.drill.attack == Drill.Attack.SCRIPT:
            raise Refused(
                _("这场演练由脚本攻击，没有红队。要请红队，请重新安排演练并选择攻击方式“人工”或“脚本与红队一起”。")
            )
        held = book.state.seat_of(str(user.pseudonym))
        if held is not None and held.seat != seat:
            raise Refused(_("%(name)s 正坐在另一个席位上。请先让他离席。") % {"name": user})
        taken = Seat.objects.filter(drill=book.drill, seat=seat, left_at=None).exclude(user=user).count()
        if taken >= spec.max:
            raise Refused(_("席位“%(seat)s”最多 %(n)d 人，已经满了。") % {"seat": spec.title["zh"], "n": spec.max})
        row, made = Seat.objects.update_or_create(
            drill=book.drill, user=user, defaults={"seat": seat, "cell": spec.cell, "left_at": None}
        )
        if made or held is None:
            book.append(ev.SeatInvited(seat=seat, who=str(user.pseudonym)), actor=str(by.pseudonym) if by else "")
        audit.record("drill.invited", book.drill, by=by, organisation=book.drill.organisation, seat=seat, user=user.pk)
    return row


def take_seat(*, drill: Drill, user: User, seat: str | None = None) -> Seat:
    """Sits down on the place one was invited to (or back on it after leaving)."""
    with log.writing(drill.pk) as book:
        if book.drill.over:
            raise Refused(_("演练已经结束。"))
        row = Seat.objects.filter(drill=book.drill, user=user).first()
        if row is None or (seat is not None and row.seat != seat):
            raise Refused(_("您没有被邀请到这个席位。请联系导调组。"))
        who = str(user.pseudonym)
        if book.state.seat_of(who) is not None:
            return row
        spec = _spec(book.state, row.seat)
        if len(book.state.holders(row.seat)) >= spec.max:
            raise Refused(_("这个席位已经坐满。请联系导调组。"))
        row.taken_at = row.taken_at or timezone.now()
        row.left_at = None
        row.save(update_fields=["taken_at", "left_at"])
        book.append(ev.SeatTaken(seat=row.seat, cell=row.cell, who=who), actor=who)
    return row


def leave_seat(*, drill: Drill, user: User) -> None:
    _leave(drill, user, by=user, reason="left")


def remove_from_seat(*, drill: Drill, user: User, by: User) -> None:
    """The white cell takes a seat back; terminals of it close within seconds."""
    with transaction.atomic():
        _leave(drill, user, by=by, reason="removed")
        audit.record("drill.removed", drill, by=by, organisation=drill.organisation, user=user.pk)


def _leave(drill: Drill, user: User, *, by: User, reason: str) -> None:
    with log.writing(drill.pk) as book:
        row = Seat.objects.filter(drill=book.drill, user=user).first()
        if row is None:
            raise Refused(_("没有这个席位。"))
        sitting = book.state.seat_of(str(user.pseudonym)) is not None
        if not sitting and reason == "removed" and row.taken_at is None:
            row.delete()
        elif row.left_at is None:
            row.left_at = timezone.now()
            row.save(update_fields=["left_at"])
        else:
            return
        book.append(ev.SeatLeft(seat=row.seat, who=str(user.pseudonym), reason=reason), actor=str(by.pseudonym))
