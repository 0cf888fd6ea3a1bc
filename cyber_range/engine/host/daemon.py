"""The daemon: one per machine, owner of every lab on it.

State folder: `lock`, `ranges/<range id>/{lab.json, scenario.json, events/, captures/, recordings/}`. Whatever is found there at start
that is not running any more is told as gone; Docker nodes that outlived us are taken over; everything else with our name
on it is swept.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cyber_range.engine.drivers import registry
from cyber_range.engine.drivers.base import Driver
from cyber_range.engine.errors import RangeError, Refused, ScenarioError, UnknownRange
from cyber_range.engine.host.pool import POOLED, WAITING, WarmPools
from cyber_range.engine.host.scenarios import Store, is_digest
from cyber_range.engine.host.tickets import Tickets
from cyber_range.engine.lab.addresses import DEFAULT_POOLS, AddressPool
from cyber_range.engine.lab.campaign_rules import campaign_faults
from cyber_range.engine.lab.compile import Block, block_prefix
from cyber_range.engine.lab.lab import Lab, saved_scenario
from cyber_range.engine.lab.submissions import is_right
from cyber_range.engine.scenario.load import check, load, packaged
from cyber_range.engine.scenario.model import Scenario

log = logging.getLogger(__name__)

RANGE_ID = re.compile(r"^[0-9a-f]{12}$")
REAP_EVERY = 5.0
WARN_BEFORE = 600.0  # seconds before the end of a range's time to live
KEEP_DAYS = 180  # captures and recordings of ranges that are gone (security logs: at least six months)
SURVIVORS = frozenset({"docker"})  # drivers whose nodes outlive this process


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says."""

    state: Path
    scenarios: Path
    driver: str = "auto"
    pools: tuple[Block, ...] = DEFAULT_POOLS
    max_ranges: int = 20
    keep_days: float = KEEP_DAYS


