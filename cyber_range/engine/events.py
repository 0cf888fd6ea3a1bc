"""What happened in a range, as it lies in the spool and crosses to the drill's log.

An event is frozen, carries its version, and refuses fields it does not know. Numbers of one range are gapless from 1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION = 1


class EventKind(StrEnum):
    """Everything a range says. `data` of each is described beside it."""

    STATE = "state"  # state, before, reason?
    NODE = "node"  # node, health: ok|starting|ill, program?, reason?
    CLOCK = "clock"  # speed, paused
    STEP = "step"  # step, technique, state: running|done|blocked|failed|skipped, try, reply?
    HAND = "hand"  # a person at an intruder's terminal: node, seats, step, techniques, args, result, reason, script: its step
    OBJECTIVE = "objective"  # objective, state: open|holding|verified|lost, evidence?
    SUBMISSION = "submission"  # objective, session, seat, right, tries; never the value itself when it is wrong
    CHEAT = "cheat"  # objective, session, seat, owner: the team whose value was handed in
    HINT = "hint"  # hint, objective, cost, session, seat
    ALARM = "alarm"  # plant alarm: name, state, value, limit, text
    CROSSING = "crossing"  # plant: name, value
    TRIP = "trip"  # plant: name, value
    ALERT = "alert"  # sensor: rule, severity, text, src, dst, zone, technique?, src_node?, dst_node?
    ASSET = "asset"  # sensor: ip, mac, zone
    PRODUCTION = "production"  # alive: bool, evidence
    CONSOLE = "console"  # opened|closed: node, session, seat, recording
    CAPTURE = "capture"  # zone, file, reason: rolled|limit
    EXTENDED = "extended"  # ends_in
    WARNING = "warning"  # what, remedy: something the white cell should know
    PROGRAM = "program"  # anything else a program emitted: node, program, body


class RangeEvent(BaseModel):
    """One thing that happened. `at` is scenario seconds, `time` unix seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    range_id: str = Field(pattern=r"^[0-9a-f]{12}$")
    number: int = Field(ge=1)
    kind: EventKind
    at: float
    time: float
    data: dict[str, Any] = Field(default_factory=dict)
