"""The migrated test database, kept between runs: two hundred migrations take longer than most suites they stand before.

Only for SQLite in memory. The copy is filed under a digest of every migration there is, so a changed one is never missed;
`migrate` still runs over it, and does nothing but its own checks and signals.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from importlib import import_module, util
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.backends.signals import connection_created

FOLDER = Path(settings.BASE_DIR) / "var" / "tests"


def digest() -> str:
    """Of the text of all migrations, theirs and ours, and of SQLite's version."""
    found = hashlib.sha256(sqlite3.sqlite_version.encode())
    for app in sorted(apps.get_app_configs(), key=lambda one: one.label):
        name = settings.MIGRATION_MODULES.get(app.label, f"{app.name}.migrations")
        if name is None or util.find_spec(name) is None:
            continue
        for folder in import_module(name).__path__:
            for path in sorted(Path(folder).glob("*.py")):
                found.update(f"{app.label}/{path.name}\0".encode() + path.read_bytes())
    return found.hexdigest()[:24]


class Kept:
    """The file of this state of the migrations, and what puts it in place of an empty database at its first connection."""

    def __init__(self) -> None:
        self.path = FOLDER / f"migrated-{digest()}.sqlite3"
        self.wanted = connection.vendor == "sqlite"

    def listen(self) -> None:
        if self.wanted and self.path.exists():
            connection_created.connect(self._fill, dispatch_uid="tests.migrated")

    def _fill(self, sender: type, connection: Any, **_more: Any) -> None:
        if "mode=memory" not in str(connection.settings_dict["NAME"]):
            return
        connection_created.disconnect(dispatch_uid="tests.migrated")
        source = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            source.backup(connection.connection)
        finally:
            source.close()

    def keep(self) -> None:
        """Called when the database is migrated and nothing else has been written to it."""
        connection_created.disconnect(dispatch_uid="tests.migrated")
        if not self.wanted or self.path.exists() or "mode=memory" not in str(connection.settings_dict["NAME"]):
            return
        FOLDER.mkdir(parents=True, exist_ok=True)
        connection.ensure_connection()
        unfinished = self.path.with_suffix(f".{os.getpid()}")
        target = sqlite3.connect(unfinished)
        try:
            connection.connection.backup(target)
        finally:
            target.close()
        for old in FOLDER.glob("migrated-*.sqlite3"):
            old.unlink(missing_ok=True)
        unfinished.replace(self.path)
