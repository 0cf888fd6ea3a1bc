"""What goes on without anybody's hand: copying the range's events, the script's clock, keeping range and drill in step.

Called by the follower for every live drill, and by services that want a result at once. Everything here may happen twice
or be cut in the middle: the log knows what was copied.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from cyber_range import hosts
from cyber_range import services as ranges
from cyber_range.engine.errors import RangeError
from cyber_range.engine.events import RangeEvent
from cyber_range.engine.host.client import Client
from cyber_range.models import Instance
from drills import log
from drills.domain import events as ev
from drills.domain.state import State
from drills.models import Drill, DrillEvent

logger = logging.getLogger(__name__)
PAGE = 500
KEEP_RANGE = timedelta(minutes=30)  # after the end, for captures and recordings
RESERVE = timedelta(hours=1)  # a running drill's range lives this much longer than the drill has left


def copy_range_events(*, drill: Drill, client: Client | None = None, pages: int = 20) -> int:
    """Copies what the range has said since the last time; how many. Idempotent by (range, number)."""
    instance = drill.instance
    if instance is None:
        return 0
    own = client or hosts.client(instance.host)
    copied = 0
    try:
        for _page in range(pages):
            cursor = Drill.objects.values_list("range_cursor", flat=True).get(pk=drill.pk)
            answer = own.call("events", range_id=instance.range_id, after=cursor, limit=PAGE)
            events = [RangeEvent.model_validate(event) for event in answer["events"]]
            if not events:
                break
            done, upto = _write(drill, instance, events)
            copied += done
            if upto is None:
                break
            own.call("ack", range_id=instance.range_id, number=upto)
            if len(events) < PAGE:
                break
    finally:
        if client is None:
            own.close()
    return copied


def _write(drill: Drill, instance: Instance, events: list[RangeEvent]) -> tuple[int, int | None]:
    """Appends those not copied yet, in one transaction with the cursor. (how many, newest number in the log)"""
    with log.writing(drill.pk) as book:
        if book.drill.instance_id != instance.pk or book.drill.over:
            return 0, None  # a late copier of a range that has been replaced
        cursor = book.drill.range_cursor
        fresh = [event for event in events if event.number > cursor]
        for event in fresh:
            book.append(
                ev.from_range(
                    event.kind,
                    range_id=event.range_id,
                    number=event.number,
                    scenario_at=event.at,
                    time=event.time,
                    data=event.data,
                ),
                # range-host knows the seat a deed came from, the log who sits there.
                actor=book.state.hand_of(event.data.get("seats") or ()) if event.kind == "hand" else "",
                at=datetime.fromtimestamp(event.time, tz=UTC),
                source=event.range_id,
                source_number=event.number,
            )
        if fresh:
            book.drill.range_cursor = fresh[-1].number
            book.drill.save(update_fields=["range_cursor"])
        return len(fresh), book.drill.range_cursor


def copied_numbers(drill: Drill, range_id: str) -> list[int]:
    """Which events of a range are in the log (checks and tests)."""
    rows = DrillEvent.objects.filter(drill=drill, source=range_id).order_by("source_number")
    return list(rows.values_list("source_number", flat=True))


def converge(drill: Drill, state: State, client: Client | None = None) -> list[str]:
    """Brings the range to what the log says: paused or not, its speed, the script of the attack running or not. What was
    done, by verb."""
    instance = drill.instance
    if instance is None or state.lab.state != "attached" or instance.state in Instance.OVER:
        return []
    own = client or hosts.client(instance.host)
    did: list[str] = []
    try:
        status = own.call("status", range_id=instance.range_id)
        if state.phase in ("ended", "closed"):
            own.call("hang_up", range_id=instance.range_id)
            return ["hang_up"]
        clock = status["clock"]
        wanted = state.clock.speed if state.started_at is not None else drill.speed
        if abs(float(clock["speed"]) - wanted) > 1e-6:
            own.call("clock", range_id=instance.range_id, speed=wanted)
            did.append("clock")
        if state.phase == "paused" and not clock["paused"]:
            own.call("pause", range_id=instance.range_id)
            did.append("pause")
        if state.phase in ("ready", "running") and clock["paused"]:
            own.call("resume", range_id=instance.range_id)
            did.append("resume")
        if state.phase == "running" and state.script_attacks and not _campaign_started(status):
            own.call("campaign", range_id=instance.range_id, action="start")
            did.append("campaign")
        missing = _life_missing(state, status)
        if missing:
            ranges.extend(instance=instance, seconds=missing, by=None)
            did.append("extend")
    finally:
        if client is None:
            own.close()
    return did


def _life_missing(state: State, status: dict[str, Any]) -> int:
    """Seconds the range must live longer, so that a drill that was extended, paused or slowed down does not lose it.

    A paused drill asks for nothing: one that is forgotten must not hold its machine for ever.
    """
    if state.phase != "running":
        return 0
    now = time.time()
    left = max(0.0, state.duration_s - state.now(now)) / max(state.clock.speed, 0.1)
    if float(status["expires"]) - now >= left + RESERVE.total_seconds() / 2:
        return 0
    return math.ceil(now + left + RESERVE.total_seconds() - float(status["expires"]))


def _campaign_started(status: dict[str, Any]) -> bool:
    if "campaign_started" in status:
        return bool(status["campaign_started"])
    return any(step["state"] != "waiting" for step in status["campaign"])


def last_look(drill: Drill) -> None:
    """Before the end: every objective measured once more, every event copied, captures named with their hashes."""
    if drill.instance is None or not drill.live:
        return
    instance = drill.instance
    try:
        with hosts.client(instance.host) as client:
            if drill.phase == Drill.Phase.RUNNING:
                client.call("evaluate", range_id=instance.range_id)
            copy_range_events(drill=drill, client=client)
            kept = tuple(
                _fingerprint(client, instance, one)
                for one in client.call("captures", range_id=instance.range_id)["captures"]
            )
    except RangeError as error:
        logger.warning("drill %s: the range could not be asked at the end: %s", drill.pk, error)
        return
    with log.writing(drill.pk) as book:
        if not book.drill.over:
            book.append(ev.LabCaptured(range_id=instance.range_id, captures=kept))


def _fingerprint(client: Client, instance: Instance, capture: dict[str, Any]) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    for piece in client.file("capture", range_id=instance.range_id, name=capture["name"]):
        digest.update(piece)
        size += len(piece)
    return {
        "name": capture["name"], "zone": capture.get("zone"), "bytes": size, "packets": capture.get("packets"),
        "sha256": digest.hexdigest(),
    }  # fmt: skip
