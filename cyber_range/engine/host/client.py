"""Speaking to range-host: `Client` for services and tasks, `AsyncClient` for consumers and the follower.

Errors of the daemon are raised as the classes of `engine.errors` they were; `HostUnreachable` when nobody answers. A broken
connection is made anew for the next call; a call that was under way is tried once more only if its verb may be repeated.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from cyber_range.engine.errors import RangeError
from cyber_range.engine.host.wire import (
    FRAME_LIMIT,
    LINE_LIMIT,
    SIZE,
    Frame,
    HostUnreachable,
    frame,
    line,
    raised,
    read_frame,
)

TIMEOUT = 30.0
# Verbs that take their time.
PATIENCE = {
    "launch": 180.0,
    "reset": 180.0,
    "snapshot": 180.0,
    "restore": 240.0,
    "destroy": 60.0,
    "evaluate": 60.0,
    "exec": 640.0,
    "sweep": 120.0,
    "events": 60.0,
}
# What may be asked twice without anything happening twice (launch: only with a range_id of the caller's).
REPEATABLE = frozenset({
    "ping", "probe", "capacity", "scenarios", "list", "status", "script", "solver", "topology", "telemetry",
    "events", "ack", "evaluate", "captures", "capture", "recordings", "recording", "pause", "resume", "clock",
    "destroy", "hint", "slice",
})  # fmt: skip


def _may_repeat(verb: str, args: dict[str, Any]) -> bool:
    return verb in REPEATABLE or (verb == "launch" and bool(args.get("range_id")))


def _unreachable(path: Path, why: object) -> HostUnreachable:
    return HostUnreachable(
        f"range-host does not answer on {path}: {why}",
        remedy="Start it: python -m cyber_range.engine host",
        socket=str(path),
    )


class _Verbs:
    """Every verb as a method: client.status(range_id=…)."""

    def call(self, verb: str, **args: Any) -> Any:
        raise NotImplementedError

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("_"):
            raise AttributeError(verb)
        return lambda **args: self.call(verb, **args)


class Client(_Verbs):
    """Blocking client. One connection per thread of use is best; a lock makes sharing safe."""

    def __init__(self, path: str | Path, *, timeout: float = TIMEOUT) -> None:
        self._path, self._timeout = Path(path), timeout
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._file: Any = None
        self._ids = itertools.count(1)

    def call(self, verb: str, *, patience: float | None = None, **args: Any) -> dict[str, Any]:
        """The verb's result. `patience` seconds at most (default by verb)."""
        with self._lock:
            fresh = self._sock is None
            try:
                return self._once(verb, args, patience)
            except HostUnreachable:
                # A kept connection dies with the daemon: the new daemon has a right to be asked.
                if fresh or not _may_repeat(verb, args):
                    raise
                return self._once(verb, args, patience)

    def _once(self, verb: str, args: dict[str, Any], patience: float | None) -> dict[str, Any]:
        number = next(self._ids)
        try:
            if self._sock is None:
                self._connect()
            assert self._sock is not None
            self._sock.settimeout(patience or PATIENCE.get(verb, self._timeout))
            self._sock.sendall(line({"id": number, "verb": verb, "args": args}))
            while True:
                got = self._file.readline(LINE_LIMIT * 8)
                if not got.endswith(b"\n"):
                    raise ConnectionError("the connection ended")
                answer = json.loads(got)
                if answer.get("id") == number or answer.get("id") is None:
                    break
        except (OSError, ValueError) as exc:
            self.close()
            raise _unreachable(self._path, exc) from exc
        if answer["ok"]:
            result: dict[str, Any] = answer["result"]
            return result
        raise raised(answer["error"])

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(min(self._timeout, 5.0))
        try:
            sock.connect(str(self._path))
        except OSError:
            sock.close()
            raise
        self._sock, self._file = sock, sock.makefile("rb")

    def close(self) -> None:
        for thing in (self._file, self._sock):
            if thing is not None:
                with contextlib.suppress(OSError):
                    thing.close()
        self._sock = self._file = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def file(self, verb: str, *, range_id: str, name: str) -> Iterator[bytes]:
        """A whole capture or recording (`verb` is "capture" or "recording"), piece by piece as it was at the start."""
        return _pieces(lambda offset: _piece(self.call(verb, range_id=range_id, name=name, offset=offset)))


def _piece(answer: dict[str, Any]) -> tuple[bytes, int, bool]:
    return base64.b64decode(answer["data"]), int(answer["size"]), bool(answer["end"])


def _pieces(ask: Any) -> Iterator[bytes]:
    offset, size = 0, None
    while True:
        data, now, end = ask(offset)
        size = now if size is None else size  # what is written meanwhile is not part of this download
        data = data[: size - offset]
        if data:
            yield data
        offset += len(data)
        if end or not data or offset >= size:
            return


