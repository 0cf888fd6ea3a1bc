"""Warm pools: ranges launched ahead and frozen, so that a team waits for a thaw and not for a launch.

One pool per scenario and driver. `minimum` ranges are always made ready again, one after the other; up to `maximum` while
the machine has nothing else to do. A warm range is a whole one: every program serves, its values are drawn from a seed of
its own that nobody has seen, and it stands still at scenario time zero. Whoever claims it gives team, labels and time to
live; seed and id are the range's. A range whose scenario has changed meanwhile is never given out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cyber_range.engine.errors import RangeError, Refused
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.scenario.load import digest
from cyber_range.engine.scenario.model import Scenario

log = logging.getLogger(__name__)

POOLED, WAITING = "lianbing.pool", "warm"  # the label of a range that waits in a pool
LOOK_EVERY = 1.0  # s between two looks at what is missing
AFTER_FAILURE = 30.0  # s before a pool that could not launch tries again
KEEP = 7 * 86400.0  # s a warm range may wait; then it is made anew
IDLE_LOAD = 0.5  # runnable processes for each processor below which pools grow to their maximum


class Host(Protocol):
    """As much of the daemon as a pool uses."""

    labs: dict[str, Lab]
    chosen: str
    settings: Any

    async def launch(
        self, scenario: Scenario, *, seed: str, team: str, driver: str = ..., ttl: float = ...,
        labels: dict[str, str] | None = ...,
    ) -> Lab: ...  # fmt: skip
    async def destroy(self, range_id: str, reason: str = "destroyed") -> None: ...


@dataclass
class Pool:
    scenario: Scenario
    driver: str
    minimum: int
    maximum: int
    digest: str
    ready: list[str] = field(default_factory=list)  # range ids, oldest first
    making: int = 0
    claimed: int = 0
    missed: int = 0  # claims that found none ready
    trouble: str = ""
    not_before: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.id, "driver": self.driver, "minimum": self.minimum, "maximum": self.maximum,
            "ready": len(self.ready), "making": self.making, "claimed": self.claimed, "missed": self.missed,
            "trouble": self.trouble,
        }  # fmt: skip


class WarmPools:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._pools: dict[tuple[str, str], Pool] = {}
        self._filling: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def start(self) -> None:
        self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def stop(self) -> None:
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)

    def as_list(self) -> list[dict[str, Any]]:
        return [pool.as_dict() for pool in self._pools.values()]

    async def set(self, scenario: Scenario, driver: str, minimum: int, maximum: int) -> None:
        """Makes, changes or (both 0) ends a pool. What it has too much is removed."""
        if maximum < minimum:
            raise Refused(f"a pool's maximum ({maximum}) is below its minimum ({minimum})", remedy="Raise the maximum")
        most = self._host.settings.max_ranges
        if minimum >= most:
            raise Refused(
                f"{minimum} warm ranges leave no room: this host carries {most} ranges in all",
                remedy="Choose fewer, or raise --max-ranges",
            )
        key = (scenario.id, self._host.chosen if driver == "auto" else driver)
        pool = self._pools.setdefault(key, Pool(scenario, key[1], 0, 0, digest(scenario)))
        pool.minimum, pool.maximum, pool.trouble, pool.not_before = minimum, maximum, "", 0.0
        if pool.digest != digest(scenario):
            pool.scenario, pool.digest = scenario, digest(scenario)
            await self._shrink(pool, 0)
        await self._shrink(pool, maximum)
        if not maximum and not pool.making:
            del self._pools[key]
        self._changed.set()

    async def _shrink(self, pool: Pool, to: int) -> None:
        while len(pool.ready) > to:
            with contextlib.suppress(RangeError):
                await self._host.destroy(pool.ready.pop(0), "the warm pool has too many")

    async def claim(
        self, scenario: Scenario, *, driver: str, team: str, ttl: float, speed: float, labels: Mapping[str, str],
        campaign: str,
    ) -> Lab | None:  # fmt: skip
        """A warm range made that team's, or None when there is none: launch one then."""
        pool = self._pools.get((scenario.id, self._host.chosen if driver == "auto" else driver))
        if pool is None:
            return None
        if pool.digest != digest(scenario):
            return None
        try:
            return await self._claim(pool, team=team, ttl=ttl, speed=speed, labels=labels, campaign=campaign)
        finally:  # not before: the launch of its successor would slow down the thaw
            self._changed.set()

    async def _claim(self, pool: Pool, **given: Any) -> Lab | None:
        while pool.ready:
            lab = self._host.labs.get(pool.ready.pop(0))
            if lab is None or lab.state != "paused":
                continue
            try:
                await lab.claim(**given)
            except RangeError as exc:
                log.warning("warm range %s could not be claimed: %s", lab.range_id, exc)
                with contextlib.suppress(RangeError):
                    await self._host.destroy(lab.range_id, "it could not be claimed")
                continue
            pool.claimed += 1
            return lab
        pool.missed += 1
        return None

    async def _fill(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            for pool in list(self._pools.values()):
                pool.ready = [one for one in pool.ready if self._waiting(one)]
                if loop.time() >= pool.not_before and self._wants(pool):
                    await self._make(pool)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_EVERY)

    def _waiting(self, range_id: str) -> bool:
        lab = self._host.labs.get(range_id)
        return lab is not None and lab.state == "paused"

    def _wants(self, pool: Pool) -> bool:
        alive = sum(lab.state != "gone" for lab in self._host.labs.values())
        if alive + 1 >= self._host.settings.max_ranges:  # one place stays free for whoever wants another scenario
            return False
        if len(pool.ready) < pool.minimum:
            return True
        idle = os.getloadavg()[0] < IDLE_LOAD * (os.cpu_count() or 1)
        return idle and len(pool.ready) < pool.maximum

    async def _make(self, pool: Pool) -> None:
        pool.making += 1
        try:
            lab = await self._host.launch(
                pool.scenario, seed=secrets.token_hex(16), team=f"warm-{secrets.token_hex(6)}", driver=pool.driver,
                ttl=KEEP, labels={POOLED: WAITING},
            )  # fmt: skip
            await lab.pause()
        except RangeError as exc:
            pool.trouble = str(exc)
            pool.not_before = asyncio.get_running_loop().time() + AFTER_FAILURE
            log.warning("the warm pool of %s on %s cannot fill up: %s", pool.scenario.id, pool.driver, exc)
        else:
            pool.trouble = ""
            pool.ready.append(lab.range_id)
        finally:
            pool.making -= 1
        await self._shrink(pool, pool.maximum)
