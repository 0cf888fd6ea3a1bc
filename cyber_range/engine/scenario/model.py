"""Schema 1 of a scenario: the checked form. After loading nobody checks again.

A scenario is data. Any string in it may hold references that are filled in per range:

    ${draw.NAME}              the team's value of a draw, in its own type when the reference is the whole string
    ${draw.NAME.KEY}          a part of it: csv, count, canary of records; a key that every choice has
    ${node.NAME.ip}           address of the node's first leg; ${node.NAME.ip.ZONE} of its leg in ZONE; .mac and .mac.ZONE too
    ${zone.NAME.subnet}       "10.77.3.16/28"; also .first .last (host addresses), .broadcast, .prefix (int), .bridge
    ${process}                all of process.yml; ${process.tank.area} a part of it
    ${file.PATH}              text of a file of the folder (nodes/share/recipe.csv)
    ${range.id} ${range.seed} ${range.team} ${range.zones} ${range.nodes} ${range.duration}

A reference that is the whole string keeps its type (int, list, mapping); inside a longer string it is written as text.
`$${` writes a literal `${`.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

SCHEMA = 1

# Ids MITRE has withdrawn from ATT&CK for ICS that are still quoted around.
DEPRECATED_TECHNIQUES = frozenset({
    "T0850", "T0810", "T0841", "T0854", "T0825", "T0870", "T0875", "T0808", "T0844", "T0818", "T0833", "T0824",
})  # fmt: skip

REFERENCE = re.compile(r"(?<!\$)\$\{([^{}]+)\}")
_WHOLE_REFERENCE = r"^\$\{[^{}]+\}$"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
Reference = Annotated[str, Field(pattern=_WHOLE_REFERENCE)]
Number = float | int | Reference
Whole = int | Reference


class Form(BaseModel):
    """Base of every form: frozen, and an unknown key is an error that lists the keys there are."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=False)

    @model_validator(mode="before")
    @classmethod
    def _unknown_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        allowed = sorted({field.alias or name for name, field in cls.model_fields.items()})
        accepted = set(allowed) | set(cls.model_fields)
        unknown = [str(key) for key in data if key not in accepted]
        if unknown:
            close = difflib.get_close_matches(unknown[0], allowed, n=1)
            raise PydanticCustomError(
                "unknown_key",
                "unknown key {key}. Allowed: {allowed}{hint}",
                {
                    "key": ", ".join(f'"{key}"' for key in unknown),
                    "first": unknown[0],
                    "allowed": ", ".join(allowed),
                    "hint": f'. Did you mean "{close[0]}"?' if close else "",
                },
            )
        return data


class Text(Form):
    """A text in Chinese (the source) and English (may be missing, then the Chinese one is shown)."""

    zh: str = Field(min_length=1)
    en: str = ""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        return {"zh": data} if isinstance(data, str) else data


# ---------------------------------------------------------------- draws


class IntDraw(Form):
    """A whole number low..high (both included) in steps."""

    kind: Literal["int"]
    low: int
    high: int
    step: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _order(self) -> IntDraw:
        if self.high < self.low:
            raise PydanticCustomError("range_order", "high must not be below low")
        return self


class FloatDraw(Form):
    """A decimal number low..high, rounded to `decimals`."""

    kind: Literal["float"]
    low: float
    high: float
    decimals: int = Field(default=1, ge=0, le=6)

    @model_validator(mode="after")
    def _order(self) -> FloatDraw:
        if self.high < self.low:
            raise PydanticCustomError("range_order", "high must not be below low")
        return self


class ChoiceDraw(Form):
    """One of the listed values."""

    kind: Literal["choice"]
    values: tuple[Any, ...] = Field(alias="from", min_length=1)


class HostDraw(Form):
    """A host number in a zone's subnet, free of every fixed one. Used as `host: ${draw.NAME}` of a leg."""

    kind: Literal["host"]
    zone: Name
    low: int = Field(default=2, ge=2)
    high: int | None = None


class PasswordDraw(Form):
    """A password without look-alike characters (0 O 1 l I)."""

    kind: Literal["password"]
    length: int = Field(default=10, ge=6, le=64)


class HexDraw(Form):
    """Random bytes in lower-case hex: tokens, canaries."""

    kind: Literal["hex"]
    bytes: int = Field(default=8, ge=1, le=64)


class WordDraw(Form):
    """Pinyin-like words joined by `separator`: account names, project names."""

    kind: Literal["word"]
    count: int = Field(default=1, ge=1, le=6)
    separator: str = "-"


