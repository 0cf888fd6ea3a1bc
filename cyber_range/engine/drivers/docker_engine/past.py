"""What a reset leaves behind: networks and nodes that may serve again, and containers that were killed and wait for removal.

A reset has to be no slower than a launch, and stopping and starting containers is what costs. So a node is made new by its own
process 1, which ends everything else in it and empties its stores (deploy/range-node/renewal.py), and serves again when the
new plan wants the very same; so do networks. Nodes with NET_ADMIN may have changed what process 1 cannot mend, others may not
answer: those containers are killed at once, all together, and removed later, while the new ones, of the next generation, run.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import docker
import docker.errors

from cyber_range.engine.drivers.docker_engine.removal import kill_container, remove_container
from cyber_range.engine.drivers.docker_engine.session import Session

TIDY_SECONDS = 5.0  # from the last kill to the first removal: the new nodes start meanwhile


@dataclass
class Spare:
    """A running container whose process 1 makes it new, or has."""

    container: str
    made: Mapping[str, Any]  # what it was made of
    session: Session

    async def serves(self, wanted: Mapping[str, Any], seconds: float) -> bool:
        """Whether it can be the wanted node, once it is new."""
        if self.made != wanted:
            return False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.session.answered.wait(), seconds)
            return not self.session.failure
        return False


@dataclass
class Past:
    networks: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # zone -> what it was made of
    spares: dict[str, Spare] = field(default_factory=dict)  # by node
    ending: asyncio.Future[None] | None = None
    _chores: set[asyncio.Task[None]] = field(default_factory=set)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, call: Callable[..., Awaitable[Any]], client: docker.DockerClient, containers: Iterable[str]) -> None:
        """Kills them now, removes them one after the other when there is time for it."""
        those = list(containers)

        async def kill() -> None:
            await asyncio.gather(*(call(kill_container, client, name) for name in those))

        async def tidy(killing: asyncio.Future[None]) -> None:
            await asyncio.gather(killing, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), TIDY_SECONDS)
            for name in those:
                if self._hurry.is_set():
                    return  # the range closes and takes all it finds with it
                with contextlib.suppress(docker.errors.DockerException):  # close and sweep try again, and say so
                    await call(remove_container, client, name)

        before = self.ending
        killing = asyncio.ensure_future(kill())

        async def ended() -> None:
            await asyncio.gather(killing, *([before] if before is not None else []))

        self.ending = asyncio.ensure_future(ended())
        chore = asyncio.get_running_loop().create_task(tidy(killing))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def discard(self, call: Callable[..., Awaitable[Any]], client: docker.DockerClient, *spares: Spare) -> None:
        await asyncio.gather(*(spare.session.close() for spare in spares))
        self.end(call, client, [spare.container for spare in spares])

    async def over(self) -> None:
        """Every old container has ended, which frees its addresses."""
        if self.ending is not None:
            await asyncio.shield(self.ending)

    async def settle(self) -> None:
        """Leaves no call to the engine under way."""
        self._hurry.set()
        await asyncio.gather(*(spare.session.close() for spare in self.spares.values()), return_exceptions=True)
        waiting = [*self._chores, *([self.ending] if self.ending is not None else [])]
        await asyncio.gather(*waiting, return_exceptions=True)
