"""Durable jobs: one holder at a time, nothing lost, nothing done twice for good."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from lms.accounts.models import User
from lms.jobs import services
from lms.jobs.models import Job


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the jobs put on the queue."""
    numbers: list[int] = []
    monkeypatch.setattr(services, "send", lambda job: numbers.append(job.pk))
    return numbers


def ask(**values: object) -> Job:
    return services.enqueue("app.task", **{"title": "生成报告", "by": None, **values})


def age(job: Job, **seconds: int) -> None:
    """Moves times of the row into the past."""
    now = timezone.now()
    Job.objects.filter(pk=job.pk).update(**{name: now - timedelta(seconds=by) for name, by in seconds.items()})


def state(job: Job) -> str:
    return Job.objects.get(pk=job.pk).state


@pytest.mark.django_db
def test_enqueue_sends_after_commit_alone(sent: list[int], django_capture_on_commit_callbacks: Callable) -> None:
    with django_capture_on_commit_callbacks() as waiting:
        job = ask(args={"pk": 1}, link="/x/")
    before = list(sent)
    for callback in waiting:
        callback()

    assert (before, sent) == ([], [job.pk])
    assert (job.state, job.args, job.link, job.attempts) == ("waiting", {"pk": 1}, "/x/", 0)


@pytest.mark.django_db
def test_enqueue_rolled_back_leaves_no_job(sent: list[int]) -> None:
    with transaction.atomic():
        ask()
        transaction.set_rollback(True)

    assert (Job.objects.count(), sent) == (0, [])


@pytest.mark.django_db
def test_enqueue_with_a_key_asks_once(sent: list[int], django_capture_on_commit_callbacks: Callable) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        first, second = ask(key="report-1"), ask(key="report-1")

    assert (first, sent) == (second, [first.pk])


@pytest.mark.django_db
def test_enqueue_again_sets_a_failed_job_going_anew_and_only_a_failed_one(
    sent: list[int], django_capture_on_commit_callbacks: Callable
) -> None:
    job = services.claim(ask(key="k").pk)
    assert job is not None
    with django_capture_on_commit_callbacks(execute=True):
        running = ask(key="k", again=True).state
        services.fail(job, error={"what": "主机断开"})
        asleep = ask(key="k").state
        anew = ask(key="k", again=True)

    assert (running, asleep, anew.state, anew.attempts, anew.error) == ("running", "failed", "waiting", 0, {})
    assert sent == [job.pk]
    assert services.claim(job.pk) is not None


@pytest.mark.django_db
def test_claim_takes_the_lease_and_a_repeated_message_does_nothing() -> None:
    job = ask(lease_seconds=60)

    held = services.claim(job.pk)

    assert held is not None
    assert (held.state, held.attempts, bool(held.lease_token)) == ("running", 1, True)
    assert timedelta(seconds=55) < held.lease_until - timezone.now() <= timedelta(seconds=60)
    assert services.claim(job.pk) is None
    services.finish(held)
    assert services.claim(job.pk) is None
    assert services.claim(987654) is None


@pytest.mark.django_db
def test_lease_that_ran_out_passes_to_another_and_the_first_can_change_nothing() -> None:
    first = services.claim(ask().pk)
    assert first is not None
    age(first, lease_until=1)
    second = services.claim(first.pk)
    assert second is not None

    told = [
        services.report(first, progress=50, step="旧"),
        services.finish(first, result={"from": "first"}),
        services.fail(first, error={"what": "旧"}),
    ]

    assert told == [False, False, False]
    assert services.report(second, progress=70, step="新")
    assert services.finish(second, result={"from": "second"}, link="/done/")
    done = Job.objects.get(pk=first.pk)
    assert (done.state, done.progress, done.result, done.link) == ("done", 100, {"from": "second"}, "/done/")


@pytest.mark.django_db
def test_report_renews_the_lease() -> None:
    job = services.claim(ask(lease_seconds=100).pk)
    assert job is not None
    age(job, lease_until=-5)

    services.report(job, progress=10, step="搭建网络")

    row = Job.objects.get(pk=job.pk)
    assert (row.progress, row.step) == (10, "搭建网络")
    assert row.lease_until - timezone.now() > timedelta(seconds=90)


