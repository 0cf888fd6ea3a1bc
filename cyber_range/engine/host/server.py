"""The socket of range-host: connections, requests beside each other, terminals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cyber_range.engine.errors import RangeError, Refused
from cyber_range.engine.host.daemon import Daemon
from cyber_range.engine.host.recording import Recording
from cyber_range.engine.host.terminal import Terminal
from cyber_range.engine.host.tickets import Bound
from cyber_range.engine.host.verbs import RangeId, Verbs, Word
from cyber_range.engine.host.wire import LINE_LIMIT, BadRequest, line

log = logging.getLogger(__name__)

TERMINALS_OF_A_SESSION = 6
TERMINALS_OF_A_RANGE = 60
SOCKET_PATH_LIMIT = 107  # bytes, the kernel's


class PtyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ticket: Word
    range_id: RangeId
    session: Word
    seat: Word
    node: Word
    columns: int = Field(default=80, ge=1, le=1000)
    rows: int = Field(default=24, ge=1, le=1000)


class Server:
    """Serves one daemon on one socket."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._verbs = Verbs(daemon, self.hang_up)
        self._terminals: set[Terminal] = set()
        self._connections: set[asyncio.Task[None]] = set()
        daemon.on_gone.append(self._range_gone)

    async def serve(self, listener: socket.socket) -> None:
        """Until `daemon.stopping`. Open connections end with it."""
        server = await asyncio.start_unix_server(self._connected, sock=listener, limit=LINE_LIMIT)
        async with server:
            await self._daemon.stopping.wait()
            server.close()
            for terminal in list(self._terminals):
                terminal.end("closed")
            await asyncio.sleep(0.05)  # the answer to `shutdown` goes out
            for task in list(self._connections):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                try:
                    got = await reader.readline()
                except ValueError:
                    await _say(writer, _error(None, BadRequest(f"a request is longer than {LINE_LIMIT} bytes")))
                    return
                if not got:
                    return
                request = _parse(got)
                if isinstance(request, RangeError):
                    await _say(writer, _error(None, request))
                    continue
                if request["verb"] == "pty":
                    await asyncio.gather(*running, return_exceptions=True)  # frames may not meet answers
                    if await self._terminal(request, reader, writer):
                        return
                    continue
                task = asyncio.get_running_loop().create_task(self._answer(request, writer))
                running.add(task)
                task.add_done_callback(running.discard)
        except ConnectionError:
            return
        finally:
            # A launch that nobody waits for any more goes on in the daemon; only the wait for it ends.
            for task in running:
                task.cancel()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        try:
            result = await self._verbs.call(request["verb"], request["args"])
            answer = {"id": request["id"], "ok": True, "result": result}
        except RangeError as exc:
            answer = _error(request["id"], exc)
        except Exception as exc:  # one broken verb may not end the daemon and every lab with it
            log.exception("verb %s", request["verb"])
            answer = _error(
                request["id"],
                RangeError(
                    f"{request['verb']} failed: {type(exc).__name__}: {exc}", remedy="Look into range-host's log"
                ),
            )
        with contextlib.suppress(ConnectionError):
            await _say(writer, answer)

    # ------------------------------------------------------------ terminals

    async def _terminal(
        self, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection became a terminal (it is used up then)."""
        try:
            terminal, answer = await self._open_terminal(request, reader, writer)
        except RangeError as exc:
            await _say(writer, _error(request["id"], exc))
            return False
        self._terminals.add(terminal)
        lab = self._daemon.labs[terminal.bound.range_id]
        bound = terminal.bound
        about = {"terminal": terminal.name, "node": bound.node, "session": bound.session, "seat": bound.seat}
        reason = "gone"
        try:
            lab.tell_console("opened", **about, recording=answer["recording"])
            await _say(writer, {"id": request["id"], "ok": True, "result": answer})
            reason = await terminal.serve()
        except ConnectionError:
            pass  # the browser left between ticket and answer
        finally:
            self._terminals.discard(terminal)
            with contextlib.suppress(RangeError, OSError):
                lab.tell_console("closed", **about, reason=reason)
        return True

    async def _open_terminal(
        self, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Terminal, dict[str, Any]]:
        try:
            asked = PtyRequest.model_validate(request["args"])
        except ValidationError as exc:
            first = exc.errors(include_url=False)[0]
            raise BadRequest(f"pty: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        bound = Bound(asked.range_id, asked.session, asked.seat, asked.node)
        self._daemon.tickets.redeem(asked.ticket, bound)
        lab = await self._daemon.lab(asked.range_id)
        here = [one.bound for one in self._terminals if one.bound.range_id == asked.range_id]
        if sum(one.session == asked.session for one in here) >= TERMINALS_OF_A_SESSION:
            raise Refused(f"{TERMINALS_OF_A_SESSION} terminals are open already", remedy="Close one of them")
        if len(here) >= TERMINALS_OF_A_RANGE:
            raise Refused(f"{TERMINALS_OF_A_RANGE} terminals are open in this range", remedy="Close some of them")
        pty = await lab.shell(asked.node, asked.seat, columns=asked.columns, rows=asked.rows)
        writer.transport.set_write_buffer_limits(high=256 * 1024)
        recording = Recording(
            lab.folder / "recordings", session=asked.session, seat=asked.seat, node=asked.node,
            terminal=secrets.token_hex(4), columns=asked.columns, rows=asked.rows,
        )  # fmt: skip
        terminal = Terminal(
            bound, pty, recording, reader, writer,
            range_ended=lambda: lab.state in ("closing", "gone", "launching"),
        )  # fmt: skip
        return terminal, {"terminal": terminal.name, "recording": recording.name}

    async def hang_up(self, range_id: str, session: str | None, seat: str | None) -> int:
        """Ends the terminals and tickets of a range, a session or a seat."""
        closed = self._daemon.tickets.void(range_id=range_id, session=session, seat=seat)
        for terminal in list(self._terminals):
            bound = terminal.bound
            if bound.range_id == range_id and session in (None, bound.session) and seat in (None, bound.seat):
                terminal.end("closed")
                closed += 1
        return closed

    async def _range_gone(self, range_id: str) -> None:
        for terminal in list(self._terminals):
            if terminal.bound.range_id == range_id:
                terminal.end("range")


def open_socket(path: Path) -> socket.socket:
    """The listening socket, 0600. A path left by a killed daemon is taken over (the state folder's lock guards that)."""
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise Refused(f"{path} is longer than the kernel allows for a socket", remedy="Choose a shorter --socket path")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.is_socket():
        path.unlink()
    elif path.exists():
        raise Refused(f"{path} exists and is no socket", remedy="Choose another --socket path")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(128)
    listener.setblocking(False)
    return listener


async def run(daemon: Daemon, listener: socket.socket, path: Path) -> None:
    """A daemon's whole life; SIGTERM and SIGINT end it orderly."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stopping.set)
    try:
        await daemon.start()
        log.info("range-host serves on %s with driver %s", path, daemon.chosen)
        await Server(daemon).serve(listener)
    finally:
        await daemon.close()
        listener.close()
        with contextlib.suppress(
            OSError
        ):  # given up root: the folder may not be ours any more, the next start cleans up
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - the loop ends here


async def _say(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(line(message))
    await writer.drain()


def _error(request_id: Any, error: RangeError) -> dict[str, Any]:
    return {"id": request_id, "ok": False, "error": json.loads(json.dumps(error.as_dict(), default=str))}


def _parse(got: bytes) -> dict[str, Any] | RangeError:
    try:
        request = json.loads(got)
    except ValueError:
        return BadRequest("this line is no JSON", remedy='Send {"id", "verb", "args"}')
    if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
        return BadRequest("a request is a JSON object with a verb", remedy='Send {"id", "verb", "args"}')
    args = request.get("args") or {}
    if not isinstance(args, dict):
        return BadRequest("args is a JSON object", remedy='Send {"id", "verb", "args"}')
    return {"id": request.get("id"), "verb": request["verb"], "args": args}
