"""Runs one node program: JSON lines in, JSON lines out, a clock, a folder, a network.

Drivers call `serve` (a process of its own: netns child, Docker exec) or `run_inside` (a coroutine: memory), by
dotted name. What they get back: {"kind": "ready"} once it serves, {"kind": "error", "what", "where"} when the
program fails, and the return value as exit code (0 asked to stop or done, 1 failed, 2 no such program).
The driver turns that into {"kind": "exit", "code"}.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from cyber_range.engine.agents.context import Clock, Net
from cyber_range.engine.agents.kernel import KernelNet

LINE_LIMIT = 16 * 1024 * 1024  # bytes of one JSON line from the lab
BACKLOG_LIMIT = 8 * 1024 * 1024  # bytes waiting for a slow lab before telemetry and pcap are dropped
DROPPABLE = frozenset({"telemetry", "pcap", "rates"})
STOP_GRACE = 2.0  # seconds a program has to end by itself after the lab said stop
PROGRAM_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
PRIVATE = frozenset({"context", "runner", "kernel", "nft", "packet_filter", "tools"})  # modules that are no programs

Emit = Callable[[dict[str, Any]], None]


class Node:
    """The `NodeContext` of one running program."""

    def __init__(self, name: str, spec: Mapping[str, Any], net: Net, store: Path, emit: Emit) -> None:
        self.name = name
        self.spec = spec
        self.net = net
        self.clock = Clock(**clock_start(spec.get("clock")))
        self.store = store
        self._emit = emit
        self._inbox: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def emit(self, kind: str, **data: Any) -> None:
        self._emit({"kind": kind, **data})

    async def commands(self) -> AsyncIterator[dict[str, Any]]:
        while (command := await self._inbox.get()) is not None:
            yield command
        self._inbox.put_nowait(None)  # the end stays the end for whoever asks again

    def take(self, command: dict[str, Any] | None) -> None:
        """One object from the lab (None: stop). The clock is set here, so no program can forget it."""
        if command is not None and command.get("kind") == "clock":
            with contextlib.suppress(TypeError, ValueError):
                self.clock.set(**clock_start(command))
            if "id" in command:
                self.emit("reply", id=command["id"], at=self.clock.now(), speed=self.clock.speed)
            return
        self._inbox.put_nowait(command)


def clock_start(said: Mapping[str, Any] | None) -> dict[str, float]:
    """The `speed` and `at` a spec or a clock command names, as floats."""
    return {key: float(said[key]) for key in ("speed", "at") if said and said.get(key) is not None}


async def run_inside(
    node: str,
    use: str,
    spec: Mapping[str, Any],
    net: Net,
    inbox: AsyncIterator[dict[str, Any]] | asyncio.Queue[dict[str, Any] | None],
    emit: Emit,
) -> int:
    """Runs program `use` until it ends or `inbox` does (an async iterator, or a queue whose None means stop).

    `emit` is called with each JSON-able dict and must not block. Cancelling this coroutine ends the program.
    """
    try:
        program = load(use)
    except LookupError as exc:
        emit({"kind": "error", "what": str(exc), "where": ""})
        return 2
    own = None if spec.get("store") else tempfile.mkdtemp(prefix="lianbing-")
    store = Path(str(spec.get("store") or own))
    store.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a local folder, before anything is served
    context = Node(node, spec, net, store, emit)
    running = asyncio.ensure_future(program(context))
    feeding = asyncio.ensure_future(feed(context, inbox))
    try:
        await asyncio.wait({running, feeding}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            context.take(None)
            await asyncio.wait({running}, timeout=STOP_GRACE)
        return await outcome(running, emit)
    finally:
        for task in (running, feeding):
            task.cancel()
        await asyncio.gather(running, feeding, return_exceptions=True)
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)


async def outcome(running: asyncio.Future[None], emit: Emit) -> int:
    """Exit code of a program, with an `error` message when it failed; one that does not end is cancelled."""
    if not running.done():
        running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        return 0
    except Exception as exc:  # any failure of a program is told to the lab, by name and place
        where = traceback.format_exc(limit=-6)
        emit({"kind": "error", "what": f"{type(exc).__name__}: {exc}", "where": where})
        return 1
    return 0


async def feed(context: Node, inbox: AsyncIterator[dict[str, Any]] | asyncio.Queue[dict[str, Any] | None]) -> None:
    if isinstance(inbox, asyncio.Queue):
        while (command := await inbox.get()) is not None:
            context.take(command)
    else:
        async for command in inbox:
            context.take(command)


def load(use: str) -> Callable[[Node], Any]:
    """The `run` of module engine.agents.<use>; LookupError names what is wrong."""
    if not PROGRAM_NAME.match(use) or use in PRIVATE:
        raise LookupError(f"{use!r} is not the name of a node program")
    name = f"cyber_range.engine.agents.{use}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name == name:
            raise LookupError(f"there is no node program {use!r} (module {name})") from exc
        raise LookupError(f"node program {use!r} needs the Python package {exc.name!r}, which is missing here") from exc
    run = getattr(module, "run", None)
    if run is None:
        raise LookupError(f"module {name} has no run(node), so {use!r} is not a node program")
    return run  # type: ignore[no-any-return]  # the module's own signature is checked where it is written


def serve(use: str, spec: Mapping[str, Any], read_fd: int, write_fd: int, node: str = "") -> int:
    """Runs a program on the kernel's network until it ends, `read_fd` closes or SIGTERM comes. Returns the exit code."""
    return asyncio.run(serve_lines(node or socket.gethostname(), use, spec, read_fd, write_fd))


