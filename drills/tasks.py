"""Slow verbs of drills. Each may run twice."""

from __future__ import annotations

from typing import Any

from django.core.files.storage import default_storage
from django.utils.translation import gettext as _

from cyber_range import hosts
from cyber_range.engine.errors import RangeError
from drills.files import path_of
from drills.models import Drill
from lms.jobs import services as jobs
from lms.jobs.models import Job
from lms.jobs.work import TryAgain, job_task


@job_task("drills.keep_files")
def keep_files(job: Job) -> dict[str, Any]:
    """Copies captures and recordings out of the range before it is given back."""
    drill = Drill.objects.select_related("instance__host").get(pk=job.args["drill"])
    instance = drill.instance
    if instance is None:
        return {"files": 0}
    kept = 0
    try:
        with hosts.client(instance.host) as client:
            for verb, many in (("capture", "captures"), ("recording", "recordings")):
                for one in client.call(many, range_id=instance.range_id)[many]:
                    jobs.report(
                        job, progress=min(95, 5 + 5 * kept), step=_("正在保存 %(name)s") % {"name": one["name"]}
                    )
                    path = path_of(drill, instance.range_id, one["name"], many)
                    if default_storage.exists(path):
                        default_storage.delete(path)  # half a file of a worker that was killed
                    default_storage.save(path, _Pieces(client.file(verb, range_id=instance.range_id, name=one["name"])))
                    kept += 1
    except RangeError as error:
        if error.code == "host_unreachable":
            raise TryAgain(5, str(error)) from error
        raise
    return {"files": kept}


class _Pieces:
    """What Django's storage asks of a file: its chunks. Keeps memory flat."""

    def __init__(self, pieces: Any) -> None:
        self._pieces = pieces
        self.name = None

    def chunks(self, chunk_size: int | None = None) -> Any:
        return self._pieces
