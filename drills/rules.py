"""Who may do what in drills. A seat decides inside a drill; a role decides outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drills.domain.visibility import Viewer
from lms.accounts.rules import Role, organisation_ids

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from drills.domain.events import SeatSpec
    from drills.models import Drill, Finding, Seat
    from lms.accounts.models import User


def leading_organisations(user: User | AnonymousUser) -> set[int]:
    """Organisations whose drills the person plans and reads."""
    return organisation_ids(user, Role.SECURITY, Role.ADMIN)


def planning_organisations(user: User | AnonymousUser) -> set[int]:
    """Organisations the person may plan a drill for: the own one as security person or enterprise admin."""
    return leading_organisations(user)


def may_plan(user: User | AnonymousUser, organisation_id: int | None = None) -> bool:
    allowed = planning_organisations(user)
    return bool(allowed) if organisation_id is None else organisation_id in allowed


def may_see_drill(user: User | AnonymousUser, drill: Drill) -> bool:
    return seat_of(user, drill) is not None or drill.organisation_id in leading_organisations(user)


def may_manage_drill(user: User | AnonymousUser, drill: Drill) -> bool:
    """Invite, launch the range, start: who planned for the organisation, and the white cell."""
    seat = seat_of(user, drill)
    if seat is not None and seat.cell == "white":
        return True
    return may_plan(user, drill.organisation_id)


def may_direct(seat: Seat | None) -> bool:
    """Start, pause, fire injects, mark, end: the white cell, sitting."""
    return seat is not None and seat.held and seat.cell == "white"


def may_play(seat: Seat | None) -> bool:
    """Decide what a message asks: a playing seat."""
    return seat is not None and seat.held and seat.cell in ("blue", "red")


def may_answer(seat: Seat | None) -> bool:
    """Submit, take hints, report: what is asked of the defenders."""
    return seat is not None and seat.held and seat.cell == "blue"


def may_note(seat: Seat | None) -> bool:
    return seat is not None and seat.held and seat.cell != "observer"


def may_open_terminal(seat: Seat | None, spec: SeatSpec | None, node: str) -> bool:
    """A seat lists the nodes it has a shell on."""
    return seat is not None and seat.held and spec is not None and spec.id == seat.seat and node in spec.consoles


def may_review(user: User | AnonymousUser, drill: Drill) -> bool:
    return drill.over and may_see_drill(user, drill)


def may_write_findings(user: User | AnonymousUser, drill: Drill) -> bool:
    return drill.over and may_manage_drill(user, drill)


def may_do_finding(user: User | AnonymousUser, finding: Finding) -> bool:
    return finding.owner_id == user.pk or may_write_findings(user, finding.drill)


def may_close_finding(user: User | AnonymousUser, finding: Finding) -> bool:
    """Not one's own."""
    return finding.owner_id != user.pk and may_write_findings(user, finding.drill)


def seat_of(user: User | AnonymousUser, drill: Drill) -> Seat | None:
    """The person's place in the drill (invited, held or left). Remembered on the drill object."""
    if not user.is_authenticated:
        return None
    known: dict[int, Seat | None] = drill.__dict__.setdefault("_seat_of", {})
    if user.pk not in known:
        known[user.pk] = drill.seats.filter(user=user).first()
    return known[user.pk]


def viewer_for(user: User | AnonymousUser, drill: Drill, seat: Seat | None, spec: SeatSpec | None) -> Viewer | None:
    """Through whose eyes the person reads this drill's log now; None = not at all."""
    if drill.over:
        return Viewer.reviewing() if may_see_drill(user, drill) else None
    if seat is None or not seat.held:
        return None
    return Viewer(seat.cell, seat.seat, str(user.pseudonym), frozenset(spec.sees) if spec else frozenset())
