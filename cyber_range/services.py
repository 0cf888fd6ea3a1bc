"""Every write of the range's rows. Slow verbs are jobs; each does the same when it runs twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from cyber_range import catalogue, hosting, hosts, quotas
from cyber_range.engine.errors import Refused
from cyber_range.engine.host.client import Client
from cyber_range.models import WARN_BEFORE, Instance, new_range_id, new_seed
from cyber_range.refusal import RangeRefused
from lms.accounts import audit
from lms.accounts.models import Organisation, User
from lms.jobs import services as jobs
from lms.jobs.models import Job

__all__ = ["RangeRefused"]  # also ours to name: callers catch services.RangeRefused
logger = logging.getLogger(__name__)


def request_range(
    *,
    scenario: str,
    organisation: Organisation,
    by: User | None,
    purpose: str = Instance.Purpose.PRACTICE,
    seed: str = "",
    team: str = "",
    speed: float = 1,
    ttl: int = 4 * 3600,
    link: str = "",
    replaces: Instance | None = None,
) -> tuple[Instance, Job]:
    """Writes the instance and the job that launches it."""
    with transaction.atomic():
        try:
            # A draft may be tried out, and nothing else be done with it.
            entry = catalogue.entry(scenario, organisation, trials=purpose == Instance.Purpose.PRACTICE)
        except LookupError as error:
            raise RangeRefused(_("没有场景“%(name)s”。请从场景目录中选择。") % {"name": scenario}) from error
        # The organisation's row is the lock under which its ranges are counted.
        organisation = Organisation.objects.select_for_update().get(pk=organisation.pk)
        quotas.refuse_one_too_many(organisation, purpose)
        host = hosting.place(entry.key, organisation=organisation)
        values: dict[str, Any] = {"seed": seed} if seed else {}
        instance = Instance.objects.create(
            purpose=purpose,
            organisation=organisation,
            requested_by=by,
            host=host,
            scenario=entry.key,
            scenario_version=entry.scenario.version,
            scenario_hash=entry.digest,
            title=entry.scenario.title.zh,
            team=team or f"org{organisation.pk}",
            speed=speed,
            ttl=ttl,
            replaces=replaces,
            **values,
        )
        job = jobs.enqueue(
            "cyber_range.launch",
            title=_("启动靶场：%(title)s") % {"title": instance.title},
            by=by,
            args={"instance": instance.pk, **({} if seed else {"claim": True})},
            key=f"launch-{instance.range_id}",
            link=link or reverse("cyber_range:instance", args=[instance.pk]),
            queue=hosts.queue_of(host),
        )
        audit.record("range.requested", instance, by=by, organisation=organisation, scenario=instance.scenario)
    return instance, job


def relaunch(*, instance: Instance, by: User | None) -> tuple[Instance, Job | None]:
    """A practice range anew, from the same scenario and seed, when its host is lost or it ended. Asked twice, the same one
    answers. What the lost host may still hold is ended when it is heard again."""
    with transaction.atomic():
        instance = Instance.objects.select_for_update().select_related("organisation").get(pk=instance.pk)
        already = instance.replaced_by.order_by("-pk").first()
        if already is not None and already.state != Instance.State.FAILED:
            return already, None
        if instance.living and not instance.lost:
            raise RangeRefused(_("这个靶场还在运行。要回到初始状态，请用“重置”。"))
        if instance.living:
            Instance.objects.filter(pk=instance.pk).update(
                state=Instance.State.GONE,
                ended_at=timezone.now(),
                reason=_("主机 %(host)s 失联，已在别处重新启动。") % {"host": instance.host.name},
            )
        return request_range(
            scenario=instance.scenario,
            organisation=instance.organisation,
            by=by,
            purpose=instance.purpose,
            seed=instance.seed,
            team=instance.team,
            speed=instance.speed,
            replaces=instance,
        )


def launch_now(instance: Instance, *, claim: bool = False) -> Instance:
    """Asks range-host for the range and waits until it is ready. The same id twice gives the same range.

    With `claim` a warm range is taken when there is one: it has an id of its own, so what an earlier, broken-off attempt
    claimed is looked for by its label first."""
    if instance.state in Instance.OVER:
        return instance
    Instance.objects.filter(pk=instance.pk, host=instance.host_id).update(state=Instance.State.LAUNCHING)
    wish: dict[str, Any] = {
        "team": instance.team,
        "ttl": instance.ttl,
        "speed": instance.speed,
        "labels": {"purpose": instance.purpose, "instance": str(instance.pk)},
        "campaign": "auto" if instance.purpose == Instance.Purpose.PRACTICE else "manual",
        "wait": True,
    }
    with hosts.client(instance.host) as client:
        wish["scenario"] = catalogue.sent_to(client, instance.scenario)
        warm = _claimed(client, instance, wish) if claim else None
        if warm is None and not instance.seed:  # what an earlier attempt had claimed is no more
            instance.range_id, instance.seed = new_range_id(), new_seed()
            Instance.objects.filter(pk=instance.pk, host=instance.host_id).update(
                range_id=instance.range_id, seed=instance.seed
            )
        status = warm or client.call("launch", seed=instance.seed, range_id=instance.range_id, **wish)
    return take_status(instance, status, claimed=warm is not None)


def _claimed(client: Client, instance: Instance, wish: dict[str, Any]) -> dict[str, Any] | None:
    """The status of a warm range made this instance's, or None when none waits."""
    pools = client.call("pool")["pools"]
    mine = [
        one["range_id"]
        for one in client.call("list")["ranges"]
        if one["labels"].get("instance") == str(instance.pk) and one["state"] != Instance.State.GONE
    ]
    if mine:
        status: dict[str, Any] = client.call("status", range_id=mine[0])
    elif any(pool["scenario"] == wish["scenario"] and pool["ready"] for pool in pools):
        status = client.call("launch", seed=instance.seed, claim=True, **wish)
    else:
        return None
    if status["range_id"] == instance.range_id:  # an earlier attempt launched it cold
        return None
    # Its values were drawn from a seed that only range-host knows: the row names none.
    if not Instance.objects.filter(pk=instance.pk, host=instance.host_id).update(range_id=status["range_id"], seed=""):
        client.call("destroy", range_id=status["range_id"])
        raise Refused(
            f"range {instance.range_id} has been given to another host", remedy="Nothing: it is launched there"
        )
    instance.range_id, instance.seed = status["range_id"], ""
    return status


