"""The two sockets of a drill: the bell with its moving pictures, and the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from cyber_range import hosts
from cyber_range.engine.errors import RangeError
from cyber_range.engine.host.client import AsyncClient, PtyStream
from drills import log, rules, services
from drills.domain.visibility import Viewer
from drills.hub import hub, viewers_of
from drills.models import Drill, Seat, TerminalRecording
from lms.accounts.models import User

logger = logging.getLogger(__name__)
NOT_YOURS = 4403  # close code: no seat (any more)
OVER = 4410  # close code: the drill or the range ended
MISUSE = 4400  # close code: what came over the socket is not what a terminal sends

CHECK_SEAT = 3.0  # s
IDLE = 30 * 60.0  # s without a key
TICKET_WAIT = 10.0  # s until the ticket must be shown
INPUT_LIMIT = 16 * 1024  # bytes of one message
INPUT_RATE = 256 * 1024  # bytes of keys in RATE_WINDOW
RATE_WINDOW = 10.0  # s
OUTPUT_LIMIT = 64 * 1024 * 1024  # bytes of one terminal
UNREAD = 256 * 1024  # bytes on their way to a browser that has not said it drew them


def same_origin(scope: dict[str, Any]) -> bool:
    """Exactly one of our own addresses; a page of another site cannot open our sockets with the visitor's cookie."""
    origins = [value.decode("latin1") for name, value in scope["headers"] if name == b"origin"]
    allowed = {settings.PUBLIC_URL, *settings.CSRF_TRUSTED_ORIGINS}
    return len(origins) == 1 and origins[0] in allowed


