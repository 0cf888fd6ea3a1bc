"""The capsule driver: the netns driver's verbs, with a locked-down container around each range.

Pipes, sockets and terminals go through the container's wall as descriptors over one unix socket, so that everything
behind `open` is the netns driver as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

from cyber_range.engine.drivers.base import Probe, Swept
from cyber_range.engine.drivers.capsule.keeper import Keeper
from cyber_range.engine.drivers.docker_engine.driver import look
from cyber_range.engine.drivers.netns.driver import NetnsDriver
from cyber_range.engine.drivers.netns.ranges import Range
from cyber_range.engine.drivers.netns.warm import AGENTS
from cyber_range.engine.errors import DriverError
from cyber_range.engine.plan import Action, CreateNode, Limits, StartProgram

UNBOUNDED = (
    "tables the kernel keeps once for the whole host (ARP, connection tracking): many ranges share them",
    "disk bandwidth of page cache",
)


class CapsuleDriver(NetnsDriver):
    name: ClassVar[str] = "capsule"

    def __init__(self, owner: str | None = None) -> None:
        super().__init__()
        self.warm: Any = Keeper(owner)  # type: ignore[assignment]  # stands in for the warm process, verb for verb
        self._opening: dict[str, asyncio.Lock] = {}
        self._refused: dict[str, set[str]] = {}  # programs a range's supervisor could not import, by range

    @classmethod
    async def probe(cls) -> Probe:
        """Whether Docker has the image; whether its kernel lets a capsule build ranges shows at the first launch."""
        found = await asyncio.to_thread(look)
        if not found.usable:
            return found
        return Probe(True, unbounded=UNBOUNDED)

    async def open(self, range_id: str, limits: Limits) -> None:
        async with self._opening.setdefault(range_id, asyncio.Lock()):
            if range_id not in self._ranges:
                await self.warm.end(range_id)  # of a range that ended by itself
                await self.warm.make(range_id, limits)
            try:
                await super().open(range_id, limits)
            except BaseException:
                await self.warm.end(range_id)
                raise

    async def reopen(self, range_id: str, limits: Limits) -> None:
        """In the same container, whose first process ends the old range before it forks the new one. In a new container
        when it must be larger or smaller, or has ended."""
        async with self._opening.setdefault(range_id, asyncio.Lock()):
            old = self._ranges.get(range_id)
            if old is not None and old.limits == limits and self.warm.has(range_id):
                old.closing = True
                try:
                    await self._open(range_id, limits, old)
                except DriverError:
                    await self.warm.end(range_id)
                else:
                    return
        await self.close(range_id)
        await self.open(range_id, limits)

    def _leave(self, old: Range) -> None:
        old.finish("it was reset")

    async def apply(self, range_id: str, actions: Sequence[Action]) -> None:
        """Before any node is forked the supervisor imports what the nodes are to run, so that they share it."""
        fresh = any(isinstance(action, CreateNode) for action in actions)
        uses = sorted({action.program.use for action in actions if isinstance(action, StartProgram)})
        if fresh and uses:
            of = self._get(range_id)
            async with of.applying:
                said, _ = await of.ask({"verb": "preload", "names": [f"{AGENTS}.{use}" for use in uses]})
            self._refused.setdefault(range_id, set()).update(said["skipped"])
        await super().apply(range_id, actions)

    def _cannot_fork(self, of: Range, use: str) -> bool:
        return f"{AGENTS}.{use}" in self._refused.get(of.range_id, ())

    async def close(self, range_id: str) -> None:
        await super().close(range_id)
        await self.warm.end(range_id)
        self._refused.pop(range_id, None)
        self._opening.pop(range_id, None)

    async def sweep(self, keep: frozenset[str] = frozenset()) -> Swept:
        ours = self._of_ours() - keep
        await asyncio.gather(*(self.close(range_id) for range_id in ours))
        removed = await self.warm.sweep(keep)
        count = removed.pop("containers", 0) + len(ours)
        return Swept({"containers": count, **removed} if count else removed)
