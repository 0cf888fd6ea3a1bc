"""The drill's range: launching it, noticing that it is there or gone, launching it anew, terminals into it.

Services only write what shall be; the follower brings the range there (`following.converge`) and notes what it finds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from cyber_range import catalogue
from cyber_range import services as ranges
from cyber_range.engine.errors import RangeError
from cyber_range.models import Instance
from drills import log
from drills.domain import events as ev
from drills.models import Drill, Seat, TerminalRecording
from drills.services.planning import script_of
from drills.services.refusal import Refused
from lms.accounts import audit
from lms.accounts.models import User
from lms.jobs.models import Job


def launch_range(*, drill: Drill, by: User | None) -> Job:
    """Asks for the range; the lobby shows the job."""
    return _launch(drill, by=by, again=False)


def relaunch_range(*, drill: Drill, by: User | None) -> Job:
    """A fresh range with the same seed, when the old one was lost or is beyond mending. What was verified stays verified."""
    return _launch(drill, by=by, again=True)


def _launch(drill: Drill, *, by: User | None, again: bool) -> Job:
    with log.writing(drill.pk) as book:
        state, row = book.state, book.drill
        if row.over:
            raise Refused(_("演练已经结束。"))
        old = row.instance
        if old is not None and old.living and not again and state.lab.state in ("launching", "attached"):
            raise Refused(_("靶场已经在运行。要换一个全新的，请用“重新启动靶场”。"))
        if again and state.lab.state == "launching" and old is not None and old.living:
            raise Refused(_("靶场正在启动，请稍候。"))
        try:
            instance, job = ranges.request_range(
                scenario=row.scenario,
                organisation=row.organisation,
                by=by,
                purpose=Instance.Purpose.DRILL,
                seed=row.seed,
                team=row.team,
                speed=row.speed,
                ttl=row.duration_minutes * 60 + 4 * 3600,
                link=reverse("drills:lobby", args=[row.pk]),
            )
        except ranges.RangeRefused as refused:
            raise Refused(str(refused)) from refused
        row.instance = instance
        row.range_cursor = 0
        row.save(update_fields=["instance", "range_cursor"])
        if old is not None and old.living:
            ranges.request_destroy(instance=old, by=by)
        book.append(
            ev.LabLaunching(range_id=instance.range_id, again=old is not None), actor=str(by.pseudonym) if by else ""
        )
        audit.record("drill.range", row, by=by, organisation=row.organisation, range_id=instance.range_id, again=again)
    return job


def attach_range(*, drill: Drill) -> bool:
    """Notes in the log that the range stands, with the script in this team's values. True when it was noted now."""
    instance = drill.instance
    if instance is None or instance.state not in (Instance.State.READY, Instance.State.PAUSED, Instance.State.ILL):
        return False
    told = ranges.call(instance, "script")
    scenario = catalogue.entry(drill.scenario).scenario
    with log.writing(drill.pk) as book:
        lab = book.state.lab
        if book.drill.instance_id != instance.pk or lab.range_id != instance.range_id:
            return False
        if lab.state != "launching" and not (lab.state == "lost" and lab.reason == "host_unreachable"):
            return False
        book.append(
            ev.LabAttached(
                range_id=instance.range_id,
                driver=instance.driver,
                host=instance.host.name,
                scenario=instance.scenario,
                scenario_version=instance.scenario_version,
                digest=instance.scenario_hash,
                seed=instance.seed,
                team=instance.team,
            )
        )
        book.append(script_of(scenario, told))
    return True


def note_lost(*, drill: Drill, range_id: str, reason: Any, what: str = "") -> bool:
    """Notes that the range does not answer any more or is no more. Once."""
    with log.writing(drill.pk) as book:
        lab = book.state.lab
        if lab.range_id != range_id or lab.state == "lost" or book.drill.over:
            return False
        book.append(ev.LabLost(range_id=range_id, reason=reason, what=what[:300]))
    return True


# ---------------------------------------------------------------- terminals


def open_terminal(*, drill: Drill, seat: Seat, node: str) -> dict[str, Any]:
    """A one-use ticket of range-host, bound to person, seat and node. The caller has checked the rule."""
    instance = drill.instance
    if instance is None or not instance.living:
        raise Refused(_("靶场没有运行，终端打不开。"))
    try:
        answer = ranges.call(
            instance, "ticket", session=str(seat.user.pseudonym), seat=seat.seat, node=node, lifetime=30
        )
    except RangeError as error:
        raise Refused(str(error)) from error
    audit.record("drill.terminal", drill, by=seat.user, organisation=drill.organisation, node=node, seat=seat.seat)
    return {"ticket": answer["ticket"], "range_id": instance.range_id}


def terminal_opened(*, drill: Drill, seat: Seat, node: str, recording: str) -> TerminalRecording | None:
    """Keeps the name of the recording that range-host makes."""
    if not recording or drill.instance is None:
        return None
    row, _made = TerminalRecording.objects.get_or_create(
        instance=drill.instance,
        name=recording,
        defaults={
            "drill": drill,
            "actor": str(seat.user.pseudonym),
            "seat": seat.seat,
            "node": node,
            "keep_until": timezone.now() + TerminalRecording.KEEP,
        },
    )
    return row


def terminal_closed(*, recording: TerminalRecording | None, reason: str) -> None:
    if recording is not None:
        TerminalRecording.objects.filter(pk=recording.pk, closed_at=None).update(
            closed_at=datetime.now(UTC), reason=reason[:40]
        )


def hang_up(drill: Drill) -> None:
    """Ends every terminal of the drill's range. Best effort: consumers close by themselves too."""
    if drill.instance is not None and drill.instance.living:
        ranges.call(drill.instance, "hang_up")
