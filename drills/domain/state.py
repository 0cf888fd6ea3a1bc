"""`state = apply(state, entry)`: what a drill is, as a pure fold over its log. Screen, score, review and evidence use it.

An entry is (seq, kind, at, actor, payload). Unknown references (an objective the script does not name) are kept, never
refused: the log is what happened. Phases: planned → ready (a range is attached) → running ⇄ paused → ended → closed;
ended from any phase before it (cancelled).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from drills.domain import events as ev


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log, as far as the fold needs it. For a seat other than white `seq` counts what that seat may see."""

    seq: int
    at: float  # unix seconds
    actor: str
    event: ev.Event


@dataclass(frozen=True, slots=True)
class Clock:
    """Drill seconds: real seconds while running, times speed."""

    banked: float = 0.0
    since: float | None = None
    speed: float = 1.0

    def now(self, at: float) -> float:
        if self.since is None:
            return self.banked
        return self.banked + max(0.0, at - self.since) * self.speed

    def stop(self, at: float) -> Clock:
        return Clock(self.now(at), None, self.speed)

    def run(self, at: float, speed: float | None = None) -> Clock:
        return Clock(self.now(at), at, speed or self.speed)


@dataclass(frozen=True, slots=True)
class Held:
    """Someone on a seat, in drill seconds (0 before the start); `until` None = still there."""

    seat: str
    cell: str
    since: float
    until: float | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Lab:
    state: str = "none"  # none launching attached lost
    range_id: str = ""
    driver: str = ""
    host: str = ""
    scenario_version: str = ""
    digest: str = ""
    seed: str = ""
    team: str = ""
    reason: str = ""
    since: float | None = None
    earlier: tuple[str, ...] = ()
    captures: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Objective:
    state: str = "waiting"
    opened_at: float | None = None  # drill seconds
    verified_at: float | None = None
    verified_seq: int | None = None
    evidence: tuple[dict[str, Any], ...] = ()
    tries: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class Inject:
    fired_at: float | None = None
    seq: int = 0
    to: tuple[str, ...] = ()
    how: str = ""
    expects: str = "nothing"
    due_at: float | None = None  # drill seconds of the answer
    possible: int = 0
    adhoc: bool = False
    spec: ev.InjectSpec | None = None
    read_by: tuple[str, ...] = ()
    replies: tuple[dict[str, Any], ...] = ()  # seq, who, seat, at, option?
    option: str | None = None
    points: int = 0
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    technique: str = ""
    state: str = "waiting"
    started_at: float | None = None
    ended_at: float | None = None
    tries: int = 0
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Alarm:
    on: bool
    at: float
    text: str = ""
    value: float | None = None
    limit: float | None = None
    acknowledged_by: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    number: int
    seq: int
    who: str
    seat: str
    at: float
    elapsed_s: float | None
    limit_s: float
    recipients: tuple[str, ...]
    incident_class: str
    grade: str
    filled: tuple[str, ...] = ()

    @property
    def in_time(self) -> bool:
        return self.elapsed_s is None or self.elapsed_s <= self.limit_s


@dataclass(frozen=True, slots=True)
class Action:
    """A verified action of one person, with the row that proves it."""

    who: str
    what: str  # submission, decision, report, defence, attack
    ref: str
    seq: int
    at: float


