"""What can happen in a drill. An event is frozen, carries its version and refuses fields it does not know.

`at` of an event is unix seconds of the server. Free text (notes, replies, reports) is not in the payload: it lies in a
table that can be erased, beside the event. People are pseudonymous ids. `range.*` events are what range-host said, kept
word for word with their source number.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Text = dict[str, str]  # {"zh": …, "en": …}


class Event(BaseModel):
    """Base of all. `kind` is the name in the log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    version: Literal[1] = 1


KINDS: dict[str, type[Event]] = {}
E = TypeVar("E", bound=type[Event])


def named(kind: str) -> Any:
    """Registers an event class under its name in the log."""

    def register(cls: E) -> E:
        cls.kind = kind
        KINDS[kind] = cls
        return cls

    return register


# ---------------------------------------------------------------- plan and script


@named("drill.planned")
class Planned(Event):
    title: str
    scenario: str
    form: str
    scope: str
    type: str
    incident_class: str
    duration_s: float = Field(gt=0)
    report_limit_s: float = Field(gt=0, description="the four legal hours, scaled to this drill")
    scheduled_at: float | None = None
    attack: Literal["script", "person", "both"] = "script"  # who attacks


class SeatSpec(BaseModel):
    """A place of the scenario; `max` people may hold it at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    cell: Literal["white", "blue", "red", "observer"]
    title: Text
    max: int = 1
    consoles: tuple[str, ...] = ()
    sees: tuple[str, ...] = ("*",)


class ObjectiveSpec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: Text
    text: Text | None = None
    what: Literal["defence", "detect", "report"]
    points: int
    credit: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    par_minutes: float | None = None
    submission: dict[str, Any] | None = None


class HintSpec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    objective: str
    cost: int


class OptionSpec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: Text
    points: int = 0


class InjectSpec(BaseModel):
    """`at_s` counts from the start of the drill, or from the end of `after_step`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    at_s: float
    title: Text
    body: Text
    to: tuple[str, ...]
    sender: Text | None = None
    after_step: str | None = None
    expects: Literal["nothing", "reply", "decision"] = "nothing"
    options: tuple[OptionSpec, ...] = ()
    points: int = 0
    deadline_s: float | None = None


class StepSpec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    technique: str
    title: Text
    node: str = ""


@named("script.set")
class ScriptSet(Event):
    """The scenario's script with this team's values filled in. Seats other than white get it without injects and steps."""

    story: Text | None = None
    seats: tuple[SeatSpec, ...] = ()
    objectives: tuple[ObjectiveSpec, ...] = ()
    hints: tuple[HintSpec, ...] = ()
    injects: tuple[InjectSpec, ...] = ()
    steps: tuple[StepSpec, ...] = ()


# ---------------------------------------------------------------- people


@named("seat.invited")
class SeatInvited(Event):
    seat: str
    who: str


@named("seat.taken")
class SeatTaken(Event):
    seat: str
    cell: Literal["white", "blue", "red", "observer"]
    who: str


@named("seat.left")
class SeatLeft(Event):
    seat: str
    who: str
    reason: Literal["left", "removed", "ended"] = "left"


# ---------------------------------------------------------------- the range as the drill sees it


@named("lab.launching")
class LabLaunching(Event):
    range_id: str
    again: bool = False


@named("lab.attached")
class LabAttached(Event):
    range_id: str
    driver: str
    host: str
    scenario: str
    scenario_version: str
    digest: str
    seed: str
    team: str


@named("lab.lost")
class LabLost(Event):
    range_id: str
    reason: Literal["host_unreachable", "unknown_range", "gone", "launch_failed"]
    what: str = ""


@named("lab.captured")
class LabCaptured(Event):
    """Names and SHA-256 of the captures at the end: what a certificate's evidence can be checked against."""

    range_id: str
    captures: tuple[dict[str, Any], ...]


# ---------------------------------------------------------------- course of the drill


@named("drill.started")
class Started(Event):
    speed: float = Field(default=1.0, gt=0)


@named("drill.paused")
class Paused(Event):
    pass


