"""The follower: what it does by itself, and what happens when it, or the range's host, is killed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from cyber_range import hosts
from cyber_range import services as ranges
from cyber_range.models import Instance
from drills import log, services
from drills.domain import events as ev
from drills.management.commands.run_drills import Follower
from drills.models import Drill, DrillEvent, FollowerLease
from drills.services import following
from lms.accounts.models import User

from .conftest import Host, fresh, seat

pytestmark = pytest.mark.django_db


def started(drill: Drill, minutes: float) -> None:
    """As if the drill had been started so long ago, with no range."""
    with log.writing(drill.pk) as book:
        book.append(ev.Started(), at=timezone.now() - timedelta(minutes=minutes))


def test_due_messages_are_sent_once(seated: Drill) -> None:
    started(seated, 1.5)

    services.follow(drill=fresh(seated))
    services.follow(drill=fresh(seated))

    fired = DrillEvent.objects.filter(drill=seated, kind="inject.fired")
    assert [(row.payload["inject"], row.payload["how"]) for row in fired] == [("call", "clock")]


def test_a_drill_ends_when_its_time_is_up(seated: Drill) -> None:
    started(seated, 31)

    services.follow(drill=fresh(seated))

    drill = fresh(seated)
    assert (drill.phase, log.full_state(drill).ended_by) == ("ended", "time")


def test_extending_gives_more_time(seated: Drill, people: dict[str, User]) -> None:
    started(seated, 29)
    services.extend(drill=seated, by=people["white"], minutes=10)

    services.follow(drill=fresh(seated), now=timezone.now() + timedelta(minutes=5))

    assert fresh(seated).phase == "running"


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


class Dying:
    """A range client that kills the copier at a chosen verb."""

    def __init__(self, client: Any, at: str) -> None:
        self.client, self.at = client, at

    def call(self, verb: str, **args: Any) -> Any:
        answer = None if verb == "ack" and self.at == "before ack" else self.client.call(verb, **args)
        if verb == "events" and self.at == "after events":
            raise Killed
        if verb == "ack" and self.at in ("before ack", "after ack"):
            raise Killed
        return answer


@pytest.mark.parametrize("at", ["after events", "before ack", "after ack"])
def test_a_copier_killed_anywhere_loses_and_doubles_nothing(running: Drill, at: str) -> None:
    with hosts.client(running.instance.host) as client:
        client.call("pause", range_id=running.instance.range_id)  # something new to copy, whatever was copied before
        client.call("resume", range_id=running.instance.range_id)
        with pytest.raises(Killed):
            following.copy_range_events(drill=fresh(running), client=Dying(client, at))
        following.copy_range_events(drill=fresh(running), client=client)
        last = client.call("status", range_id=running.instance.range_id)["events"]["acked"]

    numbers = following.copied_numbers(running, running.instance.range_id)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= last > 0


def test_a_copier_killed_inside_its_transaction_leaves_nothing(running: Drill, monkeypatch: pytest.MonkeyPatch) -> None:
    following.copy_range_events(drill=fresh(running))
    before = following.copied_numbers(running, running.instance.range_id)
    ranges.call(running.instance, "campaign", action="step", step="knock")
    real, calls = log.Book.append, []

    def append(self: log.Book, event: ev.Event, **rest: Any) -> Any:
        calls.append(event)
        if len(calls) == 2:
            raise Killed
        return real(self, event, **rest)

    monkeypatch.setattr(log.Book, "append", append)
    ranges.call(running.instance, "pause")
    ranges.call(running.instance, "resume")
    with pytest.raises(Killed):
        following.copy_range_events(drill=fresh(running))
    assert following.copied_numbers(running, running.instance.range_id) == before
    monkeypatch.setattr(log.Book, "append", real)
    following.copy_range_events(drill=fresh(running))

    numbers = following.copied_numbers(running, running.instance.range_id)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > len(before)


def test_pausing_stops_the_range_and_resuming_lets_it_go(running: Drill, people: dict[str, User]) -> None:
    services.pause(drill=running, by=people["white"])
    services.follow(drill=fresh(running))
    paused = ranges.status(running.instance)["clock"]["paused"]
    services.resume(drill=running, by=people["white"])
    services.follow(drill=fresh(running))

    assert (paused, ranges.status(running.instance)["clock"]["paused"]) == (True, False)


def test_looking_twice_at_a_drill_in_step_does_nothing(running: Drill) -> None:
    state = log.full_state(fresh(running))

    assert following.converge(fresh(running), state) == []


@pytest.mark.slow
def test_a_killed_range_host_is_shown_and_the_white_cell_gets_a_fresh_range(
    seated: Drill, people: dict[str, User], tmp_path: Path, settings: Any
) -> None:
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    host = Host(tmp_path)
    settings.RANGE_SOCKET = str(host.socket)
    host.start()
    try:
        services.launch_range(drill=seated, by=people["white"])
        ranges.launch_now(fresh(seated).instance)
        services.follow(drill=fresh(seated))
        services.start(drill=seated, by=people["white"])
        services.note(drill=seated, seat=seat(seated, people["blue"]), text="vorher")
        host.kill()

        services.follow(drill=fresh(seated))
        Instance.objects.update(silent_since=timezone.now() - timedelta(seconds=5))
        services.follow(drill=fresh(seated))
        lost = log.full_state(fresh(seated))
        assert (lost.lab.state, lost.lab.reason, lost.phase) == ("lost", "host_unreachable", "running")

        host.start()
        services.relaunch_range(drill=fresh(seated), by=people["white"])
        ranges.launch_now(fresh(seated).instance)
        services.follow(drill=fresh(seated))
        again = log.full_state(fresh(seated))
        assert (again.lab.state, again.phase, len(again.lab.earlier)) == ("attached", "running", 1)
        assert fresh(seated).instance.seed == seated.seed
    finally:
        host.stop()


def test_one_follower_leads_and_the_next_takes_over() -> None:
    now = timezone.now()

    assert FollowerLease.take(name="f", holder="a", now=now, seconds=10)
    assert not FollowerLease.take(name="f", holder="b", now=now + timedelta(seconds=9), seconds=10)
    assert FollowerLease.take(name="f", holder="a", now=now + timedelta(seconds=9), seconds=10)
    assert FollowerLease.take(name="f", holder="b", now=now + timedelta(seconds=20), seconds=10)


@pytest.mark.django_db(transaction=True)  # a look lets go of connections, so it cannot stand inside a transaction
def test_a_fault_in_one_drill_does_not_stop_the_look(seated: Drill, monkeypatch: pytest.MonkeyPatch) -> None:
    started(seated, 1.5)
    seen: list[str] = []

    def tick(now: object) -> None:
        seen.append("ticked")

    monkeypatch.setattr("drills.services.follow", lambda drill: 1 / 0)
    monkeypatch.setattr("wagtail.hooks.get_hooks", lambda name: [tick] if name == "follower_tick" else [])
    monkeypatch.setattr("lms.jobs.services.resend_lost", lambda: seen.append("jobs"))
    follower = Follower("me")

    follower.look()
    follower.look()

    assert seen == ["jobs", "ticked", "jobs", "ticked"]


@pytest.mark.django_db(transaction=True)  # a look lets go of connections, so it cannot stand inside a transaction
def test_the_command_looks_once_and_lets_go(settings: Any, tmp_path: Path) -> None:
    settings.RANGE_SOCKET = str(tmp_path / "nobody.sock")

    call_command("run_drills", "--once")

    assert FollowerLease.objects.get(name="follower").until <= timezone.now()


def test_files_are_kept_before_the_range_is_given_back(
    running: Drill, people: dict[str, User], settings: Any, tmp_path: Path
) -> None:
    from django.core.files.storage import default_storage

    from drills.files import path_of
    from drills.tasks import keep_files
    from lms.jobs.models import Job

    settings.MEDIA_ROOT = str(tmp_path)
    services.end(drill=running, by=people["white"])
    assert services.clear_up() == 0
    job = Job.objects.get(task="drills.keep_files")
    keep_files(job.pk)

    assert services.clear_up() == 1
    captures = log.full_state(fresh(running)).lab.captures
    assert captures
    for one in captures:
        assert default_storage.exists(path_of(running, one["range_id"], one["name"]))