def launch_failed(instance: Instance, *, reason: str) -> None:
    Instance.objects.filter(pk=instance.pk).update(
        state=Instance.State.FAILED, reason=reason[:300], ended_at=timezone.now()
    )


def take_status(
    instance: Instance, status: dict[str, Any], *, claimed: bool | None = None, revived: bool = False
) -> Instance:
    """Writes down what range-host says about the range. What it says of a range that has moved to another host, or is over,
    changes nothing (`revived`: a reset made it anew)."""
    values: dict[str, Any] = {
        "state": status["state"],
        "reason": told(status.get("reason") or "")[:300],
        "driver": status.get("driver") or instance.driver,
        "health": status.get("health") or {},
        "production": (status.get("production") or {}).get("alive"),
        "silent_since": None,
    }
    if status.get("scenario", {}).get("digest"):
        values["scenario_hash"] = status["scenario"]["digest"]
        values["scenario_version"] = status["scenario"].get("version", instance.scenario_version)
    if status.get("expires"):
        values["expires_at"] = datetime.fromtimestamp(status["expires"], tz=UTC)
    if values["state"] == Instance.State.GONE:
        values["ended_at"] = instance.ended_at or timezone.now()
    elif revived:
        values["ended_at"] = None
    if claimed is not None:
        values["claimed"] = claimed
    values |= _warning(instance, values)
    rows = Instance.objects.filter(pk=instance.pk, host=instance.host_id)
    if not revived:
        rows = rows.exclude(state__in=Instance.OVER)
    if values["state"] not in (Instance.State.CLOSING, Instance.State.GONE):
        rows = rows.exclude(state=Instance.State.CLOSING)
    if rows.update(**values):
        for name, value in values.items():
            setattr(instance, name, value)
    else:
        instance.refresh_from_db()
    return instance


