"""`lianbing tour`: a fresh database, the real processes, and the whole main job in front of your eyes."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lms.project import processes, showroom

ENOUGH_SECONDS = 1800


def main(argv: Sequence[str]) -> int:
    """Prepares a state folder of its own, starts range-host, worker and follower, runs the tour and ends them all.

    Exits with the tour's code: 0 only when every step really happened.
    """
    parser = argparse.ArgumentParser(
        prog="lianbing tour", description="perform the whole main job on a really launched range"
    )
    parser.add_argument("--driver", default="auto", choices=["auto", "docker", "netns", "capsule", "memory"])
    parser.add_argument(
        "--speed", type=float, default=4.0, help="scenario clock against wall clock (protocols stay real)"
    )
    parser.add_argument("--keep", type=Path, help="keep database, captures and logs in this (new) folder")
    parser.add_argument("--json", type=Path, help="write the steps with their figures to this file, too")
    options = parser.parse_args(argv)
    state = options.keep or Path(tempfile.mkdtemp(prefix="lianbing-tour-"))
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o711)  # range-host drops to a user of its own and must reach its socket's folder
    if (state / "lianbing.sqlite3").exists():
        raise SystemExit(f"{state} 里已经有一个数据库；tour 只用全新的数据库，请换一个文件夹。")
    for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"):
        os.environ.pop(name, None)
    os.environ["LIANBING_STATE"] = str(state)
    os.environ["LIANBING_RANGE_SOCKET"] = str(state / "range" / "host.sock")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lms.project.settings")
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))  # so that the children are ended, too
    code = 1
    team = processes.children(host="127.0.0.1", port=0, sockets_port=0, workers=1, driver=options.driver)[:3]
    try:
        if showroom.load(state) == 0:
            for child in team:
                processes.start(child, state / "logs")
            words = ["tour", "--driver", options.driver, "--speed", str(options.speed)]
            words += ["--json", str(options.json)] if options.json else []
            code = subprocess.run(  # noqa: S603  our own words
                [sys.executable, "-m", "django", *words], timeout=ENOUGH_SECONDS, check=False
            ).returncode
            if code:
                tell_logs(state)
    finally:
        began = time.monotonic()
        processes.stop(team, showroom.say)
        showroom.say(f"· 进程已结束（{time.monotonic() - began:.1f} 秒）")
        if not options.keep:
            shutil.rmtree(state, ignore_errors=True)
    return code


def tell_logs(state: Path) -> None:
    """The last lines of each process, for whoever has to find out why."""
    for log in sorted((state / "logs").glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-15:]
        if lines:
            showroom.say(f"--- {log.name}")
            showroom.say("\n".join(lines))
