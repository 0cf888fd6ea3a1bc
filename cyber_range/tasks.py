"""Slow verbs of the range, run by a worker beside its host. Each may run twice."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from cyber_range import services
from cyber_range.engine.errors import RangeError
from cyber_range.models import Instance
from lms.jobs import services as jobs
from lms.jobs.models import Job
from lms.jobs.work import TryAgain, job_task


def _instance(job: Job) -> Instance:
    return Instance.objects.select_related("host", "organisation").get(pk=job.args["instance"])


@job_task("cyber_range.launch")
def launch(job: Job) -> dict[str, Any]:
    instance = _instance(job)
    jobs.report(job, progress=20, step=_("正在主机 %(host)s 上搭建网络与节点") % {"host": instance.host.name})
    try:
        instance = services.launch_now(instance)
    except RangeError as error:
        if error.code == "host_unreachable" and job.attempts < job.max_attempts:
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
