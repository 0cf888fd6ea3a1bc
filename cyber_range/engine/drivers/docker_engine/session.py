"""The driver's end of one node: JSON lines to and from process 1 of its container (deploy/range-node/init.py)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from cyber_range.engine.drivers.docker_engine.wires import STDOUT, Wire, demultiplexed

ACK_EVERY = 64  # lines
ACK_SECONDS = 1.0
STDERR_KEPT = 4000  # characters of what a node last printed, for error messages
LOG_TAIL = 4000  # characters of stderr that go into an exit message
LOOK_SECONDS = 15.0  # between two looks whether a node still answers
SILENT_SECONDS = 60.0  # without an answer: frozen or starved; a busy machine takes a few
GONE = 137  # exit code of programs whose container ended under them


def shell_code(code: int) -> int:
    """As shells say it: 128 + signal."""
    return 128 - code if code < 0 else code


class Session:
    """`say(program, body)` gets every message once, in order; `failed` gets what the node's init could not do."""

    def __init__(self, node: str, wire: Wire, say: Callable[[str, dict[str, Any]], None]) -> None:
        self.node = node
        self.programs: dict[str, int | None] = {}  # None: it runs
        self.answered = asyncio.Event()  # the init has said hello: its wiring is done
        self.failure = ""
        self.stderr = ""
        self._wire = wire
        self._say = say
        self._line = b""
        self._newest = 0
        self._acknowledged = 0
        self._acking: asyncio.TimerHandle | None = None
        self._renewal = ""  # what the node will say once it is new; until then it speaks of its past
        self._reading = asyncio.get_running_loop().create_task(self._read())
        self._orders: set[asyncio.Task[None]] = set()
        self.paused = False  # by us: then silence means nothing
        self._answer = asyncio.Event()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def hello(self) -> None:
        await self._order({"do": "hello"})

    async def prepare(self, uses: list[str]) -> None:
        """What is about to be started; the node imports it while the engine is still busy with its neighbours."""
        if uses:
            await self._order({"do": "prepare", "uses": uses})

    async def start(self, program: str, use: str, spec: Mapping[str, Any]) -> None:
        if self.programs.get(program, 0) is not None:
            self.programs[program] = None
            await self._order({"do": "start", "program": program, "use": use, "spec": dict(spec)})

    async def send(self, program: str, message: Mapping[str, Any]) -> None:
        await self._order({"do": "send", "program": program, "message": dict(message)})

    async def renew(self) -> None:
        """Ends and forgets all that runs and is stored in the node. Nothing it said before is heard any more; `answered`
        or `failure` tells when it is new, and `listen` who hears it then."""
        if self._acking is not None:
            self._acking.cancel()
            self._acking = None
        self._say = lambda program, body: None
        await asyncio.gather(*self._orders, return_exceptions=True)  # an acknowledgement would count in the new life
        self.programs, self.stderr = {}, ""
        self.answered.clear()
        self._newest = self._acknowledged = 0
        self._renewal = secrets.token_hex(8)
        await self._order({"do": "renew", "token": self._renewal})

    async def _watch(self) -> None:
        """A first process that no longer answers is as good as gone: it hears no order and reports no end."""
        while not self.failure:
            await asyncio.sleep(LOOK_SECONDS)
            if self.paused or not self.answered.is_set() or self._renewal:
                continue
            self._answer.clear()
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    await self.hello()
                    await self._answer.wait()
            except TimeoutError:
                if not self.paused and not self.failure:
                    self.failure = (
                        f"{self.node} has not answered for {SILENT_SECONDS:.0f} s: its container is frozen or starved"
                    )
                    self._reading.cancel()  # it tells, and closes
            except OSError:
                return  # the reader tells

    def listen(self, say: Callable[[str, dict[str, Any]], None]) -> None:
        self._say = say

    async def hang_up(self, mark: str) -> None:
        await self._order({"do": "hangup", "mark": mark})

    async def _order(self, order: Mapping[str, Any]) -> None:
        await self._wire.write(json.dumps(order, ensure_ascii=False).encode() + b"\n")

    async def _read(self) -> None:
        try:
            await demultiplexed(self._wire, self._take)
        finally:
            self._wire.close()
            self.answered.set()
            if not self.failure:
                self.failure = (
                    f"the container of {self.node} has ended: {self.stderr.strip()[-500:] or 'no last words'}"
                )
            for program, code in self.programs.items():
                if code is None:
                    self.programs[program] = GONE
                    self._say(program, {"kind": "exit", "code": GONE})
            self._say("", {"kind": "gone", "why": self.failure})

    def _take(self, kind: int, data: bytes) -> None:
        if kind != STDOUT:
            self.stderr = (self.stderr + data.decode(errors="replace"))[-STDERR_KEPT:]
            return
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._heard(line)

    def _heard(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return  # the first, cut line after a re-attach
        if "failed" in said:
            self.failure = str(said["failed"])
            if self._renewal:
                self.answered.set()
        elif self._renewal:
            if said.get("renewed") == self._renewal:
                self._renewal = ""
                self._do(self._order({"do": "hello"}))
        elif "hello" in said:
            self.programs = dict(said["hello"]["programs"]) | {
                name: code for name, code in self.programs.items() if name not in said["hello"]["programs"]
            }
            self.answered.set()
            self._answer.set()
        elif self.answered.is_set() and said["n"] > self._newest:
            # what comes before the hello comes again after it
            self._newest = said["n"]
            body = said["b"]
            if body.get("kind") == "exit":
                code = self.programs[said["p"]] = shell_code(int(body["code"]))
                body = {"kind": "exit", "code": code}
                if (
                    code and self.stderr.strip()
                ):  # the node's programs share it: at an end, the last to write is the dying one
                    body["log"] = self.stderr[-LOG_TAIL:]
            self._say(said["p"], body)
            self._acknowledge()

    def _acknowledge(self) -> None:
        if self._newest - self._acknowledged >= ACK_EVERY:
            self._ack_now()
        elif self._acking is None:
            self._acking = asyncio.get_running_loop().call_later(ACK_SECONDS, self._ack_now)

    def _ack_now(self) -> None:
        if self._acking is not None:
            self._acking.cancel()
            self._acking = None
        self._acknowledged = self._newest
        self._do(self._order({"do": "ack", "n": self._newest}))

    def _do(self, order: Coroutine[Any, Any, None]) -> None:
        async def sent() -> None:
            with contextlib.suppress(OSError):  # the end of the stream is noticed by the reader
                await order

        task = asyncio.get_running_loop().create_task(sent())
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)

    async def close(self) -> None:
        """Leaves the node alone; it goes on running and keeps what it says."""
        if self._acking is not None:
            self._acking.cancel()
        self._say = lambda program, body: None
        self._wire.close()
        self._reading.cancel()
        self._watching.cancel()
        await asyncio.gather(self._reading, self._watching, *self._orders, return_exceptions=True)