@dataclass(frozen=True, slots=True)
class State:
    seq: int = 0
    last_at: float = 0.0
    phase: str = "planned"
    plan: ev.Planned | None = None
    script: ev.ScriptSet | None = None
    clock: Clock = field(default_factory=Clock)
    extended_s: float = 0.0
    started_at: float | None = None  # unix
    ended_at: float | None = None
    ended_by: str = ""
    lab: Lab = field(default_factory=Lab)
    invited: dict[str, str] = field(default_factory=dict)  # who -> seat
    held: dict[str, tuple[Held, ...]] = field(default_factory=dict)  # who -> intervals
    objectives: dict[str, Objective] = field(default_factory=dict)
    injects: dict[str, Inject] = field(default_factory=dict)
    hints: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    alarms: dict[str, Alarm] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    alerts: int = 0
    cheats: int = 0
    production: bool | None = None
    reports: tuple[Report, ...] = ()
    ratings: dict[str, dict[str, int]] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()
    consoles: dict[str, int] = field(default_factory=dict)  # who -> how often a terminal was opened since the start
    steered: bool | None = None  # the white cell started (stopped) the attack's script; None: as planned
    attack_at: float | None = None  # drill seconds of the first attack step
    detected_at: float | None = None
    contained_at: float | None = None
    recovered_at: float | None = None

    # -------- read
    def now(self, at: float) -> float:
        """Drill seconds."""
        return self.clock.now(at)

    @property
    def duration_s(self) -> float:
        return (self.plan.duration_s if self.plan else 0.0) + self.extended_s

    @property
    def live(self) -> bool:
        return self.phase in ("running", "paused")

    def seat_of(self, who: str) -> Held | None:
        """The seat someone holds now."""
        intervals = self.held.get(who, ())
        return intervals[-1] if intervals and intervals[-1].until is None else None

    def holders(self, seat: str) -> tuple[str, ...]:
        return tuple(who for who in self.held if (now := self.seat_of(who)) is not None and now.seat == seat)

    @property
    def script_attacks(self) -> bool:
        """Whether the scenario's campaign shall run while the drill runs."""
        if self.steered is not None:
            return self.steered
        return self.plan is None or self.plan.attack != "person"

    def hand_of(self, seats: Iterable[str]) -> str:
        """Whose hand is at the terminals of these seats: the only holder, else the only one who opened one; "" = cannot tell."""
        holders = [who for seat in seats for who in self.holders(seat)]
        opened = [who for who in holders if self.consoles.get(who)]
        return next((some[0] for some in (holders, opened) if len(some) == 1), "")

    def spec_of_seat(self, seat: str) -> ev.SeatSpec | None:
        return next((spec for spec in (self.script.seats if self.script else ()) if spec.id == seat), None)

    def spec_of_objective(self, objective: str) -> ev.ObjectiveSpec | None:
        return next((spec for spec in (self.script.objectives if self.script else ()) if spec.id == objective), None)

    def spec_of_inject(self, inject: str) -> ev.InjectSpec | None:
        found = next((spec for spec in (self.script.injects if self.script else ()) if spec.id == inject), None)
        if found is None and inject in self.injects:
            return self.injects[inject].spec
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON form for the screen."""
        return _plain(self)


def _plain(value: Any) -> Any:
    if isinstance(value, ev.BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def fold(entries: Iterable[Entry], state: State | None = None) -> State:
    state = state or State()
    for entry in entries:
        state = apply(state, entry)
    return state


def apply(state: State, entry: Entry) -> State:
    """The state after one more entry."""
    state = replace(state, seq=entry.seq, last_at=max(state.last_at, entry.at))
    verb = _VERBS.get(type(entry.event))
    return verb(state, entry, entry.event) if verb else state


Verb = Callable[[State, Entry, Any], State]
_VERBS: dict[type[ev.Event], Verb] = {}


def _on(cls: type[ev.Event]) -> Callable[[Verb], Verb]:
    def register(verb: Verb) -> Verb:
        _VERBS[cls] = verb
        return verb

    return register


def _with(mapping: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    return {**mapping, key: value}


# ---------------------------------------------------------------- plan, people, range


@_on(ev.Planned)
def _planned(state: State, entry: Entry, e: ev.Planned) -> State:
    return replace(state, plan=e)


@_on(ev.ScriptSet)
def _script(state: State, entry: Entry, e: ev.ScriptSet) -> State:
    return replace(state, script=e)


@_on(ev.SeatInvited)
def _invited(state: State, entry: Entry, e: ev.SeatInvited) -> State:
    return replace(state, invited=_with(state.invited, e.who, e.seat))


@_on(ev.SeatTaken)
def _taken(state: State, entry: Entry, e: ev.SeatTaken) -> State:
    now = state.now(entry.at)
    before = _let_go(state.held.get(e.who, ()), now)
    return replace(state, held=_with(state.held, e.who, (*before, Held(e.seat, e.cell, now, None, entry.seq))))


@_on(ev.SeatLeft)
def _left(state: State, entry: Entry, e: ev.SeatLeft) -> State:
    if e.who not in state.held:
        invited = {who: seat for who, seat in state.invited.items() if who != e.who}
        return replace(state, invited=invited)
    return replace(state, held=_with(state.held, e.who, _let_go(state.held[e.who], state.now(entry.at))))


def _let_go(intervals: tuple[Held, ...], now: float) -> tuple[Held, ...]:
    if intervals and intervals[-1].until is None:
        return (*intervals[:-1], replace(intervals[-1], until=now))
    return intervals


@_on(ev.LabLaunching)
def _launching(state: State, entry: Entry, e: ev.LabLaunching) -> State:
    earlier = state.lab.earlier
    if state.lab.range_id and state.lab.range_id != e.range_id:
        earlier = (*earlier, state.lab.range_id)
    return replace(state, lab=Lab(state="launching", range_id=e.range_id, since=entry.at, earlier=earlier))


@_on(ev.LabAttached)
def _attached(state: State, entry: Entry, e: ev.LabAttached) -> State:
    lab = Lab(
        state="attached", range_id=e.range_id, driver=e.driver, host=e.host, scenario_version=e.scenario_version,
        digest=e.digest, seed=e.seed, team=e.team, since=entry.at, earlier=state.lab.earlier,
        captures=state.lab.captures,
    )  # fmt: skip
    # A fresh range starts from the beginning: its steps and alarms are not those of the one before.
    return replace(
        state,
        lab=lab,
        phase="ready" if state.phase == "planned" else state.phase,
        steps={},
        alarms={},
        nodes={},
        production=None,
    )


@_on(ev.LabLost)
def _lost(state: State, entry: Entry, e: ev.LabLost) -> State:
    if e.range_id != state.lab.range_id:
        return state
    phase = "planned" if state.phase == "ready" else state.phase
    return replace(
        state, lab=replace(state.lab, state="lost", reason=e.reason, since=entry.at), phase=phase, production=None
    )


@_on(ev.LabCaptured)
def _captured(state: State, entry: Entry, e: ev.LabCaptured) -> State:
    kept = tuple(dict(one, range_id=e.range_id) for one in e.captures)
    others = tuple(one for one in state.lab.captures if one.get("range_id") != e.range_id)
    return replace(state, lab=replace(state.lab, captures=(*others, *kept)))


# ---------------------------------------------------------------- course


@_on(ev.Started)
def _started(state: State, entry: Entry, e: ev.Started) -> State:
    return replace(state, phase="running", started_at=entry.at, clock=Clock(0.0, entry.at, e.speed))


@_on(ev.Paused)
def _paused(state: State, entry: Entry, e: ev.Paused) -> State:
    return replace(state, phase="paused", clock=state.clock.stop(entry.at))


@_on(ev.Resumed)
def _resumed(state: State, entry: Entry, e: ev.Resumed) -> State:
    return replace(state, phase="running", clock=state.clock.run(entry.at))


@_on(ev.SpeedSet)
def _speed(state: State, entry: Entry, e: ev.SpeedSet) -> State:
    if state.clock.since is None:
        return replace(state, clock=replace(state.clock, speed=e.speed))
    return replace(state, clock=state.clock.run(entry.at, e.speed))


@_on(ev.Extended)
def _extended(state: State, entry: Entry, e: ev.Extended) -> State:
    return replace(state, extended_s=state.extended_s + e.seconds)


@_on(ev.CampaignSteered)
def _steered(state: State, entry: Entry, e: ev.CampaignSteered) -> State:
    return state if e.action == "step" else replace(state, steered=e.action == "start")


@_on(ev.Ended)
def _ended(state: State, entry: Entry, e: ev.Ended) -> State:
    clock = state.clock.stop(entry.at)
    held = {who: _let_go(intervals, clock.banked) for who, intervals in state.held.items()}
    return replace(state, phase="ended", clock=clock, ended_at=entry.at, ended_by=e.reason, held=held)


@_on(ev.Closed)
def _closed(state: State, entry: Entry, e: ev.Closed) -> State:
    return replace(state, phase="closed")


@_on(ev.InjectFired)
def _fired(state: State, entry: Entry, e: ev.InjectFired) -> State:
    if e.inject in state.injects:
        return state
    now = state.now(entry.at)
    inject = Inject(
        fired_at=now, seq=entry.seq, to=e.to, how=e.how, expects=e.expects, possible=e.points, adhoc=e.adhoc,
        due_at=None if e.deadline_s is None else now + e.deadline_s, spec=e.spec,
    )  # fmt: skip
    return replace(state, injects=_with(state.injects, e.inject, inject))


def _change_inject(state: State, name: str, change: Callable[[Inject], Inject]) -> State:
    if name not in state.injects:
        return state
    return replace(state, injects=_with(state.injects, name, change(state.injects[name])))


@_on(ev.InjectRead)
def _read(state: State, entry: Entry, e: ev.InjectRead) -> State:
    return _change_inject(
        state, e.inject, lambda i: i if entry.actor in i.read_by else replace(i, read_by=(*i.read_by, entry.actor))
    )


@_on(ev.InjectReplied)
def _replied(state: State, entry: Entry, e: ev.InjectReplied) -> State:
    reply = {"seq": entry.seq, "who": entry.actor, "seat": e.seat, "at": state.now(entry.at)}
    return _change_inject(state, e.inject, lambda i: replace(i, replies=(*i.replies, reply)))


@_on(ev.InjectDecided)
def _decided(state: State, entry: Entry, e: ev.InjectDecided) -> State:
    if e.inject in state.injects and state.injects[e.inject].option is not None:
        return state  # the first decision stands
    now = state.now(entry.at)
    reply = {"seq": entry.seq, "who": entry.actor, "seat": e.seat, "at": now, "option": e.option}
    changed = _change_inject(
        state, e.inject, lambda i: replace(i, replies=(*i.replies, reply), option=e.option, points=e.points)
    )
    if e.points > 0 and e.inject in state.injects:
        changed = _act(changed, entry.actor, "decision", e.inject, entry.seq, now)
    return changed


@_on(ev.InjectMarked)
def _marked(state: State, entry: Entry, e: ev.InjectMarked) -> State:
    changed = _change_inject(state, e.inject, lambda i: replace(i, points=min(e.points, i.possible), marked=True))
    inject = state.injects.get(e.inject)
    if inject and e.points > 0 and not inject.marked and inject.replies:
        last = inject.replies[-1]
        changed = _act(changed, last["who"], "reply", e.inject, last["seq"], last["at"])
    return changed


def _act(state: State, who: str, what: str, ref: str, seq: int, at: float) -> State:
    return replace(state, actions=(*state.actions, Action(who, what, ref, seq, at)))


@_on(ev.HintGiven)
def _hint_given(state: State, entry: Entry, e: ev.HintGiven) -> State:
    before = state.hints.get(e.hint, {})
    taken = {"objective": e.objective, "cost": e.cost, "who": entry.actor, "seq": entry.seq, **before, "text": e.text}
    return replace(state, hints=_with(state.hints, e.hint, taken))


@_on(ev.AlarmAcknowledged)
def _acknowledged(state: State, entry: Entry, e: ev.AlarmAcknowledged) -> State:
    if e.name not in state.alarms:
        return state
    alarm = replace(state.alarms[e.name], acknowledged_by=entry.actor)
    return replace(state, alarms=_with(state.alarms, e.name, alarm))


@_on(ev.ReportSubmitted)
def _reported(state: State, entry: Entry, e: ev.ReportSubmitted) -> State:
    now = state.now(entry.at)
    report = Report(
        e.number, entry.seq, entry.actor, e.seat, now, e.elapsed_s, e.limit_s, e.recipients, e.incident_class, e.grade,
        e.filled,
    )  # fmt: skip
    return replace(state, reports=(*state.reports, report))


@_on(ev.RatingGiven)
def _rated(state: State, entry: Entry, e: ev.RatingGiven) -> State:
    changed = replace(state, ratings=_with(state.ratings, e.subject, {"points": e.points, "of": e.of}))
    # A report the white cell found worth marks is its author's verified action.
    if e.subject == "report" and e.points > 0 and state.reports:
        report = state.reports[0]
        if not any(action.what == "report" for action in state.actions):
            changed = _act(changed, report.who, "report", str(report.number), report.seq, report.at)
    return changed


# ---------------------------------------------------------------- the range


def _current(state: State, e: ev.FromRange) -> bool:
    """Late words of a range that has been replaced change nothing any more."""
    return e.range_id == state.lab.range_id


def _from_range(kind: str) -> Callable[[Verb], Verb]:
    def register(verb: Verb) -> Verb:
        def guarded(state: State, entry: Entry, e: ev.FromRange) -> State:
            return verb(state, entry, e) if _current(state, e) else state

        return _on(ev.KINDS[f"range.{kind}"])(guarded)

    return register


@_from_range("node")
def _node(state: State, entry: Entry, e: ev.FromRange) -> State:
    return replace(state, nodes=_with(state.nodes, str(e.data.get("node")), str(e.data.get("health"))))


@_from_range("step")
def _step(state: State, entry: Entry, e: ev.FromRange) -> State:
    name, now = str(e.data.get("step")), state.now(entry.at)
    before = state.steps.get(name, Step())
    what = str(e.data.get("state"))
    after = replace(before, technique=str(e.data.get("technique", before.technique)), state=what, seq=entry.seq)
    if what == "running":
        started = now if before.started_at is None else before.started_at
        after = replace(after, started_at=started, tries=before.tries + 1)
    else:
        after = replace(after, ended_at=now if before.ended_at is None else before.ended_at)
    attack_at = state.attack_at
    if attack_at is None and what in ("running", "done"):
        attack_at = now
    return replace(state, steps=_with(state.steps, name, after), attack_at=attack_at)


@_from_range("hand")
def _hand(state: State, entry: Entry, e: ev.FromRange) -> State:
    """A step that a red person did at the terminal: that person's own verified action when it went through."""
    if e.data.get("result") != "done":
        return state
    now, step = state.now(entry.at), str(e.data.get("step"))
    if state.attack_at is None and state.live:
        state = replace(state, attack_at=now)
    if not entry.actor or any(a.who == entry.actor and a.what == "attack" and a.ref == step for a in state.actions):
        return state
    return _act(state, entry.actor, "attack", step, entry.seq, now)


