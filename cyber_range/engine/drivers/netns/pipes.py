"""Pipe ends of programs and commands on the event loop: lines in, bytes in, bytes out. No thread, no transport object."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from cyber_range.engine.drivers.netns.terminal import settle

CHUNK = 1 << 18
LINE_LIMIT = 16 << 20  # bytes; a program that sends more without a newline is cut off
WRITE_SECONDS = 10.0  # a program that does not read its commands for so long is ill


class LineReader:
    """Calls `on_line` for every whole line, `on_end` once. `pause` and `resume` give backpressure."""

    def __init__(self, fd: int, on_line: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self.fd = fd
        self._on_line = on_line
        self._on_end = on_end
        self._rest = bytearray()
        self._loop = asyncio.get_running_loop()
        self._reading = False
        self.ended = False
        os.set_blocking(fd, False)
        self.resume()

    def pause(self) -> None:
        if self._reading:
            self._loop.remove_reader(self.fd)
            self._reading = False

    def resume(self) -> None:
        if not self._reading and not self.ended:
            self._loop.add_reader(self.fd, self._read)
            self._reading = True

    def _read(self) -> None:
        try:
            data = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or len(self._rest) > LINE_LIMIT:
            self.close()
            return
        *lines, rest = data.split(b"\n")
        if lines:
            self._on_line(bytes(self._rest) + lines[0])
            self._rest.clear()
            for line in lines[1:]:
                self._on_line(line)
        self._rest += rest

    def close(self) -> None:
        if not self.ended:
            self.pause()
            self.ended = True
            os.close(self.fd)
            self._on_end()


async def collect(fd: int, limit: int) -> bytes:
    """Everything up to the end or to `limit` bytes (the rest is read and thrown away). Cancelling keeps `fd` open."""
    loop = asyncio.get_running_loop()
    kept = bytearray()
    os.set_blocking(fd, False)
    done: asyncio.Future[None] = loop.create_future()

    def read() -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            kept.extend(data[: limit - len(kept)])
        elif not done.done():
            done.set_result(None)

    loop.add_reader(fd, read)
    try:
        await done
    except asyncio.CancelledError:
        pass  # a background job keeps the pipe open: what came so far is the answer
    finally:
        loop.remove_reader(fd)
    return bytes(kept)


async def write_all(fd: int, data: bytes, patience: float | None = WRITE_SECONDS) -> None:
    """Writes everything, waiting while the pipe is full. BrokenPipeError when nobody reads, TimeoutError when stuck for
    `patience` seconds (None: as long as the caller waits)."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
            continue
        except BlockingIOError:
            pass
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_writer(fd, settle, ready)
        try:
            await asyncio.wait_for(ready, patience)
        finally:
            loop.remove_writer(fd)
