"""Every write of the range's rows. Slow verbs are jobs; each does the same when it runs twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from cyber_range import catalogue, hosts
from cyber_range.engine.errors import RangeError
from cyber_range.models import Instance, RangeHost
from cyber_range.rules import PER_ORGANISATION
from lms.accounts import audit
from lms.accounts.models import Organisation, User
from lms.jobs import services as jobs
from lms.jobs.models import Job

logger = logging.getLogger(__name__)


class RangeRefused(Exception):
    """The request is understood and not possible now; the text says why and what to do."""


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
) -> tuple[Instance, Job]:
    """Writes the instance and the job that launches it."""
    with transaction.atomic():
        try:
            entry = catalogue.entry(scenario, organisation)
        except LookupError as error:
            raise RangeRefused(_("没有场景“%(name)s”。请从场景目录中选择。") % {"name": scenario}) from error
        # The organisation's row is the lock under which its ranges are counted.
        organisation = Organisation.objects.select_for_update().get(pk=organisation.pk)
        living = Instance.objects.living().filter(organisation=organisation, purpose=Instance.Purpose.PRACTICE)
        if purpose == Instance.Purpose.PRACTICE and living.count() >= PER_ORGANISATION:
            raise RangeRefused(_("本单位已有 %(n)d 个练习靶场在运行。请先结束一个再启动。") % {"n": PER_ORGANISATION})
        host = _host_with_room()
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
            **values,
        )
        job = jobs.enqueue(
            "cyber_range.launch",
            title=_("启动靶场：%(title)s") % {"title": instance.title},
            by=by,
            args={"instance": instance.pk},
            key=f"launch-{instance.range_id}",
            link=link or reverse("cyber_range:instance", args=[instance.pk]),
            queue=host.queue,
        )
        audit.record("range.requested", instance, by=by, organisation=organisation, scenario=instance.scenario)
    return instance, job


def _host_with_room() -> RangeHost:
    """The machine with most room; this one when none is known yet."""
    here = [host for host in RangeHost.objects.all() if host.here and host.free > 0]
    return max(here, key=lambda host: host.free) if here else hosts.local_host()


def launch_now(instance: Instance) -> Instance:
    """Asks range-host for the range and waits until it is ready. The same id twice gives the same range."""
    if instance.state in Instance.OVER:
        return instance
    Instance.objects.filter(pk=instance.pk).update(state=Instance.State.LAUNCHING)
    with hosts.client(instance.host) as client:
        status = client.call(
            "launch",
            scenario=catalogue.sent_to(client, instance.scenario),
            seed=instance.seed,
            team=instance.team,
            range_id=instance.range_id,
            ttl=instance.ttl,
            speed=instance.speed,
            labels={"purpose": instance.purpose, "instance": str(instance.pk)},
            campaign="auto" if instance.purpose == Instance.Purpose.PRACTICE else "manual",
            wait=True,
        )
    return take_status(instance, status)


def launch_failed(instance: Instance, *, reason: str) -> None:
    Instance.objects.filter(pk=instance.pk).update(
        state=Instance.State.FAILED, reason=reason[:300], ended_at=timezone.now()
    )


def take_status(instance: Instance, status: dict[str, Any]) -> Instance:
    """Writes down what range-host says about the range."""
    instance.state = status["state"]
    instance.reason = (status.get("reason") or "")[:300]
    instance.driver = status.get("driver") or instance.driver
    instance.health = status.get("health") or {}
    instance.production = (status.get("production") or {}).get("alive")
    if status.get("scenario", {}).get("digest"):
        instance.scenario_hash = status["scenario"]["digest"]
        instance.scenario_version = status["scenario"].get("version", instance.scenario_version)
    if status.get("expires"):
        instance.expires_at = datetime.fromtimestamp(status["expires"], tz=UTC)
    instance.silent_since = None
    if instance.state == Instance.State.GONE and instance.ended_at is None:
        instance.ended_at = timezone.now()
    instance.save()
    return instance


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
            queue=instance.host.queue,
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
            queue=instance.host.queue,
        )


def reset_now(instance: Instance) -> Instance:
    return take_status(instance, call(instance, "reset"))


def extend(*, instance: Instance, seconds: int, by: User | None) -> Instance:
    """More time to live."""
    status = call(instance, "extend", seconds=seconds)
    with transaction.atomic():
        audit.record("range.extended", instance, by=by, organisation=instance.organisation, seconds=seconds)
        instance.ttl += seconds
        return take_status(instance, status)


def call(instance: Instance, verb: str, **args: Any) -> Any:
    """Any verb of range-host for this range."""
    with hosts.client(instance.host) as client:
        return client.call(verb, range_id=instance.range_id, **args)


def status(instance: Instance) -> dict[str, Any]:
    return call(instance, "status")


def captures(instance: Instance) -> list[dict[str, Any]]:
    """What the bridges recorded, newest state first asked of the host."""
    return call(instance, "captures")["captures"]


def pieces(instance: Instance, name: str, *, verb: str = "capture") -> Iterator[bytes]:
    """A capture (or recording) piece by piece; memory stays flat however long the drill was."""
    with hosts.client(instance.host) as client:
        yield from client.file(verb, range_id=instance.range_id, name=name)


# ---------------------------------------------------------------- follower


def look_after_hosts(now: datetime) -> None:
    """Copies what every host says about itself and its ranges. Called by the follower; a host that is away is marked so."""
    hosts.local_host()
    for host in RangeHost.objects.all():
        if host.last_seen and host.state == host.State.HERE and now - host.last_seen < timedelta(seconds=3):
            continue
        _look_after(host, now)


def _look_after(host: RangeHost, now: datetime) -> None:
    client = hosts.client(host)
    try:
        ping = client.call("ping")
        capacity = client.call("capacity")
        known = {one["range_id"] for one in client.call("list")["ranges"]}
        if host.state != host.State.HERE or not host.drivers:
            host.drivers = client.call("probe")["drivers"]
        host.driver, host.state, host.last_seen = ping["driver"], host.State.HERE, now
        host.capacity, host.free = capacity["max_ranges"], capacity["free"]
        host.save()
        for instance in host.instances.living().exclude(state=Instance.State.WAITING):
            if instance.range_id in known:
                take_status(instance, client.call("status", range_id=instance.range_id))
            elif instance.state != Instance.State.LAUNCHING:
                Instance.objects.filter(pk=instance.pk).update(
                    state=Instance.State.GONE,
                    reason=_("主机重启或到期后已没有这个靶场。"),
                    ended_at=now,
                )
    except RangeError as error:
        if host.state != host.State.AWAY:
            logger.warning("range host %s: %s", host.name, error)
            RangeHost.objects.filter(pk=host.pk).update(state=RangeHost.State.AWAY)
        host.instances.living().filter(silent_since=None).update(silent_since=now)
    finally:
        client.close()
