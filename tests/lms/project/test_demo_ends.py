"""`make demo` on a terminal: Ctrl-C ends everything and leaves nothing, a range that runs included; again is the same demo."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyber_range.engine.host.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # two starts from an empty folder, on a busy machine
ROOT = Path(__file__).resolve().parents[3]
WITHOUT = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "LIANBING_RANGE_SOCKET", "LIANBING_RANGE_OWNER")


class Terminal:
    """A demo whose keyboard and screen are ours. Ctrl-C is the byte 3: the kernel signals the foreground group."""

    def __init__(self, state: Path, driver: str, port: int) -> None:
        self.state = state
        self.said = b""
        environment = {key: value for key, value in os.environ.items() if key not in WITHOUT}
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            words = ["demo", "--state", str(state), "--port", str(port), "--driver", driver]
            os.execve(sys.executable, [sys.executable, "-m", "lms.project", *words], environment)
        self.code: int | None = None

    def until(self, word: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while word not in self.text() and self.code is None:
            assert time.monotonic() < deadline, self.text()[-3000:]
            self.look()
        assert word in self.text(), self.text()[-3000:]

    def look(self) -> None:
        if select.select([self.screen], [], [], 0.2)[0]:
            try:
                self.said += os.read(self.screen, 65536)
            except OSError:  # EIO: nobody holds the terminal any more
                time.sleep(0.05)
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.code = os.waitstatus_to_exitcode(status)

    def interrupt(self, seconds: float = 60) -> int:
        os.write(self.screen, b"\x03")
        deadline = time.monotonic() + seconds
        while self.code is None:
            assert time.monotonic() < deadline, self.text()[-3000:]
            self.look()
        return self.code

    def text(self) -> str:
        return self.said.decode(errors="replace")

    def end(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGTERM)
            for _ in range(150):
                if self.code is None:
                    self.look()
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.screen)


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    folder.chmod(0o755)
    return folder


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.end()


def two_ports() -> int:
    for port in range(18600, 19000, 2):
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no two free ports in a row")


def left_behind(state: Path, range_id: str) -> dict[str, list[str]]:
    """Everything a demo could leave: by its state folder, its range, and the mark of its range-host."""
    found: dict[str, list[str]] = {
        "processes": [],
        "mounts": [],
        "namespaces": [],
        "docker": [],
        "links": [],
        "locks": [],
    }
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(state).encode() in (folder / "environ").read_bytes() or f"lb-range:{range_id}" in title:
                found["processes"].append(title)
            if str(state) in (folder / "mountinfo").read_text():  # of any mount namespace, ours or a range's
                found["namespaces"].append(title)
        except OSError:  # it has gone, or is the kernel's
            continue
    found["mounts"] = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(state) in line]
    found["links"] = [name for _, name in socket.if_nameindex() if range_id in name]
    owner = hashlib.sha256(os.fsencode(state / "range")).hexdigest()[:12]
    for kind in (["ps", "-a"], ["network", "ls"]):
        words = ["docker", *kind, "--quiet", "--filter", f"label=lianbing.owner=state-{owner}"]
        try:
            found["docker"] += subprocess.run(words, capture_output=True, text=True, timeout=60).stdout.split()
        except FileNotFoundError:
            break
    found["locks"] = [str(path) for path in (state / "range").glob("*.sock")]
    with (state / "range" / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found["locks"].append("lock")
    return {kind: things for kind, things in found.items() if things}


def content(state: Path) -> dict[str, int]:
    """Rows per table, but for what being used changes (sessions, caches, leases, the range-host's heartbeat)."""
    with sqlite3.connect(state / "lianbing.sqlite3") as database:
        names = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        return {
            name: database.execute(f'select count(*) from "{name}"').fetchone()[0]
            for name in names
            if name.startswith(("accounts_", "courses_", "drills_", "certification_", "maturity_", "wagtail"))
            and not name.endswith("followerlease")
        }


@pytest.mark.parametrize(
    "driver", [pytest.param("netns", marks=pytest.mark.netns), pytest.param("docker", marks=pytest.mark.docker)]
)
def test_ctrl_c_leaves_nothing_of_a_demo_with_a_running_range(
    driver: str, state: Path, terminals: list[Terminal]
) -> None:
    port = two_ports()
    demo = Terminal(state, driver, port)
    terminals.append(demo)
    demo.until("按 Ctrl-C 结束", 400)
    with Client(state / "range" / "host.sock") as client:
        launched = client.call("launch", scenario="filling_line", seed="s", team="t")
        assert launched["state"] == "ready"
    before = left_behind(state, launched["range_id"])

    code = demo.interrupt()

    assert {"processes", "locks"} | ({"docker"} if driver == "docker" else set()) <= set(before)
    assert (code, left_behind(state, launched["range_id"])) == (0, {}), demo.text()[-2000:]
    assert "强制结束" not in demo.text()

    first, accounts = content(state), (state / "accounts.json").read_text()
    again = Terminal(state, "memory", port)
    terminals.append(again)
    again.until("按 Ctrl-C 结束", 400)
    code = again.interrupt()

    assert (code, content(state), (state / "accounts.json").read_text()) == (0, first, accounts)
    for name, password in json.loads(accounts).items():
        assert f"{name:10} {password}" in again.text()


def test_ctrl_c_while_it_is_being_prepared_leaves_nothing_and_the_next_start_goes_on(
    state: Path, terminals: list[Terminal]
) -> None:
    port = two_ports()
    demo = Terminal(state, "memory", port)
    terminals.append(demo)
    demo.until("数据库", 300)
    code = demo.interrupt()
    assert (code, "Traceback" in demo.text()) == (130, False), demo.text()

    again = Terminal(state, "memory", port)
    terminals.append(again)
    again.until("按 Ctrl-C 结束", 400)
    assert again.interrupt() == 0


def test_a_database_that_is_not_a_demos_is_refused_before_anything_is_changed(
    state: Path, terminals: list[Terminal]
) -> None:
    with sqlite3.connect(state / "lianbing.sqlite3") as database:
        database.execute("create table bookkeeping (amount integer)")

    demo = Terminal(state, "memory", two_ports())
    terminals.append(demo)
    demo.until("不属于演示", 100)
    while demo.code is None:
        demo.look()

    with sqlite3.connect(state / "lianbing.sqlite3") as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
    assert (demo.code, tables) == (1, ["bookkeeping"])