class RecordsDraw(Form):
    """A table of invented people as CSV: `${draw.NAME.csv}`, its rows `${draw.NAME.count}`, one value that stands in no
    other team's table `${draw.NAME.canary}`. Telephone numbers begin with 100, which no operator gives out."""

    kind: Literal["records"]
    low: int = Field(ge=1, le=2000, description="fewest rows")
    high: int = Field(ge=1, le=2000, description="most rows")
    columns: dict[str, Literal["number", "name", "phone", "address", "date", "money", "code"]] = Field(min_length=1)

    @model_validator(mode="after")
    def _order(self) -> RecordsDraw:
        if self.high < self.low:
            raise PydanticCustomError("range_order", "high must not be below low")
        if "code" not in self.columns.values():
            raise PydanticCustomError("records_code", "one column must be a code: the canary stands in it")
        return self


RECORDS_PARTS = ("csv", "count", "canary")

Draw = Annotated[
    IntDraw | FloatDraw | ChoiceDraw | HostDraw | PasswordDraw | HexDraw | WordDraw | RecordsDraw,
    Field(discriminator="kind"),
]


def draw_parts(draw: Draw) -> tuple[str, ...]:
    """What may stand behind the draw's name: parts of records, keys that every choice of mappings has."""
    if isinstance(draw, RecordsDraw):
        return RECORDS_PARTS
    if isinstance(draw, ChoiceDraw) and all(isinstance(value, dict) for value in draw.values):
        return tuple(key for key in draw.values[0] if all(key in value for value in draw.values))
    return ()


# ---------------------------------------------------------------- network


class Zone(Form):
    """One segment. `prefix` is its size: 28 holds 13 nodes (the first host number stays free, Docker keeps it)."""

    name: Name
    title: Text
    purdue: float = Field(ge=0, le=6, description="Purdue level; 3.5 is the DMZ, 5 the outside")
    prefix: int = Field(default=28, ge=22, le=29)
    hidden: bool = Field(default=False, description="wiring between plant and controllers: never shown, never sniffed")
    arp: Literal["fixed", "learned"] = Field(
        default="fixed",
        description="learned: machines ask who has an address and believe the answer, so somebody can stand in the middle",
    )


Role = Literal[
    "plant", "plc", "hmi", "historian", "engineering", "workstation", "server", "share", "mes", "mail", "web",
    "jump", "firewall", "router", "sensor", "attacker", "supplier", "internet", "other",
]  # fmt: skip


class Leg(Form):
    """A node's foot in a zone. `host` fixes or draws the host number; without it one is given."""

    zone: Name
    host: Whole | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        return {"zone": data} if isinstance(data, str) else data


class Route(Form):
    """Traffic to zone `to` leaves through node `via` (which shares a zone with this one)."""

    to: Name
    via: Name


class Program(Form):
    """A program in a node: `use` is a module of engine.agents, `with` its whole configuration."""

    use: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    name: Name = ""
    spec: dict[str, Any] = Field(default_factory=dict, alias="with")

    @model_validator(mode="before")
    @classmethod
    def _name_from_use(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"use": data}
        if isinstance(data, dict) and not data.get("name") and isinstance(data.get("use"), str):
            return {**data, "name": data["use"]}
        return data


class Node(Form):
    """One machine of the lab."""

    name: Name
    title: Text
    role: Role
    legs: tuple[Leg, ...] = ()
    gateway: Name | None = Field(default=None, description="node that is the default route")
    routes: tuple[Route, ...] = ()
    forwards: bool = False
    caps: frozenset[Literal["net_raw", "net_admin"]] = frozenset()
    placement: Literal["node", "hub"] = "node"
    shell: bool = False
    oui: Annotated[str, Field(pattern=r"^[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}$")] | None = Field(
        default=None, description="first three bytes of the node's MACs, so that it looks like its vendor's device"
    )
    programs: tuple[Program, ...] = ()


class Traffic(Form):
    """Benign traffic: a program on `node`, named after the entry, that starts with the lab."""

    name: Name
    node: Name
    use: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")] = "traffic"
    spec: dict[str, Any] = Field(default_factory=dict, alias="with")


# ---------------------------------------------------------------- campaign


def _technique(value: str) -> str:
    if value in DEPRECATED_TECHNIQUES:
        raise PydanticCustomError(
            "deprecated_technique",
            "{id} was withdrawn from ATT&CK for ICS; use an id of v18.1",
            {"id": value},
        )
    if not re.fullmatch(r"T0[0-9]{3}", value):
        raise PydanticCustomError(
            "technique_form", "{id} is no ATT&CK for ICS technique id; they look like T0836", {"id": value}
        )
    return value


