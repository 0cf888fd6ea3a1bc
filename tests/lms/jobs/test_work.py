"""How a task serves a row: result, retry, fault told or kept."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import current_app

from lms.jobs import services
from lms.jobs.models import Job
from lms.jobs.work import TryAgain, job_task

pytestmark = pytest.mark.django_db


class Told(Exception):
    def as_dict(self) -> dict[str, str]:
        return {"code": "host_full", "what": "主机已满", "remedy": "稍后再试"}


def serve(work: Any, **values: Any) -> Job:
    name = f"tests.{work.__name__}"
    task = job_task(name)(work)
    job = services.enqueue(name, title="t", by=None, **values)
    try:
        task(job.pk)
    finally:
        current_app.tasks.pop(name, None)
    return Job.objects.get(pk=job.pk)


def test_work_gets_the_row_and_its_result_is_kept() -> None:
    job = serve(lambda_named("adds", lambda job: {"sum": job.args["a"] + 1}), args={"a": 1})

    assert (job.state, job.result, job.progress) == ("done", {"sum": 2}, 100)


def lambda_named(name: str, work: Any) -> Any:
    work.__name__ = name
    return work


def test_message_delivered_twice_works_once() -> None:
    runs: list[int] = []
    task = job_task("tests.twice")(lambda job: runs.append(job.pk))
    job = services.enqueue("tests.twice", title="t", by=None)

    task(job.pk)
    task(job.pk)
    task(job.pk + 1000)

    assert runs == [job.pk]


def test_work_that_must_wait_is_tried_again() -> None:
    def busy(job: Job) -> None:
        raise TryAgain(20, "主机正忙", "请稍候")

    job = serve(busy)

    assert (job.state, job.what_failed, job.remedy) == ("waiting", "主机正忙", "请稍候")


def test_fault_that_tells_its_story_is_shown() -> None:
    def full(job: Job) -> None:
        raise Told

    job = serve(full)

    assert (job.state, job.what_failed, job.remedy) == ("failed", "主机已满", "稍后再试")


def test_fault_that_does_not_is_logged_under_the_number_the_person_sees(caplog: pytest.LogCaptureFixture) -> None:
    def broken(job: Job) -> None:
        raise ValueError("/srv/secret/path password=hunter2")

    with caplog.at_level(logging.ERROR):
        job = serve(broken)

    reference = job.error["reference"]
    assert job.state == "failed"
    assert "hunter2" not in str(job.error) + job.what_failed + job.remedy
    assert reference in job.remedy
    assert reference in caplog.text
    assert "ValueError" in caplog.text
