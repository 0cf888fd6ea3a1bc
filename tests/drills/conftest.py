"""A small drill on a real range-host that runs the memory driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from cyber_range import catalogue, hosts
from cyber_range import services as ranges
from cyber_range.engine.host.client import Client
from cyber_range.engine.host.wire import HostUnreachable
from drills import log, services
from drills.models import Drill
from lms.accounts.models import User

SCENARIOS = Path(__file__).parent / "scenarios"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def small_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "FOLDER", SCENARIOS)
    log.forget()


class Host:
    """range-host as a child process that a test may kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "h.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "cyber_range.engine", "host", "--socket", str(self.socket), "--state",
                str(self.folder / "state"), "--driver", "memory", "--scenarios", str(SCENARIOS),
            ],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                with Client(self.socket) as client:
                    client.call("ping")
                return
            except HostUnreachable:
                time.sleep(0.05)
        raise AssertionError("range-host did not come up")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture(scope="session")
def shared_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("range")
    os.chmod(folder.parent, 0o755)
    os.chmod(folder, 0o755)
    host = Host(folder)
    host.start()
    yield host
    host.stop()


@pytest.fixture
def range_host(shared_host: Host, settings: Any) -> Host:
    settings.RANGE_SOCKET = str(shared_host.socket)
    return shared_host


@pytest.fixture
def people(member: Callable[..., User]) -> dict[str, User]:
    """The white cell's and two blue people of one factory, an observer, and a stranger of another."""
    white = member("security", name="导调员")
    factory = white.memberships.get().organisation
    return {
        "white": white,
        "blue": member("learner", organisation=factory, name="蓝一"),
        "blue2": member("learner", organisation=factory, name="蓝二"),
        "observer": member("learner", organisation=factory, name="观摩员"),
        "stranger": member("security", name="外人"),
    }


@pytest.fixture
def planned(people: dict[str, User]) -> Drill:
    return services.plan_drill(
        title="夜班灌装演练",
        organisation=people["white"].memberships.get().organisation,
        by=people["white"],
        scenario="mini",
        scheduled_at=timezone.now(),
        scope="灌装车间",
        duration_minutes=30,
        seed="seed",
        seats=[
            (people["white"], "white"),
            (people["blue"], "blue"),
            (people["blue2"], "blue"),
            (people["observer"], "observer"),
        ],
    )


@pytest.fixture
def seated(planned: Drill, people: dict[str, User]) -> Drill:
    for name in ("white", "blue", "observer"):
        services.take_seat(drill=planned, user=people[name])
    planned.refresh_from_db()
    return planned


def fresh(drill: Drill) -> Drill:
    return Drill.objects.select_related("instance__host", "organisation", "created_by").get(pk=drill.pk)


@pytest.fixture
def ready(seated: Drill, people: dict[str, User], range_host: Host) -> Iterator[Drill]:
    """With a range that stands."""
    services.launch_range(drill=seated, by=people["white"])
    drill = fresh(seated)
    assert drill.instance is not None
    ranges.launch_now(drill.instance)
    services.follow(drill=fresh(seated))
    yield fresh(seated)
    with hosts.client(drill.instance.host) as client:
        for one in client.call("list")["ranges"]:
            client.call("destroy", range_id=one["range_id"])


@pytest.fixture
def running(ready: Drill, people: dict[str, User]) -> Drill:
    services.start(drill=ready, by=people["white"])
    # On-commit work does not run inside a test's transaction: the follower's look brings the range into step.
    services.follow(drill=fresh(ready))
    return fresh(ready)


def seat(drill: Drill, user: User) -> Any:
    return drill.seats.select_related("user").get(user=user)


def until(check: Callable[[], Any], *, seconds: float = 15, step: float = 0.2) -> Any:
    """What the check gives as soon as it is true."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found or time.monotonic() > end:
            return found
        time.sleep(step)
