"""`lianbing doctor` names everything, in one language, with a command for whatever is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.drivers import registry

ROOT = Path(__file__).resolve().parents[3]
CHINESE = re.compile(r"[\u4e00-\u9fff]")
PLAIN = {"DATABASE_URL": "", "REDIS_URL": ""}


def doctor(language: str, **environment: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "lms.project", "doctor", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=150,
        env={**os.environ, **PLAIN, "LIANBING_LANG": language, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_every_range_driver_of_this_version_is_named_with_its_command() -> None:
    found = {row["name"]: row for row in doctor("zh")}

    brought = [
        name
        for name, where in registry.DRIVERS.items()
        if (ROOT / where.partition(":")[0].replace(".", "/")).with_suffix(".py").exists()
        or (ROOT / where.partition(":")[0].replace(".", "/") / "__init__.py").exists()
    ]
    rows = [found.get(f"靶场驱动 {name}") for name in brought]
    assert "靶场引擎" not in found  # its row says that the engine did not answer
    assert all(row is not None and (row["mark"] == "✓" or (row["text"] and row["remedy"])) for row in rows), rows
    assert found["靶场驱动 memory"]["mark"] == "✓"
    assert sum("auto 选用" in row["text"] for row in found.values()) == 1


def test_all_that_a_machine_may_have_is_named_and_what_it_lacks_has_a_command() -> None:
    rows = doctor("en", PATH="/nowhere")

    named = [row["name"] for row in rows if not row["name"].startswith("range driver ")]
    assert named == [
        "Python", "database", "PostgreSQL", "queue", "Redis", "Chinese fonts", "typst", "nmap", "tshark", "nft", "mbpoll",
        "suricata", "debootstrap", "chromium", "tcpreplay", "xgettext",
    ]  # fmt: skip
    assert [row["name"] for row in rows if row["mark"] != "✓" and not row["remedy"]] == []
    assert {row["name"]: row["remedy"] for row in rows}["suricata"] == "sudo apt-get install suricata"


@pytest.mark.parametrize("environment", [{}, {"DOCKER_HOST": "unix:///nowhere.sock", "PATH": "/nowhere"}])
def test_doctor_speaks_one_language(environment: dict[str, str]) -> None:
    foreign = [row for row in doctor("en", **environment) if CHINESE.search(row["name"] + row["text"] + row["remedy"])]
    mute = [
        row
        for row in doctor("zh", **environment)
        if row["name"] not in ("Python", "typst") and not CHINESE.search(row["text"])
    ]

    assert (foreign, mute) == ([], [])


def test_what_was_set_and_does_not_answer_is_said_with_its_reason() -> None:
    rows = {
        row["name"]: row
        for row in doctor("zh", DATABASE_URL="postgres://nobody@127.0.0.1:1/none", REDIS_URL="redis://127.0.0.1:1/0")
    }

    for name, tool in (("数据库", "psql"), ("Redis", "redis-cli")):
        assert (rows[name]["mark"], "连不上" in rows[name]["text"], tool in rows[name]["remedy"]) == ("✗", True, True)