class Step(Form):
    """One step of the attack.

    The lab sends {"kind": "step", "id": …, "step": …, "args": {…}} to the program and waits for its reply:
    {"result": "done" | "blocked" | "failed", …}. A silent program counts as blocked after `timeout`.
    `after`: all of these are over (done, or blocked and replaced by an alternative that is done).
    `on_blocked`: the step that is tried instead; a step named here waits for that.
    `every`/`times`: the step is repeated (an attacker who writes the set-point again).
    """

    id: Name
    technique: str
    title: Text
    node: Name
    program: Name = "attack"
    step: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
    args: dict[str, Any] = Field(default_factory=dict)
    after: tuple[Name, ...] = ()
    delay: Number = Field(default=0, description="scenario seconds after its conditions hold")
    timeout: float = Field(
        default=60, gt=0, le=3600, description="scenario seconds, at least 10 wall seconds are given"
    )
    on_blocked: Name | None = None
    every: float = Field(default=0, ge=0)
    times: int = Field(default=1, ge=1, le=1000)

    _check_technique = field_validator("technique")(_technique)


# ---------------------------------------------------------------- checks


class SubmissionCheck(Form):
    """The team hands in a value. Wrong tries are counted; another team's value raises the cheat alarm."""

    kind: Literal["submission"]
    prompt: Text
    answer: Any = Field(description="value or reference; a list means any of them")
    match: Literal["text", "ip", "number", "set"] = "text"
    tolerance: float = Field(default=0, ge=0)
    tries: int = Field(default=0, ge=0, description="how many tries count; 0 = any number")
    choices: tuple[Text, ...] = ()


class PlantBandCheck(Form):
    """A plant variable is between low and high (units of the variable)."""

    kind: Literal["plant_band"]
    variable: str
    low: Number | None = None
    high: Number | None = None


class ViewTrueCheck(Form):
    """What the operator's picture shows of a tag is what the plant measures: fresh, and at most `within` away.

    The picture is that of a supervising program of `node` (operator_view.py); a tag nobody has heard of for `fresh`
    wall seconds is a picture that stands still, and no true one (ATT&CK T0832, T0815, T0829).
    """

    kind: Literal["view_true"]
    node: Name
    device: Name = Field(description="device of the supervising program")
    tag: Name
    variable: str = Field(description="the plant's own variable")
    within: float = Field(ge=0, description="units of the variable")
    fresh: float = Field(default=6, gt=0, le=60, description="wall seconds")


class PlantCountCheck(Form):
    """A counting plant variable grew by at least `at_least` / at most `at_most` during the last `within` scenario seconds."""

    kind: Literal["plant_count"]
    variable: str
    within: float = Field(default=60, gt=0)
    at_least: Number | None = None
    at_most: Number | None = None


class FlowBlockedCheck(Form):
    """A new connection from node `source` to `target`:`port` does not come about. Tried from `source`, confirmed on the bridge.

    `proto: bacnet` asks a BACnet device who it is instead (UDP has no handshake): no answer is blocked.
    """

    kind: Literal["flow_blocked"]
    source: Name = Field(alias="from")
    target: Name = Field(alias="to")
    port: Whole
    proto: Literal["tcp", "bacnet"] = "tcp"
    zone: Name | None = Field(default=None, description="leg of the target that is tried; default its first leg")


class PollAliveCheck(Form):
    """The legitimate master still gets answers at `ratio` of its normal rate, counted on the bridge."""

    kind: Literal["poll_alive"]
    client: Name
    server: Name
    port: Whole = 502
    zone: Name | None = Field(
        default=None, description="bridge where it is counted; default the zone both share, else the server's"
    )
    ratio: float = Field(default=0.95, gt=0, le=1)
    rate: float | None = Field(
        default=None, gt=0, description="answers per second; default the rate measured at the start"
    )
    within: float = Field(default=5, gt=0, description="wall seconds looked back")


class FlowAliveCheck(Form):
    """A legitimate service across the network still answers: so many answered connections in the last `within` wall seconds."""

    kind: Literal["flow_alive"]
    client: Name
    server: Name
    port: Whole
    zone: Name | None = Field(default=None, description="bridge where it is counted; default the server's first leg")
    within: float = Field(default=10, gt=0, le=25, description="wall seconds looked back")
    at_least: int = Field(default=1, ge=1)


