"""One open range as the driver sees it: its control socket, what runs in it, the messages that came from it.

Node code is not trusted: what comes from it is JSON lines of bounded length, names of node and program are ours and
never theirs, and a range nobody listens to is no longer read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from cyber_range.engine.drivers.base import AgentMessage
from cyber_range.engine.drivers.netns import wire
from cyber_range.engine.drivers.netns.pipes import LineReader, write_all
from cyber_range.engine.drivers.netns.terminal import MasterPty
from cyber_range.engine.errors import DriverError
from cyber_range.engine.plan import Limits, NodePlan, ZonePlan

BACKLOG = 4096  # messages nobody has fetched before programs are no longer read
REQUEST_SECONDS = 20.0
STRAY_SECONDS = 0.25  # how long an ended process's pipes may stay open by what it left in the background
KILLED = 128 + signal.SIGKILL


def shell_code(code: int) -> int:
    """Exit code as shells and Docker say it: 128 + signal when a signal ended it."""
    return 128 - code if code < 0 else code


@dataclass(slots=True)
class Program:
    """A started program: the pipe to it, the reader of its lines, and its end as far as known."""

    node: str
    name: str
    commands: int
    reader: LineReader
    code: int | None = None
    log: str = ""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    ended: bool = False

    async def write(self, data: bytes) -> None:
        async with self.writing:
            if self.ended:
                raise DriverError(f"Program {self.name} on {self.node} has ended")
            try:
                await write_all(self.commands, data)
            except (OSError, TimeoutError) as exc:
                raise DriverError(
                    f"Program {self.name} on {self.node} takes no commands ({exc})", remedy="Reset the range"
                ) from exc
            finally:
                if self.ended:
                    os.close(self.commands)

    def end(self) -> None:
        """Closes both pipes; a write that is under way closes its own when it is through."""
        if not self.ended:
            self.ended = True
            self.reader.close()
            if not self.writing.locked():
                os.close(self.commands)


class Range:
    """`on_end` is called once, when the range is over for whatever reason. `number` is its own among all of its driver,
    those before a reset with the same id too."""

    def __init__(
        self,
        range_id: str,
        number: int,
        limits: Limits,
        control: socket.socket,
        death: int,
        on_end: Callable[[Range], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.range_id, self.number, self.limits = range_id, number, limits
        self.opened: asyncio.Future[None] = loop.create_future()
        self.running = asyncio.Event()  # cleared while paused
        self.running.set()
        self.applying = asyncio.Lock()
        self.zones: dict[str, ZonePlan] = {}
        self.nodes: dict[str, NodePlan] = {}
        self.programs: dict[int, Program] = {}  # by job
        self.commands: dict[int, asyncio.Future[int]] = {}  # exit codes to come, by job
        self.shells: dict[int, MasterPty] = {}
        self.hang_ups: list[tuple[str, int]] = []  # (node, job) of terminals that were closed while all stood still
        self.queue: asyncio.Queue[AgentMessage | None] = asyncio.Queue()
        self.dead = asyncio.Event()  # nothing of it is left
        self.unwanted = asyncio.Event()  # what was left in a reset is to end at once
        self.closing = self.ended = False
        self._on_end = on_end
        self._control, self._death = control, death
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._sending = asyncio.Lock()
        loop.add_reader(control, self._heard)
        loop.add_reader(death, self._died)

    # -- talking with the supervisor

    async def ask(self, request: dict[str, Any], fds: Iterable[int] = ()) -> tuple[dict[str, Any], list[int]]:
        """One request to the supervisor or, with "node", to that node's init. DriverError carries their words."""
        number = next(self._numbers)
        future: asyncio.Future[tuple[dict[str, Any], list[int]]] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        try:
            async with self._sending:
                while True:
                    if self.ended:
                        raise DriverError(f"Range {self.range_id} has ended", remedy="Launch it again")
                    try:
                        wire.send(self._control, {"id": number, **request}, list(fds))
                        break
                    except BlockingIOError:  # the supervisor is busy making nodes
                        await asyncio.sleep(0.002)
            answer, back = await asyncio.wait_for(future, REQUEST_SECONDS)
        except TimeoutError as exc:
            raise DriverError(
                f"Range {self.range_id} did not answer {request['verb']!r} in {REQUEST_SECONDS:.0f} s",
                remedy="Reset the range",
            ) from exc
        except OSError as exc:
            raise DriverError(f"Range {self.range_id} ended ({exc})", remedy="Launch it again") from exc
        finally:
            self._pending.pop(number, None)
        if not answer.get("ok"):
            for fd in back:
                os.close(fd)
            raise DriverError(f"Range {self.range_id}: {answer.get('error', 'no reason given')}")
        return answer, back

    async def kill(self, node: str, job: int) -> None:
        await self.ask({"verb": "kill", "node": node, "job": job, "signal": int(signal.SIGKILL)})

    def _heard(self) -> None:
        """Everything waiting on the control socket."""
        for _ in range(64):
            try:
                received = wire.receive(self._control)
            except BlockingIOError:
                return
            except (OSError, ValueError):
                received = None
            if received is None:
                self.finish("it ended while it was being made")
                return
            message, fds = received
            if "id" in message:
                future = self._pending.pop(message["id"], None)
                if future is not None and not future.done():
                    future.set_result((message, fds))
                    continue
            else:
                self._event(message)
            for fd in fds:
                os.close(fd)

    def _event(self, event: dict[str, Any]) -> None:
        kind, node = event.get("event"), str(event.get("node", ""))
        if kind == "opened" and not self.opened.done():
            self.opened.set_result(None)
        elif kind == "failed":
            self.fail_opening(str(event.get("error")))
        elif kind == "exit":
            job, code = int(event["job"]), shell_code(int(event["code"]))
            if job in self.programs:
                self._exited(job, code, str(event.get("log", "")))
            elif job in self.commands and not self.commands[job].done():
                self.commands[job].set_result(code)
            self.shells.pop(job, None)
        elif kind == "watchdog":
            program = self.programs.get(event["job"]) if event.get("job") else None
            said = {key: event[key] for key in ("process", "private_mib", "range_mib", "limit_mib")}
            self.tell(node, program.name if program else "", {"kind": "watchdog", **said})
        elif kind == "node_ended" and node in self.nodes:
            self.node_gone(node)
            self.tell(node, "", {"kind": "gone", "why": "its first process was ended"})

    def fail_opening(self, why: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(
                DriverError(
                    f"Range {self.range_id} could not be built: {why}",
                    remedy="lianbing doctor says what this machine forbids",
                )
            )
            self.opened.exception()  # somebody may have stopped waiting

    # -- programs

    def tell(self, node: str, program: str, body: dict[str, Any]) -> None:
        self.queue.put_nowait(AgentMessage(self.range_id, node, program, body))
        if self.queue.qsize() == BACKLOG:
            for running in self.programs.values():
                running.reader.pause()

    async def next_message(self) -> AgentMessage | None:
        message = await self.queue.get()
        if self.queue.qsize() == BACKLOG // 2:
            for running in self.programs.values():
                running.reader.resume()
        if message is None:
            self.queue.put_nowait(None)  # the end stays the end for whoever asks next
        return message

    def add_program(self, job: int, node: str, name: str, commands: int, messages: int) -> Program:
        reader = LineReader(messages, lambda line: self._line(job, line), lambda: self._pipe_ended(job))
        program = self.programs[job] = Program(node, name, commands, reader)
        return program

    def program(self, node: str, name: str) -> Program | None:
        return next((found for found in self.programs.values() if (found.node, found.name) == (node, name)), None)

    def _line(self, job: int, line: bytes) -> None:
        program = self.programs.get(job)
        if program is None or not line.strip():
            return
        try:
            body = json.loads(line)
            if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
                raise ValueError("no object with a kind")
            if body["kind"] in ("exit", "watchdog", "gone"):
                raise ValueError(f"a program may not say {body['kind']!r}")
        except (ValueError, RecursionError) as exc:
            body = {"kind": "garbled", "reason": str(exc)[:200], "line": line[:200].decode(errors="replace")}
        self.tell(program.node, program.name, body)

    def _exited(self, job: int, code: int, log: str) -> None:
        """The exit is told after the program's last line: at the end of its pipe, or soon when something holds that."""
        program = self.programs[job]
        program.code, program.log = code, log
        if program.reader.ended:
            self._tell_exit(job)
        else:
            asyncio.get_running_loop().call_later(STRAY_SECONDS, self._tell_exit, job)

    def _pipe_ended(self, job: int) -> None:
        program = self.programs.get(job)
        if program is not None and program.code is not None:
            self._tell_exit(job)

    def _tell_exit(self, job: int) -> None:
        program = self.programs.pop(job, None)
        if program is None:
            return
        program.end()
        body: dict[str, Any] = {"kind": "exit", "code": KILLED if program.code is None else program.code}
        if program.log:
            body["log"] = program.log
        self.tell(program.node, program.name, body)

    def node_gone(self, node: str) -> None:
        self.nodes.pop(node, None)
        for job in [job for job, program in self.programs.items() if program.node == node]:
            self._tell_exit(job)

    # -- the end

    def _died(self) -> None:
        """The outer process has ended, after all others: nothing of the range is left."""
        self.release_death()
        self.dead.set()
        self.finish("it ended while it was being made")

    def release_death(self) -> None:
        if self._death >= 0:
            asyncio.get_running_loop().remove_reader(self._death)
            os.close(self._death)
            self._death = -1

    def leave(self, why: str) -> None:
        """Nothing of it is heard, runs or can be asked any more, but its processes end only with `finish`."""
        with contextlib.suppress(OSError):  # a supervisor that takes no request now: `finish` ends it as it is
            wire.send(self._control, {"id": 0, "verb": "pause"})
        self._let_go(why)

    def finish(self, why: str) -> None:
        """Lets go of everything; whoever waits is told. Closing the control socket is what ends the processes."""
        self._let_go(why)
        self._control.close()

    def _let_go(self, why: str) -> None:
        if self.ended:
            return
        for job in list(self.programs):
            if self.closing:  # wanted: nobody is to take it for a fault
                self.programs.pop(job).end()
            else:
                self._tell_exit(job)
        self.ended = True
        self.fail_opening(why)
        asyncio.get_running_loop().remove_reader(self._control)
        for future in self._pending.values():
            if not future.done():
                future.set_exception(DriverError(f"Range {self.range_id} ended", remedy="Launch it again"))
        for exited in self.commands.values():
            if not exited.done():
                exited.set_result(KILLED)
        self.running.set()
        for pty in self.shells.values():
            pty.hang_up()
        self.shells.clear()
        self.queue.put_nowait(None)
        self._on_end(self)