@_from_range("objective")
def _objective(state: State, entry: Entry, e: ev.FromRange) -> State:
    name, now = str(e.data.get("objective")), state.now(entry.at)
    what = str(e.data.get("state"))
    before = state.objectives.get(name, Objective())
    after = replace(before, state=what)
    if before.opened_at is None and what != "waiting":
        after = replace(after, opened_at=now)
    if what != "verified" or before.verified_at is not None:
        return replace(state, objectives=_with(state.objectives, name, after))
    after = replace(after, verified_at=now, verified_seq=entry.seq, evidence=tuple(e.data.get("evidence") or ()))
    state = replace(state, objectives=_with(state.objectives, name, after))
    spec = state.spec_of_objective(name)
    if spec is None:
        return state
    if spec.what == "detect" and state.detected_at is None:
        state = replace(state, detected_at=now)
    if spec.what == "defence":
        state = _credit_defence(state, entry, spec, now)
        if state.contained_at is None:
            state = replace(state, contained_at=now)
        ours = [o.id for o in (state.script.objectives if state.script else ()) if o.what == "defence"]
        if all(state.objectives.get(o, Objective()).verified_at is not None for o in ours):
            state = replace(state, recovered_at=now)
    return state


def _credit_defence(state: State, entry: Entry, spec: ev.ObjectiveSpec, now: float) -> State:
    """A defence is its credited seats' work; it is the own action of those holders who had a terminal open in this drill."""
    for who in state.held:
        seat = state.seat_of(who)
        if seat is None or not state.consoles.get(who):
            continue
        credited = seat.seat in spec.credit if spec.credit else seat.cell == "blue"
        if credited:
            state = _act(state, who, "defence", spec.id, entry.seq, now)
    return state