# Reasons of range-host that a person meets on a page, in this app's words; others are shown as they are.
REASONS = {
    "its time to live is over": gettext_lazy("时限已到，靶场已自动结束。"),
    "destroyed": gettext_lazy("已结束。"),
    "range-host was stopped": gettext_lazy("主机上的靶场程序已停止，靶场随之结束。"),
    "range-host was restarted and the range ended with it": gettext_lazy("主机上的靶场程序重启过，靶场随之结束。"),
    "range-host was restarted": gettext_lazy("主机上的靶场程序重启过，靶场随之结束。"),
}


def told(reason: str) -> str:
    return str(REASONS.get(reason, reason))


def _warning(instance: Instance, values: dict[str, Any]) -> dict[str, Any]:
    """Ten minutes before the end the requester is warned, once for each end (an extension takes the warning back)."""
    expires = values.get("expires_at", instance.expires_at)
    if expires is None or values["state"] in (*Instance.OVER, Instance.State.CLOSING):
        return {}
    if expires > timezone.now() + WARN_BEFORE:
        return {"warned_at": None}
    if instance.warned_at is not None:
        return {}
    audit.record("range.ends_soon", instance, by=None, organisation=instance.organisation, expires=expires.isoformat())
    return {"warned_at": timezone.now()}


def request_destroy(*, instance: Instance, by: User | None) -> Job:
    """Ends a range. The row stays: what was shown in it stays traceable."""
    with transaction.atomic():
        audit.record("range.destroyed", instance, by=by, organisation=instance.organisation)
        Instance.objects.filter(pk=instance.pk).exclude(state__in=Instance.OVER).update(state=Instance.State.CLOSING)
        return jobs.enqueue(
            "cyber_range.destroy",
            title=_("结束靶场：%(title)s") % {"title": instance.title},
            by=by,
            args={"instance": instance.pk},
            key=f"destroy-{instance.range_id}",
            link=reverse("cyber_range:home"),
            queue=hosts.queue_of(instance.host),
            again=by is not None,  # a person may try again what failed for good; the follower would try for ever
        )


def destroy_now(instance: Instance) -> None:
    with hosts.client(instance.host) as client:
        client.call("destroy", range_id=instance.range_id)
    Instance.objects.filter(pk=instance.pk).exclude(state__in=Instance.OVER).update(
        state=Instance.State.GONE, ended_at=timezone.now()
    )


def request_reset(*, instance: Instance, by: User | None) -> Job:
    """Everything back to the start: same addresses, same values."""
    with transaction.atomic():
        audit.record("range.reset", instance, by=by, organisation=instance.organisation)
        return jobs.enqueue(
            "cyber_range.reset",
            title=_("重置靶场：%(title)s") % {"title": instance.title},
            by=by,
            args={"instance": instance.pk},
            link=reverse("cyber_range:instance", args=[instance.pk]),
            queue=hosts.queue_of(instance.host),
        )


def reset_now(instance: Instance) -> Instance:
    return take_status(instance, call(instance, "reset"), revived=True)


SNAPSHOT_VERBS = {
    "snapshot": gettext_lazy("保存快照：%(name)s"),
    "restore": gettext_lazy("恢复快照：%(name)s"),
    "delete_snapshot": gettext_lazy("删除快照：%(name)s"),
}


def request_snapshot(*, instance: Instance, verb: str, name: str, by: User | None) -> Job:
    """Takes, puts back or deletes a snapshot of the range under that name (host/README.md says what it holds)."""
    name = name.strip()
    if not name:
        raise RangeRefused(_("请给快照起一个名字。"))
    if (
        verb == "snapshot"
        and hosts.within_reach(instance.host)
        and name in {one["name"] for one in snapshots(instance)}
    ):
        raise RangeRefused(_("已有名为“%(name)s”的快照。请换一个名字，或先删除它。") % {"name": name})
    with transaction.atomic():
        audit.record(f"range.{verb}", instance, by=by, organisation=instance.organisation, name=name)
        return jobs.enqueue(
            "cyber_range.snapshot",
            title=str(SNAPSHOT_VERBS[verb]) % {"name": name},
            by=by,
            args={"instance": instance.pk, "verb": verb, "name": name},
            link=reverse("cyber_range:instance", args=[instance.pk]),
            queue=hosts.queue_of(instance.host),
            lease_seconds=300,
        )


