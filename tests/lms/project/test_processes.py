"""Children are kept alive, ended in time, and gone when the parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lms.project.processes import Child, children, revive, start, stop

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.02)


def test_a_fallen_child_is_started_again_after_a_pause(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child("falls", [sys.executable, "-c", "raise SystemExit(3)"])
    start(child, tmp_path)
    wait_for(lambda: child.process.poll() is not None)

    revive(child, 100.0, tmp_path, said.append)
    first = child.process
    revive(child, 100.2, tmp_path, said.append)
    before_pause_ended = child.process
    revive(child, 100.6, tmp_path, said.append)

    assert (before_pause_ended is first, child.process is first, child.restarts) == (True, False, 1)
    assert said == [f"falls 已退出（代码 3），0.5 秒后重启；详见 {tmp_path / 'falls.log'}"]
    child.process.wait(10)


def test_stop_ends_all_children(tmp_path: Path) -> None:
    team = [Child("one", SLEEPER), Child("two", SLEEPER)]
    for child in team:
        start(child, tmp_path)

    stop(team, lambda _text: None)

    assert [child.process.poll() for child in team] == [-signal.SIGTERM, -signal.SIGTERM]


def test_stop_kills_who_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lms.project.processes.STOP_SECONDS", 0.3)
    said: list[str] = []
    child = Child("stubborn", STUBBORN, patience=0.3)
    start(child, tmp_path)
    wait_for(lambda: "up" in (tmp_path / "stubborn.log").read_text())

    stop([child], said.append)

    assert (child.process.poll(), said) == (-signal.SIGKILL, ["stubborn 没有按时结束，强制结束"])


def test_log_files_are_the_owners_alone(tmp_path: Path) -> None:
    child = Child("quiet", [sys.executable, "-c", "pass"])
    start(child, tmp_path / "logs")
    child.process.wait(10)

    assert oct((tmp_path / "logs" / "quiet.log").stat().st_mode & 0o777) == "0o600"


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib; from lms.project.processes import Child, start\n"
        f"child = Child('orphan', {SLEEPER!r}); start(child, pathlib.Path({str(tmp_path)!r}))\n"
        "print(child.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(10)

    wait_for(lambda: not alive(pid))


def test_range_host_starts_first_and_pages_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIANBING_STATE", str(tmp_path))

    team = children(host="127.0.0.1", port=8000, sockets_port=8001, workers=1, driver="memory")

    assert [child.name for child in team] == ["range-host", "worker", "follower", "sockets", "pages"]
