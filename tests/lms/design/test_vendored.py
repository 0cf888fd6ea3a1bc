"""Third-party files are exactly those that were taken in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import lms.design

FOLDER = Path(lms.design.__file__).parent / "static" / "vendored"


def test_vendored_files_have_their_recorded_sums_and_none_is_unrecorded() -> None:
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    recorded = {name.strip().removeprefix("./"): digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    present = {
        str(path.relative_to(FOLDER)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FOLDER.rglob("*")
        if path.is_file() and path.name not in ("SHA256SUMS", "README.md")
    }

    assert present == recorded


def test_every_vendored_package_carries_its_licence_or_is_named_with_one() -> None:
    readme = (FOLDER / "README.md").read_text()
    packages = [path for path in FOLDER.iterdir() if path.is_dir()]

    assert [p.name for p in packages if not any(p.glob("LICENSE*")) or p.name not in readme.lower()] == []
