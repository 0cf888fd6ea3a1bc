"""How every drill view finds its drill: 404 for what one may not know of, 403 with a reason for what one knows."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _

from drills import log, rules
from drills.domain.state import State
from drills.domain.visibility import Viewer
from drills.models import Drill, Seat
from lms.accounts.models import User


def the_drill(user: User | AnonymousUser, pk: int) -> Drill:
    visible = Drill.objects.visible_to(user).select_related("organisation", "instance__host", "created_by")
    return get_object_or_404(visible, pk=pk)


def managed(user: User, pk: int) -> Drill:
    drill = the_drill(user, pk)
    if not rules.may_manage_drill(user, drill):
        raise PermissionDenied(_("演练由本单位的安全人员、企业管理员或导调组组织。"))
    return drill


def eyes(user: User, drill: Drill) -> tuple[Seat | None, Viewer | None, State]:
    """The person's seat, what he may see with it, and the whole state (for rules, not for showing)."""
    state = log.full_state(drill)
    seat = rules.seat_of(user, drill)
    spec = state.spec_of_seat(seat.seat) if seat else None
    return seat, rules.viewer_for(user, drill, seat, spec), state
