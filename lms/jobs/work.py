"""How a Celery task serves a job row: claim, work, finish or fail. Every task may run twice."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any

from celery import Task, shared_task

from lms.jobs import services
from lms.jobs.models import Job

logger = logging.getLogger(__name__)
Work = Callable[[Job], dict[str, Any] | None]


class TryAgain(Exception):
    """Raised by work whose fault passes by itself: the job is sent again in `seconds`."""

    def __init__(self, seconds: float, what: str, remedy: str = "") -> None:
        self.seconds = seconds
        self.error = {"code": "try_again", "what": what, "remedy": remedy}
        super().__init__(what)


def job_task(name: str) -> Callable[[Work], Task]:
    """Registers `work(job) -> result` as the Celery task `name`. Errors with `as_dict` tell their own story."""

    def register(work: Work) -> Task:
        @shared_task(name=name)
        def run(job_id: int) -> None:
            job = services.claim(job_id)
            if job is None:
                return
            try:
                result = work(job)
            except TryAgain as again:
                services.fail(job, error=again.error, retry_in=again.seconds)
            except Exception as fault:
                reference = secrets.token_hex(4)
                logger.exception("job %s %s failed (reference %s)", job.pk, name, reference)
                # A fault that does not tell its own story stays in the log: it may hold paths, queries or people's data.
                told = fault.as_dict() if hasattr(fault, "as_dict") else {"code": "fault", "reference": reference}
                services.fail(job, error=told)
            else:
                services.finish(job, result=result)

        return run

    return register
