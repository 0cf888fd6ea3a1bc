"""`lianbing tour` as somebody types it: every step of the main job happens, on every driver, and its exit says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DRIVERS = ["memory", pytest.param("netns", marks=pytest.mark.netns), pytest.param("docker", marks=pytest.mark.docker)]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_whole_main_job_really_happens(driver: str, tmp_path: Path) -> None:
    told = tmp_path / "tour.json"
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}

    done = subprocess.run(
        [sys.executable, "-m", "lms.project", "tour", "--driver", driver, "--json", str(told)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1100, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    steps = json.loads(told.read_text())
    assert len(steps) == 12
    assert [step["name"] for step in steps if not step["facts"]] == []
    facts = {name: value for step in steps for name, value in step["facts"].items()}
    before, after = facts["持证人数"].split("（")[0].split(" → ")
    assert int(after) == int(before) + 1
    assert any(driver in step["facts"].get("靶场", "") for step in steps)
