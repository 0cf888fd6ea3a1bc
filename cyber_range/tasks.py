"""Slow verbs of the range, run by a worker beside its host. Each may run twice."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready, worker_shutting_down
from django.utils.translation import gettext as _

from cyber_range import hosting, reports, services
from cyber_range.engine.errors import RangeError
from cyber_range.models import Instance
from lms.accounts.models import User
from lms.jobs import services as jobs
from lms.jobs.models import Job
from lms.jobs.work import TryAgain, job_task

# What another machine may do better: this one is silent, full, or lacks something.
ELSEWHERE = frozenset({"host_unreachable", "refused", "driver_unavailable", "address_space_taken", "driver_error"})


def _instance(job: Job) -> Instance:
    return Instance.objects.select_related("host", "organisation").get(pk=job.args["instance"])


@job_task("cyber_range.launch")
def launch(job: Job) -> dict[str, Any]:
    instance = _instance(job)
    jobs.report(job, progress=20, step=_("正在主机 %(host)s 上搭建网络与节点") % {"host": instance.host.name})
    try:
        instance = services.launch_now(instance, claim=bool(job.args.get("claim")))
    except RangeError as error:
        silent = error.code == "host_unreachable"
        # A daemon that is just being restarted is waited for; then another machine is asked, if there is one with room.
        if error.code in ELSEWHERE and (not silent or job.attempts > 2) and job.attempts < job.max_attempts:
            moved = hosting.move_launch(instance, anew=False)
            if moved is not None:
                return {"instance": instance.pk, "moved": moved.name}
        if silent and job.attempts < job.max_attempts:
            raise TryAgain(2, _("靶场主机没有应答"), _("正在重试；若一直失败，请检查 range-host 是否在运行")) from error
        services.launch_failed(instance, reason=str(error))
        raise
    return {"instance": instance.pk, "range_id": instance.range_id, "driver": instance.driver}


@job_task("cyber_range.destroy")
def destroy(job: Job) -> dict[str, Any]:
    instance = _instance(job)
    try:
        services.destroy_now(instance)
    except RangeError as error:
        if error.code == "host_unreachable":
            raise TryAgain(5, _("靶场主机没有应答"), _("主机恢复后会自动结束这个靶场")) from error
        raise
    return {"instance": instance.pk}


@job_task("cyber_range.reset")
def reset(job: Job) -> dict[str, Any]:
    instance = _instance(job)
    jobs.report(job, progress=30, step=_("正在回到初始状态"))
    services.reset_now(instance)
    return {"instance": instance.pk}


@job_task("cyber_range.snapshot")
def snapshot(job: Job) -> dict[str, Any]:
    instance = _instance(job)
    jobs.report(job, progress=20, step=_("正在处理快照"))
    services.snapshot_now(instance, job.args["verb"], job.args["name"])
    return {"instance": instance.pk, "name": job.args["name"]}


@job_task("cyber_range.operate")
def operate(job: Job) -> dict[str, Any]:
    """pause, resume, extend where only this machine reaches the host."""
    instance, by = _instance(job), User.objects.filter(pk=job.args["by"]).first()
    services.operate_now(instance, job.args["verb"], by=by, seconds=job.args["seconds"])
    return {"instance": instance.pk}


# ---------------------------------------------------------------- the worker itself

_reporting: list[reports.Reporter] = []


@worker_ready.connect
def begin_reporting(sender: Any = None, **_rest: Any) -> None:
    """A worker that serves this machine's queue tells about its host for as long as it lives."""
    if sender is not None and reports.queue_here() in sender.app.amqp.queues.consume_from:
        reporter = reports.Reporter(reports.queue_here())
        _reporting.append(reporter)
        reporter.start()


@worker_shutting_down.connect
def stop_reporting(**_rest: Any) -> None:
    for reporter in _reporting:
        reporter.stopping.set()