class Daemon:
    """Labs by id, and the verbs that make and end them. `verbs.Verbs` puts them on the wire."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.labs: dict[str, Lab] = {}
        self.since = time.time()
        self.tickets = Tickets(time.time)
        self.stopping = asyncio.Event()
        self._drivers: dict[str, Driver] = {}
        self._pool = AddressPool(settings.pools)
        self.pools = WarmPools(self)
        self.written = Store(settings.state)
        self._launching: dict[str, asyncio.Task[Lab]] = {}
        self._warned: set[str] = set()
        self._lock_fd = -1
        self._reaping: asyncio.Task[None] | None = None
        self.chosen = ""
        self.on_gone: list[Callable[[str], Awaitable[None]]] = []  # terminals want to know

    # ------------------------------------------------------------ life of the daemon

    async def start(self) -> None:
        """Takes the lock, chooses the driver, tells what is gone, takes over what is not, sweeps the rest."""
        if self._lock_fd < 0:
            self.lock()
        self.chosen, _ = await registry.resolve(self.settings.driver)
        keep = await self._find_again()
        for name in {self.chosen, *self._drivers}:
            try:
                swept = await (await self.driver(name)).sweep(keep)
            except RangeError as exc:
                log.warning("leftovers of driver %s could not be swept: %s", name, exc)
            else:
                if any(swept.removed.values()):
                    log.info("swept leftovers of driver %s: %s", name, dict(swept.removed))
        self._reaping = asyncio.get_running_loop().create_task(self._reap())
        self.pools.start()

    def lock(self) -> None:
        """One daemon per state folder. Taken before the socket, so that a second start disturbs nothing."""
        (self.settings.state / "ranges").mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.settings.state / "lock"
        self._lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock_fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._lock_fd)
            self._lock_fd = -1
            raise Refused(
                f"another range-host (process {holder}) owns {self.settings.state}",
                remedy="Stop it first, or give this one another --state",
            ) from None
        os.ftruncate(self._lock_fd, 0)
        os.write(self._lock_fd, str(os.getpid()).encode())

    async def close(self) -> None:
        """Ends every lab this process carries, then the drivers. Docker nodes are ended too: this is an orderly end."""
        if self._reaping is not None:
            self._reaping.cancel()
            await asyncio.gather(self._reaping, return_exceptions=True)
        await self.pools.stop()
        for task in list(self._launching.values()):
            task.cancel()
        await asyncio.gather(*self._launching.values(), return_exceptions=True)
        results = await asyncio.gather(
            *(lab.destroy("range-host was stopped") for lab in self.labs.values()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                log.error("a range did not close: %s", result)
        for lab in self.labs.values():
            await lab.spool.close()
        for driver in self._drivers.values():
            with contextlib.suppress(RangeError):
                await driver.aclose()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    async def driver(self, name: str) -> Driver:
        """The driver object of that name, made once. "auto" is the one chosen at start."""
        name = self.chosen if name == "auto" else name
        if name not in self._drivers:
            resolved, _ = await registry.resolve(name)
            self._drivers[resolved] = registry.load(resolved)()
        return self._drivers[name]

    # ------------------------------------------------------------ what was there before

    async def _find_again(self) -> frozenset[str]:
        keep: set[str] = set()
        for folder in sorted((self.settings.state / "ranges").iterdir()):
            saved = _read_saved(folder)
            if saved is None:
                continue
            range_id, name = saved["range_id"], saved["driver"]
            if saved["state"] == "gone":
                continue
            try:
                warm = saved["labels"].get(POOLED) == WAITING  # nobody's yet: a pool fills up anew
                if (
                    name in SURVIVORS
                    and not warm
                    and saved["expires"] > time.time()
                    and await self._take_over(folder, saved)
                ):
                    keep.add(range_id)
                    continue
                lab = await self._revive(folder, saved, driver=None)
                self.labs[range_id] = lab
                await self._say_gone(lab, "range-host was restarted and the range ended with it")
            except (RangeError, OSError, KeyError, ValueError) as exc:
                log.error("range %s could not be read back: %s", range_id, exc)
        return frozenset(keep)

    async def _take_over(self, folder: Path, saved: dict[str, Any]) -> bool:
        try:
            driver = await self.driver(saved["driver"])
            observed = await driver.observe(saved["range_id"])
        except RangeError as exc:
            log.warning("driver %s cannot be asked for range %s: %s", saved["driver"], saved["range_id"], exc)
            return False
        if not observed.nodes:
            return False
        lab = await self._revive(folder, saved, driver=driver)
        self.labs[lab.range_id] = lab
        await lab.adopt(saved)
        return True

    async def _revive(self, folder: Path, saved: dict[str, Any], *, driver: Driver | None) -> Lab:
        """The Lab object of a saved range, not running."""
        block = Block(saved["block"])
        lab = Lab(
            saved_scenario(folder), range_id=saved["range_id"], seed=saved["seed"],
            team=saved.get("drawn_for", saved["team"]), block=block,
            driver=driver or cast(Driver, _Absent(saved["driver"])), folder=folder, labels=saved["labels"], speed=saved["speed"],
            campaign=saved["campaign_mode"], on_wrong=self._owner_of,
        )  # fmt: skip
        lab.team = saved["team"]
        lab.recall(saved)
        self._pool.hold(lab.range_id, block)
        return lab

    async def _say_gone(self, lab: Lab, reason: str) -> None:
        lab.mark_gone(reason)
        await lab.spool.flush()

    # ------------------------------------------------------------ ranges

    async def lab(self, range_id: str) -> Lab:
        """The lab, running or remembered."""
        if range_id in self.labs:
            return self.labs[range_id]
        folder = self.settings.state / "ranges" / range_id
        saved = _read_saved(folder) if RANGE_ID.match(range_id) else None
        if saved is None:
            raise UnknownRange(
                f"there is no range {range_id} on this host", remedy="Launch it again; `list` says which there are"
            )
        lab = await self._revive(folder, saved, driver=None)
        lab.mark_gone(lab.reason or "range-host was restarted")
        self._pool.give_back(range_id)
        self.labs[range_id] = lab
        return lab

    async def launch(
        self,
        scenario: Scenario,
        *,
        seed: str,
        team: str,
        range_id: str | None = None,
        driver: str = "auto",
        ttl: float = 4 * 3600,
        speed: float = 1.0,
        labels: dict[str, str] | None = None,
        campaign: str = "manual",
        wait: bool = True,
    ) -> Lab:
        """Makes a range; with the id of one that is there, that one. Same id while it is launching: waits for it."""
        range_id = range_id or secrets.token_hex(6)
        if range_id in self._launching:
            return await asyncio.shield(self._launching[range_id])
        if range_id in self.labs or (self.settings.state / "ranges" / range_id).exists():
            return await self.lab(range_id)
        alive = {name for name, lab in self.labs.items() if lab.state != "gone"} | set(self._launching)
        if len(alive) >= self.settings.max_ranges:
            raise Refused(
                f"this host carries {self.settings.max_ranges} ranges already",
                remedy="Destroy one, or raise --max-ranges",
            )
        prepared: asyncio.Future[Lab] = asyncio.get_running_loop().create_future()
        options = {"seed": seed, "team": team, "labels": labels, "speed": speed, "ttl": ttl, "campaign": campaign}
        # Noted before the first await, so that the same id asked twice at once is one range.
        task = asyncio.get_running_loop().create_task(self._launch(scenario, range_id, driver, options, prepared))
        self._launching[range_id] = task
        task.add_done_callback(lambda done: self._launched(range_id, done, prepared))
        return await asyncio.shield(task if wait else prepared)

    async def _launch(
        self, scenario: Scenario, range_id: str, driver: str, options: dict[str, Any], prepared: asyncio.Future[Lab]
    ) -> Lab:
        chosen = await self.driver(driver)
        block = await asyncio.to_thread(self._pool.take, range_id, block_prefix(scenario))
        folder = self.settings.state / "ranges" / range_id
        try:
            lab = Lab(
                scenario, range_id=range_id, block=block, driver=chosen, folder=folder, on_wrong=self._owner_of, **options,
            )  # fmt: skip
        except OSError as exc:
            shutil.rmtree(folder, ignore_errors=True)  # else its id would be taken
            raise RangeError(
                f"range {range_id} cannot be kept in {folder}: {exc.strerror or exc}",
                remedy="Make room on the disk of the state folder",
            ) from exc
        self.labs[range_id] = lab
        prepared.set_result(lab)
        try:
            await lab.launch()
        except BaseException:
            if not (folder / "lab.json").exists():  # nothing of it could be noted: then it never was
                self.labs.pop(range_id, None)
                with contextlib.suppress(RangeError, OSError):
                    await lab.spool.close()
                shutil.rmtree(folder, ignore_errors=True)
            raise
        return lab

    def _launched(self, range_id: str, task: asyncio.Task[Lab], prepared: asyncio.Future[Lab]) -> None:
        self._launching.pop(range_id, None)
        error = None if task.cancelled() else task.exception()
        if not prepared.done():
            prepared.set_exception(
                error or Refused(f"the launch of range {range_id} was stopped", remedy="Launch again")
            )
            prepared.exception()  # seen: who did not wait is not told again by the loop
        if task.cancelled() or error is not None:
            log.error("launch of range %s failed: %s", range_id, error or "stopped")
            self._pool.give_back(range_id)

    async def destroy(self, range_id: str, reason: str = "destroyed") -> None:
        """Fine when it is not there."""
        if range_id in self._launching:
            self._launching[range_id].cancel()
            await asyncio.gather(self._launching[range_id], return_exceptions=True)
        if range_id not in self.labs:
            return
        await self._tell_gone(range_id)
        await self.labs[range_id].destroy(reason)
        self._pool.give_back(range_id)
        self.tickets.void(range_id=range_id)

    async def reset(self, range_id: str) -> Lab:
        """To the start; a range that ended with a killed daemon is made anew under its own id."""
        lab = await self._ready_to_be_made_anew(range_id)
        await lab.reset()
        return lab

    async def restore(self, range_id: str, name: str) -> Lab:
        """To a snapshot, in the same way."""
        lab = await self.lab(range_id)
        await asyncio.to_thread(lab.snapshots.read, name)  # what is not there ends no terminal
        await self._ready_to_be_made_anew(range_id)
        await lab.restore(name)
        return lab

    async def _ready_to_be_made_anew(self, range_id: str) -> Lab:
        lab = await self.lab(range_id)
        if lab.state == "gone":
            if lab.reason == "destroyed":
                raise Refused(f"range {range_id} was destroyed", remedy="Launch a new one")
            lab.driver = await self.driver(lab.driver.name)
            self._pool.claim(range_id, lab.block)
        await self._tell_gone(range_id)
        self.tickets.void(range_id=range_id)
        return lab

    async def _tell_gone(self, range_id: str) -> None:
        for listener in self.on_gone:
            await listener(range_id)

    async def sweep(self) -> dict[str, int]:
        """Removes leftovers of every driver that works here; ranges that are known stay."""
        keep = frozenset(name for name, lab in self.labs.items() if lab.state != "gone") | frozenset(self._launching)
        removed: dict[str, int] = {}
        for name, found in (await registry.probe_all()).items():
            if not found.usable:
                continue
            swept = await (await self.driver(name)).sweep(keep)
            for kind, count in swept.removed.items():
                removed[kind] = removed.get(kind, 0) + count
        return removed

    def scenario(self, name: str) -> Scenario:
        """A packaged scenario by name, a written one by hash. Read anew every time: an instructor edits and launches again."""
        if is_digest(name):
            return self.written.get(name)
        return load(packaged(name, self.settings.scenarios), more=campaign_faults)

    def scenario_of_document(self, document: dict[str, Any]) -> Scenario:
        return check(document, more=campaign_faults)

    def scenarios(self) -> Iterable[Scenario]:
        for path in sorted(self.settings.scenarios.glob("*/scenario.yml")):
            try:
                yield load(path.parent)
            except ScenarioError as exc:
                log.warning("scenario %s: %s", path.parent.name, exc)

    def _owner_of(self, lab: Lab, objective: str, value: Any) -> str | None:
        """The other team whose right answer this is. Answers picked from a list are no proof of copying."""
        for other in self.labs.values():
            if other.team == lab.team or other.source.id != lab.source.id:
                continue
            asked = other.objectives.answer_of(objective)
            if asked is not None and not asked.choices and is_right(asked, value):
                return other.team
        return None

    # ------------------------------------------------------------ time to live

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(REAP_EVERY)
            now = time.time()
            for range_id, lab in list(self.labs.items()):
                try:
                    await self._look_after(range_id, lab, now)
                except (RangeError, OSError):
                    log.exception("looking after range %s", range_id)
            self._forget_old_folders(now)

    async def _look_after(self, range_id: str, lab: Lab, now: float) -> None:
        if lab.state == "gone":
            if range_id not in self._launching and lab.spool.acked >= lab.spool.last:
                await lab.spool.close()
                del self.labs[range_id]
                self._pool.give_back(range_id)
            return
        left = lab.expires - now
        if left <= 0:
            await self.destroy(range_id, "its time to live is over")
        elif left < WARN_BEFORE and range_id not in self._warned:
            self._warned.add(range_id)
            lab.warn(f"the range ends in {left / 60:.0f} minutes", "Extend it")
        elif left >= WARN_BEFORE:
            self._warned.discard(range_id)

    def _forget_old_folders(self, now: float) -> None:
        for folder in (self.settings.state / "ranges").iterdir():
            with contextlib.suppress(OSError):
                if folder.name not in self.labs and folder.stat().st_mtime < now - self.settings.keep_days * 86400:
                    shutil.rmtree(folder)


class _Absent:
    """Stands where a driver would, for a range that is only remembered."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, verb: str) -> Any:
        raise Refused("this range is gone", remedy="Reset it to have it made anew")


def _read_saved(folder: Path) -> dict[str, Any] | None:
    try:
        saved: dict[str, Any] = json.loads((folder / "lab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return saved if RANGE_ID.match(str(saved.get("range_id"))) else None


def pools_of(texts: Iterable[str]) -> tuple[Block, ...]:
    """--pool values; ValueError names the one that is none."""
    pools = tuple(ipaddress.IPv4Network(text) for text in texts)
    return pools or DEFAULT_POOLS
