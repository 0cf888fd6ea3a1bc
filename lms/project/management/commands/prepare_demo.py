"""Everything of a demo before its programs start, in one process: four starts of Django would be most of a second start."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from lms.project.management.commands.load_demo import refuse_what_is_not_ours


class Command(BaseCommand):
    help = "Migrate, collect and load the demo; refuses a database that is not a demo's before it changes anything"

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_what_is_not_ours()
        steps: list[tuple[str, Callable[[], Any]]] = [
            ("数据库", partial(call_command, "migrate", interactive=False, verbosity=0, stdout=self.stdout)),
            ("静态文件", partial(call_command, "collectstatic", interactive=False, verbosity=0, stdout=self.stdout)),
            ("演示数据", partial(call_command, "load_demo", stdout=self.stdout)),
        ]
        if isinstance(caches["default"], DatabaseCache):
            steps.insert(1, ("缓存表", partial(call_command, "createcachetable", verbosity=0)))
        for what, work in steps:
            began = time.monotonic()
            self.say(f"· {what} …")
            try:
                work()
            except CommandError:
                self.say(f"✗ {what}失败")
                raise
            self.say(f"✓ {what}（{time.monotonic() - began:.1f} 秒）")

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
