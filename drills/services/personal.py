"""What drills hold of a person: told, erased on request, and deleted when its time is over.

The log stays: it is evidence, under a pseudonym. What a person wrote (EventText) and typed (TerminalRecording) goes.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.core.files.storage import default_storage
from django.utils import timezone

from drills.files import path_of
from drills.models import EventText, Finding, TerminalRecording
from drills.services.acting import erase_words
from lms.accounts import audit
from lms.accounts.models import User

logger = logging.getLogger(__name__)
AT_ONCE = 200  # recordings deleted in one go; the next look goes on


def personal_data(user: User) -> dict[str, Any]:
    actor = str(user.pseudonym)
    return {
        "pseudonym": actor,
        "seats": [
            {
                "drill": seat.drill.title,
                "seat": seat.seat,
                "cell": seat.cell,
                "invited": seat.invited_at.isoformat(),
                "taken": seat.taken_at and seat.taken_at.isoformat(),
                "left": seat.left_at and seat.left_at.isoformat(),
            }
            for seat in user.drill_seats.select_related("drill")
        ],
        "words": [
            {"drill": text.event.drill_id, "event": text.event.seq, "name": text.name, "text": text.text}
            for text in EventText.objects.filter(event__actor=actor, erased_at=None)
            .select_related("event")
            .order_by("event__drill_id", "event__seq", "name")
        ],
        "recordings": [
            {
                "drill": row.drill.title,
                "node": row.node,
                "opened": row.opened_at.isoformat(),
                "closed": row.closed_at and row.closed_at.isoformat(),
                "kept_until": row.keep_until.isoformat(),
            }
            for row in TerminalRecording.objects.filter(actor=actor).select_related("drill")
        ],
        "rectifications": [
            {"title": one.title, "due": one.due.isoformat(), "state": one.state, "evidence": one.evidence}
            for one in Finding.objects.filter(owner=user)
        ],
    }


def erase_personal_data(*, user: User, by: User) -> dict[str, int]:
    """What rests on the person's consent alone: words and recordings. How many of each."""
    recordings = list(TerminalRecording.objects.filter(actor=str(user.pseudonym)).select_related("drill", "instance"))
    for row in recordings:
        _delete(row)
    if recordings:
        audit.record("drill.recordings_erased", user, by=by, recordings=len(recordings))
    return {"words": erase_words(user=user, by=by), "recordings": len(recordings)}


def delete_old_recordings(*, now: datetime | None = None) -> int:
    """Recordings past the day they were promised to be kept until; how many. Called by the follower."""
    due = TerminalRecording.objects.filter(keep_until__lt=now or timezone.now()).order_by("keep_until")
    rows = list(due.select_related("drill", "instance")[:AT_ONCE])
    for row in rows:
        _delete(row)
    if rows:
        logger.info("%d terminal recordings were past their time and are deleted", len(rows))
    return len(rows)


def _delete(row: TerminalRecording) -> None:
    """File first: a row without its file is deleted by the next look, a file without its row would stay for ever."""
    default_storage.delete(path_of(row.drill, row.instance.range_id, row.name, "recordings"))
    row.delete()
