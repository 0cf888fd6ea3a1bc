"""One look of the follower at one drill."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from cyber_range import hosts
from cyber_range import services as ranges
from cyber_range.engine.errors import RangeError
from cyber_range.models import Instance
from drills import log
from drills.domain import script
from drills.models import Drill
from drills.services import following
from drills.services.ranges import attach_range, note_lost
from drills.services.running import append_inject, end
from lms.jobs import services as jobs

logger = logging.getLogger(__name__)
LOST_AFTER = timedelta(seconds=3)  # a host that is silent so long is said to be lost


def follow(*, drill: Drill, now: datetime | None = None) -> None:
    """Copies, notices, sends what is due, ends what is over. Each part stands alone: a dead host stops no clock."""
    now = now or timezone.now()
    follow_range(drill=drill, now=now)
    _run_script(drill, now)


def follow_range(*, drill: Drill, now: datetime) -> None:
    """The range's half of a look. The worker beside a host that the follower cannot reach has this half (hosts.within_reach)."""
    try:
        _follow_range(drill, now)
    except RangeError as error:
        _silent(drill, error, now)


def _follow_range(drill: Drill, now: datetime) -> None:
    instance = drill.instance
    if instance is None or drill.over:
        return
    state = log.full_state(drill)
    if instance.state == Instance.State.FAILED:
        note_lost(drill=drill, range_id=instance.range_id, reason="launch_failed", what=instance.reason)
        return
    if instance.state == Instance.State.GONE:
        note_lost(drill=drill, range_id=instance.range_id, reason="gone", what=instance.reason)
        return
    if instance.state in (Instance.State.WAITING, Instance.State.LAUNCHING, Instance.State.CLOSING):
        return
    if not hosts.within_reach(instance.host):
        silent = instance.silent_since
        if silent is not None and now - silent >= LOST_AFTER:
            why = instance.host.trouble or instance.reason
            note_lost(drill=drill, range_id=instance.range_id, reason="host_unreachable", what=why)
        return
    with hosts.client(instance.host) as client:
        following.copy_range_events(drill=drill, client=client)
        if state.lab.state in ("launching", "lost"):
            attach_range(drill=drill)
            state = log.full_state(Drill.objects.get(pk=drill.pk))
        following.converge(drill, state, client)
    if instance.silent_since is not None:
        Instance.objects.filter(pk=instance.pk).update(silent_since=None)


def _silent(drill: Drill, error: RangeError, now: datetime) -> None:
    instance = drill.instance
    assert instance is not None
    if error.code == "unknown_range":
        Instance.objects.filter(pk=instance.pk).exclude(state__in=Instance.OVER).update(
            state=Instance.State.GONE, ended_at=now, reason=_("主机重启后已没有这个靶场。")
        )
        note_lost(drill=drill, range_id=instance.range_id, reason="unknown_range", what=str(error))
    elif error.code == "host_unreachable":
        if instance.silent_since is None:
            Instance.objects.filter(pk=instance.pk, silent_since=None).update(silent_since=now)
        elif now - instance.silent_since >= LOST_AFTER:
            note_lost(drill=drill, range_id=instance.range_id, reason="host_unreachable", what=str(error))
    else:
        logger.warning("drill %s: %s", drill.pk, error)


def _run_script(drill: Drill, now: datetime) -> None:
    """Messages that are due, then the end. The state is looked at again under the lock."""
    state = log.full_state(drill)
    if script.due(state, now.timestamp()):
        with log.writing(drill.pk) as book:
            for spec in script.due(book.state, now.timestamp()):
                append_inject(book, spec, how="clock")
    if script.over_time(state, now.timestamp()):
        end(drill=drill, by=None, reason="time")


def clear_up(*, now: datetime | None = None) -> int:
    """Keeps the files of ended drills, then gives their ranges back. How many ranges were ended."""
    now = now or timezone.now()
    ended = 0
    over = Drill.objects.past().filter(instance__isnull=False).exclude(instance__state__in=Instance.OVER)
    for drill in over.select_related("instance__host"):
        instance = drill.instance
        if instance is None or instance.state == Instance.State.CLOSING:
            continue
        job = jobs.enqueue(
            "drills.keep_files",
            title=_("保存抓包与终端录像：%(title)s") % {"title": drill.title},
            by=drill.created_by,
            args={"drill": drill.pk},
            key=f"keep-{instance.range_id}",
            queue=hosts.queue_of(instance.host),
        )
        old = drill.ended_at is not None and now - drill.ended_at > following.KEEP_RANGE
        if job.state == job.State.DONE or old:
            ranges.request_destroy(instance=instance, by=None)
            ended += 1
    return ended
