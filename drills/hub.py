"""One hub per web process: looks at the newest numbers of the drills somebody watches and rings those whose own number moved.

A bell carries nothing, and only those hear it who may see what happened, so that nobody counts hidden events by ear.
With Redis the look is woken by pub/sub; without, it happens four times a second: SQLite stays correct.
The hub also samples telemetry and traffic once per drill and loops over its sockets (one bell per process, not per client).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any, Protocol

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings

from cyber_range import hosts
from cyber_range.engine.errors import RangeError
from cyber_range.engine.host.client import AsyncClient
from drills import log, rules
from drills.domain.visibility import Viewer
from drills.models import Drill
from lms.accounts.models import User

logger = logging.getLogger(__name__)
LOOK = 0.25  # s, without Redis
LOOK_WITH_BELL = 2.0  # s, when pub/sub wakes us and this only catches a lost bell
UNSUBSCRIBE = 2.0  # s; Redis may be the very thing that is away
RECHECK = 3.0  # s between two looks at the seats
TELEMETRY = 0.2  # s
TRAFFIC = 1.0  # s


class Member(Protocol):
    """A socket in a room."""

    user: User
    viewer: Viewer
    newest: int
    watching: bool

    async def tell(self, message: dict[str, Any]) -> None: ...
    async def lose(self) -> None: ...


class Room:
    def __init__(self, drill_id: int) -> None:
        self.drill_id = drill_id
        self.members: set[Member] = set()
        self.seq = -1
        self.checked = 0.0
        self.sampling: asyncio.Task[None] | None = None


class Hub:
    def __init__(self) -> None:
        self.rooms: dict[int, Room] = {}
        self._looking: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def join(self, drill_id: int, member: Member) -> None:
        room = self.rooms.setdefault(drill_id, Room(drill_id))
        room.members.add(member)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        if settings.REDIS_URL and (self._listening is None or self._listening.done()):
            self._listening = asyncio.get_running_loop().create_task(self._listen())

    async def leave(self, drill_id: int, member: Member) -> None:
        room = self.rooms.get(drill_id)
        if room is None:
            return
        room.members.discard(member)
        if not room.members:
            self.rooms.pop(drill_id, None)
            if room.sampling is not None:
                room.sampling.cancel()
        if not self.rooms:
            for task in (self._looking, self._listening):
                if task is not None:
                    task.cancel()
            self._looking = self._listening = None

    def watch(self, drill_id: int) -> None:
        """Somebody wants to see values move: sample while anyone does."""
        room = self.rooms.get(drill_id)
        if room is not None and (room.sampling is None or room.sampling.done()):
            room.sampling = asyncio.get_running_loop().create_task(self._sample(room))

    # ------------------------------------------------------------ bells

    async def _look(self) -> None:
        while True:
            try:
                for room, newest in await self._moved():
                    await self._ring(room, newest)
                await self._recheck()
            except Exception:
                logger.exception("the hub could not look; trying again")
                await asyncio.sleep(1)
            if settings.REDIS_URL:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes at the same moment as the bell,
                # and this task would then outlive its hub.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_WITH_BELL):
                        await self._wake.wait()
                self._wake.clear()
            else:
                await asyncio.sleep(LOOK)

    async def _moved(self) -> list[tuple[Room, int]]:
        """Rooms whose log grew. One small query for all of them."""
        if not self.rooms:
            return []
        newest = await database_sync_to_async(_newest)(list(self.rooms))
        return [(room, newest[n]) for n, room in list(self.rooms.items()) if newest.get(n, room.seq) != room.seq]

    async def _ring(self, room: Room, newest: int) -> None:
        viewers = {member.viewer for member in room.members}
        numbers = await database_sync_to_async(_numbers)(room.drill_id, viewers)
        room.seq = newest
        for member in list(room.members):
            number = numbers.get(member.viewer)
            if number is not None and number != member.newest:
                member.newest = number
                await member.tell({"bell": True})

    async def _recheck(self) -> None:
        """Who lost his seat loses the room; whose rights changed sees with new eyes."""
        now = time.monotonic()
        for room in list(self.rooms.values()):
            if now - room.checked < RECHECK:
                continue
            room.checked = now
            views = await database_sync_to_async(viewers_of)(room.drill_id, [member.user for member in room.members])
            for member in list(room.members):
                viewer = views.get(member.user.pk)
                if viewer is None:
                    await member.lose()
                elif viewer != member.viewer:
                    member.viewer, member.newest = viewer, -1
                    room.seq = -1

    async def _listen(self) -> None:
        """Pub/sub: any bell wakes the look."""
        layer = get_channel_layer()
        while True:
            channel = ""
            try:
                channel = await layer.new_channel()
                await layer.group_add(log.BELLS, channel)
                while True:
                    await layer.receive(channel)
                    self._wake.set()
            except Exception:
                logger.exception("pub/sub is away; looking every %s s meanwhile", LOOK_WITH_BELL)
                await asyncio.sleep(2)
            finally:
                # The layer forgets a channel whose receiver is cancelled, but keeps its name in the group.
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(UNSUBSCRIBE):
                        await layer.group_discard(log.BELLS, channel)

    # ------------------------------------------------------------ moving pictures

    async def _sample(self, room: Room) -> None:
        client: AsyncClient | None = None
        socket, traffic_at, told = "", 0.0, None
        try:
            while any(member.watching for member in room.members):
                began = time.monotonic()
                place = await database_sync_to_async(_range_of)(room.drill_id)
                if place is None:
                    await self._tell_watchers(room, {"stream": "none"})
                    await asyncio.sleep(2)
                    continue
                if client is None or place[0] != socket:
                    if client is not None:
                        await client.close()
                    socket, client = place[0], AsyncClient(place[0])
                try:
                    shown = await client.call("telemetry", range_id=place[1])
                    await self._telemetry(room, shown, told)
                    told = shown
                    if began >= traffic_at:
                        traffic_at = began + TRAFFIC
                        await self._traffic(room, await client.call("topology", range_id=place[1]))
                except RangeError as error:
                    told = None
                    await self._tell_watchers(room, {"stream": "lost", "why": error.code})
                    await asyncio.sleep(1)
                await asyncio.sleep(max(0.02, TELEMETRY - (time.monotonic() - began)))
        finally:
            if client is not None:
                await client.close()

    async def _telemetry(self, room: Room, shown: dict[str, Any], before: dict[str, Any] | None) -> None:
        message: dict[str, Any] = {
            "stream": "telemetry",
            "at": shown["at"],
            "values": {v["name"]: v["value"] for v in shown["variables"]},
            "alarms": [v["name"] for v in shown["variables"] if v["alarm"]],
        }
        moved = before is not None and _limits(before) != _limits(shown)  # somebody moved an alarm in a controller
        described = dict(message, variables=[_without_value(v) for v in shown["variables"]], again=moved)
        for member in list(room.members):
            if member.watching and may_see_plant(member.viewer):
                # What the variables are is said once per socket, and again when their limits changed.
                known = getattr(member, "described", False) and before and not moved
                await member.tell(message if known else described)
                member.described = True  # type: ignore[attr-defined]

    async def _traffic(self, room: Room, topology: dict[str, Any]) -> None:
        for viewer in {member.viewer for member in room.members if member.watching}:
            seen = filter_topology(topology, viewer)
            for member in list(room.members):
                if member.watching and member.viewer == viewer:
                    await member.tell({"stream": "traffic", **seen})

    async def _tell_watchers(self, room: Room, message: dict[str, Any]) -> None:
        for member in list(room.members):
            if member.watching:
                await member.tell(message)


def may_see_plant(viewer: Viewer) -> bool:
    return viewer.operates


def filter_topology(topology: dict[str, Any], viewer: Viewer) -> dict[str, Any]:
    """Rates, health and addresses of what this seat sees; hidden zones are for the white cell."""
    zones = {
        zone["name"] for zone in topology["zones"] if viewer.all or (not zone["hidden"] and viewer.zone(zone["name"]))
    }
    nodes = []
    for node in topology["nodes"]:
        legs = [leg for leg in node["legs"] if leg["zone"] in zones]
        if legs:
            nodes.append({**node, "legs": legs})
    names = {node["name"] for node in nodes}
    return {
        "zones": [zone for zone in topology["zones"] if zone["name"] in zones],
        "nodes": nodes,
        "links": [
            link
            for link in topology["links"][:60]
            if link["zone"] in zones and link["source"] in names and link["target"] in names
        ],
        "time": topology["time"],
    }


def _limits(shown: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(v["name"], v["alarm_low"], v["alarm_high"]) for v in shown["variables"]]


def _without_value(variable: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in variable.items() if key not in ("value", "alarm")}


# ---------------------------------------------------------------- database, in threads


def _newest(drills: list[int]) -> dict[int, int]:
    return dict(Drill.objects.filter(pk__in=drills).values_list("pk", "last_seq"))


def _numbers(drill_id: int, viewers: set[Viewer]) -> dict[Viewer, int]:
    drill = Drill.objects.get(pk=drill_id)
    return {viewer: log.newest(drill, viewer) for viewer in viewers}


def viewers_of(drill_id: int, users: list[User]) -> dict[int, Viewer | None]:
    """Through whose eyes each of these people sees the drill now; None = no longer."""
    drill = Drill.objects.filter(pk=drill_id).first()
    if drill is None:
        return {}
    seats = {seat.user_id: seat for seat in drill.seats.filter(user__in=[user.pk for user in users])}
    state = log.full_state(drill)
    found: dict[int, Viewer | None] = {}
    for user in users:
        if hasattr(user, "_held_roles"):
            del user._held_roles  # roles may have ended since the socket was opened
        seat = seats.get(user.pk)
        found[user.pk] = rules.viewer_for(user, drill, seat, state.spec_of_seat(seat.seat) if seat else None)
    return found


def _range_of(drill_id: int) -> tuple[str, str] | None:
    drill = Drill.objects.select_related("instance__host").filter(pk=drill_id).first()
    if drill is None or drill.over or drill.instance is None or drill.instance.state in drill.instance.OVER:
        return None
    if drill.instance.state in ("waiting", "launching"):
        return None
    return hosts.socket_of(drill.instance.host), drill.instance.range_id


_hubs: dict[int, Hub] = {}


def hub() -> Hub:
    """The hub of this event loop (a process has one; tests have many)."""
    loop = asyncio.get_running_loop()
    found = _hubs.get(id(loop))
    if found is None:
        _hubs.clear()
        found = _hubs[id(loop)] = Hub()
    return found
