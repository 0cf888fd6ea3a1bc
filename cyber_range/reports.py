"""What machines say about themselves and their ranges, written down; and what follows from their silence.

A host whose socket this machine reaches is asked by the follower. Every other one tells by itself: the Celery worker beside
it has a thread (`Reporter`) that asks the daemon on its own machine and writes into the same rows. README.md says why.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import Error, connections
from django.utils import timezone
from django.utils.translation import gettext as _
from wagtail import hooks

from cyber_range import hosting, hosts, services
from cyber_range.engine.errors import RangeError
from cyber_range.engine.host.client import Client
from cyber_range.models import Instance, RangeHost, WarmPool

logger = logging.getLogger(__name__)
ASK_AGAIN = timedelta(seconds=3)
PROBE_AGAIN = timedelta(minutes=5)  # what drivers lack changes when somebody installs something
REPORT_EVERY = 2.0  # s


def look_after_hosts(now: datetime) -> None:
    """The follower's look at all machines: asks those it reaches, listens for the others, mends what waits for nobody."""
    hosting.know_local_host()
    for host in RangeHost.objects.exclude(duty=RangeHost.Duty.RETIRED):
        reached = hosts.within_reach(host)
        if host.followed != reached:
            RangeHost.objects.filter(pk=host.pk).update(followed=reached)
        if not reached:
            _listen_for(host, now)
        elif not (host.last_seen and host.state == host.State.HERE and now - host.last_seen < ASK_AGAIN):
            look_after(host, now)
    hosting.mend_queues(now)


def look_after(host: RangeHost, now: datetime) -> bool:
    """Copies what one host says; whether it answered. Its ranges that are gone are said to be, with the reason."""
    client = hosts.client(host)
    try:
        _note_host(host, client, now)
        known = {one["range_id"]: one for one in client.call("list")["ranges"]}
        living = list(host.instances.living().exclude(state=Instance.State.WAITING))
        for instance in living:
            if instance.range_id in known:
                services.take_status(instance, client.call("status", range_id=instance.range_id))
            elif instance.state != Instance.State.LAUNCHING:
                _note_gone(instance, client, now)
        sweep_strays(host, client, known.values())
        _keep_pools(host, client)
    except RangeError as error:
        note_silence(host, now, str(error))
        return False
    finally:
        client.close()
    return True


def _note_host(host: RangeHost, client: Client, now: datetime) -> None:
    ping, capacity = client.call("ping"), client.call("capacity")
    values = {
        "driver": ping["driver"],
        "state": RangeHost.State.HERE,
        "last_seen": now,
        "capacity": capacity["max_ranges"],
        "free": capacity["free"],
        "trouble": "",
    }
    if host.state != host.State.HERE or not host.drivers or _due(host, now):
        values["drivers"] = client.call("probe")["drivers"]
    used = capacity["max_ranges"] - capacity["free"]
    mine = host.instances.living().filter(state__in=UP).count()
    values["foreign"] = max(0, used - mine)
    RangeHost.objects.filter(pk=host.pk).update(**values)
    for name, value in values.items():
        setattr(host, name, value)


# States in which a daemon counts the row's range among its own; one that launches it may or may not count yet, and is
# taken for counted: then a place is never promised twice.
UP = (Instance.State.READY, Instance.State.PAUSED, Instance.State.ILL, Instance.State.CLOSING, Instance.State.LAUNCHING)


def _due(host: RangeHost, now: datetime) -> bool:
    """Drivers are probed again when the clock passes a five-minute mark between two looks."""
    step = PROBE_AGAIN.total_seconds()
    before = host.last_seen.timestamp() if host.last_seen else 0
    return now.timestamp() // step != before // step


def _note_gone(instance: Instance, client: Client, now: datetime) -> None:
    try:
        services.take_status(instance, client.call("status", range_id=instance.range_id))
        if not instance.living:
            return
        reason = ""
    except RangeError as error:
        if error.code == "host_unreachable":
            raise
        reason = ""
    if instance.expires_at and instance.expires_at <= now:
        reason = _("时限已到，靶场已自动结束。")
    Instance.objects.filter(pk=instance.pk).exclude(state__in=Instance.OVER).update(
        state=Instance.State.GONE, reason=reason or _("主机重启或到期后已没有这个靶场。"), ended_at=now
    )


def sweep_strays(host: RangeHost, client: Client, ranges: Iterable[dict[str, object]]) -> None:
    """Ends what this host still holds of rows that are over, ending, or live elsewhere: it was lost when that was decided."""
    ids = [str(one["range_id"]) for one in ranges if one.get("state") not in (Instance.State.GONE, None)]
    rows = Instance.objects.filter(range_id__in=ids).select_related("host")
    for instance in rows:
        if instance.host_id != host.pk or instance.state in (*Instance.OVER, Instance.State.CLOSING):
            logger.info("host %s ends %s: it is %s on %s", host.name, instance.range_id, instance.state, instance.host)
            client.call("destroy", range_id=instance.range_id)


