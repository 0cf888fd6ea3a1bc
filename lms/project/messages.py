"""Message catalogues are compiled where they are used, with no gettext installed: .po is kept, .mo is made."""

from __future__ import annotations

import sys
from pathlib import Path

import polib

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = (
    "lms",
    "lms/accounts",
    "lms/jobs",
    "lms/maturity",
    "lms/design",
    "lms/project",
    "courses",
    "cyber_range",
    "drills",
    "certification",
)


def catalogues() -> list[Path]:
    return sorted(po for app in APPS for po in (ROOT / app / "locale").glob("*/LC_MESSAGES/*.po"))


def compile_catalogues() -> int:
    """Writes every stale .mo. Quick when nothing changed."""
    for po in catalogues():
        mo = po.with_suffix(".mo")
        if not mo.exists() or mo.stat().st_mtime < po.stat().st_mtime:
            draft = mo.with_suffix(".mo.new")
            polib.pofile(str(po)).save_as_mofile(str(draft))
            draft.replace(mo)
    return 0


def unfinished() -> list[str]:
    """`file: msgid` of every message without a translation or with a doubtful one."""
    return [
        f"{po.relative_to(ROOT)}: {entry.msgid}"
        for po in catalogues()
        for entry in polib.pofile(str(po))
        if not entry.obsolete and (entry.fuzzy or not entry.translated())
    ]


if __name__ == "__main__":
    missing = unfinished()
    sys.stdout.write("".join(f"{line}\n" for line in missing))
    sys.exit(bool(missing))
