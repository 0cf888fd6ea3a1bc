"""What every programmable controller of the range is, whatever protocol it speaks: tags, a scan of its logic, I/O with
the plant over the fieldbus, an operating mode, a user program, alarms, a restart.

Spec, for all of them: `logic` (name in process.controllers), `plant` (address on the fieldbus), `controller` (name the
plant knows it by), `tags` {tag: {start?, …where the protocol shows it}}, `alarms` (controller_alarms), `blocks`
{name: text} beside the main program (controller_program), `revision` ("1"), `mode` ("run"), `restart_seconds` (2).

Besides the logic's own tags a spec may place: `cpu_run` (coil: 0 stops, 1 starts), `cpu_uptime` (input, s),
`cpu_restarts` (input), `scan_ms` (holding: the task's period; below 100 the fieldbus sets the pace).

STOP: no scan, tags stay as they were, outputs fall to their safe values; the network interface goes on answering.
Restart: connections end, outputs are safe meanwhile, coils return to their start, set-points (retentive) are kept.
Emits `written` (what masters wrote), `mode`, `restarted`, `program_changed`, `device_alarm`.
Commands: `read` {tag} or {tags} (engineering units), `hash` {path: block or ""}, `state`; `keep` -> {kept}, and
`take_back` {kept}: tags, mode, blocks and the logic's timers for a snapshot (not what a protocol keeps beside the tags).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from cyber_range.engine.agents.context import NodeContext, Peer, UdpSender, answer
from cyber_range.engine.agents.controller_alarms import Alarms
from cyber_range.engine.agents.controller_program import MAIN, Program, original
from cyber_range.engine.agents.fieldbus import CONTROLLER_PORT, PLANT_PORT, pack, unpack
from cyber_range.engine.process.controllers import LOGICS, Tag
from cyber_range.engine.process.keeping import keep, take_back

Mode = Literal["run", "stop"]
SCAN_AT_LEAST = 0.1  # s without a plant datagram before a scan runs by itself
TELL_EVERY = 0.2  # s between `written` events
WRITES_TOLD = 50  # of one event; a master that writes faster is counted by the sensor
ANSWER_FIRST = 0.05  # s between the answer to a restart request and the end of the connections
SYSTEM_TAGS = (
    Tag("cpu_run", "coil", "运行方式", start=1),
    Tag("cpu_uptime", "input", "运行时间", "s"),
    Tag("cpu_restarts", "input", "重启次数"),
    Tag("scan_ms", "holding", "扫描周期", "ms", 1, 50),
)
Door = Callable[[], Awaitable[Callable[[], None]]]  # opens the network interface; what it gives closes it again


class Controller:
    def __init__(self, node: NodeContext) -> None:
        spec = node.spec
        self._node = node
        name = str(spec["logic"])
        self.logic = LOGICS[name]()
        placed: Mapping[str, Mapping[str, Any]] = spec.get("tags") or {}
        self._alarms = Alarms(spec.get("alarms") or {}, self.logic.tags)
        system = tuple(tag for tag in SYSTEM_TAGS if tag.name in placed)
        self.tag_list: tuple[Tag, ...] = (*self.logic.tags, *self._alarms.tags, *system)
        self.by_name = {tag.name: tag for tag in self.tag_list}
        if unknown := sorted(set(placed) - set(self.by_name)):
            there = ", ".join(sorted(self.by_name))
            raise ValueError(f"this controller has no tag {unknown[0]!r}; there are: {there}")
        self._starts = {t.name: float((placed.get(t.name) or {}).get("start", t.start)) for t in self.tag_list}
        self.tags: dict[str, float] = dict(self._starts)
        self.program = Program(
            {MAIN: original(name, self.tag_list, str(spec.get("revision", "1")))}
            | {block: str(text).encode() for block, text in (spec.get("blocks") or {}).items()}
        )
        self.inputs: dict[str, float] = {}
        self.mode: Mode = "run" if spec.get("mode", "run") == "run" else "stop"
        self.restarting = False
        self.restarts = 0
        self._started = time.monotonic()
        self._scanned = 0.0
        # a controller has gone through its program once before it speaks, so that its outputs have names
        self.outputs: dict[str, float] = dict(self.logic.scan(self.tags, self.inputs))
        self._plant, self._name = str(spec["plant"]), str(spec["controller"])
        self._restart_seconds = float(spec.get("restart_seconds", 2))
        self._restart_wanted = asyncio.Event()
        self._bus: UdpSender | None = None
        self._writes: list[dict[str, Any]] = []

    # ------------------------------------------------------------ state

    @property
    def uptime(self) -> float:
        """Seconds since the last start."""
        return time.monotonic() - self._started

    @property
    def running(self) -> bool:
        return self.mode == "run" and not self.restarting and self.program.runnable

    def state(self) -> dict[str, Any]:
        return {
            "mode": self.mode, "uptime": round(self.uptime, 1), "restarts": self.restarts,
            "program": self.program.sha256(), "blocks": sorted(self.program.blocks), "changed": self.program.changed,
            "scan_ms": self.tags.get("scan_ms", 50),
        }  # fmt: skip

    def set_mode(self, mode: Mode, source: str = "") -> None:
        if mode != self.mode:
            self.mode = mode
            if mode == "stop":
                self._send()
            self._node.emit("mode", mode=mode, source=source)

    def restart(self, source: str = "") -> None:
        """Ends and opens the network interface again, a moment after the caller could answer."""
        if not self.restarting:
            self.restarting = True
            self._restart_source = source
            self._restart_wanted.set()

    def load(self, block: str, code: bytes, source: str = "") -> None:
        """BadBlock when the code is none."""
        self.program.load(block, code)
        self._node.emit("program_changed", block=block, sha256=self.program.sha256(block), source=source)

    def unload(self, block: str, source: str = "") -> None:
        self.program.delete(block)
        self._node.emit("program_changed", block=block, sha256=None, source=source)

    # ------------------------------------------------------------ tags

    def write(self, tag: str, value: float) -> None:
        """An engineering value from the network; what the logic computes overwrites it in the next scan."""
        if not math.isfinite(value):
            return  # a REAL may carry NaN; physics and JSON may not
        self.tags[tag] = value
        if tag == "cpu_run":
            self.set_mode("run" if value else "stop")

    def override(self, output: str, value: float) -> None:
        """An output written past the logic: it holds until the next scan."""
        if output in self.outputs and self.running and math.isfinite(value):
            self.outputs[output] = value
            self._send()

    def told(self, write: dict[str, Any]) -> None:
        """Remembers a write for the next `written` event."""
        if len(self._writes) < WRITES_TOLD:
            self._writes.append(write)

    # ------------------------------------------------------------ scanning

    def scan(self) -> None:
        now = time.monotonic()
        period = self.tags.get("scan_ms", 0) / 1000
        if self.running and (period < SCAN_AT_LEAST or now - self._scanned >= period):
            self._scanned = now
            self.program.before(self.tags)
            outputs = dict(self.logic.scan(self.tags, self.inputs))
            self.program.after(outputs, self.tags)
            self.outputs = outputs
            for alarm, state in self._alarms.scan(self.tags):
                value, limit = round(self.tags[alarm.signal], 3), self.tags[alarm.limit]
                on = "on" if state else "off"
                self._node.emit("device_alarm", name=alarm.state, state=on, value=value, limit=limit)
        for name, value in (
            ("cpu_run", float(self.mode == "run")),
            ("cpu_uptime", self.uptime),
            ("cpu_restarts", float(self.restarts)),
        ):
            if name in self.tags:
                self.tags[name] = value
        self._send()

    def safe_outputs(self) -> dict[str, float]:
        """De-energised, unless the logic says otherwise (`safe`)."""
        return dict.fromkeys(self.outputs, 0.0) | dict(getattr(self.logic, "safe", {}))

    def _send(self) -> None:
        if self._bus is not None:
            image = self.outputs if self.running else self.safe_outputs()
            self._bus.send(pack({"c": self._name, "o": image}), self._plant, PLANT_PORT)

    # ------------------------------------------------------------ running

    async def run(self, open_door: Door, commands: Mapping[str, Callable[[dict[str, Any]], Any]] | None = None) -> None:
        """Serves until the lab says stop. `commands` come before this module's own of the same name."""
        heard = time.monotonic()

        def on_datagram(data: bytes, peer: Peer) -> None:
            nonlocal heard
            message = unpack(data)
            if peer[0] == self._plant and isinstance(message.get("i"), dict):
                self.inputs.update(message["i"])
                heard = time.monotonic()
                self.scan()

        async def keep_scanning() -> None:
            told = 0.0
            while True:
                await asyncio.sleep(SCAN_AT_LEAST)
                if time.monotonic() - heard > SCAN_AT_LEAST:
                    self.scan()
                if self._writes and time.monotonic() - told > TELL_EVERY:
                    told = time.monotonic()
                    writes, self._writes = self._writes, []
                    self._node.emit("written", writes=writes)

        self._bus = bus = await self._node.net.udp(CONTROLLER_PORT, on_datagram)
        closing = [bus.close]
        tasks: list[asyncio.Future[None]] = []

        async def keep_restarting() -> None:
            while True:
                await self._restart_wanted.wait()
                await asyncio.sleep(ANSWER_FIRST)
                closing.pop()()
                self.outputs = self.safe_outputs()
                await asyncio.sleep(self._restart_seconds)
                self._begin_anew()
                closing.append(await open_door())
                self._node.emit("restarted", restarts=self.restarts, source=self._restart_source)

        try:
            closing.append(await open_door())
            self._node.emit("ready")
            tasks += [asyncio.ensure_future(keep_scanning()), asyncio.ensure_future(keep_restarting())]
            own: dict[str, Callable[[dict[str, Any]], Any]] = {
                "read": self.read, "hash": self._hash, "state": self._state,
                "keep": self._keep, "take_back": self._take_back,
            }  # fmt: skip
            answering = asyncio.ensure_future(answer(self._node, {**own, **(commands or {})}))
            tasks.append(answering)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            while closing:
                closing.pop()()
            self._bus = None

    def _begin_anew(self) -> None:
        for tag in self.tag_list:
            if tag.table != "holding":
                self.tags[tag.name] = self._starts[tag.name]
        self.restarts += 1
        self._started = time.monotonic()
        self.mode = "run"
        self.restarting = False
        self._restart_wanted.clear()
        self.scan()

    async def read(self, command: dict[str, Any]) -> dict[str, Any]:
        names = [str(name) for name in command.get("tags") or [command["tag"]]]
        if unknown := [name for name in names if name not in self.tags]:
            raise LookupError(f"this controller has no tag {unknown[0]!r}; there are: {', '.join(sorted(self.tags))}")
        return {"values": [round(self.tags[name], 6) for name in names]}

    async def _hash(self, command: dict[str, Any]) -> dict[str, Any]:
        return {"sha256": self.program.sha256(str(command.get("path", "")))}

    async def _state(self, _: dict[str, Any]) -> dict[str, Any]:
        return self.state()

    async def _keep(self, _: dict[str, Any]) -> dict[str, Any]:
        kept = {
            "tags": self.tags, "inputs": self.inputs, "outputs": self.outputs, "logic": keep(self.logic),
            "mode": self.mode, "restarts": self.restarts, "uptime": self.uptime, "changed": self.program.changed,
            "blocks": {name: code.decode(errors="replace") for name, code in self.program.blocks.items()},
        }  # fmt: skip
        return {"kept": kept}

    async def _take_back(self, command: dict[str, Any]) -> None:
        kept = command["kept"]
        blocks = {str(name): str(code).encode() for name, code in kept["blocks"].items()}
        logic = take_back(kept["logic"], self.logic)  # what can fail first
        program = Program(blocks)
        program.changed = int(kept["changed"])
        self.logic, self.program = logic, program
        self.tags.update({name: float(value) for name, value in kept["tags"].items() if name in self.tags})
        self.inputs, self.outputs = dict(kept["inputs"]), dict(kept["outputs"])
        self.mode = "stop" if kept["mode"] == "stop" else "run"
        self.restarts, self._started = int(kept["restarts"]), time.monotonic() - float(kept["uptime"])
        self._send()
