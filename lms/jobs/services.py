"""Asking for slow work, holding it, ending it. Services elsewhere never import tasks: work is sent by name."""

from __future__ import annotations

import logging
import secrets
from datetime import timedelta
from typing import Any

from celery import current_app
from django.db import models, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from lms.jobs.models import Job

logger = logging.getLogger(__name__)
RESEND_SECONDS = 15  # a message that was not picked up by then is taken for lost


def enqueue(
    task: str,
    *,
    title: str,
    by: models.Model | None,
    args: dict[str, Any] | None = None,
    key: str | None = None,
    link: str = "",
    queue: str = "",
    lease_seconds: int = 120,
    max_attempts: int = 5,
    again: bool = False,
) -> Job:
    """Writes the job row in the caller's transaction and sends its message on commit.

    `task` is the registered Celery name ("cyber_range.launch"). With `key`, asking twice gives the same row; with
    `again` a person's second wish also sets a failed one going anew (never from a follower: it would try for ever).
    """
    values = {
        "task": task,
        "title": title,
        "args": args or {},
        "requested_by": by,
        "link": link,
        "queue": queue,
        "lease_seconds": lease_seconds,
        "max_attempts": max_attempts,
        "send_after": timezone.now() + timedelta(seconds=RESEND_SECONDS),
    }
    if key is None:
        job, made = Job.objects.create(**values), True
    else:
        job, made = Job.objects.get_or_create(key=key, defaults=values)
    if again and not made and job.state == Job.State.FAILED:
        anew = {"state": Job.State.WAITING, "attempts": 0, "error": {}, "progress": 0, "step": "", "finished_at": None}
        made = bool(
            Job.objects.filter(pk=job.pk, state=Job.State.FAILED).update(**anew, send_after=values["send_after"])
        )
        job.refresh_from_db()
    if made:
        transaction.on_commit(lambda: send(job), robust=True)
    return job


def send(job: Job) -> None:
    """Puts the row's number on the queue, without waiting for a broker that is away: the follower sends again."""
    current_app.send_task(job.task, args=[job.pk], queue=job.queue or None, retry=False)


def claim(job_id: int) -> Job | None:
    """Takes the lease, or None when the job is ended, held by a live worker or used up. Safe for repeated messages."""
    now = timezone.now()
    with transaction.atomic():
        job = Job.objects.select_for_update().filter(pk=job_id).first()
        if job is None or job.state in (Job.State.DONE, Job.State.FAILED):
            return None
        if job.state == Job.State.RUNNING and job.lease_until and job.lease_until > now:
            return None
        if job.attempts >= job.max_attempts:
            job.state, job.finished_at = Job.State.FAILED, now
            job.error = job.error or {"code": "attempts"}
            job.save(update_fields=["state", "finished_at", "error"])
            return None
        job.state = Job.State.RUNNING
        job.attempts += 1
        job.lease_token = secrets.token_hex(16)
        job.lease_until = now + timedelta(seconds=job.lease_seconds)
        job.save(update_fields=["state", "attempts", "lease_token", "lease_until"])
        return job


def _held(job: Job) -> models.QuerySet:
    return Job.objects.filter(pk=job.pk, lease_token=job.lease_token, state=Job.State.RUNNING)


def report(job: Job, *, progress: int, step: str) -> bool:
    """Shows where the work is (0-100) and renews the lease. False when the lease was lost: stop working."""
    return bool(
        _held(job).update(
            progress=progress, step=step, lease_until=timezone.now() + timedelta(seconds=job.lease_seconds)
        )
    )


def finish(job: Job, *, result: dict[str, Any] | None = None, link: str | None = None) -> bool:
    """Ends the job well. False when another worker took it over meanwhile."""
    values: dict[str, Any] = {
        "state": Job.State.DONE,
        "progress": 100,
        "result": result or {},
        "error": {},
        "finished_at": timezone.now(),
    }
    if link is not None:
        values["link"] = link
    return bool(_held(job).update(**values))


def fail(job: Job, *, error: dict[str, Any], retry_in: float | None = None) -> bool:
    """Ends the job badly, or lets it be sent again in `retry_in` seconds while attempts are left."""
    if retry_in is not None and job.attempts < job.max_attempts:
        return bool(
            _held(job).update(
                state=Job.State.WAITING, error=error, send_after=timezone.now() + timedelta(seconds=retry_in)
            )
        )
    return bool(_held(job).update(state=Job.State.FAILED, error=error, finished_at=timezone.now()))


def move(job: Job, *, queue: str, step: str = "", anew: bool = False) -> bool:
    """Puts unfinished work on another queue. Whoever holds it now loses the lease: its result is not written any more.
    `anew` gives it all its attempts again."""
    values: dict[str, Any] = {
        "queue": queue,
        "state": Job.State.WAITING,
        "lease_token": "",
        "lease_until": None,
        "send_after": timezone.now(),
        "step": step[:160],
        "error": {},
    }
    if anew:
        values["attempts"] = 0
    return bool(Job.objects.unfinished().filter(pk=job.pk).update(**values))


def explain(job: Job, *, error: dict[str, Any]) -> bool:
    """Tells on the job's card why work that waits does not begin."""
    return bool(
        Job.objects.filter(pk=job.pk, state=Job.State.WAITING).exclude(error=error).update(error=error, step="")
    )


def resend_lost(*, limit: int = 100) -> int:
    """Sends what was lost again; how many. Called by the follower every second. Two followers send a job once between
    them: who moves `send_after` first sends."""
    sent = 0
    for job in Job.objects.lost().order_by("send_after")[:limit]:
        later = timezone.now() + timedelta(seconds=RESEND_SECONDS)
        if not Job.objects.filter(pk=job.pk, send_after=job.send_after).update(send_after=later):
            continue
        try:
            send(job)
        except OperationalError as error:  # kombu's: the broker is away; the rest would fail alike
            logger.warning("queue unreachable, job %s waits: %s", job.pk, error)
            break
        sent += 1
    return sent
