"""The follower: the one process that goes on without anybody's hand."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import datetime, timedelta
from types import FrameType
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections, connections
from django.utils import timezone
from wagtail import hooks

from drills import services
from drills.models import Drill, FollowerLease
from drills.services import personal
from lms.jobs import services as jobs

logger = logging.getLogger("drills.follower")
LEASE_SECONDS = 10
PUBLISH_EVERY = timedelta(minutes=1)
CLEAR_EVERY = timedelta(seconds=5)
DELETE_EVERY = timedelta(hours=1)


class Command(BaseCommand):
    help = (
        "Runs the inject clock, copies range events, sends lost jobs again, publishes what is due. One at a time leads."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--interval", type=float, default=0.3, help="seconds between two looks (default 0.3)")
        parser.add_argument("--once", action="store_true", help="look once and end")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()

        def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
            stop.set()

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ask_to_stop)
            signal.signal(signal.SIGINT, ask_to_stop)
        follower = Follower(f"{socket.gethostname()}:{os.getpid()}")
        while True:
            began = time.monotonic()
            follower.look()
            if options["once"] or stop.wait(max(0.02, options["interval"] - (time.monotonic() - began))):
                break
        follower.leave()
        connections.close_all()


class Follower:
    """One look after another. Whatever fails is said once and tried again; nothing here ends the process."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self.leading = False
        self.publish_at = timezone.now()
        self.clear_at = timezone.now()
        self.delete_at = timezone.now()
        self._said: dict[str, str] = {}

    def look(self) -> None:
        now = timezone.now()
        close_old_connections()
        try:
            leading = FollowerLease.take(name="follower", holder=self.holder, now=now, seconds=LEASE_SECONDS)
        except Error:
            logger.exception("the database does not answer; trying again")
            connections.close_all()
            time.sleep(1)
            return
        if leading != self.leading:
            logger.info("follower %s %s", self.holder, "leads" if leading else "stands by: another one leads")
        self.leading = leading
        if not leading:
            return
        self._guard("jobs", jobs.resend_lost)
        for drill in Drill.objects.to_follow().select_related("instance__host", "created_by"):
            self._guard(f"drill {drill.pk}", lambda drill=drill: services.follow(drill=drill))
        for tick in hooks.get_hooks("follower_tick"):
            self._guard(f"{tick.__module__}.{tick.__name__}", lambda tick=tick: tick(timezone.now()))
        if now >= self.clear_at:
            self.clear_at = now + CLEAR_EVERY
            self._guard("clear up", services.clear_up)
        if now >= self.delete_at:
            self.delete_at = now + DELETE_EVERY
            self._guard("old recordings", personal.delete_old_recordings)
        if now >= self.publish_at:
            self.publish_at = now + PUBLISH_EVERY
            self._guard("publish", lambda: call_command("publish_scheduled"))

    def leave(self) -> None:
        """Lets the next one lead at once."""
        if self.leading:
            now: datetime = timezone.now()
            FollowerLease.objects.filter(name="follower", holder=self.holder).update(until=now)

    def _guard(self, what: str, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as fault:
            said = f"{type(fault).__name__}: {fault}"
            if self._said.get(what) != said:
                logger.exception("%s failed; trying again with the next look", what)
                self._said[what] = said
            if isinstance(fault, Error):
                connections.close_all()
        else:
            self._said.pop(what, None)