def snapshot_now(instance: Instance, verb: str, name: str) -> None:
    """A snapshot of that name that is there already was made by this very job, broken off before it was noted."""
    if verb == "snapshot" and name in {one["name"] for one in snapshots(instance)}:
        return
    status = call(instance, verb, name=name)
    if verb == "restore":
        take_status(instance, status, revived=True)


def snapshots(instance: Instance) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(instance, "snapshots")["snapshots"]
    return [{**one, "time": datetime.fromtimestamp(one["taken"], tz=UTC)} for one in found]


VERBS = {"pause": gettext_lazy("暂停靶场"), "resume": gettext_lazy("继续靶场"), "extend": gettext_lazy("延长靶场")}


def operate(*, instance: Instance, verb: str, by: User | None, seconds: int = 0) -> Job | None:
    """pause, resume or extend: at once where this machine reaches the host, else by the worker beside it (the job)."""
    if verb == "extend":
        refuse_too_long(instance, seconds)
    if hosts.within_reach(instance.host):
        operate_now(instance, verb, by=by, seconds=seconds)
        return None
    with transaction.atomic():
        return jobs.enqueue(
            "cyber_range.operate",
            title=f"{VERBS[verb]}：{instance.title}",
            by=by,
            args={"instance": instance.pk, "verb": verb, "seconds": seconds, "by": by.pk if by else None},
            link=reverse("cyber_range:instance", args=[instance.pk]),
            queue=hosts.queue_of(instance.host),
        )


def operate_now(instance: Instance, verb: str, *, by: User | None, seconds: int = 0) -> Instance:
    """More time is counted from the row, so that a repeated job does not give it twice."""
    if verb == "extend":
        return extend(instance=instance, seconds=seconds, by=by)
    status = call(instance, verb)
    with transaction.atomic():
        audit.record(f"range.{verb}", instance, by=by, organisation=instance.organisation)
        return take_status(instance, status)


def refuse_too_long(instance: Instance, seconds: int) -> None:
    """A practice range holds room that others wait for: it has an end. A drill's range lives as long as its drill wants."""
    hours = settings.PRACTICE_HOURS
    if instance.purpose == Instance.Purpose.PRACTICE and instance.ttl + seconds > hours * 3600:
        raise RangeRefused(
            _(
                "练习靶场最长运行 %(hours)d 小时，这个已定为 %(now)g 小时，不能再延长 %(more)g 小时。"
                "请在到期前下载抓包，或结束后重新启动一个。"
            )
            % {"hours": hours, "now": round(instance.ttl / 3600, 1), "more": round(seconds / 3600, 1)}
        )


def extend(*, instance: Instance, seconds: int, by: User | None) -> Instance:
    """More time to live."""
    refuse_too_long(instance, seconds)
    status = call(instance, "extend", seconds=seconds)
    with transaction.atomic():
        audit.record("range.extended", instance, by=by, organisation=instance.organisation, seconds=seconds)
        instance.ttl += seconds
        Instance.objects.filter(pk=instance.pk).update(ttl=instance.ttl)
        return take_status(instance, status)


def call(instance: Instance, verb: str, **args: Any) -> Any:
    """Any verb of range-host for this range."""
    with hosts.client(instance.host) as client:
        return client.call(verb, range_id=instance.range_id, **args)


def status(instance: Instance) -> dict[str, Any]:
    return call(instance, "status")


def cut(instance: Instance, *, zone: str, start: float | None, end: float | None) -> dict[str, Any]:
    """A piece of one zone's capture by time (unix seconds); named by the host, downloaded like any other."""
    times = {name: value for name, value in (("from", start), ("to", end)) if value is not None}
    found: dict[str, Any] = call(instance, "slice", zone=zone, **times)
    return found


def captures(instance: Instance) -> list[dict[str, Any]]:
    """What the bridges recorded, newest state first asked of the host."""
    return call(instance, "captures")["captures"]


def pieces(instance: Instance, name: str, *, verb: str = "capture") -> Iterator[bytes]:
    """A capture (or recording) piece by piece; memory stays flat however long the drill was."""
    with hosts.client(instance.host) as client:
        yield from client.file(verb, range_id=instance.range_id, name=name)
