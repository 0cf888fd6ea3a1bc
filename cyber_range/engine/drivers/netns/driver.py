"""The netns driver: an asyncio face on the zygote and its range supervisors.

One long-lived zygote per driver object, one control socket per range (straight to the range's supervisor), two pipes per
program (straight to the program). Node code is not trusted: what comes from it is JSON lines of bounded length, and the
names of node and program are ours, never theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from cyber_range.engine.drivers.base import AgentMessage, ExecResult, Probe, Pty, Swept
from cyber_range.engine.drivers.netns import confine, wire
from cyber_range.engine.drivers.netns.pipes import LineReader, collect, write_all
from cyber_range.engine.drivers.netns.probe import look
from cyber_range.engine.drivers.netns.sweep import Owner, end_leftovers
from cyber_range.engine.drivers.netns.terminal import MasterPty, settle
from cyber_range.engine.errors import DriverError, DriverUnavailable, Refused, UnknownRange
from cyber_range.engine.plan import (
    Action,
    CreateNode,
    CreateZone,
    Limits,
    NodePlan,
    Observed,
    ProgramPlan,
    RemoveNode,
    RemoveZone,
    StartProgram,
    ZonePlan,
)

PROJECT = str(Path(__file__).resolve().parents[4])  # what holds the package cyber_range
RUNNER = "cyber_range.engine.agents.runner:serve"
# Programs by these first letters get an interpreter of their own: they import scapy, which is GPL, or sit beside it.
EXECED = ("attack", "campaign", "traffic")
TITLE_ROOM = "-" * 96  # argv bytes the zygote and its children write their titles into
STORE = "/srv"  # the writable folder programs of a node share, where their spec names none
TIMED_OUT = 124  # exit code, as timeout(1) has it
OUTPUT_LIMIT = 8 << 20  # bytes kept of a command's stdout and of its stderr
BACKLOG = 4096  # messages nobody has fetched before programs are no longer read
REQUEST_SECONDS = 20.0
START_SECONDS = 60.0  # imports on a cold disk
DEATH_SECONDS = 1.0
STRAY_SECONDS = 0.25  # how long a finished command's pipes may stay open by what it left in the background


@dataclass(slots=True)
class Program:
    """A started program: the pipe to it, the reader of its lines, and its end as far as known."""

    node: str
    name: str
    commands: int
    reader: LineReader
    code: int | None = None
    log: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    told: bool = False


@dataclass(slots=True)
class Command:
    exited: asyncio.Future[int]


@dataclass(slots=True)
class Range:
    """One open range as the driver sees it."""

    range_id: str
    limits: Limits
    control: socket.socket
    death: int
    opened: asyncio.Future[None]
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    queue: asyncio.Queue[AgentMessage | None] = field(default_factory=asyncio.Queue)
    zones: dict[str, ZonePlan] = field(default_factory=dict)
    nodes: dict[str, NodePlan] = field(default_factory=dict)
    programs: dict[int, Program] = field(default_factory=dict)  # by job
    commands: dict[int, Command] = field(default_factory=dict)
    shells: dict[int, MasterPty] = field(default_factory=dict)
    pending: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = field(default_factory=dict)
    applying: asyncio.Lock = field(default_factory=asyncio.Lock)
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    running: asyncio.Event = field(default_factory=asyncio.Event)  # cleared while paused
    closing: bool = False
    ended: bool = False


class NetnsDriver:
    """Embedded driver for Linux without Docker and without root. See README.md beside this file.

    `user` is whom the zygote becomes when this process is root; `runner` and `preload` exist for tests.
    """

    name: ClassVar[str] = "netns"

    def __init__(self, *, user: str | int | None = None, runner: str = RUNNER, preload: Sequence[str] = (),
                 execed: Sequence[str] = EXECED) -> None:
        self._user = user
        self._runner = runner
        self._preload = tuple(preload)
        self._execed = tuple(execed)
        self._owner = Owner.ourselves()
        self._ranges: dict[str, Range] = {}
        self._zygote: subprocess.Popen[bytes] | None = None
        self._zygote_socket: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._numbers = itertools.count(1)
        self.skipped: Mapping[str, str] = {}  # modules the zygote could not preload, with the reason

    @classmethod
    async def probe(cls) -> Probe:
        return await look()

    # -- the zygote

    async def start(self) -> None:
        """Starts the zygote when it does not run. `open` does it too; range-host calls it early to warm up."""
        async with self._starting:
            if self._zygote is not None and self._zygote.poll() is None and self._zygote_socket is not None:
                return
            await self._end_zygote()
            ours, theirs = wire.pair()
            environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": PROJECT,
                           "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore::DeprecationWarning"}
            try:
                # Popen takes a millisecond; asyncio's own would keep a child watcher for a process we watch by its socket
                self._zygote = subprocess.Popen(  # noqa: ASYNC220, S603 - our own module, by our own interpreter
                    [sys.executable, "-P", "-s", "-m", "cyber_range.engine.drivers.netns.zygote",
                     str(theirs.fileno()), TITLE_ROOM],
                    pass_fds=(theirs.fileno(),), env=environment, cwd="/", stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as exc:
                ours.close()
                raise DriverUnavailable(f"The warm process cannot be started: {exc}",
                                        remedy=f"{sys.executable} must be executable for this user") from exc
            finally:
                theirs.close()
            ours.setblocking(False)
            wire.send(ours, {"owner": str(self._owner), "user": self._user, "preload": self._preload,
                             "execed": self._execed})
            try:
                answer = await asyncio.wait_for(self._first_answer(ours), START_SECONDS)
            except TimeoutError as exc:
                answer = {"event": "failed", "error": f"no answer in {START_SECONDS:.0f} s ({exc})"}
            if answer.get("event") != "ready":
                ours.close()
                await self._end_zygote()
                raise DriverUnavailable(f"The warm process failed: {answer.get('error')}",
                                        remedy=str(answer.get("remedy", "")) or (await look()).remedy)
            self.skipped = dict(answer["skipped"])
            self._zygote_socket = ours
            asyncio.get_running_loop().add_reader(ours, self._zygote_ended)

    async def _first_answer(self, sock: socket.socket) -> dict[str, Any]:
        await readable(sock.fileno())
        try:
            received = wire.receive(sock)
        except ConnectionResetError:
            received = None
        return {"event": "failed", "error": "it ended while starting"} if received is None else received[0]

    def _zygote_ended(self) -> None:
        """The zygote speaks only once; anything readable now is its end. Its ranges die with it and tell us themselves."""
        if self._zygote_socket is not None:
            asyncio.get_running_loop().remove_reader(self._zygote_socket)
            self._zygote_socket.close()
            self._zygote_socket = None

    async def _end_zygote(self) -> None:
        self._zygote_ended()
        zygote, self._zygote = self._zygote, None
        if zygote is None:
            return
        for attempt in range(100):
            if zygote.poll() is not None:
                return
            if attempt == 50:
                zygote.kill()
            await asyncio.sleep(0.005 if attempt < 50 else 0.05)

    # -- ranges

    async def open(self, range_id: str, limits: Limits) -> None:
        known = self._ranges.get(range_id)
        if known is not None:
            await asyncio.shield(known.opened)
            return
        loop = asyncio.get_running_loop()
        ours, theirs = wire.pair()
        death, held = os.pipe2(os.O_CLOEXEC)
        ours.setblocking(False)
        opened = Range(range_id, limits, ours, death, loop.create_future())
        opened.running.set()
        self._ranges[range_id] = opened
        try:
            await self.start()
            assert self._zygote_socket is not None
            wire.send(self._zygote_socket, {"verb": "open", "range": range_id, "limits": asdict(limits)},
                      [theirs.fileno(), held])
        except BaseException as exc:
            del self._ranges[range_id]
            ours.close()
            os.close(death)
            opened.opened.cancel()
            if isinstance(exc, OSError):
                raise DriverError(f"Range {range_id} could not be opened: the warm process is gone ({exc})") from exc
            raise
        finally:
            theirs.close()
            os.close(held)
        loop.add_reader(ours, self._heard, opened)
        loop.add_reader(death, self._died, opened)
        try:
            await asyncio.wait_for(asyncio.shield(opened.opened), REQUEST_SECONDS)
        except TimeoutError as exc:
            await self.close(range_id)
            raise DriverError(f"Range {range_id} did not open within {REQUEST_SECONDS:.0f} s") from exc

    def _get(self, range_id: str) -> Range:
        try:
            return self._ranges[range_id]
        except KeyError:
            raise UnknownRange(f"The netns driver has no range {range_id!r}", remedy="Launch it again",
                               range_id=range_id) from None

    def _heard(self, of: Range) -> None:
        """Everything waiting on a range's control socket."""
        for _ in range(64):
            try:
                received = wire.receive(of.control)
            except BlockingIOError:
                return
            except (OSError, ValueError):
                received = None
            if received is None:
                self._lost(of)
                return
            message, fds = received
            if "id" in message:
                future = of.pending.pop(message["id"], None)
                if future is not None and not future.done():
                    future.set_result((message, fds))
                    continue
            else:
                self._event(of, message)
            for fd in fds:
                os.close(fd)

    def _event(self, of: Range, event: dict[str, Any]) -> None:
        kind, node = event.get("event"), str(event.get("node", ""))
        if kind == "opened" and not of.opened.done():
            of.opened.set_result(None)
        elif kind == "failed" and not of.opened.done():
            of.opened.set_exception(DriverError(f"Range {of.range_id} could not be built: {event.get('error')}",
                                                remedy="lianbing doctor says what this machine forbids"))
        elif kind == "exit":
            job, code = int(event["job"]), shell_code(int(event["code"]))
            if job in of.programs:
                self._exited(of, job, code, str(event.get("log", "")))
            elif job in of.commands:
                exited = of.commands[job].exited
                if not exited.done():
                    exited.set_result(code)
            elif job in of.shells:
                of.shells.pop(job)
        elif kind == "watchdog":
            program = of.programs.get(event["job"]) if event.get("job") else None
            self._tell(of, node, program.name if program else "",
                       {key: event[key] for key in ("process", "private_mib", "range_mib", "limit_mib")}
                       | {"kind": "watchdog"})
        elif kind == "node_ended":
            self._node_gone(of, node)

    def _tell(self, of: Range, node: str, program: str, body: dict[str, Any]) -> None:
        of.queue.put_nowait(AgentMessage(of.range_id, node, program, body))
        if of.queue.qsize() == BACKLOG:
            for running in of.programs.values():
                running.reader.pause()

    def _line(self, of: Range, job: int, line: bytes) -> None:
        program = of.programs.get(job)
        if program is None or not line.strip():
            return
        try:
            body = json.loads(line)
            if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
                raise ValueError("no object with a kind")
            if body["kind"] in ("exit", "watchdog"):
                raise ValueError(f"a program may not say {body['kind']!r}")
        except (ValueError, RecursionError) as exc:
            body = {"kind": "garbled", "reason": str(exc)[:200], "line": line[:200].decode(errors="replace")}
        self._tell(of, program.node, program.name, body)

    def _exited(self, of: Range, job: int, code: int, log: str) -> None:
        """The exit is told after the program's last line: at the end of its pipe, or soon when something holds that."""
        program = of.programs[job]
        program.code, program.log = code, log
        if program.reader.ended:
            self._tell_exit(of, job)
        else:
            asyncio.get_running_loop().call_later(STRAY_SECONDS, self._tell_exit, of, job)

    def _pipe_ended(self, of: Range, job: int) -> None:
        program = of.programs.get(job)
        if program is not None and program.code is not None:
            self._tell_exit(of, job)

    def _tell_exit(self, of: Range, job: int) -> None:
        program = of.programs.get(job)
        if program is None or program.told or of.ended:
            return
        program.told = True
        program.reader.close()
        os.close(program.commands)
        del of.programs[job]
        body: dict[str, Any] = {"kind": "exit", "code": program.code}
        if program.log:
            body["log"] = program.log
        self._tell(of, program.node, program.name, body)

    def _node_gone(self, of: Range, node: str) -> None:
        of.nodes.pop(node, None)
        for job, program in list(of.programs.items()):
            if program.node == node:
                program.code = 128 + signal.SIGKILL if program.code is None else program.code
                self._tell_exit(of, job)

    def _lost(self, of: Range) -> None:
        """The supervisor closed its socket: wanted or not, the range is over."""
        asyncio.get_running_loop().remove_reader(of.control)
        if not of.opened.done():
            of.opened.set_exception(DriverError(f"Range {of.range_id} ended while it was being made"))
            of.opened.exception()  # somebody may have stopped waiting
        self._finish(of)

    def _died(self, of: Range) -> None:
        """The outer process has ended, after all others: nothing of the range is left."""
        asyncio.get_running_loop().remove_reader(of.death)
        os.close(of.death)
        of.death = -1
        of.dead.set()
        if not of.ended:
            self._finish(of)

    def _finish(self, of: Range) -> None:
        """Lets go of everything; whoever waits is told."""
        if of.ended:
            return
        for job in list(of.programs):
            program = of.programs[job]
            if program.code is None:
                program.code = 128 + signal.SIGKILL
            if of.closing:
                program.told = True
                program.reader.close()
                os.close(program.commands)
                del of.programs[job]
            else:
                self._tell_exit(of, job)
        of.ended = True
        if self._ranges.get(of.range_id) is of:
            del self._ranges[of.range_id]
        loop = asyncio.get_running_loop()
        loop.remove_reader(of.control)
        of.control.close()
        for future in of.pending.values():
            if not future.done():
                future.set_exception(DriverError(f"Range {of.range_id} ended"))
        of.pending.clear()
        for command in of.commands.values():
            if not command.exited.done():
                command.exited.set_result(128 + signal.SIGKILL)
        of.running.set()
        for pty in of.shells.values():
            pty.hang_up()
        of.shells.clear()
        of.queue.put_nowait(None)

    async def _ask(self, of: Range, request: dict[str, Any], fds: Iterable[int] = (),
                   seconds: float = REQUEST_SECONDS) -> tuple[dict[str, Any], list[int]]:
        """One request to the supervisor; DriverError carries the supervisor's words."""
        number = next(self._numbers)
        future: asyncio.Future[tuple[dict[str, Any], list[int]]] = asyncio.get_running_loop().create_future()
        of.pending[number] = future
        try:
            async with of.sending:
                while not of.ended:
                    try:
                        wire.send(of.control, {"id": number, **request}, list(fds))
                        break
                    except BlockingIOError:
                        await asyncio.sleep(0.001)
            answer, back = await asyncio.wait_for(future, seconds)
        except TimeoutError as exc:
            raise DriverError(f"Range {of.range_id} did not answer {request['verb']!r} within {seconds:.0f} s",
                              remedy="Reset the range") from exc
        except OSError as exc:
            raise DriverError(f"Range {of.range_id} ended ({exc})") from exc
        finally:
            of.pending.pop(number, None)
        if not answer.get("ok"):
            for fd in back:
                os.close(fd)
            raise DriverError(f"Range {of.range_id}: {answer.get('error', 'no reason given')}")
        return answer, back

    # -- the verbs

    async def apply(self, range_id: str, actions: Sequence[Action]) -> None:
        of = self._get(range_id)
        async with of.applying:
            for kind, group in groupby(actions, key=type):
                batch: list[Any] = list(group)
                if kind is CreateZone:
                    await self._create_zones(of, [action.zone for action in batch])
                elif kind is CreateNode:
                    await self._create_nodes(of, [action.node for action in batch])
                elif kind is StartProgram:
                    await asyncio.gather(*(self._start_program(of, action.node, action.program) for action in batch))
                elif kind is RemoveNode:
                    for action in batch:
                        await self._ask(of, {"verb": "remove_node", "node": action.node})
                        self._node_gone(of, action.node)
                elif kind is RemoveZone:
                    for action in batch:
                        await self._ask(of, {"verb": "remove_zone", "zone": action.zone})
                        of.zones.pop(action.zone, None)

    async def _create_zones(self, of: Range, zones: list[ZonePlan]) -> None:
        await self._ask(of, {"verb": "zones", "zones": [{"name": zone.name, "bridge": zone.bridge} for zone in zones]})
        of.zones |= {zone.name: zone for zone in zones}

    async def _create_nodes(self, of: Range, nodes: list[NodePlan]) -> None:
        await self._ask(of, {"verb": "nodes", "nodes": [self._node_message(of, node) for node in nodes]})
        of.nodes |= {node.name: node for node in nodes}

    def _node_message(self, of: Range, node: NodePlan) -> dict[str, Any]:
        hub = node.placement == "hub"
        unknown = node.caps - {"net_raw", "net_admin"}
        if unknown:
            raise DriverError(f"Node {node.name} asks for capability {sorted(unknown)[0]!r}",
                              remedy="Only net_raw and net_admin can be given")
        caps = node.caps | {"net_raw"} if hub else node.caps
        return {
            "name": node.name, "hub": hub, "forwards": node.forwards, "hosts": node.hosts,
            "interfaces": [] if hub else [asdict(leg) for leg in node.interfaces],
            "neighbours": node.neighbours, "routes": node.routes,
            "fence": confine.Fence.of(of.limits, caps - {"net_admin"} if hub else caps).as_dict(),
        }

    async def _start_program(self, of: Range, node_name: str, plan: ProgramPlan) -> None:
        if any((running.node, running.name) == (node_name, plan.name) for running in of.programs.values()):
            return
        node = of.nodes.get(node_name)
        if node is None:
            raise DriverError(f"Program {plan.name} has no node {node_name!r} in range {of.range_id}")
        spec = {"store": STORE, **plan.spec}
        if node.placement == "hub":
            taps = {zone.name: zone.bridge for zone in of.zones.values() if not zone.hidden}
            spec["taps"] = taps | dict(spec.get("taps") or {})
        start = json.dumps({"node": node_name, "spec": spec}).encode()
        execed = plan.use.startswith(self._execed)
        job = next(self._numbers)
        read_commands, write_commands = os.pipe2(os.O_CLOEXEC)
        read_lines, write_lines = os.pipe2(os.O_CLOEXEC)
        passed = [read_commands, write_lines]
        try:
            if not execed:
                passed.append(wire.in_memory(start))
            reader = LineReader(read_lines, lambda line: self._line(of, job, line), lambda: self._pipe_ended(of, job))
            of.programs[job] = Program(node_name, plan.name, write_commands, reader)
            try:
                await self._ask(of, {"verb": "program", "node": node_name, "job": job, "name": plan.name,
                                     "use": plan.use, "runner": self._runner, "execed": execed}, passed)
            except BaseException:
                if of.programs.pop(job, None) is not None:
                    reader.close()
                    os.close(write_commands)
                raise
        finally:
            for fd in passed:
                os.close(fd)
        if execed:
            await self._write(of.programs.get(job), start + b"\n")

    async def _write(self, program: Program | None, data: bytes) -> None:
        if program is None:
            raise DriverError("The program has ended")
        async with program.lock:
            if program.told:
                raise DriverError(f"Program {program.name} on {program.node} has ended")
            try:
                await write_all(program.commands, data)
            except (OSError, TimeoutError) as exc:
                raise DriverError(f"Program {program.name} on {program.node} takes no commands ({exc})",
                                  remedy="Reset the range") from exc

    async def observe(self, range_id: str) -> Observed:
        of = self._ranges.get(range_id)
        if of is None:
            return Observed()
        answer, _ = await self._ask(of, {"verb": "observe"})
        nodes = frozenset(str(name) for name in answer["nodes"])
        if not of.running.is_set():  # stopped inits do not answer; what ran before still stands there
            running = {(program.node, program.name) for program in of.programs.values() if program.code is None}
            return Observed(frozenset(answer["zones"]), nodes, frozenset(running))
        ordered = sorted(nodes)
        answers = await asyncio.gather(*(self._ask(of, {"verb": "running", "node": name}) for name in ordered))
        programs = frozenset((name, program) for name, (said, _) in zip(ordered, answers, strict=True)
                             for program in said["programs"])
        return Observed(frozenset(answer["zones"]), nodes, programs)

    async def send(self, range_id: str, node: str, program: str, message: Mapping[str, Any]) -> None:
        of = self._get(range_id)
        for running in of.programs.values():
            if (running.node, running.name) == (node, program):
                await self._write(running, json.dumps(dict(message)).encode() + b"\n")
                return
        raise DriverError(f"No program {program!r} runs on node {node!r} of range {range_id}",
                          remedy="Converge the range again")

    def messages(self, range_id: str) -> AsyncIterator[AgentMessage]:
        return self._messages(self._get(range_id))

    async def _messages(self, of: Range) -> AsyncIterator[AgentMessage]:
        while (message := await of.queue.get()) is not None:
            if of.queue.qsize() == BACKLOG // 2:
                for running in of.programs.values():
                    running.reader.resume()
            yield message
        of.queue.put_nowait(None)  # the end stays the end for whoever asks next

    def _reachable(self, range_id: str, node: str) -> tuple[Range, NodePlan]:
        of = self._get(range_id)
        plan = of.nodes.get(node)
        if plan is None:
            raise DriverError(f"There is no node {node!r} in range {range_id}", remedy="Converge the range again")
        return of, plan

    async def exec(self, range_id: str, node: str, argv: Sequence[str], *, stdin: bytes = b"",
                   timeout: float = 30.0) -> ExecResult:  # noqa: ASYNC109 - the protocol's word
        of, _ = self._reachable(range_id, node)
        if not argv:
            raise DriverError("There is no command to run")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            await asyncio.wait_for(of.running.wait(), timeout)
        except TimeoutError:
            return ExecResult(TIMED_OUT, b"", b"", timed_out=True)
        job = next(self._numbers)
        exited: asyncio.Future[int] = loop.create_future()
        of.commands[job] = Command(exited)
        inner_in, outer_in = os.pipe2(os.O_CLOEXEC)
        outer_out, inner_out = os.pipe2(os.O_CLOEXEC)
        outer_err, inner_err = os.pipe2(os.O_CLOEXEC)
        tasks: list[asyncio.Task[bytes]] = []
        feeding: asyncio.Task[None] | None = None
        try:
            try:
                await self._ask(of, {"verb": "exec", "node": node, "job": job, "argv": list(argv)},
                                [inner_in, inner_out, inner_err])
            finally:
                for fd in (inner_in, inner_out, inner_err):
                    os.close(fd)
            tasks = [loop.create_task(collect(outer_out, OUTPUT_LIMIT)), loop.create_task(collect(outer_err, OUTPUT_LIMIT))]
            feeding = loop.create_task(self._feed(outer_in, stdin))
            outer_in = -1
            timed_out = False
            try:
                code = await asyncio.wait_for(asyncio.shield(exited), max(0.0, deadline - loop.time()))
            except TimeoutError:
                timed_out, code = True, TIMED_OUT
                await self._kill(of, node, job)
                await asyncio.wait_for(exited, REQUEST_SECONDS)
            _, open_still = await asyncio.wait(tasks, timeout=STRAY_SECONDS)
            for task in open_still:
                task.cancel()
            stdout, stderr = await asyncio.gather(*tasks)
            return ExecResult(code, stdout, stderr, timed_out)
        except asyncio.CancelledError:
            with contextlib.suppress(DriverError):
                await self._kill(of, node, job)
            raise
        finally:
            of.commands.pop(job, None)
            if feeding is not None:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for fd in (outer_in, outer_out, outer_err):
                if fd >= 0:
                    os.close(fd)

    async def _feed(self, fd: int, data: bytes) -> None:
        try:
            with contextlib.suppress(OSError, TimeoutError):
                await write_all(fd, data)
        finally:
            os.close(fd)

    async def _kill(self, of: Range, node: str, job: int, number: int = signal.SIGKILL) -> None:
        await self._ask(of, {"verb": "kill", "node": node, "job": job, "signal": int(number)})

    async def shell(self, range_id: str, node: str, *, columns: int = 80, rows: int = 24) -> Pty:
        of, plan = self._reachable(range_id, node)
        await of.running.wait()
        if not plan.shell:
            raise Refused(f"Node {node} has no shell", remedy="Choose a node of your seat's list", node=node)
        job = next(self._numbers)
        _, back = await self._ask(of, {"verb": "shell", "node": node, "job": job, "columns": columns, "rows": rows})
        if len(back) != 1:
            raise DriverError(f"Node {node} gave no terminal")

        async def end() -> None:
            of.shells.pop(job, None)
            if not of.ended and of.running.is_set():
                with contextlib.suppress(DriverError):
                    await self._kill(of, node, job)

        pty = MasterPty(back[0], end)
        of.shells[job] = pty
        return pty

    async def pause(self, range_id: str) -> None:
        of = self._get(range_id)
        await self._ask(of, {"verb": "pause"})
        of.running.clear()

    async def resume(self, range_id: str) -> None:
        of = self._get(range_id)
        await self._ask(of, {"verb": "resume"})
        of.running.set()

    async def close(self, range_id: str) -> None:
        of = self._ranges.get(range_id)
        if of is None:
            return
        of.closing = True
        of.opened.cancel()
        self._finish(of)  # closes the control socket: the supervisor ends, and with it every process of the range
        try:
            await asyncio.wait_for(of.dead.wait(), DEATH_SECONDS)
        except TimeoutError:
            if self._zygote_socket is not None:
                with contextlib.suppress(OSError):
                    wire.send(self._zygote_socket, {"verb": "kill", "range": range_id})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(of.dead.wait(), DEATH_SECONDS)
        finally:
            if of.death >= 0:
                asyncio.get_running_loop().remove_reader(of.death)
                os.close(of.death)
                of.death = -1

    async def sweep(self, keep: frozenset[str] = frozenset()) -> Swept:
        """Closes our own ranges that are not kept and ends those whose owner is gone. A living owner's are its own."""
        ours = [range_id for range_id in self._ranges if range_id not in keep]
        await asyncio.gather(*(self.close(range_id) for range_id in ours))
        removed = await asyncio.to_thread(end_leftovers, self._owner, keep)
        ranges = removed.pop("ranges", 0) + len(ours)
        return Swept({"ranges": ranges, **removed} if ranges else removed)

    async def aclose(self) -> None:
        await asyncio.gather(*(self.close(range_id) for range_id in list(self._ranges)))
        await self._end_zygote()


def shell_code(code: int) -> int:
    """Exit code as shells and Docker say it: 128 + signal when a signal ended it."""
    return 128 - code if code < 0 else code


async def readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
