"""The driver's end of a shell's terminal: the master descriptor on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Awaitable, Callable


class MasterPty:
    """Implements `base.Pty`. One reader at a time; a hang-up of the far side reads as b""."""

    def __init__(self, master: int, on_close: Callable[[], Awaitable[None]]) -> None:
        self._master = master
        self._on_close = on_close
        self._closed = False
        self._waiting: set[asyncio.Future[None]] = set()
        os.set_blocking(master, False)

    async def read(self, limit: int = 65536) -> bytes:
        while not self._closed:
            try:
                return os.read(self._master, limit)
            except BlockingIOError:
                await self._until_ready(writing=False)
            except OSError:  # EIO: the last process on the terminal is gone
                return b""
        return b""

    async def write(self, data: bytes) -> None:
        """Waits while the shell does not read (a stopped job), so that a paste cannot fill our memory."""
        view = memoryview(data)
        while view and not self._closed:
            try:
                view = view[os.write(self._master, view) :]
            except BlockingIOError:
                await self._until_ready(writing=True)
            except OSError:
                return

    async def _until_ready(self, *, writing: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._waiting.add(ready)
        fd = self._master
        (loop.add_writer if writing else loop.add_reader)(fd, settle, ready)
        try:
            await ready
        finally:
            self._waiting.discard(ready)
            if not self._closed:
                (loop.remove_writer if writing else loop.remove_reader)(fd)

    async def resize(self, columns: int, rows: int) -> None:
        if not self._closed:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def close(self) -> None:
        """Hangs up and ends the whole session of the shell."""
        if self._closed:
            return
        self.hang_up()
        await self._on_close()

    def hang_up(self) -> None:
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._master)
        loop.remove_writer(self._master)
        os.close(self._master)
        for ready in self._waiting:
            settle(ready)


def settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