class RoomConsumer(AsyncWebsocketConsumer):
    """A bell. Content comes by GET, so a lost bell costs a moment and nothing else."""

    user: User
    viewer: Viewer

    async def connect(self) -> None:
        self.joined = False
        self.watching = False
        self.described = False
        self.newest = -1
        self.user = self.scope["user"]
        self.drill_id = int(self.scope["url_route"]["kwargs"]["pk"])
        if not same_origin(self.scope) or not self.user.is_authenticated:
            await self.close(NOT_YOURS)
            return
        viewer = (await database_sync_to_async(viewers_of)(self.drill_id, [self.user])).get(self.user.pk)
        if viewer is None:
            await self.close(NOT_YOURS)
            return
        self.viewer = viewer
        self.newest = await database_sync_to_async(self._newest)()
        await self.accept()
        self.joined = True
        await hub().join(self.drill_id, self)
        await self.tell({"bell": True})

    def _newest(self) -> int:
        return log.newest(Drill.objects.get(pk=self.drill_id), self.viewer)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data is None or len(text_data) > 200:
            await self.close(MISUSE)
            return
        try:
            message = json.loads(text_data)
        except ValueError:
            await self.close(MISUSE)
            return
        if isinstance(message, dict) and isinstance(message.get("watch"), bool):
            self.watching = message["watch"]
            self.described = False
            if self.watching:
                hub().watch(self.drill_id)

    async def tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(Exception):  # a socket that is going away is forgotten by disconnect
            await self.send(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    async def lose(self) -> None:
        await self.close(NOT_YOURS)

    async def disconnect(self, code: int) -> None:
        if self.joined:
            await hub().leave(self.drill_id, self)


class TerminalConsumer(AsyncWebsocketConsumer):
    """A shell on a node. First message: {"ticket", "node", "columns", "rows"}. Then binary both ways; as text
    {"size": [columns, rows]} and {"drawn": bytes}. What range-host shows is held while the browser has not drawn it."""

    async def connect(self) -> None:
        self.pty: PtyStream | None = None
        self.client: AsyncClient | None = None
        self.recording: TerminalRecording | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.unread = 0
        self.room = asyncio.Event()
        self.room.set()
        self.last_key = time.monotonic()
        self.window: tuple[float, int] = (time.monotonic(), 0)
        self.why = "left"
        self.user = self.scope["user"]
        self.drill_id = int(self.scope["url_route"]["kwargs"]["pk"])
        if not same_origin(self.scope) or not self.user.is_authenticated:
            await self.close(NOT_YOURS)
            return
        if await database_sync_to_async(self._seat)("") is None:
            await self.close(NOT_YOURS)
            return
        await self.accept()
        self.tasks.append(asyncio.create_task(self._expect_ticket()))

    # ------------------------------------------------------------ in

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        size = len(bytes_data or b"") + len(text_data or "")
        if size > INPUT_LIMIT or not self._in_rate(size):
            await self._end(MISUSE, "too_much")
            return
        if bytes_data is not None:
            if self.pty is None:
                await self._end(MISUSE, "misuse")
                return
            self.last_key = time.monotonic()
            await self._write(bytes_data)
            return
        try:
            message = json.loads(text_data or "")
            if not isinstance(message, dict):
                raise ValueError("not an object")
            if self.pty is None:
                await self._open(message)
            elif "size" in message:
                columns, rows = (int(value) for value in message["size"])
                await self.pty.resize(columns, rows)
            elif "drawn" in message:
                self.unread = max(0, self.unread - max(0, int(message["drawn"])))
                if self.unread < UNREAD:
                    self.room.set()
            else:
                raise ValueError("unknown message")
        except (ValueError, TypeError, KeyError):
            await self._end(MISUSE, "misuse")
        except RangeError as error:
            await self._end(OVER, error.code, str(error))

    def _in_rate(self, size: int) -> bool:
        began, count = self.window
        now = time.monotonic()
        self.window = (now, size) if now - began > RATE_WINDOW else (began, count + size)
        return self.window[1] <= INPUT_RATE

    async def _write(self, data: bytes) -> None:
        assert self.pty is not None
        try:
            await self.pty.write(data)
        except RangeError as error:
            await self._end(OVER, "ended", str(error))

    async def _open(self, message: dict[str, Any]) -> None:
        ticket, node = str(message["ticket"]), str(message["node"])
        columns, rows = int(message.get("columns", 80)), int(message.get("rows", 24))
        found = await database_sync_to_async(self._seat)(node)
        if found is None:
            await self._end(NOT_YOURS, "no_seat")
            return
        seat, socket, range_id = found
        self.node = node
        self.client = AsyncClient(socket)
        self.pty = await self.client.pty(
            ticket=ticket, range_id=range_id, session=str(self.user.pseudonym), seat=seat.seat, node=node,
            columns=columns, rows=rows,
        )  # fmt: skip
        self.recording = await database_sync_to_async(self._note_opened)(seat, node, self.pty.recording)
        await self.send(json.dumps({"opened": node, "recorded": bool(self.pty.recording)}))
        self.tasks += [asyncio.create_task(self._read()), asyncio.create_task(self._guard())]

    def _note_opened(self, seat: Seat, node: str, recording: str) -> TerminalRecording | None:
        drill = Drill.objects.select_related("instance").get(pk=self.drill_id)
        return services.terminal_opened(drill=drill, seat=seat, node=node, recording=recording)

    def _seat(self, node: str) -> tuple[Seat, str, str] | None:
        """Seat, socket and range while this person may have a terminal (on that node); asked again every few seconds."""
        drill = Drill.objects.select_related("instance__host").filter(pk=self.drill_id).first()
        if drill is None or drill.over or drill.instance is None or not drill.instance.living:
            return None
        user = User.objects.filter(pk=self.user.pk, is_active=True).first()
        seat = drill.seats.select_related("user").filter(user=user).first() if user else None
        spec = log.full_state(drill).spec_of_seat(seat.seat) if seat else None
        if node:
            allowed = rules.may_open_terminal(seat, spec, node)
        else:
            allowed = seat is not None and seat.held and spec is not None and bool(spec.consoles)
        if not allowed or seat is None:
            return None
        return seat, hosts.socket_of(drill.instance.host), drill.instance.range_id

    # ------------------------------------------------------------ out

    async def _expect_ticket(self) -> None:
        await asyncio.sleep(TICKET_WAIT)
        if self.pty is None:
            await self._end(MISUSE, "no_ticket")

    async def _read(self) -> None:
        assert self.pty is not None
        shown = 0
        while True:
            await self.room.wait()
            data = await self.pty.read()
            if not data:
                break
            shown += len(data)
            self.unread += len(data)
            if self.unread >= UNREAD:
                self.room.clear()
            await self.send(bytes_data=data)
            if shown > OUTPUT_LIMIT:
                await self._end(OVER, "limit")
                return
        ended = self.pty.ended or {"reason": "gone", "text": ""}
        await self._end(OVER, ended["reason"], ended.get("text", ""))

    async def _guard(self) -> None:
        """The seat is looked at again and again; so is the clock of the last key."""
        while True:
            await asyncio.sleep(CHECK_SEAT)
            if await database_sync_to_async(self._seat)(self.node) is None:
                await self._end(NOT_YOURS, "seat")
                return
            if time.monotonic() - self.last_key > IDLE:
                await self._end(OVER, "idle")
                return

    async def _end(self, code: int, reason: str, text: str = "") -> None:
        self.why = reason
        with contextlib.suppress(Exception):
            await self.send(json.dumps({"ended": reason, "text": text}, ensure_ascii=False))
        await self.close(code)
        await self._let_go()

    async def disconnect(self, code: int) -> None:
        await self._let_go()

    async def _let_go(self) -> None:
        current = asyncio.current_task()
        for task in self.tasks:
            if task is not current:
                task.cancel()
        self.tasks = []
        pty, self.pty = self.pty, None
        if pty is not None:
            await pty.close()
        if self.client is not None:
            await self.client.close()
            self.client = None
        recording, self.recording = self.recording, None
        if recording is not None:
            await database_sync_to_async(services.terminal_closed)(recording=recording, reason=self.why)
