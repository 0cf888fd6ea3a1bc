"""The memory driver: a whole range inside this process, on any operating system, and it says so on screen.

Not a test double: the same programs, tools, captures, filters and objectives as on the other drivers. What it does
not have is a kernel: consoles know only the lb-* tools, and limits of memory or processes mean nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from cyber_range.engine.drivers.base import AgentMessage, Driver, ExecResult, Probe, Pty, Swept
from cyber_range.engine.drivers.memory.console import MemoryPty
from cyber_range.engine.drivers.memory.fabric import Fabric
from cyber_range.engine.drivers.memory.net import MemoryNet
from cyber_range.engine.drivers.memory.words import Collected, Out, Station, run
from cyber_range.engine.errors import DriverError, RangeError, Refused, UnknownRange
from cyber_range.engine.plan import (
    Action,
    CreateNode,
    CreateZone,
    Limits,
    Observed,
    RemoveNode,
    RemoveZone,
    StartProgram,
)

RUN_INSIDE = "cyber_range.engine.agents.runner:run_inside"
NEW_FILTER = "cyber_range.engine.agents.packet_filter:PacketFilter"
STOP_SECONDS = 3.0  # a program has this long to end; the runner's own grace is 2 s
STORE_NAME = re.compile(r"lianbing-memory-(\d+)-([0-9a-z-]+)-[^-]*\Z")  # pid and range id, for the sweep
TIMED_OUT = 124  # exit code, as timeout(1) has it


def dotted(name: str) -> Any:
    """Drivers never import agents; they load them by name when a range needs them."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass
class Program:
    inbox: asyncio.Queue[dict[str, Any] | None]
    net: MemoryNet
    task: asyncio.Task[None]


@dataclass
class MemoryRange:
    fabric: Fabric
    store: Path
    messages: asyncio.Queue[AgentMessage | None] = field(default_factory=asyncio.Queue)
    programs: dict[tuple[str, str], Program] = field(default_factory=dict)
    consoles: list[MemoryPty] = field(default_factory=list)
    held: list[AgentMessage] = field(default_factory=list)  # said while paused

    def say(self, message: AgentMessage) -> None:
        if self.fabric.running.is_set():
            self.messages.put_nowait(message)
        else:
            self.held.append(message)

    def folder(self, node: str) -> Path:
        place = self.store / node
        place.mkdir(exist_ok=True)
        return place


