"""A shell in a container: Docker's exec with a terminal, ended for good when its far side closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cyber_range.engine.drivers.docker_engine.wires import Wire


class DockerPty:
    """A `drivers.base.Pty`. Docker leaves the shell alone when a terminal goes away, so `hang_up` ends its session."""

    def __init__(
        self, wire: Wire, resize: Callable[[int, int], Awaitable[None]], hang_up: Callable[[], Awaitable[None]]
    ) -> None:
        self._wire = wire
        self._resize = resize
        self._hang_up = hang_up
        self._closed = False

    async def read(self, limit: int = 65536) -> bytes:
        return await self._wire.read(limit)

    async def write(self, data: bytes) -> None:
        try:
            await self._wire.write(data)
        except OSError:
            return  # the shell has ended; the reader is told by b""

    async def resize(self, columns: int, rows: int) -> None:
        await self._resize(min(max(columns, 1), 1000), min(max(rows, 1), 1000))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._wire.close()
            await asyncio.shield(self._hang_up())
