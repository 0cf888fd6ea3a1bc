"""Machines: who gets the next range, what the administrator wants of them, and moving work off those that are lost."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q
from django.utils.translation import gettext as _

from cyber_range import hosts, quotas
from cyber_range.models import Instance, RangeHost, WarmPool, new_range_id, new_seed
from cyber_range.placement import Place, choose
from cyber_range.refusal import RangeRefused
from lms.accounts import audit
from lms.accounts.models import Organisation, User
from lms.jobs import services as jobs
from lms.jobs.models import Job

Duty = RangeHost.Duty


def places(scenario: str, *, without: Collection[int] = ()) -> list[Place]:
    """Every machine in use, as rows and clock have it now."""
    most = quotas.of_hosts()
    warm = dict(WarmPool.objects.filter(scenario=scenario).values_list("host", "ready"))
    living = Count("instances", filter=~Q(instances__state__in=Instance.OVER))
    rows = RangeHost.objects.exclude(duty=Duty.RETIRED).exclude(pk__in=without).annotate(placed=living)
    return [
        Place(
            host=host.pk,
            name=host.name,
            open=host.duty == Duty.OPEN,
            heard=host.here and (host.served or hosts.within_reach(host)),
            awaited=host.state == host.State.UNKNOWN or (host.last_seen is not None and not host.lost),
            capacity=host.capacity,
            most=most.get(host.pk),
            foreign=host.foreign,
            living=host.placed,
            warm=warm.get(host.pk, 0),
        )
        for host in rows
    ]


def place(scenario: str, *, organisation: Organisation) -> RangeHost:
    """The machine for a new range. RangeRefused names every machine and what stands in the way. The caller counts under a
    lock of its own; two organisations that take the last place at once are sorted out by range-host, which refuses one,
    and its job moves on."""
    if not RangeHost.objects.exists():
        return hosts.local_host()
    found = choose(places(scenario))
    if found is None:
        raise quotas.refuse_hosts(list(RangeHost.objects.exclude(duty=Duty.RETIRED)), organisation)
    return RangeHost.objects.get(pk=found.host)


def know_local_host() -> None:
    """This machine's row, where it has a range-host or nobody else has."""
    if Path(settings.RANGE_SOCKET).exists() or not RangeHost.objects.exists():
        hosts.local_host()


# ---------------------------------------------------------------- what the administrator wants


def set_duty(*, host: RangeHost, duty: str, by: User) -> RangeHost:
    """open, draining or retired. A machine that still holds ranges is not retired, unless it is lost."""
    with transaction.atomic():
        host = RangeHost.objects.select_for_update().get(pk=host.pk)
        living = host.instances.living()
        if duty == Duty.RETIRED and living.exists():
            if host.here or not host.lost:
                raise RangeRefused(
                    _("%(host)s 上还有 %(n)d 个靶场。请先腾空，等它们结束后再停用。")
                    % {"host": host.name, "n": living.count()}
                )
            living.update(
                state=Instance.State.GONE,
                ended_at=host.last_seen,
                reason=_("主机 %(host)s 失联后已停用。") % {"host": host.name},
            )
        host.duty = Duty(duty)
        host.save(update_fields=["duty"])
        audit.record(f"range_host.{duty}", host, by=by)
    return host


# ---------------------------------------------------------------- work of machines that do not answer


def launch_job(instance: Instance) -> Job | None:
    return Job.objects.unfinished().filter(task="cyber_range.launch", args__instance=instance.pk).first()


def move_launch(instance: Instance, *, anew: bool) -> RangeHost | None:
    """Gives a launch that has not come up to another machine with room: same id, same seed, same row. None when there is
    no other. Should the first machine come up with it after all, it ends its copy (reports.sweep_strays)."""
    with transaction.atomic():
        asked_of = instance.host_id
        instance = Instance.objects.select_for_update().get(pk=instance.pk)
        if instance.host_id != asked_of:
            return instance.host  # somebody was quicker
        job = launch_job(instance)
        if job is None or instance.state not in (Instance.State.WAITING, Instance.State.LAUNCHING):
            return None
        found = choose(place for place in places(instance.scenario, without=[instance.host_id]) if place.heard)
        if found is None:
            return None
        before, host = instance.host, RangeHost.objects.get(pk=found.host)
        values: dict[str, Any] = {"host": host, "state": Instance.State.WAITING, "silent_since": None, "reason": ""}
        if not instance.seed:  # it had claimed a warm range, which is lost with its machine
            values |= {"range_id": new_range_id(), "seed": new_seed()}
        Instance.objects.filter(pk=instance.pk).update(**values)
        jobs.move(
            job,
            queue=hosts.queue_of(host),
            step=_("从主机 %(old)s 改到 %(new)s") % {"old": before.name, "new": host.name},
            anew=anew,
        )
        audit.record(
            "range.moved", instance, by=None, organisation=instance.organisation, old=before.name, new=host.name
        )
    return host


def mend_queues(now: datetime) -> int:
    """Work that waits for a machine nobody serves: launches go to another one; the rest goes to a worker that reaches the
    same socket, or says on its card what it waits for. How many were moved. Called by the follower."""
    moved = 0
    waiting = (
        Instance.objects.living()
        .filter(state__in=[Instance.State.WAITING, Instance.State.LAUNCHING])
        .select_related("host", "organisation")
    )
    for instance in waiting:
        host = instance.host
        stuck = host.lost or (host.queue and not host.served and not hosts.within_reach(host))
        drained = host.duty != Duty.OPEN and instance.state == Instance.State.WAITING
        if (stuck or drained) and move_launch(instance, anew=True):
            moved += 1
    queues = {host.queue: host for host in RangeHost.objects.exclude(queue="") if not host.served}
    for job in Job.objects.unfinished().filter(queue__in=queues):
        host = queues[job.queue]
        if job.state == Job.State.RUNNING and job.lease_until and job.lease_until > now:
            continue  # its worker may yet end it, or the lease runs out
        if hosts.within_reach(host):
            moved += jobs.move(job, queue="")
        else:
            jobs.explain(job, error={
                "code": "host_silent",
                "what": _("主机 %(host)s 旁的工作进程没有应答，任务在等它。") % {"host": host.name},
                "remedy": _("请在那台机器上启动 lianbing range-worker；主机不再使用时请停用它。"),
            })  # fmt: skip
    return moved