async def serve_lines(node: str, use: str, spec: Mapping[str, Any], read_fd: int, write_fd: int) -> int:
    loop = asyncio.get_running_loop()
    emit, flush = await line_writer(write_fd)
    inbox: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(
            ValueError, RuntimeError
        ):  # not the main thread: the caller ends us by closing the pipe
            loop.add_signal_handler(number, inbox.put_nowait, None)
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", buffering=0, closefd=False)
    )
    reading = asyncio.ensure_future(read_lines(reader, inbox, emit))
    try:
        return await run_inside(node, use, spec, KernelNet(spec.get("taps")), inbox, emit)
    finally:
        reading.cancel()
        transport.close()
        await flush()


async def read_lines(reader: asyncio.StreamReader, inbox: asyncio.Queue[dict[str, Any] | None], emit: Emit) -> None:
    while line := await reader.readline():
        try:
            command = json.loads(line)
            if not isinstance(command, dict):
                raise ValueError("a command is a JSON object")
        except ValueError as exc:
            emit({"kind": "error", "what": f"unreadable command: {exc}", "where": line[:200].decode(errors="replace")})
            continue
        inbox.put_nowait(command)
    inbox.put_nowait(None)


async def line_writer(write_fd: int) -> tuple[Emit, Callable[[], Any]]:
    """(emit, flush) over a descriptor. Pipes and sockets never block us; a plain file (tests) is written directly."""
    if stat.S_ISREG(os.fstat(write_fd).st_mode):

        def emit_file(message: dict[str, Any]) -> None:
            os.write(write_fd, encode(message))

        async def flush_file() -> None:
            return None

        return emit_file, flush_file

    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_write_pipe(
        asyncio.BaseProtocol, os.fdopen(os.dup(write_fd), "wb", buffering=0, closefd=True)
    )

    def emit(message: dict[str, Any]) -> None:
        if message["kind"] in DROPPABLE and transport.get_write_buffer_size() > BACKLOG_LIMIT:
            return
        if not transport.is_closing():
            transport.write(encode(message))

    async def flush() -> None:
        deadline = loop.time() + STOP_GRACE
        while transport.get_write_buffer_size() and loop.time() < deadline and not transport.is_closing():  # noqa: ASYNC110 - transports have no such event
            await asyncio.sleep(0.005)
        transport.abort()

    return emit, flush


def encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
