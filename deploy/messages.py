"""Says which messages of the sources are not in their app's English catalogue (needs xgettext)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import polib

ROOT = Path(__file__).resolve().parent.parent
APPS = ("lms", "courses", "cyber_range", "drills", "certification")


def extracted(app: str) -> set[str]:
    """Every msgid of the app's Python and templates, from a copy so that nothing in the tree changes."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / app
        copytree(
            ROOT / app,
            copy,
            ignore=ignore_patterns("locale", "__pycache__", "vendored", "content", "scenarios", "engine"),
        )
        (copy / "locale" / "en" / "LC_MESSAGES").mkdir(parents=True)
        for domain in ("django", "djangojs"):
            subprocess.run(  # noqa: S603  Django's own command on our own copy
                [
                    sys.executable,
                    "-m",
                    "django",
                    "makemessages",
                    "-l",
                    "en",
                    "-d",
                    domain,
                    "--no-location",
                    "--no-wrap",
                    "-v0",
                ],
                cwd=copy,
                check=True,
                env={**os.environ, "DJANGO_SETTINGS_MODULE": ""},
            )
        return {
            entry.msgid
            for po in (copy / "locale" / "en" / "LC_MESSAGES").glob("*.po")
            for entry in polib.pofile(str(po))
            if not entry.obsolete
        }


def known(app: str) -> set[str]:
    return {
        entry.msgid
        for po in (ROOT / app).rglob("locale/en/LC_MESSAGES/*.po")
        for entry in polib.pofile(str(po))
        if not entry.obsolete and entry.translated()
    }


def main() -> int:
    missing = [f"{app}: {msgid}" for app in APPS for msgid in sorted(extracted(app) - known(app))]
    sys.stdout.write("".join(f"no English for {line}\n" for line in missing))
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
