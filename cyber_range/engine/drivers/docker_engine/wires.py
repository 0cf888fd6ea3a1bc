"""Raw byte streams of the Docker engine (attach, exec) on an event loop.

The SDK opens the connection and reads the HTTP answer; what it had already read beyond that answer is taken out of
its buffer first, or the frames that follow would be cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

STDOUT, STDERR = 1, 2
CHUNK = 262144  # bytes of one read


class Wire:
    """One upgraded connection. `opened` is what docker.APIClient.attach_socket or exec_start(socket=True) gave."""

    def __init__(self, opened: Any) -> None:
        self._response = opened._response  # closing it closes the connection; losing it would, too
        self._sock: socket.socket = opened._sock
        self._sock.setblocking(False)
        self._early = self._response.raw._fp.fp.read1(CHUNK) or b""
        self._sending = asyncio.Lock()
        self._closed = False

    async def read(self, limit: int = CHUNK) -> bytes:
        """b"" at the end of the stream."""
        if self._early:
            data, self._early = self._early[:limit], self._early[limit:]
            return data
        if self._closed:
            return b""
        try:
            return await asyncio.get_running_loop().sock_recv(self._sock, limit)
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        """Whole messages never mix. BrokenPipeError when the far side has gone."""
        async with self._sending:
            if self._closed:
                raise BrokenPipeError
            await asyncio.get_running_loop().sock_sendall(self._sock, data)

    def end_input(self) -> None:
        """The command in the container sees the end of its stdin."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(Exception):  # the response tidies a connection that is already gone
                self._response.close()


async def demultiplexed(wire: Wire, take: Callable[[int, bytes], None]) -> None:
    """Docker's stream frames (type, length, bytes) until the end; `take(STDOUT or STDERR, bytes)`."""
    buffer = bytearray()
    while data := await wire.read():
        buffer += data
        at = 0
        while len(buffer) - at >= 8:
            kind, length = struct.unpack_from(">BxxxL", buffer, at)
            if len(buffer) - at - 8 < length:
                break
            take(kind, bytes(buffer[at + 8 : at + 8 + length]))
            at += 8 + length
        del buffer[:at]