class LoginCheck(Form):
    """A login as user/password on `target` fails (login_fails) or works (login_works), tried from `source`."""

    kind: Literal["login_fails", "login_works"]
    service: Literal["ssh", "http"] = "ssh"
    source: Name = Field(alias="from")
    target: Name = Field(alias="to")
    port: Whole = 22
    user: str
    password: str
    path: str = "/"


class RegisterValueCheck(Form):
    """A value of a controller, asked of the controller itself (no trainee has a shell there).

    By `tag`, in engineering units, whatever protocol it speaks; or by `table` and `address` as a Modbus master sees it.
    """

    kind: Literal["register_value"]
    node: Name
    program: Name | None = None
    tag: str | None = None
    table: Literal["coil", "discrete", "input", "holding"] = "holding"
    address: Whole | None = None
    equals: Number | None = None
    low: Number | None = None
    high: Number | None = None


class FileHashCheck(Form):
    """A file served by a program has this SHA-256 (or the hash of `content`)."""

    kind: Literal["file_hash"]
    node: Name
    program: Name | None = None
    path: str
    sha256: str | None = None
    content: str | None = None


class StateCheck(Form):
    """What a program says of itself when it is asked: an account is disabled, a name is blocked, a controller runs."""

    kind: Literal["state"]
    node: Name
    program: Name | None = None
    ask: Literal["account", "blocked", "patched", "state", "bbmd", "communication"]
    args: dict[str, Any] = Field(default_factory=dict, alias="with")
    field: Name = Field(description="key of the reply")
    equals: bool | Number | str


class CounterCheck(Form):
    """A counter of a program (sensor, firewall probe) grew by at least / at most so much in the last `within` scenario seconds."""

    kind: Literal["counter"]
    node: Name
    counter: str
    within: float = Field(default=60, gt=0)
    at_least: Number | None = None
    at_most: Number | None = None


Check = Annotated[
    SubmissionCheck
    | PlantBandCheck
    | PlantCountCheck
    | ViewTrueCheck
    | FlowBlockedCheck
    | PollAliveCheck
    | FlowAliveCheck
    | LoginCheck
    | RegisterValueCheck
    | FileHashCheck
    | StateCheck
    | CounterCheck,
    Field(discriminator="kind"),
]


class Production(Form):
    """What "production is alive" means here; every defence objective asks for it besides its own checks."""

    polls: tuple[Annotated[PollAliveCheck | FlowAliveCheck, Field(discriminator="kind")], ...] = Field(min_length=1)
    produces: tuple[PlantCountCheck, ...] = Field(min_length=1)


class Objective(Form):
    """Something to achieve. Verified when all checks held for `hold_seconds` of scenario time without a break.

    defence: *the fix holds AND production is alive*. detect and report: submissions and facts.
    `opens_after`: campaign steps that must have been tried first, so that an untouched lab proves nothing.
    `credit`: seats whose holders it counts for; default every blue seat.
    """

    id: Name
    title: Text
    text: Text | None = None
    kind: Literal["defence", "detect", "report"]
    points: int = Field(ge=1, le=1000)
    checks: tuple[Check, ...] = Field(min_length=1)
    hold_seconds: float = Field(default=0, ge=0, le=3600)
    opens_after: tuple[Name, ...] = ()
    credit: tuple[Name, ...] = ()
    par_minutes: float | None = Field(default=None, gt=0, description="time for full marks after it opens")
    requirements: tuple[str, ...] = ()


class Hint(Form):
    id: Name
    objective: Name
    cost: int = Field(ge=0, le=1000)
    text: Text


class Seat(Form):
    """A place in the drill. `consoles`: nodes with a shell for it; `sees`: zones on its map, "*" = all but hidden ones."""

    id: Name
    cell: Literal["white", "blue", "red", "observer"]
    title: Text
    max: int = Field(default=1, ge=1, le=200)
    consoles: tuple[Name, ...] = ()
    sees: tuple[str, ...] = ("*",)


class Option(Form):
    id: Name
    text: Text
    points: int = Field(default=0, ge=0, le=1000)


