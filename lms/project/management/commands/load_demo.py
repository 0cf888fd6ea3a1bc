"""Loads every app's demo part into a database that is empty or a demo's."""

from __future__ import annotations

import json
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from lms.accounts.demo import Demo
from lms.accounts.models import Organisation, User


def refuse_what_is_not_ours() -> None:
    """An empty database may become a demo, and a demo's may be loaded again; whatever else holds something is left as it is.

    Asked before migrations too, so a database of another program, or of a real installation, is not even migrated.
    """
    tables = set(connection.introspection.table_names())
    if not tables:
        return
    try:
        if {User._meta.db_table, Organisation._meta.db_table} <= tables:
            theirs = User.objects.filter(is_demo=False).exists() or Organisation.objects.filter(is_demo=False).exists()
        else:  # a first start that was cut short has migrated a part
            prefixes = ("django_", "lianbing_cache", *(f"{config.label}_" for config in apps.get_app_configs()))
            theirs = "django_migrations" not in tables or not all(table.startswith(prefixes) for table in tables)
    except DatabaseError:  # tables of these names that are not ours
        theirs = True
    if theirs:
        raise CommandError(
            "这个数据库里有不属于演示的人员、单位或数据表，不会写入演示数据。请换一个空数据库（去掉 DATABASE_URL，或另设 --state）。"
        )


class Command(BaseCommand):
    help = "Load the demo organisation, people and content"

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_what_is_not_ours()
        demo = Demo(say=lambda text: self.stdout.write(f"  {text}"))
        for loader in sorted(self.loaders(), key=lambda module: module.ORDER):
            loader.load(demo)
        self.keep_passwords(demo)

    def loaders(self) -> list[Any]:
        return [
            import_module(f"{app.name}.demo")
            for app in apps.get_app_configs()
            if app.name.split(".")[0] in ("lms", "courses", "cyber_range", "drills", "certification")
            and find_spec(f"{app.name}.demo")
        ]

    def keep_passwords(self, demo: Demo) -> None:
        """Beside the demo's database, readable by its owner: a second start shows the same accounts."""
        path = Path(settings.STATE_DIR) / "accounts.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        if demo.passwords or not path.exists():
            draft = path.with_suffix(".new")
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "w") as file:
                json.dump(known | demo.passwords, file, indent=1)
            draft.replace(path)
