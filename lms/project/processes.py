"""The children of one installation on one machine, started, watched and ended together.

Killing the parent ends every child (PR_SET_PDEATHSIG), and range-host ends its labs: nothing is left behind.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
RESTART_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
STOP_SECONDS = 12.0
# Celery idles for seconds in its polling before it hears; a job cut off in the middle is a durable row and goes on later.
WORKER_SECONDS = 3.0
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Child:
    """One program of ours. Ended by SIGTERM, and by SIGKILL after `patience` seconds; `restarts` counts falls in a row."""

    name: str
    argv: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    patience: float = STOP_SECONDS
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started_at: float = 0.0
    again_at: float = 0.0


def die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(child: Child, log_folder: Path) -> None:
    """Starts the child in a session of its own, its output in `log_folder/<name>.log` (0600)."""
    log_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(log_folder / f"{child.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(fd, "ab") as log:
        child.process = subprocess.Popen(  # noqa: S603  our own programs with arguments made here
            child.argv,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **child.environment, "LIANBING_PARENT": str(os.getpid())},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    child.started_at = time.monotonic()


def children(*, host: str, port: int, sockets_port: int, workers: int, driver: str) -> list[Child]:
    """Range-host first, pages last: whoever sees the page finds everything behind it."""
    python = sys.executable
    state = Path(os.environ["LIANBING_STATE"])
    socket = os.environ.get("LIANBING_RANGE_SOCKET", str(state / "range" / "host.sock"))
    queues = f"lianbing,range.{os.environ.get('LIANBING_RANGE_HOST', 'local')}"
    return [
        Child(
            "range-host",
            [
                python,
                "-m",
                "cyber_range.engine",
                "host",
                "--socket",
                socket,
                "--state",
                str(state / "range"),
                "--driver",
                driver,
            ],
        ),
        Child(
            "worker",
            [
                python,
                "-m",
                "celery",
                "-A",
                "lms.project",
                "worker",
                "--queues",
                queues,
                "--concurrency",
                "2",
                "--loglevel",
                "INFO",
                "--without-gossip",
                "--without-mingle",
            ],
            patience=WORKER_SECONDS,
        ),
        Child("follower", [python, "-m", "django", "run_drills"]),
        Child(
            "sockets",
            [
                python,
                "-m",
                "daphne",
                "-b",
                host,
                "-p",
                str(sockets_port),
                "--no-server-name",
                "lms.project.asgi:application",
            ],
        ),
        Child(
            "pages",
            [
                python,
                "-m",
                "granian",
                "--interface",
                "wsgi",
                "--host",
                host,
                "--port",
                str(port),
                "--workers",
                str(workers),
                "--blocking-threads",
                "4",
                "--no-access-log",
                "--respawn-failed-workers",
                "lms.project.wsgi:application",
            ],
        ),
    ]


def run(team: list[Child], *, log_folder: Path, say: Callable[[str], None], ready: Callable[[], bool]) -> int:
    """Keeps the children alive until SIGINT or SIGTERM, then ends them, pages first. Returns the exit code.

    `ready` is asked between two looks at the children until it says True; it must not wait."""
    ending: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _frame: ending.append(n))
    for child in team:
        start(child, log_folder)
    told = False
    try:
        while not ending:
            now = time.monotonic()
            for child in team:
                revive(child, now, log_folder, say)
            told = told or ready()
            time.sleep(0.2)
    finally:
        stop(team, say)
    return 0


def revive(child: Child, now: float, log_folder: Path, say: Callable[[str], None]) -> None:
    """Starts a fallen child again after a growing pause; a minute of life forgives earlier falls."""
    if child.process is None or child.process.poll() is None:
        if child.restarts and now - child.started_at > 60:
            child.restarts = 0
        return
    if not child.again_at:
        pause = RESTART_SECONDS[min(child.restarts, len(RESTART_SECONDS) - 1)]
        child.again_at = now + pause
        say(
            f"{child.name} 已退出（代码 {child.process.returncode}），{pause:g} 秒后重启；详见 {log_folder / child.name}.log"
        )
    elif now >= child.again_at:
        child.again_at, child.restarts = 0.0, child.restarts + 1
        start(child, log_folder)


def stop(team: list[Child], say: Callable[[str], None]) -> None:
    """SIGTERM to all, pages first and range-host last; SIGKILL to the session of whoever stays."""
    for child in reversed(team):
        if child.process and child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM)
            if child.name == "sockets":  # Daphne waits for idle connections; nobody is left to serve
                child.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    for child in reversed(team):
        if child.process is None:
            continue
        try:
            child.process.wait(timeout=max(0.1, began + child.patience - time.monotonic()))
        except subprocess.TimeoutExpired:
            if child.patience == STOP_SECONDS:
                say(f"{child.name} 没有按时结束，强制结束")
            os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait(timeout=5)


def main(argv: Sequence[str]) -> int:
    """`lianbing serve`: everything on one machine, with the environment's own database."""
    parser = argparse.ArgumentParser(prog="lianbing serve", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--driver", default="auto", choices=["auto", "docker", "netns", "capsule", "memory"])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(argv)
    state = Path(os.environ.setdefault("LIANBING_STATE", str(Path.cwd() / "var")))
    if code := management(["migrate", "--noinput", "-v0"]):
        return code
    management(["createcachetable"])
    management(["collectstatic", "--noinput", "-v0"])
    team = children(
        host=options.host,
        port=options.port,
        sockets_port=options.port + 1,
        workers=options.workers,
        driver=options.driver,
    )

    def say(text: str) -> None:
        print(text, flush=True)  # noqa: T201  the command's own voice

    def ready() -> bool:
        say(f"http://{options.host}:{options.port}")
        return True

    return run(team, log_folder=state / "logs", say=say, ready=ready)


def worker(argv: Sequence[str]) -> NoReturn:
    """`lianbing worker [celery options]`: one Celery worker of this installation."""
    become("celery", "-A", "lms.project", "worker", *argv)


def range_worker(argv: Sequence[str]) -> NoReturn:
    """`lianbing range-worker [celery options]`: the worker beside a range-host, on the queue of this machine
    (LIANBING_RANGE_HOST). It registers the host and tells about it."""
    name = os.environ.get("LIANBING_RANGE_HOST", "local")
    become(
        "celery", "-A", "lms.project", "worker", "--queues", f"range.{name}", "--hostname", f"range-{name}@%h",
        "--concurrency", "4", "--loglevel", "INFO", "--without-gossip", "--without-mingle", *argv,
    )  # fmt: skip


def engine(argv: Sequence[str]) -> NoReturn:
    """The range engine's command line, in a process that is not ours any more: it may load docker and scapy, we do not."""
    become("cyber_range.engine", *argv)


def become(module: str, *argv: str) -> NoReturn:
    """Turns this process into `python -m module …`: whoever ends it ends the real one, and nothing stands between."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *argv])  # noqa: S606  the operator's own words


def management(argv: Sequence[str]) -> int:
    """A Django management command in a process of its own, waited for."""
    return subprocess.call([sys.executable, "-m", "django", *argv])  # noqa: S603  our own words