@_from_range("submission")
def _submission(state: State, entry: Entry, e: ev.FromRange) -> State:
    name, right, who = str(e.data.get("objective")), bool(e.data.get("right")), str(e.data.get("session"))
    before = state.objectives.get(name, Objective())
    after = replace(before, tries=before.tries + 1, wrong=before.wrong + (not right))
    state = replace(state, objectives=_with(state.objectives, name, after))
    if not right:
        return state
    now = state.now(entry.at)
    spec = state.spec_of_objective(name)
    if spec is not None and spec.what == "detect" and state.detected_at is None:
        state = replace(state, detected_at=now)
    if any(a.who == who and a.what == "submission" and a.ref == name for a in state.actions):
        return state
    return _act(state, who, "submission", name, entry.seq, now)


@_from_range("hint")
def _hint(state: State, entry: Entry, e: ev.FromRange) -> State:
    name = str(e.data.get("hint"))
    taken = {
        "objective": e.data.get("objective"), "cost": int(e.data.get("cost", 0)), "who": str(e.data.get("session", "")),
        "seq": entry.seq, "text": None, **state.hints.get(name, {}),
    }  # fmt: skip
    return replace(state, hints=_with(state.hints, name, taken))


@_from_range("alarm")
def _alarm(state: State, entry: Entry, e: ev.FromRange) -> State:
    name, on = str(e.data.get("name")), e.data.get("state") == "on"
    before = state.alarms.get(name)
    acknowledged = before.acknowledged_by if before and before.on and on else ""
    if before and not on:
        acknowledged = before.acknowledged_by
    alarm = Alarm(
        on, state.now(entry.at), str(e.data.get("text", "")), e.data.get("value"), e.data.get("limit"), acknowledged,
        entry.seq,
    )  # fmt: skip
    return replace(state, alarms=_with(state.alarms, name, alarm))


@_from_range("alert")
def _alert(state: State, entry: Entry, e: ev.FromRange) -> State:
    return replace(state, alerts=state.alerts + 1)


@_from_range("cheat")
def _cheat(state: State, entry: Entry, e: ev.FromRange) -> State:
    return replace(state, cheats=state.cheats + 1)


@_from_range("production")
def _production(state: State, entry: Entry, e: ev.FromRange) -> State:
    return replace(state, production=e.data.get("alive"))


@_from_range("console")
def _console(state: State, entry: Entry, e: ev.FromRange) -> State:
    who = str(e.data.get("session"))
    if "opened" not in e.data.values() or not state.live:
        return state
    return replace(state, consoles=_with(state.consoles, who, state.consoles.get(who, 0) + 1))