def _keep_pools(host: RangeHost, client: Client) -> None:
    """Rows are the wish; what differs on the host is set there, and what it has is written down. A pool without a row ends."""
    rows = {row.scenario: row for row in host.pools.all()}
    there = {pool["scenario"]: pool for pool in client.call("pool")["pools"]}
    wanted = host.duty == RangeHost.Duty.OPEN
    for name in {*rows, *there}:
        row, pool = rows.get(name), there.get(name)
        wish = (row.minimum, row.maximum) if row and wanted else (0, 0)
        if (pool["minimum"], pool["maximum"]) == wish if pool else wish == (0, 0):
            if row:
                _note_pool(row, pool or {}, trouble=(pool or {}).get("trouble", ""))
            continue
        try:
            answer = client.call("pool", scenario=name, minimum=wish[0], maximum=wish[1])
        except RangeError as error:
            if error.code == "host_unreachable":
                raise
            if row:
                _note_pool(row, pool or {}, trouble=str(error))
            continue
        if row:
            now_there = {one["scenario"]: one for one in answer["pools"]}.get(name, {})
            _note_pool(row, now_there, trouble=now_there.get("trouble", ""))


def _note_pool(row: WarmPool, pool: dict[str, int], *, trouble: object) -> None:
    values = {name: pool.get(name, 0) for name in ("ready", "making", "claimed", "missed")}
    values["trouble"] = str(trouble)[:300]  # type: ignore[assignment]
    if any(getattr(row, name) != value for name, value in values.items()):
        WarmPool.objects.filter(pk=row.pk).update(**values)


# ---------------------------------------------------------------- silence


def _listen_for(host: RangeHost, now: datetime) -> None:
    """A host that tells by itself is away only when it has not told for LOST_SECONDS: its report waits behind the copying of its
    drills' events, and a drill whose range is only slow to report may not be told that it is lost."""
    if host.state == host.State.HERE and host.lost:
        note_silence(host, now, _("主机旁的工作进程没有再报告"))
    elif host.state == host.State.AWAY:
        _say_lost(host)


def note_silence(host: RangeHost, now: datetime, why: str) -> None:
    if host.state != RangeHost.State.AWAY or host.trouble != why[:300]:
        logger.warning("range host %s: %s", host.name, why)
    RangeHost.objects.filter(pk=host.pk).update(state=RangeHost.State.AWAY, trouble=why[:300])
    living = host.instances.living().exclude(state=Instance.State.WAITING)
    living.filter(silent_since=None).update(silent_since=now)
    _say_lost(host)


def _say_lost(host: RangeHost) -> None:
    """The reason on every range of a lost machine; what the machine says when it is back takes its place."""
    if not host.lost or host.last_seen is None:
        return
    since = timezone.localtime(host.last_seen).strftime("%H:%M:%S")
    said = _("主机 %(host)s 自 %(since)s 起没有应答，靶场可能已随之结束。") % {"host": host.name, "since": since}
    host.instances.living().exclude(state=Instance.State.WAITING).exclude(reason=said).update(reason=said)


# ---------------------------------------------------------------- the worker beside a host


class Reporter(threading.Thread):
    """Runs in a Celery worker that serves this machine's queue: registers the host, says that the queue is served, and
    tells what the follower cannot ask. A thread and no task: nothing heaps up in the queue while the worker is away, and
    a killed worker is at once a silent one."""

    def __init__(self, queue: str, *, every: float = REPORT_EVERY) -> None:
        super().__init__(name="range-reporter", daemon=True)
        self.queue, self.every = queue, every
        self.stopping = threading.Event()
        self._said = ""

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                report(self.queue, timezone.now())
                self._said = ""
            except Exception as fault:  # a database that is away for a moment may not end the reports
                said = f"{type(fault).__name__}: {fault}"
                if said != self._said:
                    logger.exception("the report about this host failed; trying again")
                    self._said = said
                if isinstance(fault, Error):
                    connections.close_all()
            self.stopping.wait(self.every)
        connections.close_all()


def report(queue: str, now: datetime) -> RangeHost:
    """One report of the worker beside this machine's range-host."""
    host, made = RangeHost.objects.get_or_create(
        name=settings.RANGE_HOST_NAME, defaults={"queue": queue, "worker_seen": now}
    )
    RangeHost.objects.filter(pk=host.pk).update(queue=queue, worker_seen=now)
    host.queue, host.worker_seen = queue, now
    unheard = host.last_seen is None or now - host.last_seen > 2 * ASK_AGAIN  # no follower has asked for a while
    if made or not host.followed or unheard:
        answered = look_after(host, now)
        if answered and not host.followed:
            for tick in hooks.get_hooks("range_host_tick"):
                tick(host, now)
    return host


def queue_here() -> str:
    """The queue of this machine's host, as `lianbing range-worker` and the demo's worker serve it."""
    return f"range.{settings.RANGE_HOST_NAME}"
