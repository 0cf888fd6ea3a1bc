"""The verbs of range-host: names, arguments and answers as host/README.md lists them."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, validate_call

from cyber_range.engine.drivers import registry
from cyber_range.engine.errors import RangeError, Refused
from cyber_range.engine.events import RangeEvent
from cyber_range.engine.host.daemon import Daemon
from cyber_range.engine.host.recording import recording_path, recordings
from cyber_range.engine.host.scenarios import scenario_put
from cyber_range.engine.host.tickets import Bound
from cyber_range.engine.host.wire import BadRequest
from cyber_range.engine.lab import picture
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.lab.solver import actions_of

EXEC_OUTPUT = 1024 * 1024
PIECE = 1024 * 1024

RangeId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
Word = Annotated[str, Field(min_length=1, max_length=200)]
_STRICT = ConfigDict(strict=False, arbitrary_types_allowed=True)

Answer = dict[str, Any]


class Verbs:
    """Every public coroutine of this class is a verb. Arguments are checked; what is wrong is a BadRequest."""

    def __init__(self, daemon: Daemon, hang_up: Callable[[str, str | None, str | None], Awaitable[int]]) -> None:
        self._daemon = daemon
        self._hang_up = hang_up

    async def call(self, verb: str, args: Answer) -> Answer:
        method = getattr(type(self), verb, None)
        if verb.startswith("_") or verb == "call" or method is None or not asyncio.iscoroutinefunction(method):
            raise BadRequest(f"there is no verb {verb!r}", remedy=f"There is: {', '.join(self.names())}")
        try:
            return await _checked(method)(self, **args)
        except ValidationError as exc:
            if exc.title != method.__name__ and not exc.title.endswith(method.__name__):
                raise
            first = exc.errors(include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            raise BadRequest(
                f"{verb}: {name}: {first['msg']}", remedy="See cyber_range/engine/host/README.md"
            ) from None

    @classmethod
    def names(cls) -> list[str]:
        return sorted(
            name
            for name, value in vars(cls).items()
            if not name.startswith("_") and name != "call" and asyncio.iscoroutinefunction(value)
        )

    # ------------------------------------------------------------ the host

    async def ping(self) -> Answer:
        daemon = self._daemon
        alive = sum(lab.state != "gone" for lab in daemon.labs.values())
        return {"version": 1, "pid": os.getpid(), "driver": daemon.chosen, "ranges": alive, "since": daemon.since}

    async def probe(self) -> Answer:
        found = await registry.probe_all()
        drivers = [
            {
                "name": name,
                "usable": one.usable,
                "reason": one.reason,
                "remedy": one.remedy,
                "unbounded": list(one.unbounded),
            }
            for name, one in found.items()
        ]
        return {"drivers": drivers, "chosen": self._daemon.chosen}

    async def capacity(self) -> Answer:
        alive = sum(lab.state != "gone" for lab in self._daemon.labs.values())
        most = self._daemon.settings.max_ranges
        return {"max_ranges": most, "ranges": alive, "free": max(0, most - alive)}

    async def scenarios(self) -> Answer:
        found = await asyncio.to_thread(lambda: list(self._daemon.scenarios()))
        return {
            "scenarios": [
                {
                    "id": one.id, "version": one.version, "title": one.title.model_dump(),
                    "summary": one.summary.model_dump(), "difficulty": one.difficulty, "duration": one.duration,
                }
                for one in found
            ]
        }  # fmt: skip

    scenario_put = scenario_put

    async def sweep(self) -> Answer:
        return {"removed": await self._daemon.sweep()}

    async def shutdown(self) -> Answer:
        self._daemon.stopping.set()
        return {"stopping": True}

    # ------------------------------------------------------------ life of a range

    async def launch(
        self,
        seed: Word,
        team: Word,
        scenario: Word | None = None,
        document: dict[str, Any] | None = None,
        range_id: RangeId | None = None,
        driver: Word = "auto",
        ttl: Annotated[float, Field(gt=0, le=7 * 86400)] = 4 * 3600,
        speed: Annotated[float, Field(ge=0.1, le=100)] = 1.0,
        labels: dict[str, str] | None = None,
        campaign: Literal["auto", "manual"] = "manual",
        wait: bool = True,
        claim: bool = False,
    ) -> Answer:
        if (scenario is None) == (document is None):
            raise BadRequest("launch: give either scenario (a name) or document", remedy="See host/README.md")
        daemon = self._daemon
        if document is not None:
            form = await asyncio.to_thread(daemon.scenario_of_document, document)
        else:
            form = await asyncio.to_thread(daemon.scenario, str(scenario))
        if claim:
            if range_id is not None:
                raise BadRequest(
                    "launch: a claimed range has an id of its own",
                    remedy="Leave range_id out and take it from the answer",
                )
            taken = await daemon.pools.claim(
                form, driver=driver, team=team, ttl=ttl, speed=speed, labels=labels or {}, campaign=campaign
            )
            if taken is not None:
                return await _noted(taken)
        lab = await daemon.launch(
            form, seed=seed, team=team, range_id=range_id, driver=driver, ttl=ttl, speed=speed, labels=labels,
            campaign=campaign, wait=wait,
        )  # fmt: skip
        return await _noted(lab)

    async def pool(
        self,
        scenario: Word | None = None,
        driver: Word = "auto",
        minimum: Annotated[int, Field(ge=0, le=200)] | None = None,
        maximum: Annotated[int, Field(ge=0, le=200)] | None = None,
    ) -> Answer:
        if scenario is not None and minimum is not None:
            form = await asyncio.to_thread(self._daemon.scenario, scenario)
            await self._daemon.pools.set(form, driver, minimum, minimum if maximum is None else maximum)
        elif scenario is not None or minimum is not None or maximum is not None:
            raise BadRequest("pool: scenario and minimum go together", remedy="Without arguments it lists the pools")
        return {"pools": self._daemon.pools.as_list()}

    async def list(self) -> Answer:
        return {"ranges": [picture.brief(lab) for lab in self._daemon.labs.values()]}

    async def status(self, range_id: RangeId) -> Answer:
        return (await self._lab(range_id)).status()

    async def script(self, range_id: RangeId) -> Answer:
        return (await self._lab(range_id)).script()

    async def solver(self, range_id: RangeId) -> Answer:
        return {"actions": actions_of(await self._lab(range_id))}

    async def topology(self, range_id: RangeId) -> Answer:
        return (await self._lab(range_id)).topology()

    async def telemetry(self, range_id: RangeId, history: float = 0, step: float = 0) -> Answer:
        return (await self._lab(range_id)).telemetry(history=history, step=step)

    async def destroy(self, range_id: RangeId) -> Answer:
        await self._daemon.destroy(range_id)
        return {"destroyed": True}

    async def reset(self, range_id: RangeId) -> Answer:
        return await _noted(await self._daemon.reset(range_id))

    async def snapshots(self, range_id: RangeId) -> Answer:
        return _snapshots(await self._lab(range_id))

    async def snapshot(self, range_id: RangeId, name: Word) -> Answer:
        lab = await self._lab(range_id)
        return {"snapshot": asdict(await lab.snapshot(name)), **_snapshots(lab)}

    async def restore(self, range_id: RangeId, name: Word) -> Answer:
        return await _noted(await self._daemon.restore(range_id, name))

    async def delete_snapshot(self, range_id: RangeId, name: Word) -> Answer:
        lab = await self._lab(range_id)
        lab.snapshots.delete(name)
        return _snapshots(lab)

    async def pause(self, range_id: RangeId) -> Answer:
        lab = await self._lab(range_id)
        await lab.pause()
        return await _noted(lab)

    async def resume(self, range_id: RangeId) -> Answer:
        lab = await self._lab(range_id)
        await lab.resume()
        return await _noted(lab)

    async def clock(self, range_id: RangeId, speed: float) -> Answer:
        lab = await self._lab(range_id)
        await lab.set_speed(speed)
        return await _noted(lab)

    async def extend(self, range_id: RangeId, seconds: float) -> Answer:
        lab = await self._lab(range_id)
        lab.extend(seconds)
        return await _noted(lab)

    # ------------------------------------------------------------ the drill

    async def campaign(
        self, range_id: RangeId, action: Literal["start", "stop", "step"], step: Word | None = None
    ) -> Answer:
        lab = await self._lab(range_id)
        await lab.steer_campaign(action, step)
        await lab.spool.flush()
        return {"campaign": [state.as_dict() for state in lab.campaign.states.values()]}

    async def submit(self, range_id: RangeId, objective: Word, value: Any, session: Word, seat: Word) -> Answer:
        lab = await self._lab(range_id)
        judged = lab.submit(objective, value, session=session, seat=seat)
        state = await lab.objectives.evaluate(objective)
        await lab.spool.flush()
        shown = state.as_dict(lab.clock.now(), picture.blue_seats(lab.compiled.scenario))
        return {**judged, "objective": shown}

    async def hint(self, range_id: RangeId, hint: Word, session: Word, seat: Word) -> Answer:
        lab = await self._lab(range_id)
        taken = lab.take_hint(hint, session=session, seat=seat)
        await lab.spool.flush()
        return taken

    async def evaluate(self, range_id: RangeId, objective: Word | None = None) -> Answer:
        return {"objectives": await (await self._lab(range_id)).evaluate(objective)}

    async def exec(
        self,
        range_id: RangeId,
        node: Word,
        argv: Annotated[Sequence[str], Field(min_length=1, max_length=200)],
        stdin: str = "",
        timeout: Annotated[float, Field(gt=0, le=600)] = 30,  # noqa: ASYNC109 - the verb's own word, passed on
    ) -> Answer:
        done = await (await self._lab(range_id)).exec(node, argv, stdin=stdin.encode(), seconds=timeout)
        return {
            "code": done.code, "timed_out": done.timed_out,
            "stdout": done.stdout[:EXEC_OUTPUT].decode(errors="replace"),
            "stderr": done.stderr[:EXEC_OUTPUT].decode(errors="replace"),
        }  # fmt: skip

    # ------------------------------------------------------------ what happened

    async def events(
        self,
        range_id: RangeId,
        after: Annotated[int, Field(ge=0)] = 0,
        limit: Annotated[int, Field(ge=1, le=5000)] = 500,
        wait: Annotated[float, Field(ge=0, le=30)] = 0,
    ) -> Answer:
        lab = await self._lab(range_id)
        if wait:
            await lab.spool.wait(after=after, seconds=wait)
        found: list[RangeEvent] = lab.spool.read(after=after, limit=limit)
        return {
            "events": [event.model_dump(mode="json") for event in found],
            "last": lab.spool.durable, "acked": lab.spool.acked,
        }  # fmt: skip

    async def ack(self, range_id: RangeId, number: Annotated[int, Field(ge=0)]) -> Answer:
        return {"acked": (await self._lab(range_id)).spool.ack(number)}

    async def captures(self, range_id: RangeId, nodes: bool = False) -> Answer:
        return {"captures": (await self._lab(range_id)).captures.list(nodes=nodes)}

    async def slice(
        self,
        range_id: RangeId,
        zone: Word | None = None,
        node: Word | None = None,
        since: Annotated[float | None, Field(alias="from")] = None,
        until: Annotated[float | None, Field(alias="to")] = None,
    ) -> Answer:
        store = (await self._lab(range_id)).captures
        return await asyncio.to_thread(store.cut, zone=zone, node=node, start=since, end=until)

    async def capture(self, range_id: RangeId, name: Word, offset: int = 0, limit: int = PIECE) -> Answer:
        return await asyncio.to_thread(_piece, (await self._lab(range_id)).captures.path(name), offset, limit)

    async def recordings(self, range_id: RangeId) -> Answer:
        lab = await self._lab(range_id)
        return {"recordings": await asyncio.to_thread(recordings, lab.folder / "recordings")}

    async def recording(self, range_id: RangeId, name: Word, offset: int = 0, limit: int = PIECE) -> Answer:
        lab = await self._lab(range_id)
        return await asyncio.to_thread(_piece, recording_path(lab.folder / "recordings", name), offset, limit)

    # ------------------------------------------------------------ terminals

    async def ticket(self, range_id: RangeId, session: Word, seat: Word, node: Word, lifetime: float = 30) -> Answer:
        lab = await self._lab(range_id)
        if lab.state not in ("ready", "ill", "paused"):
            raise Refused(f"range {range_id} is {lab.state}", remedy="Wait until it is ready")
        lab.refuse_console(node, seat)
        ticket, expires = self._daemon.tickets.issue(Bound(range_id, session, seat, node), lifetime)
        return {"ticket": ticket, "expires": expires}

    async def hang_up(self, range_id: RangeId, session: Word | None = None, seat: Word | None = None) -> Answer:
        return {"closed": await self._hang_up(range_id, session, seat)}

    async def _lab(self, range_id: str) -> Lab:
        return await self._daemon.lab(range_id)


def _snapshots(lab: Lab) -> Answer:
    return {"snapshots": [asdict(about) for about in lab.snapshots.list()]}


async def _noted(lab: Lab) -> Answer:
    """The status, once its event is on the disk: what was answered has happened."""
    await lab.spool.flush()
    return lab.status()


_CHECKED: dict[Any, Callable[..., Awaitable[Answer]]] = {}


def _checked(method: Any) -> Callable[..., Awaitable[Answer]]:
    if method not in _CHECKED:
        _CHECKED[method] = validate_call(config=_STRICT)(method)
    return _CHECKED[method]


def _piece(path: Path, offset: int, limit: int) -> Answer:
    if offset < 0 or not 0 < limit <= 2 * PIECE:
        raise BadRequest("offset or limit is out of bounds", remedy=f"0 < limit <= {2 * PIECE}")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(offset)
            data = file.read(limit)
    except FileNotFoundError:
        raise RangeError(f"{path.name} is gone", remedy="It was rolled away; list again") from None
    return {
        "data": base64.b64encode(data).decode(), "offset": offset, "size": size, "end": offset + len(data) >= size,
    }  # fmt: skip
