"""An installed copy has what a checkout has: every file of ours that is not code is named by package-data."""

from __future__ import annotations

import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("lms", "courses", "drills", "cyber_range", "certification")


def test_every_data_file_goes_into_the_wheel() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", *PACKAGES], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    if listed.returncode:
        pytest.skip("no git checkout: what belongs to the project cannot be told from what lies about")
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]

    def packed(path: PurePosixPath) -> bool:
        anywhere = any(fnmatch(path.name, pattern) for pattern in data["*"])
        inside = any(
            fnmatch(str(path.relative_to(package)), pattern.replace("**/", ""))
            for package in PACKAGES
            if path.parts[0] == package
            for pattern in data.get(package, [])
        )
        return anywhere or inside

    files = [PurePosixPath(name) for name in listed.stdout.split("\0") if name and not name.endswith(".py")]

    assert len(files) > 200
    assert [str(path) for path in files if not packed(path)] == []