@pytest.mark.django_db
def test_job_whose_workers_always_die_fails_in_the_end() -> None:
    job = ask(max_attempts=2)
    for _ in range(2):
        assert services.claim(job.pk) is not None
        age(job, lease_until=1)

    assert services.claim(job.pk) is None
    row = Job.objects.get(pk=job.pk)
    assert (row.state, row.what_failed, bool(row.finished_at)) == ("failed", "工作进程多次中断，任务没有完成。", True)


@pytest.mark.django_db
def test_fail_waits_and_tries_again_while_attempts_are_left() -> None:
    job = ask(max_attempts=2)

    services.fail(services.claim(job.pk), error={"what": "忙"}, retry_in=30)
    waiting = Job.objects.get(pk=job.pk)
    services.fail(services.claim(job.pk), error={"what": "还忙"}, retry_in=30)
    ended = Job.objects.get(pk=job.pk)

    assert (waiting.state, waiting.attempts, waiting.error) == ("waiting", 1, {"what": "忙"})
    assert waiting.send_after > timezone.now() + timedelta(seconds=25)
    assert (ended.state, ended.error) == ("failed", {"what": "还忙"})


@pytest.mark.django_db
def test_resend_sends_what_was_lost_once_per_while(sent: list[int]) -> None:
    lost, dead, fresh, running, done = ask(), ask(), ask(), ask(), ask()
    age(lost, send_after=1)
    for job in (dead, running, done):
        services.claim(job.pk)
        age(job, send_after=100)
    age(dead, lease_until=1)
    Job.objects.filter(pk=done.pk).update(state="done")

    counted = [services.resend_lost(), services.resend_lost()]

    assert (counted, sorted(sent)) == ([2, 0], sorted([lost.pk, dead.pk]))
    assert fresh.pk not in sent
    age(lost, send_after=1)
    assert services.resend_lost() == 1


@pytest.mark.django_db
def test_resend_survives_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def away(job: Job) -> None:
        tried.append(job.pk)
        raise OperationalError("connection refused")

    monkeypatch.setattr(services, "send", away)
    for _ in range(3):
        age(ask(), send_after=1)

    assert services.resend_lost() == 0
    assert len(tried) == 1


@pytest.mark.django_db
def test_send_waits_for_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []
    monkeypatch.setattr(services.current_app, "send_task", lambda *a, **k: calls.append((a, k)))
    job = ask(queue="range.local")

    services.send(job)

    assert calls == [(("app.task",), {"args": [job.pk], "queue": "range.local", "retry": False})]


@pytest.mark.django_db
def test_jobs_are_visible_to_who_asked(member: Callable[..., User]) -> None:
    mine, other = member(), member()
    job = ask(by=mine)

    assert list(Job.objects.visible_to(mine)) == [job]
    assert list(Job.objects.visible_to(other)) == []


@pytest.fixture
def shared_file(tmp_path: Path, django_db_blocker: object) -> Iterator[None]:
    """Threads need a database of their own connections can meet in: SQLite's in-memory one locks whole tables."""
    settings = connections.settings["default"]
    before = settings["NAME"]
    with django_db_blocker.unblock():
        settings["NAME"] = str(tmp_path / "jobs.sqlite3")
        try:
            yield
        finally:
            settings["NAME"] = before


def in_thread(work: Callable[[], object]) -> object:
    def run() -> object:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def test_claim_is_exclusive_between_connections(request: pytest.FixtureRequest) -> None:
    """Eight workers get the same message of each of five jobs at the same moment; each job has one holder."""
    request.getfixturevalue("shared_file" if connection.vendor == "sqlite" else "transactional_db")

    def prepare() -> list[int]:
        if connection.vendor == "sqlite":
            connection.disable_constraint_checking()
            with connection.schema_editor() as editor:
                editor.create_model(User)
                editor.create_model(Job)
        return [Job.objects.create(task="t", title="t").pk for _ in range(5)]

    jobs = in_thread(prepare)
    gate = threading.Barrier(8)

    def worker() -> list[int]:
        try:
            gate.wait()
            return [pk for pk in jobs if services.claim(pk) is not None]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        taken = [pk for future in [pool.submit(worker) for _ in range(8)] for pk in future.result()]

    assert sorted(taken) == sorted(jobs)
    assert in_thread(lambda: set(Job.objects.values_list("attempts", flat=True))) == {1}