class Inject(Form):
    """A message of the script. `at` is minutes of drill time; with `after_step` it counts from that step's end."""

    id: Name
    at: float = Field(ge=0)
    title: Text
    body: Text
    to: tuple[Name, ...] = Field(min_length=1, description="seat ids")
    sender: Text | None = None
    after_step: Name | None = None
    expects: Literal["nothing", "reply", "decision"] = "nothing"
    options: tuple[Option, ...] = ()
    points: int = Field(default=0, ge=0, le=1000)
    deadline: float | None = Field(default=None, gt=0, description="minutes after it was sent")

    @model_validator(mode="after")
    def _options_for_decisions(self) -> Inject:
        if (self.expects == "decision") != bool(self.options):
            raise PydanticCustomError("options", "options go with expects: decision, and only with it")
        return self


# ---------------------------------------------------------------- the scripted blue team


class SolverExec(Form):
    """Runs a command on a console of the seat, as a trainee would type it."""

    do: Literal["exec"]
    node: Name
    argv: tuple[str, ...] = Field(min_length=1)
    stdin: str = ""
    code: int | None = Field(default=0, description="expected exit code; null = any")
    timeout: float = Field(default=30, gt=0, le=300)

    @field_validator("argv", mode="before")
    @classmethod
    def _as_typed(cls, argv: Any) -> Any:
        """A drawn number is typed as text."""
        return (
            [str(word) if isinstance(word, int | float) else word for word in argv]
            if isinstance(argv, list | tuple)
            else argv
        )


class SolverSubmit(Form):
    do: Literal["submit"]
    objective: Name
    value: Any


class SolverWaitStep(Form):
    """Waits until a campaign step is over (done or blocked)."""

    do: Literal["wait_step"]
    step: Name
    timeout: float = Field(default=600, gt=0, description="scenario seconds")


class SolverWaitObjective(Form):
    do: Literal["wait_objective"]
    objective: Name
    timeout: float = Field(default=600, gt=0, description="scenario seconds")


class SolverWait(Form):
    do: Literal["wait"]
    seconds: float = Field(gt=0, description="scenario seconds")


SolverAction = Annotated[
    SolverExec | SolverSubmit | SolverWaitStep | SolverWaitObjective | SolverWait, Field(discriminator="do")
]


class Scenario(Form):
    """The whole of scenario.yml, with story.yml (story, injects) and process.yml joined in by the loader."""

    schema_version: Literal[1] = Field(alias="schema")
    id: Name
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    title: Text
    summary: Text
    difficulty: Literal["入门", "基础", "进阶", "专项"]
    duration: float = Field(gt=0, le=600, description="minutes of drill time")
    incident_class: Annotated[
        str,
        Field(
            pattern=r"^(MP|NA|DS|IC|DE|RO|SHE|AB|FOC|OTH)[A-Z]{0,14}$",
            description="GB/T 20986-2023 category or sub-class code, e.g. NAEXPLOIT",
        ),
    ]
    requirements: tuple[str, ...] = Field(default=(), description="requirement codes of the target standard")
    zones: tuple[Zone, ...] = Field(min_length=1)
    nodes: tuple[Node, ...] = Field(min_length=1)
    draws: dict[Name, Draw] = Field(default_factory=dict)
    traffic: tuple[Traffic, ...] = ()
    campaign: tuple[Step, ...] = ()
    production: Production | None = None
    objectives: tuple[Objective, ...] = ()
    hints: tuple[Hint, ...] = ()
    seats: tuple[Seat, ...] = ()
    story: Text | None = None
    injects: tuple[Inject, ...] = ()
    solver: tuple[SolverAction, ...] = ()
    plug: tuple[SolverAction, ...] = Field(
        default=(),
        description="how a trainee stops production outright; the plug-puller bot does it and must win nothing",
    )
    process: dict[str, Any] = Field(default_factory=dict, description="process.yml: what ${process} gives")
    files: dict[str, str] = Field(default_factory=dict, description="texts of nodes/: what ${file.PATH} gives")

    def node(self, name: str) -> Node:
        return _named(self.nodes, name)

    def zone(self, name: str) -> Zone:
        return _named(self.zones, name)

    def step(self, step_id: str) -> Step:
        return _with_id(self.campaign, step_id)

    def objective(self, objective_id: str) -> Objective:
        return _with_id(self.objectives, objective_id)

    def seat(self, seat_id: str) -> Seat:
        return _with_id(self.seats, seat_id)

    def hint(self, hint_id: str) -> Hint:
        return _with_id(self.hints, hint_id)


def _named(items: Any, name: str) -> Any:
    for item in items:
        if item.name == name:
            return item
    raise KeyError(name)


def _with_id(items: Any, wanted: str) -> Any:
    for item in items:
        if item.id == wanted:
            return item
    raise KeyError(wanted)