@named("drill.resumed")
class Resumed(Event):
    pass


@named("drill.speed")
class SpeedSet(Event):
    speed: float = Field(gt=0)


@named("campaign.steered")
class CampaignSteered(Event):
    """The white cell's hand on the attack: the script started or stopped, or one step of it now."""

    action: Literal["start", "stop", "step"]
    step: str = ""


@named("drill.extended")
class Extended(Event):
    seconds: float


@named("drill.ended")
class Ended(Event):
    reason: Literal["white", "time", "cancelled"]


@named("drill.closed")
class Closed(Event):
    """Findings are rectified and the record is complete (成果运用)."""


@named("inject.fired")
class InjectFired(Event):
    """`adhoc`: written by the white cell on the spot; its words are beside the event under title and body."""

    inject: str
    to: tuple[str, ...]
    how: Literal["clock", "white"]
    expects: Literal["nothing", "reply", "decision"] = "nothing"
    deadline_s: float | None = None
    points: int = 0
    adhoc: bool = False
    spec: InjectSpec | None = None


@named("inject.read")
class InjectRead(Event):
    inject: str
    seat: str


@named("inject.replied")
class InjectReplied(Event):
    inject: str
    seat: str


@named("inject.decided")
class InjectDecided(Event):
    inject: str
    seat: str
    option: str
    points: int


@named("inject.marked")
class InjectMarked(Event):
    inject: str
    points: int = Field(ge=0)


@named("hint.given")
class HintGiven(Event):
    hint: str
    objective: str
    cost: int
    text: Text


@named("note.added")
class NoteAdded(Event):
    """`scope` white: for the white cell alone; team: the author's cell and the white cell; all: everyone."""

    scope: Literal["white", "team", "all"]
    cell: str
    topic: Literal["note", "finding", "action", "observation"] = "note"


@named("alarm.acknowledged")
class AlarmAcknowledged(Event):
    name: str


@named("report.submitted")
class ReportSubmitted(Event):
    """事件报告. The words are beside the event. `elapsed_s` and `limit_s` are drill seconds."""

    number: int = Field(ge=1)
    seat: str
    recipients: tuple[str, ...] = Field(min_length=1)
    incident_class: str
    grade: Literal["特别重大", "重大", "较大", "一般"]
    elapsed_s: float | None
    limit_s: float
    filled: tuple[str, ...] = ()


@named("rating.given")
class RatingGiven(Event):
    """White cell's mark for one criterion of the marking sheet."""

    subject: str
    points: int = Field(ge=0)
    of: int = Field(ge=1)


@named("finding.added")
class FindingAdded(Event):
    finding: int


# ---------------------------------------------------------------- what range-host said

RANGE_KINDS = [
    "state",
    "node",
    "clock",
    "step",
    "hand",
    "objective",
    "submission",
    "cheat",
    "hint",
    "alarm",
    "crossing",
    "trip",
    "alert",
    "asset",
    "production",
    "console",
    "capture",
    "extended",
    "warning",
    "program",
]


class FromRange(Event):
    """One event of the range's spool, word for word. `number` is its number there, `scenario_at` its scenario second."""

    range_id: str
    number: int = Field(ge=1)
    scenario_at: float
    time: float
    data: dict[str, Any] = Field(default_factory=dict)


def _range_class(kind: str) -> type[FromRange]:
    return named(f"range.{kind}")(type(f"Range{kind.title()}", (FromRange,), {"__module__": __name__}))


for _kind in RANGE_KINDS:
    _range_class(_kind)


def from_range(kind: str, **values: Any) -> Event:
    """The log's event for one of range-host's kinds."""
    return KINDS[f"range.{kind}"].model_validate({"version": 1, **values})


class UnknownEvent(ValueError):
    """A row of the log names a kind this version does not know: the database is newer than the program."""


def parse(kind: str, payload: dict[str, Any]) -> Event:
    """The event of a row of the log."""
    try:
        cls = KINDS[kind]
    except KeyError:
        raise UnknownEvent(f"event kind {kind!r} is not known to this version; run the newer program") from None
    return cls.model_validate(payload)
