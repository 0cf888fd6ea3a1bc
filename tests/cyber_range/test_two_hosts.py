"""Two range machines, each with its own Celery worker, and a web machine that reaches neither socket. One dies in mid-drill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.host.client import Client
from cyber_range.engine.host.wire import HostUnreachable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
ROOT = Path(__file__).resolve().parents[2]
INSIDE = Path(__file__).with_name("inside_two_hosts.py")
# The tables as the models have them: migrating from the first one takes a minute of processor time and is tested elsewhere.
SETTINGS = """
from lms.project.settings import *

class Unmigrated:
    def __contains__(self, app): return True
    def __getitem__(self, app): return None

MIGRATION_MODULES = Unmigrated()
"""


class Installation:
    """A database, a file queue, two range machines, a follower and a web machine, all on this computer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: dict[str, subprocess.Popen[Any]] = {}
        kept = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL")
        self.environment = {name: value for name, value in os.environ.items() if name not in kept} | {
            "DJANGO_SETTINGS_MODULE": "two_hosts_settings", "LIANBING_STATE": str(folder / "state"),
            "LIANBING_DEBUG": "1", "PYTHONPATH": f"{ROOT}:{folder}",
        }  # fmt: skip

        (folder / "two_hosts_settings.py").write_text(SETTINGS)

    def as_machine(self, name: str) -> dict[str, str]:
        socket = self.folder / f"{name}.sock"
        return self.environment | {"LIANBING_RANGE_HOST": name, "LIANBING_RANGE_SOCKET": str(socket)}

    def start(self, name: str, machine: str, *words: str, **options: Any) -> subprocess.Popen[Any]:
        log = (self.folder / f"{name}.log").open("a")
        self.children[name] = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, env=self.as_machine(machine), start_new_session=True,
            **{"stdout": log, "stderr": log, **options},
        )  # fmt: skip
        return self.children[name]

    def begin(self) -> None:
        for command in (["migrate", "--run-syncdb", "--noinput", "-v0"], ["createcachetable"]):
            subprocess.run([sys.executable, "-m", "django", *command], cwd=ROOT, env=self.as_machine("web"), check=True)
        for name in ("east", "west"):
            self.machine(name)
        self.web = self.start("web", "web", str(INSIDE), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        until(
            lambda: {"east", "west"} <= {name for name, host in self.ask("hosts").items() if host["here"]},
            "both report",
        )
        self.start("follower", "web", "-m", "django", "run_drills")
        self.ask("plan")

    def machine(self, name: str) -> None:
        """range-host and, as on a machine of its own, the worker beside it."""
        socket = self.folder / f"{name}.sock"
        self.start(
            f"{name}-host", name, "-m", "cyber_range.engine", "host", "--socket", str(socket),
            "--state", str(self.folder / name), "--driver", "memory",
        )  # fmt: skip

        def answers() -> bool:
            try:
                with Client(socket) as client:
                    return bool(client.call("ping"))
            except HostUnreachable:
                return False

        until(answers, f"range-host {name}")
        self.worker(name)

    def worker(self, name: str) -> None:
        self.start(f"{name}-worker", name, "-m", "lms.project", "range-worker", "--concurrency", "1")

    def kill(self, name: str) -> None:
        """SIGKILL for the whole machine at once: daemon, worker, and the worker's children."""
        for part in (f"{name}-worker", f"{name}-host"):
            self.kill_one(part)

    def kill_one(self, part: str) -> None:
        child = self.children.pop(part)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def ask(self, verb: str, *args: Any) -> Any:
        self.web.stdin.write(json.dumps({"verb": verb, "args": args}) + "\n")
        self.web.stdin.flush()
        answer = json.loads(self.web.stdout.readline())
        assert "fault" not in answer, answer["trace"]
        return answer["ok"]

    def stand(self) -> bool:
        """Both machines are heard of now; a loaded computer may let one report late."""
        heard = self.ask("hosts")
        return all(heard[name]["here"] and heard[name]["served"] for name in ("east", "west"))

    def begun(self) -> bool:
        """The drill has been started; refused while its range is not there (a report that was late)."""
        self.web.stdin.write(json.dumps({"verb": "start", "args": []}) + "\n")
        self.web.stdin.flush()
        answer = json.loads(self.web.stdout.readline())
        assert "fault" not in answer or "Refused" in answer["fault"], answer["trace"]
        return "ok" in answer

    def end(self) -> None:
        for name in list(self.children):
            if self.children[name].poll() is None:
                self.kill_one(name)

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-2500:]}" for path in sorted(self.folder.glob("*.log")))


def until(check: Callable[[], Any], what: str, *, seconds: float = 180) -> Any:
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"waited {seconds} s in vain: {what}"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("two")
    for one in (folder, folder.parent, folder.parent.parent):
        one.chmod(0o755)
    one = Installation(folder)
    try:
        one.begin()
        yield one
    finally:
        one.end()
        sys.stderr.write(one.logs())  # shown when the test failed


