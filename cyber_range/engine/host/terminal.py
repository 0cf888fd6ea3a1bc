"""One terminal: frames of a connection on one side, a shell in a node on the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import struct
import time
from collections.abc import Callable

from cyber_range.engine.drivers.base import Pty
from cyber_range.engine.errors import RangeError
from cyber_range.engine.host.recording import Recording
from cyber_range.engine.host.tickets import Bound
from cyber_range.engine.host.wire import FRAME_LIMIT, SIZE, Frame, frame, read_frame

IDLE_SECONDS = 30 * 60.0
OUTPUT_LIMIT = 64 * 1024 * 1024

REASONS = {
    "exit": "the shell ended",
    "idle": "nothing was typed for 30 minutes",
    "limit": "the terminal showed 64 MiB",
    "closed": "the seat or the drill ended",
    "range": "the range ended",
    "gone": "the browser went away",
    "protocol": "the connection sent something that is no frame",
}


class Terminal:
    """Lives from the answer to `pty` until one side ends. `end` may be called from anywhere."""

    def __init__(
        self,
        bound: Bound,
        pty: Pty,
        recording: Recording,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        idle_seconds: float = IDLE_SECONDS,
        output_limit: int = OUTPUT_LIMIT,
        range_ended: Callable[[], bool],
    ) -> None:
        self.name = secrets.token_hex(8)
        self.bound = bound
        self._pty, self._recording = pty, recording
        self._reader, self._writer = reader, writer
        self._idle_seconds, self._output_limit = idle_seconds, output_limit
        self._range_ended = range_ended
        self._ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._typed = time.monotonic()

    def end(self, reason: str) -> None:
        if not self._ending.done():
            self._ending.set_result(reason)

    async def serve(self) -> str:
        """Carries bytes both ways; returns why it ended (a key of REASONS)."""
        tasks = [asyncio.create_task(work) for work in (self._show(), self._type(), self._watch())]
        try:
            reason = await self._ending
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # The node may be gone already; the driver removes what is left with the range.
            with contextlib.suppress(TimeoutError, RangeError, OSError):
                await asyncio.wait_for(self._pty.close(), 5)
            self._recording.close()
        if reason == "exit" and self._range_ended():
            reason = "range"
        if not self._writer.is_closing():
            said = json.dumps({"reason": reason, "text": REASONS[reason]}).encode()
            try:
                self._writer.write(frame(Frame.ENDED, said))
                await asyncio.wait_for(self._writer.drain(), 5)
            except (ConnectionError, TimeoutError):
                pass  # nobody reads any more
        return reason

    async def _show(self) -> None:
        """Shell to browser. The next read waits until the last bytes were taken: that is the backpressure."""
        shown = 0
        try:
            while data := await self._pty.read(FRAME_LIMIT):
                self._recording.add("o", data)
                shown += len(data)
                for start in range(0, len(data), FRAME_LIMIT):
                    self._writer.write(frame(Frame.DATA, data[start : start + FRAME_LIMIT]))
                await self._writer.drain()
                if shown > self._output_limit:
                    self.end("limit")
                    return
            self.end("exit")
        except ConnectionError:
            self.end("gone")
        except (RangeError, OSError):
            self.end("exit")

    async def _type(self) -> None:
        try:
            while (got := await read_frame(self._reader)) is not None:
                kind, content = got
                if kind is Frame.DATA:
                    self._typed = time.monotonic()
                    self._recording.add("i", content)
                    await self._pty.write(content)
                elif kind is Frame.RESIZE:
                    columns, rows = (min(max(size, 1), 1000) for size in SIZE.unpack(content))
                    self._recording.resized(columns, rows)
                    await self._pty.resize(columns, rows)
                elif kind is Frame.PING:
                    self._writer.write(frame(Frame.PONG, content))
                elif kind is Frame.HANG_UP:
                    break
            self.end("gone")
        except (ValueError, struct.error):
            self.end("protocol")
        except (RangeError, OSError):
            self.end("exit")  # the shell took no more

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(5.0, self._idle_seconds / 4))
            if time.monotonic() - self._typed > self._idle_seconds:
                self.end("idle")
                return
