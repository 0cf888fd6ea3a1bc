"""The netns driver: the verbs of `base.Driver` over a warm process and its range supervisors.

One warm process (zygote) per driver object, one control socket per range (straight to the range's supervisor), two pipes
per program (straight to the program).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any, ClassVar

from cyber_range.engine.drivers import stores
from cyber_range.engine.drivers.base import AgentMessage, Driver, ExecResult, Probe, Pty, Swept
from cyber_range.engine.drivers.netns import confine, wire
from cyber_range.engine.drivers.netns.pipes import collect, write_all
from cyber_range.engine.drivers.netns.probe import look
from cyber_range.engine.drivers.netns.ranges import REQUEST_SECONDS, STRAY_SECONDS, Range
from cyber_range.engine.drivers.netns.sweep import Owner, end_leftovers
from cyber_range.engine.drivers.netns.terminal import MasterPty
from cyber_range.engine.drivers.netns.warm import WarmProcess
from cyber_range.engine.errors import DriverError, Refused, UnknownRange
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

RUNNER = "cyber_range.engine.agents.runner:serve"
# Programs whose names begin so get an interpreter of their own, as does every one that could not be preloaded (scapy is
# refused there: GPL). None of today's: they leave scapy to a process that they start (traffic/compiled.py).
EXECED: tuple[str, ...] = ()
STORE = "/srv"  # the writable folder programs of a node share, where their spec names none
TIMED_OUT = 124  # exit code, as timeout(1) has it
OUTPUT_LIMIT = 8 << 20  # bytes kept of a command's stdout and of its stderr
DEATH_SECONDS = 1.0
FROZEN_SECONDS = 1.0  # how long the old range of a reset stands still before it is ended: several launches


class NetnsDriver(Driver):
    """Embedded driver for Linux without Docker and without root. See README.md beside this file.

    `user` is whom the warm process becomes when this process is root; `runner` and `preload` exist for tests.
    """

    name: ClassVar[str] = "netns"

    def __init__(
        self,
        *,
        user: str | int | None = None,
        runner: str = RUNNER,
        preload: Sequence[str] = (),
        execed: Sequence[str] = EXECED,
    ) -> None:
        self._runner = runner
        self._execed = tuple(execed)
        self._owner = Owner.ourselves()
        self.warm = WarmProcess(self._owner, user, preload, execed)
        self._ranges: dict[str, Range] = {}
        self._leaving: dict[Range, asyncio.Task[None]] = {}  # old ranges of resets
        self._jobs = itertools.count(1)

    @classmethod
    async def probe(cls) -> Probe:
        return await look()

    async def start(self) -> None:
        """Starts the warm process ahead of the first `open`, which would do it too."""
        await self.warm.start()

    async def open(self, range_id: str, limits: Limits) -> None:
        known = self._ranges.get(range_id)
        if known is not None:
            await asyncio.shield(known.opened)
            return
        await self._open(range_id, limits)

    async def _open(self, range_id: str, limits: Limits, old: Range | None = None) -> None:
        """`old` is let go of when the request for the new one is on its way."""
        ours, theirs = wire.pair()
        death, held = os.pipe2(os.O_CLOEXEC)
        ours.setblocking(False)
        made = self._ranges[range_id] = Range(range_id, next(self._jobs), limits, ours, death, self._ended)
        try:
            await self.warm.start()
            self.warm.fork_range(range_id, made.number, limits, theirs.fileno(), held)
        except BaseException as exc:
            made.closing = True
            made.finish(str(exc))
            made.release_death()
            raise
        finally:
            theirs.close()
            os.close(held)
            if old is not None:
                self._leave(old)
        try:
            await asyncio.wait_for(asyncio.shield(made.opened), REQUEST_SECONDS)
        except TimeoutError as exc:
            await self.close(range_id)
            raise DriverError(f"Range {range_id} did not open within {REQUEST_SECONDS:.0f} s") from exc
        except DriverError:
            await self.close(range_id)
            raise

    async def reopen(self, range_id: str, limits: Limits) -> None:
        """The old range is frozen at once and ended when the new one has come up: 21 processes that die at the same time
        would take a quarter of a launch's processors."""
        for earlier in self._leaving:
            if earlier.range_id == range_id:
                earlier.unwanted.set()
        old = self._ranges.get(range_id)
        if old is not None:
            old.closing = True
        await self._open(range_id, limits, old)

    def _leave(self, old: Range) -> None:
        old.leave("it was reset")
        self._leaving[old] = asyncio.get_running_loop().create_task(self._end_soon(old))

    async def _end_soon(self, old: Range) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(old.unwanted.wait(), FROZEN_SECONDS)
            await self._end(old)
        finally:
            self._leaving.pop(old, None)

    def _ended(self, of: Range) -> None:
        if self._ranges.get(of.range_id) is of:
            del self._ranges[of.range_id]

    def _get(self, range_id: str) -> Range:
        try:
            return self._ranges[range_id]
        except KeyError:
            raise UnknownRange(
                f"The netns driver has no range {range_id!r}", remedy="Launch it again", range_id=range_id
            ) from None

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
                        await of.ask({"verb": "remove_node", "node": action.node})
                        of.node_gone(action.node)
                elif kind is RemoveZone:
                    for action in batch:
                        await of.ask({"verb": "remove_zone", "zone": action.zone})
                        of.zones.pop(action.zone, None)

    async def _create_zones(self, of: Range, zones: list[ZonePlan]) -> None:
        await of.ask({"verb": "zones", "zones": [{"name": zone.name, "bridge": zone.bridge} for zone in zones]})
        of.zones |= {zone.name: zone for zone in zones}

    async def _create_nodes(self, of: Range, nodes: list[NodePlan]) -> None:
        await of.ask({"verb": "nodes", "nodes": [self._node_message(of, node) for node in nodes]})
        of.nodes |= {node.name: node for node in nodes}

    def _node_message(self, of: Range, node: NodePlan) -> dict[str, Any]:
        hub = node.placement == "hub"
        unknown = node.caps - {"net_raw", "net_admin"}
        if unknown:
            raise DriverError(
                f"Node {node.name} asks for capability {sorted(unknown)[0]!r}",
                remedy="Only net_raw and net_admin can be given",
            )
        caps = node.caps | {"net_raw"} if hub else node.caps
        return {
            "name": node.name,
            "hub": hub,
            "forwards": node.forwards,
            "hosts": node.hosts,
            "interfaces": [] if hub else [asdict(leg) for leg in node.interfaces],
            "neighbours": node.neighbours,
            "routes": node.routes,
            "fence": confine.Fence.of(of.limits, caps - {"net_admin"} if hub else caps).as_dict(),
        }

    async def _start_program(self, of: Range, node_name: str, plan: ProgramPlan) -> None:
        if of.program(node_name, plan.name) is not None:
            return
        node = of.nodes.get(node_name)
        if node is None:
            raise DriverError(f"Program {plan.name} has no node {node_name!r} in range {of.range_id}")
        spec = {"store": STORE, **plan.spec}
        if node.placement == "hub":
            taps = {zone.name: zone.bridge for zone in of.zones.values() if not zone.hidden}
            spec["taps"] = taps | dict(spec.get("taps") or {})
        start = json.dumps({"node": node_name, "spec": spec}).encode()
        execed = plan.use.startswith(self._execed) or self._cannot_fork(of, plan.use)
        job = next(self._jobs)
        read_commands, write_commands = os.pipe2(os.O_CLOEXEC)
        read_lines, write_lines = os.pipe2(os.O_CLOEXEC)
        passed = [read_commands, write_lines]
        try:
            if not execed:
                passed.append(wire.in_memory(start))
            program = of.add_program(job, node_name, plan.name, write_commands, read_lines)
            try:
                await of.ask(
                    {
                        "verb": "program",
                        "node": node_name,
                        "job": job,
                        "name": plan.name,
                        "use": plan.use,
                        "runner": self._runner,
                        "execed": execed,
                    },
                    passed,
                )
            except BaseException:
                of.programs.pop(job, None)
                program.end()
                raise
        finally:
            for fd in passed:
                os.close(fd)
        if execed:
            await program.write(start + b"\n")

    def _cannot_fork(self, of: Range, use: str) -> bool:
        return self.warm.cannot_fork(use)

    async def observe(self, range_id: str) -> Observed:
        of = self._ranges.get(range_id)
        if of is None:
            return Observed()
        answer, _ = await of.ask({"verb": "observe"})
        nodes = frozenset(str(name) for name in answer["nodes"])
        if not of.running.is_set():  # stopped inits do not answer; what ran before still stands there
            running = {(program.node, program.name) for program in of.programs.values() if program.code is None}
            return Observed(frozenset(answer["zones"]), nodes, frozenset(running))
        ordered = sorted(nodes)
        answers = await asyncio.gather(*(of.ask({"verb": "running", "node": name}) for name in ordered))
        programs = frozenset(
            (name, program) for name, (said, _) in zip(ordered, answers, strict=True) for program in said["programs"]
        )
        return Observed(frozenset(answer["zones"]), nodes, programs)

    async def send(self, range_id: str, node: str, program: str, message: Mapping[str, Any]) -> None:
        of = self._get(range_id)
        found = of.program(node, program)
        if found is None:
            raise DriverError(
                f"No program {program!r} runs on node {node!r} of range {range_id}", remedy="Converge the range again"
            )
        await found.write(json.dumps(dict(message)).encode() + b"\n")

    def messages(self, range_id: str) -> AsyncIterator[AgentMessage]:
        return self._messages(self._get(range_id))

    async def _messages(self, of: Range) -> AsyncIterator[AgentMessage]:
        while (message := await of.next_message()) is not None:
            yield message

    def _reachable(self, range_id: str, node: str) -> tuple[Range, NodePlan]:
        of = self._get(range_id)
        plan = of.nodes.get(node)
        if plan is None:
            raise DriverError(f"There is no node {node!r} in range {range_id}", remedy="Converge the range again")
        return of, plan

    async def exec(
        self, range_id: str, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0
    ) -> ExecResult:
        of, _ = self._reachable(range_id, node)
        if not argv:
            raise DriverError("There is no command to run")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            await asyncio.wait_for(of.running.wait(), timeout)
        except TimeoutError:
            return ExecResult(TIMED_OUT, b"", b"", timed_out=True)
        job = next(self._jobs)
        exited: asyncio.Future[int] = loop.create_future()
        of.commands[job] = exited
        inner_in, outer_in = os.pipe2(os.O_CLOEXEC)
        outer_out, inner_out = os.pipe2(os.O_CLOEXEC)
        outer_err, inner_err = os.pipe2(os.O_CLOEXEC)
        tasks: list[asyncio.Task[bytes]] = []
        feeding: asyncio.Task[None] | None = None
        try:
            try:
                await of.ask(
                    {"verb": "exec", "node": node, "job": job, "argv": list(argv)}, [inner_in, inner_out, inner_err]
                )
            finally:
                for fd in (inner_in, inner_out, inner_err):
                    os.close(fd)
            tasks = [
                loop.create_task(collect(outer_out, OUTPUT_LIMIT)),
                loop.create_task(collect(outer_err, OUTPUT_LIMIT)),
            ]
            feeding = loop.create_task(self._feed(outer_in, stdin))
            outer_in = -1
            timed_out = False
            try:
                code = await asyncio.wait_for(asyncio.shield(exited), max(0.0, deadline - loop.time()))
            except TimeoutError:
                timed_out, code = True, TIMED_OUT
                await of.kill(node, job)
                await asyncio.wait_for(exited, REQUEST_SECONDS)
            _, open_still = await asyncio.wait(tasks, timeout=STRAY_SECONDS)
            for task in open_still:
                task.cancel()
            stdout, stderr = await asyncio.gather(*tasks)
            return ExecResult(code, stdout, stderr, timed_out)
        except asyncio.CancelledError:
            with contextlib.suppress(DriverError):
                await of.kill(node, job)
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
            # A command that reads late still gets all of it; its own time limit ends this task.
            with contextlib.suppress(OSError):
                await write_all(fd, data, None)
        finally:
            os.close(fd)

    async def shell(self, range_id: str, node: str, *, columns: int = 80, rows: int = 24) -> Pty:
        of, plan = self._reachable(range_id, node)
        await of.running.wait()
        if not plan.shell:
            raise Refused(f"Node {node} has no shell", remedy="Choose a node of your seat's list", node=node)
        job = next(self._jobs)
        _, back = await of.ask({"verb": "shell", "node": node, "job": job, "columns": columns, "rows": rows})
        if len(back) != 1:
            raise DriverError(f"Node {node} gave no terminal")

        async def end() -> None:
            of.shells.pop(job, None)
            if of.ended:
                return
            if not of.running.is_set():  # the node's init is frozen with the rest: it hears of it first thing after
                of.hang_ups.append((node, job))
                return
            with contextlib.suppress(DriverError):
                await of.kill(node, job)

        pty = MasterPty(back[0], end)
        of.shells[job] = pty
        return pty

    async def take_files(self, range_id: str, node: str) -> bytes:
        return await stores.take(self, range_id, node, OUTPUT_LIMIT)

    async def put_files(self, range_id: str, node: str, archive: bytes) -> None:
        await stores.put(self, range_id, node, archive)

    async def pause(self, range_id: str) -> None:
        of = self._get(range_id)
        await of.ask({"verb": "pause"})
        of.running.clear()

    async def resume(self, range_id: str) -> None:
        of = self._get(range_id)
        await of.ask({"verb": "resume"})
        of.running.set()
        while of.hang_ups:
            with contextlib.suppress(DriverError):
                await of.kill(*of.hang_ups.pop())

    async def close(self, range_id: str) -> None:
        ending = []
        for old, task in self._leaving.items():
            if old.range_id == range_id:
                old.unwanted.set()
                ending.append(task)
        of = self._ranges.get(range_id)
        if of is not None:
            await self._end(of)
        if ending:
            await asyncio.wait(ending)

    async def _end(self, of: Range) -> None:
        of.closing = True
        of.finish("it was closed")
        try:
            await asyncio.wait_for(of.dead.wait(), DEATH_SECONDS)
        except TimeoutError:
            self.warm.kill_range(of.range_id, of.number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(of.dead.wait(), DEATH_SECONDS)
        finally:
            of.release_death()

    async def sweep(self, keep: frozenset[str] = frozenset()) -> Swept:
        """Closes our own ranges that are not kept and ends those whose owner is gone. A living owner's are its own."""
        ours = self._of_ours() - keep
        await asyncio.gather(*(self.close(range_id) for range_id in ours))
        removed = await asyncio.to_thread(end_leftovers, self._owner, keep)
        ranges = removed.pop("ranges", 0) + len(ours)
        return Swept({"ranges": ranges, **removed} if ranges else removed)

    async def aclose(self) -> None:
        await asyncio.gather(*(self.close(range_id) for range_id in self._of_ours()))
        await self.warm.stop()

    def _of_ours(self) -> set[str]:
        """Ids of every range that has processes of ours, those of resets that are still leaving with them."""
        return {*self._ranges, *(old.range_id for old in self._leaving)}