class MemoryDriver(Driver):
    name: ClassVar[str] = "memory"

    def __init__(self) -> None:
        self._ranges: dict[str, MemoryRange] = {}

    @classmethod
    async def probe(cls) -> Probe:
        return Probe(True, unbounded=("memory", "cpus", "pids", "store"))

    def _range(self, range_id: str) -> MemoryRange:
        try:
            return self._ranges[range_id]
        except KeyError:
            raise UnknownRange(f"No memory range {range_id} lives in this process", remedy="Launch it anew") from None

    async def open(self, range_id: str, limits: Limits) -> None:
        if range_id not in self._ranges:
            store = Path(tempfile.mkdtemp(prefix=f"lianbing-memory-{os.getpid()}-{range_id}-"))
            self._ranges[range_id] = MemoryRange(Fabric(range_id, dotted(NEW_FILTER)), store)

    async def apply(self, range_id: str, actions: Sequence[Action]) -> None:
        lab = self._range(range_id)
        for action in actions:
            try:
                await self._perform(range_id, lab, action)
            except LookupError as exc:
                raise DriverError(str(exc), remedy="Compile the scenario again", range=range_id) from exc

    async def _perform(self, range_id: str, lab: MemoryRange, action: Action) -> None:
        match action:
            case CreateZone(zone):
                lab.fabric.add_segment(zone)
            case CreateNode(node):
                if node.name not in lab.fabric.hosts:
                    lab.fabric.add_host(node)
            case StartProgram(node_name, program):
                if lab.fabric.hosts.get(node_name) is None:
                    raise LookupError(f"program {program.name!r} is for node {node_name!r}, which does not exist")
                self._start(range_id, lab, node_name, program.name, program.use, program.spec)
            case RemoveNode(node_name):
                await self._stop(lab, [key for key in lab.programs if key[0] == node_name])
                lab.fabric.remove_host(node_name)
            case RemoveZone(zone_name):
                lab.fabric.remove_segment(zone_name)

    def _start(self, range_id: str, lab: MemoryRange, node: str, name: str, use: str, spec: Mapping[str, Any]) -> None:
        running = lab.programs.get((node, name))
        if running is not None and not running.task.done():
            return
        inbox: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        net = MemoryNet(lab.fabric, lab.fabric.hosts[node])
        whole_spec = {"store": str(lab.folder(node)), **spec}
        if lab.fabric.hosts[node].plan.placement == "hub":
            zones = [segment.plan for segment in lab.fabric.segments.values()]
            whole_spec.setdefault("taps", {zone.name: zone.bridge for zone in zones if not zone.hidden})

        async def live() -> None:
            code = 1
            try:
                code = await dotted(RUN_INSIDE)(
                    node, use, whole_spec, net, inbox, lambda body: lab.say(AgentMessage(range_id, node, name, body))
                )
            finally:
                net.close()
                lab.say(AgentMessage(range_id, node, name, {"kind": "exit", "code": code}))

        lab.programs[node, name] = Program(inbox, net, asyncio.get_running_loop().create_task(live()))

    async def _stop(self, lab: MemoryRange, keys: Sequence[tuple[str, str]]) -> None:
        ending = [lab.programs.pop(key) for key in keys]
        for program in ending:
            program.inbox.put_nowait(None)
        tasks = [program.task for program in ending]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            while late:
                for task in late:
                    task.cancel()  # again, should wait_for have swallowed it (Python 3.11)
                _, late = await asyncio.wait(late, timeout=1.0)
            await asyncio.gather(*tasks, return_exceptions=True)

    async def observe(self, range_id: str) -> Observed:
        lab = self._ranges.get(range_id)
        if lab is None:
            return Observed()
        alive = frozenset(key for key, program in lab.programs.items() if not program.task.done())
        return Observed(frozenset(lab.fabric.segments), frozenset(lab.fabric.hosts), alive)

    async def send(self, range_id: str, node: str, program: str, message: Mapping[str, Any]) -> None:
        found = self._range(range_id).programs.get((node, program))
        if found is None or found.task.done():
            raise DriverError(f"No program {program!r} runs on node {node!r}", remedy="Converge the range again")
        found.inbox.put_nowait(dict(message))

    def messages(self, range_id: str) -> AsyncIterator[AgentMessage]:
        lab = self._range(range_id)

        async def all_said() -> AsyncIterator[AgentMessage]:
            while (message := await lab.messages.get()) is not None:
                yield message
            lab.messages.put_nowait(None)  # the end stays the end

        return all_said()

    def _station(self, lab: MemoryRange, node: str) -> Station:
        host = lab.fabric.hosts.get(node)
        if host is None:
            raise DriverError(f"There is no node {node!r} in this range", remedy="See the topology for its nodes")
        return Station(node, MemoryNet(lab.fabric, host), lab.folder(node))

    async def exec(
        self, range_id: str, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0
    ) -> ExecResult:
        lab = self._range(range_id)
        station = self._station(lab, node)
        out, err = Collected(stdin), Collected()

        async def whole() -> int:
            await lab.fabric.running.wait()
            return await run(argv, station, out, err)

        try:
            code = await asyncio.wait_for(whole(), timeout)
        except TimeoutError:
            return ExecResult(TIMED_OUT, out.value(), err.value(), timed_out=True)
        except RangeError:
            raise
        except Exception as exc:  # a tool's failure is the command's failure, told as a process would
            err.write(f"{type(exc).__name__}: {exc}\n")
            code = 1
        finally:
            station.net.close()
        return ExecResult(code, out.value(), err.value())

    async def shell(self, range_id: str, node: str, *, columns: int = 80, rows: int = 24) -> Pty:
        lab = self._range(range_id)
        station = self._station(lab, node)
        if not station.net.host.plan.shell:
            raise Refused(f"Node {node!r} has no shell for anybody", remedy="Open a terminal on a node of your seat")

        async def performed(argv: list[str], here: Station, out: Out, err: Out) -> int:
            await lab.fabric.running.wait()
            return await run(argv, here, out, err)

        pty = MemoryPty(station, performed)
        lab.consoles.append(pty)
        return pty

    async def take_files(self, range_id: str, node: str) -> bytes:
        place = self._station(self._range(range_id), node).store

        def pack() -> bytes:
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w:gz") as tar:
                tar.add(place, ".")
            return archive.getvalue()

        return await asyncio.to_thread(pack)

    async def put_files(self, range_id: str, node: str, archive: bytes) -> None:
        place = self._station(self._range(range_id), node).store

        def unpack() -> None:
            for path in place.rglob("*"):
                if path.is_symlink() or path.is_file():
                    path.unlink()
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
                tar.extractall(place, filter="data")

        try:
            await asyncio.to_thread(unpack)
        except (tarfile.TarError, OSError) as exc:
            raise DriverError(f"The files of node {node} cannot be put back: {exc}", node=node) from exc

    async def pause(self, range_id: str) -> None:
        """No packet moves, no message leaves, no command runs; programs keep their timers but nobody hears them."""
        self._range(range_id).fabric.running.clear()

    async def resume(self, range_id: str) -> None:
        lab = self._range(range_id)
        lab.fabric.running.set()
        held, lab.held = lab.held, []
        for message in held:
            lab.say(message)

    async def close(self, range_id: str) -> None:
        lab = self._ranges.pop(range_id, None)
        if lab is None:
            return
        lab.fabric.running.set()
        await asyncio.gather(*(pty.close() for pty in lab.consoles))
        await self._stop(lab, list(lab.programs))
        lab.fabric.close()
        lab.messages.put_nowait(None)
        shutil.rmtree(lab.store, ignore_errors=True)

    async def sweep(self, keep: frozenset[str] = frozenset()) -> Swept:
        """Ranges of this process that are not kept, and folders of processes that are gone."""
        ranges = [range_id for range_id in self._ranges if range_id not in keep]
        for range_id in ranges:
            await self.close(range_id)
        removed = {"ranges": len(ranges), "folders": sweep_folders(keep)}
        return Swept({kind: count for kind, count in removed.items() if count})

    async def aclose(self) -> None:
        for range_id in list(self._ranges):
            await self.close(range_id)


def sweep_folders(keep: frozenset[str]) -> int:
    """Removes the stores of processes that are gone; how many."""
    removed = 0
    for place in Path(tempfile.gettempdir()).glob("lianbing-memory-*"):
        said = STORE_NAME.match(place.name)
        if said is None or said[2] in keep or alive(int(said[1])):
            continue
        shutil.rmtree(place, ignore_errors=True)
        removed += not place.exists()
    return removed


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