@pytest.fixture
def installation(whole: Installation) -> Installation:
    """Both machines stand and are heard of, whatever the test before has killed."""
    for name in ("east", "west"):
        if f"{name}-host" not in whole.children:
            whole.machine(name)
        elif f"{name}-worker" not in whole.children:
            whole.worker(name)

    until(whole.stand, "both machines stand")
    return whole


def test_a_machine_killed_in_mid_drill_costs_the_range_and_not_the_log(installation: Installation) -> None:
    ask = installation.ask
    hosts = ask("hosts")
    assert {name: (host["queue"], host["driver"]) for name, host in hosts.items() if host["here"]} == {
        "east": ("range.east", "memory"), "west": ("range.west", "memory"),
    }  # fmt: skip

    # The drill's range comes up through the queue of the machine it was placed on, and its log through that worker.
    first = ask("launch")
    other = {"east": "west", "west": "east"}[first]
    until(lambda: ask("drill")["lab"] == "attached", "the drill's range is attached")

    def copied() -> int:
        return sum(map(len, ask("drill")["copied"].values()))

    attached = copied()
    until(installation.begun, "the drill begins")
    ask("note", "vorher")
    until(lambda: copied() > attached, "what the range says goes on into the log")

    # A practice range goes to the emptier machine; draining keeps the next one away from it.
    until(installation.stand, "both machines are heard of")
    practice = ask("practice")
    assert practice["host"] == other
    until(lambda: ask("instance", practice["pk"])["state"] == "ready", "the practice range is ready")
    ask("duty", other, "draining")
    until(installation.stand, "both machines are heard of")
    drawn = ask("practice")
    assert drawn["host"] == first
    until(lambda: ask("instance", drawn["pk"])["state"] == "ready", "the second practice range is ready")
    ask("duty", other, "open")

    # A launch that waits on a machine whose worker died before taking it is moved to the other one.
    installation.kill_one(f"{first}-worker")
    before = ask("drill")
    installation.kill_one(f"{first}-host")
    lost = until(lambda: (now := ask("drill"))["lab"] == "lost" and now, "the drill says that its range is lost")
    assert (lost["lab_reason"], lost["phase"], lost["instance"]["silent"]) == ("host_unreachable", "running", True)
    assert lost["log"][: len(before["log"])] == before["log"]
    until(lambda: ask("hosts")[first]["lost"], "the machine counts as lost")
    until(lambda: first in ask("instance", drawn["pk"])["reason"], "the practice range says why")
    ask("note", "mittendrin")

    # The white cell starts the range anew, on the machine that is left; the log goes on.
    until(lambda: ask("hosts")[other]["here"], "the machine that is left is heard of")
    assert ask("launch", True) == other
    until(lambda: ask("drill")["lab"] == "attached", "the new range is attached")
    again = ask("drill")
    assert (again["phase"], again["earlier"], again["instance"]["host"], again["instance"]["seed"]) == (
        "running", 1, other, "seed",
    )  # fmt: skip
    assert [seq for seq, _kind in again["log"]] == list(range(1, len(again["log"]) + 1))
    assert again["log"][: len(before["log"])] == before["log"]
    for numbers in again["copied"].values():
        assert numbers == list(range(1, len(numbers) + 1))

    # A practice range of the lost machine is started anew on the other one, once however often one asks.
    until(lambda: ask("hosts")[other]["here"], "the machine that is left is heard of")
    anew = ask("relaunch", drawn["pk"])
    assert (anew["host"], ask("relaunch", drawn["pk"])["pk"]) == (other, anew["pk"])
    until(lambda: ask("instance", anew["pk"])["state"] == "ready", "the practice range is there again")
    assert ask("instance", drawn["pk"])["state"] == "gone"

    # The machine comes back empty: it gets ranges again.
    installation.machine(first)
    until(lambda: ask("hosts")[first]["here"] and ask("hosts")[first]["served"], "the lost machine is back")
    until(installation.stand, "both machines are heard of")
    assert ask("practice")["host"] == first


def test_a_launch_waiting_for_a_dead_machine_is_moved(installation: Installation) -> None:
    ask = installation.ask
    for name in ("east", "west"):  # nobody takes it: neither worker lives
        installation.kill_one(f"{name}-worker")
    waiting = ask("practice")
    installation.kill_one(f"{waiting['host']}-host")
    other = {"east": "west", "west": "east"}[waiting["host"]]
    installation.worker(other)

    until(lambda: ask("instance", waiting["pk"])["state"] == "ready", "the launch was moved and came up")

    moved = ask("instance", waiting["pk"])
    assert (moved["host"], moved["range_id"]) == (other, waiting["range_id"])
    with Client(installation.folder / f"{other}.sock") as client:
        ranges = [one["range_id"] for one in client.call("list")["ranges"]]
    assert ranges.count(waiting["range_id"]) == 1
