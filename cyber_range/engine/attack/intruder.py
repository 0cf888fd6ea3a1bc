"""The intruder: a way in, what was found, what was changed, and the steps performed with them. No sockets here.

Each step answers with evidence: when, to whom, how many bytes went and came, what was learned or changed. `undo` puts
back everything that steps left their undoing for, newest first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from cyber_range.engine.attack.fence import Fence
from cyber_range.engine.attack.middle import Middle
from cyber_range.engine.attack.registry import STEPS
from cyber_range.engine.attack.ways import Blocked, Channel, Evidence, Toolbox, Way

Undoing = Callable[[Evidence], Awaitable[dict[str, Any]]]  # what was put back, as evidence


class Intruder:
    """State of one campaign on one machine."""

    def __init__(
        self, toolbox: Toolbox, fence: Fence, frames: Callable[[], Awaitable[Mapping[str, bytes]]],
        tell: Callable[[str, dict[str, Any]], None],
    ) -> None:  # fmt: skip
        self.toolbox, self.fence, self._frames_of, self.tell = toolbox, fence, frames, tell
        self._frames: Mapping[str, bytes] = {}
        self.knows: set[str] = set()
        self.found: dict[str, list[int]] = {}  # host -> open ports
        self.loot: dict[str, bytes] = {}  # name -> what was taken
        self.credential: tuple[str, int, str, str] | None = None
        self.middle: Middle | None = None  # while it stands between two machines
        self._way: Way | None = None
        self._undoing: dict[object, Undoing] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def perform(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Runs one step: {"result": done | blocked, evidence…}. Faults of the range itself are raised."""
        form = STEPS.get(name)
        if form is None:
            raise LookupError(f"the intruder knows no step {name!r}; it knows: {', '.join(sorted(STEPS))}")
        evidence = Evidence()
        try:
            missing = sorted(form.needs - self.knows)
            if missing:
                raise Blocked(f"{name} needs {', '.join(missing)}, which no step has gained")
            await form.action(self, args, evidence)
        except Blocked as exc:
            return {"result": "blocked", "reason": str(exc), **evidence.as_dict()}
        self.knows |= form.gains
        return {"result": "done", **evidence.as_dict()}

    async def frames(self) -> Mapping[str, bytes]:
        """The declared frames by name. Compiling them takes scapy some seconds: only who sends them waits for it."""
        if not self._frames:
            self._frames = await self._frames_of()
        return self._frames

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        if self._way is not None:
            self._way.close()

    # ------------------------------------------------------------ the way in

    def enter(self, way: Way, credential: tuple[str, int, str, str] | None = None) -> None:
        """From now on everything goes this way."""
        self._way, self.credential = way, credential

    async def way(self) -> Way:
        """The session, opened again when somebody closed it; Blocked when that fails too."""
        if self._way is not None and self._way.alive:
            return self._way
        if self.credential is None:
            raise Blocked("there is no session inside")
        try:
            self._way = await self.toolbox.log_in(*self.credential)
        except PermissionError as exc:
            raise Blocked("the session was closed and the password no longer works") from exc
        except (TimeoutError, OSError) as exc:
            raise Blocked("the session was closed and the jump host cannot be reached") from exc
        return self._way

    async def channel(self, host: str, port: int, timeout: float = 4.0) -> Channel:
        """A stream to a service through the way in; Blocked says which door was closed."""
        self.fence.check(host)
        try:
            return await (await self.way()).open(host, port, timeout)
        except PermissionError as exc:
            raise Blocked(f"the account may not reach {host}:{port}") from exc
        except TimeoutError as exc:
            raise Blocked(f"{host}:{port} is silent (filtered)") from exc
        except ConnectionRefusedError as exc:
            raise Blocked(f"{host}:{port} is closed") from exc
        except OSError as exc:
            raise Blocked(f"{host}:{port} cannot be reached") from exc

    def targets(self, args: Mapping[str, Any], port: int) -> list[str]:
        """`hosts` of the step, else every host that was found with this port open."""
        hosts = [str(h) for h in args.get("hosts") or [h for h, ports in self.found.items() if port in ports]]
        if not hosts:
            raise Blocked(f"no host with port {port} was found")
        return [self.fence.check(host) for host in hosts]

    # ------------------------------------------------------------ what goes on, what is put back

    def go_on(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Work that outlives its step; a second one of the same name replaces the first."""
        if name in self._tasks:
            self._tasks[name].cancel()
        self._tasks[name] = asyncio.ensure_future(work)

    def end(self, name: str) -> None:
        """Gives up work that goes on; nothing when there is none."""
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    def undo_with(self, key: object, undoing: Undoing) -> None:
        """How to put this back. The first undoing of a key counts: it knows the value from before the attack."""
        self._undoing.setdefault(key, undoing)

    async def undo_all(self, evidence: Evidence) -> list[dict[str, Any]]:
        """Puts back what can be; what cannot (a door was closed meanwhile) stays to be tried again."""
        restored = []
        for key, undoing in reversed(list(self._undoing.items())):
            try:
                restored.append(await undoing(evidence))
            except Blocked as exc:
                restored.append({"kept": str(exc)})
                continue
            del self._undoing[key]
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        return restored