class AsyncClient(_Verbs):
    """Client for one event loop; any number of calls at once over one connection."""

    def __init__(self, path: str | Path, *, timeout: float = TIMEOUT) -> None:
        self._path, self._timeout = Path(path), timeout
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()

    async def call(self, verb: str, *, patience: float | None = None, **args: Any) -> dict[str, Any]:
        fresh = self._writer is None
        try:
            return await self._once(verb, args, patience)
        except HostUnreachable:
            if fresh or not _may_repeat(verb, args):
                raise
            return await self._once(verb, args, patience)

    async def _once(self, verb: str, args: dict[str, Any], patience: float | None) -> dict[str, Any]:
        number = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        try:
            writer = await self._connected()
            self._waiting[number] = future
            writer.write(line({"id": number, "verb": verb, "args": args}))
            await writer.drain()
            answer = await asyncio.wait_for(future, patience or PATIENCE.get(verb, self._timeout))
        except TimeoutError as exc:
            raise _unreachable(self._path, f"no answer to {verb} in time") from exc
        except OSError as exc:
            await self.close()
            raise _unreachable(self._path, exc) from exc
        finally:
            self._waiting.pop(number, None)
        if answer["ok"]:
            result: dict[str, Any] = answer["result"]
            return result
        raise raised(answer["error"])

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is None:
                reader, writer = await asyncio.open_unix_connection(str(self._path), limit=LINE_LIMIT * 8)
                self._writer = writer
                self._reading = asyncio.get_running_loop().create_task(self._read(reader))
            return self._writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        error: Exception = ConnectionError("the connection ended")
        try:
            while got := await reader.readline():
                answer = json.loads(got)
                future = self._waiting.get(answer.get("id"))
                if future is not None and not future.done():
                    future.set_result(answer)
        except (OSError, ValueError) as exc:
            error = ConnectionError(str(exc))
        finally:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(error)

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._reading is not None and self._reading is not asyncio.current_task():
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def file(self, verb: str, *, range_id: str, name: str) -> AsyncIterator[bytes]:
        """A whole capture or recording, piece by piece."""
        offset, size = 0, None
        while True:
            data, now, end = _piece(await self.call(verb, range_id=range_id, name=name, offset=offset))
            size = now if size is None else size
            data = data[: size - offset]
            if data:
                yield data
            offset += len(data)
            if end or not data or offset >= size:
                return

    async def pty(
        self, *, ticket: str, range_id: str, session: str, seat: str, node: str, columns: int = 80, rows: int = 24
    ) -> PtyStream:
        """Opens a terminal on a connection of its own."""
        args = {
            "ticket": ticket, "range_id": range_id, "session": session, "seat": seat, "node": node,
            "columns": columns, "rows": rows,
        }  # fmt: skip
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._path), limit=LINE_LIMIT)
        except OSError as exc:
            raise _unreachable(self._path, exc) from exc
        try:
            writer.write(line({"id": 1, "verb": "pty", "args": args}))
            await writer.drain()
            got = await asyncio.wait_for(reader.readline(), self._timeout)
            if not got:
                raise ConnectionError("the connection ended")
            answer = json.loads(got)
        except (OSError, TimeoutError, ValueError) as exc:
            writer.close()
            raise _unreachable(self._path, exc) from exc
        if not answer["ok"]:
            writer.close()
            raise raised(answer["error"])
        return PtyStream(reader, writer, answer["result"])


class PtyStream:
    """A terminal. `read` gives b"" at the end; `ended` then says why: {"reason", "text"}."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened: dict[str, Any]) -> None:
        self._reader, self._writer = reader, writer
        self.terminal: str = opened["terminal"]
        self.recording: str = opened["recording"]
        self.ended: dict[str, str] | None = None

    async def read(self) -> bytes:
        """What the shell showed. As long as nobody reads, the shell is held."""
        while self.ended is None:
            try:
                got = await read_frame(self._reader)
            except ValueError as exc:
                got = None
                self.ended = {"reason": "protocol", "text": str(exc)}
            if got is None:
                self.ended = self.ended or {"reason": "gone", "text": "range-host went away"}
            elif got[0] is Frame.DATA:
                return got[1]
            elif got[0] is Frame.ENDED:
                self.ended = json.loads(got[1])
            elif got[0] is Frame.PING:
                await self._send(frame(Frame.PONG, got[1]))
        return b""

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), FRAME_LIMIT):
            await self._send(frame(Frame.DATA, data[start : start + FRAME_LIMIT]))

    async def resize(self, columns: int, rows: int) -> None:
        await self._send(frame(Frame.RESIZE, SIZE.pack(min(max(columns, 1), 1000), min(max(rows, 1), 1000))))

    async def _send(self, content: bytes) -> None:
        try:
            self._writer.write(content)
            await self._writer.drain()
        except ConnectionError as exc:
            raise RangeError("the terminal has ended", remedy="Open it again") from exc

    async def close(self) -> None:
        with contextlib.suppress(ConnectionError, RangeError):
            if self.ended is None:
                await self._send(frame(Frame.HANG_UP))
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
