"""What a drill is worth: points of verified objectives and answered messages, less the cost of hints; times; shares."""

from __future__ import annotations

from dataclasses import dataclass

from drills.domain.state import Action, State

SHARE_NEEDED = 0.7  # a seat counts for its holder when held this long …
# … with at least one verified action of his own.

# The white cell's marking sheet: (id, what is judged, what to look for). GB/T 38645 asks for plan, speed and effect.
CRITERIA = (
    ("plan", "预案有效性", "分工、流程、联系方式是否照预案执行且够用"),
    ("speed", "响应速度", "发现、研判、上报是否及时"),
    ("effect", "处置效果", "处置是否止住影响且没有误伤生产"),
    ("teamwork", "协同指挥", "信息是否同步，指令是否清楚"),
    ("report", "报告质量", "要素是否齐全，表述是否准确"),
)
RATING_OF = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the score with the log row that proves it."""

    kind: str  # objective inject hint
    ref: str
    points: int
    possible: int
    seq: int | None


@dataclass(frozen=True, slots=True)
class Score:
    points: int
    possible: int
    hints: int
    lines: tuple[Line, ...]

    @property
    def percent(self) -> float:
        """0-100, one decimal: what a certificate rule compares with its pass mark."""
        if self.possible <= 0:
            return 0.0
        return round(max(0, self.points) * 100 / self.possible, 1)


def score(state: State) -> Score:
    """Counted from the log alone; taking a hint twice costs once, an objective counts once it was verified."""
    lines: list[Line] = []
    for spec in state.script.objectives if state.script else ():
        done = state.objectives.get(spec.id)
        verified = done is not None and done.verified_at is not None
        lines.append(
            Line("objective", spec.id, spec.points if verified else 0, spec.points, done.verified_seq if done else None)
        )
    for name, inject in state.injects.items():
        possible = inject.possible
        if possible:
            lines.append(Line("inject", name, inject.points, possible, inject.seq))
    for name, hint in state.hints.items():
        lines.append(Line("hint", name, -int(hint["cost"]), 0, int(hint["seq"])))
    return Score(
        points=sum(line.points for line in lines),
        possible=sum(line.possible for line in lines),
        hints=-sum(line.points for line in lines if line.kind == "hint"),
        lines=tuple(lines),
    )


@dataclass(frozen=True, slots=True)
class Time:
    """`took` and `target` in drill seconds; None where it has not happened or nobody set a target."""

    name: str
    took: float | None
    target: float | None

    @property
    def met(self) -> bool | None:
        if self.took is None or self.target is None:
            return None
        return self.took <= self.target


def times(state: State) -> tuple[Time, ...]:
    """Detection, containment and recovery count from the first attack step, the report from detection."""
    start = state.attack_at

    def since(moment: float | None, origin: float | None = start) -> float | None:
        return None if moment is None or origin is None else max(0.0, moment - origin)

    def par(what: str, worst: bool) -> float | None:
        pars = [
            o.par_minutes * 60
            for o in (state.script.objectives if state.script else ())
            if o.what == what and o.par_minutes
        ]
        return (max(pars) if worst else min(pars)) if pars else None

    report = state.reports[0] if state.reports else None
    return (
        Time("detect", since(state.detected_at), par("detect", False)),
        Time("contain", since(state.contained_at), par("defence", False)),
        Time("recover", since(state.recovered_at), par("defence", True)),
        Time("report", None if report is None else report.elapsed_s, report.limit_s if report else _limit(state)),
    )


def _limit(state: State) -> float | None:
    return state.plan.report_limit_s if state.plan else None


def known_since(state: State) -> float | None:
    """When the legal clock started: the incident was detected, or, undetected, the plant's first alarm after the attack began."""
    if state.detected_at is not None:
        return state.detected_at
    if state.attack_at is None:
        return None
    after = [alarm.at for alarm in state.alarms.values() if alarm.at >= state.attack_at]
    return min(after) if after else None


def held_share(state: State, who: str, at: float | None = None) -> float:
    """Part of the drill's time (0-1) during which he held a seat of a playing cell."""
    whole = state.now(at if at is not None else state.ended_at or state.last_at)
    if whole <= 0:
        return 0.0
    held = sum(
        max(0.0, min(interval.until if interval.until is not None else whole, whole) - interval.since)
        for interval in state.held.get(who, ())
        if interval.cell in ("blue", "red", "white")
    )
    return min(1.0, held / whole)


def own_actions(state: State, who: str) -> tuple[Action, ...]:
    return tuple(action for action in state.actions if action.who == who)


def seat_counts(state: State, who: str) -> bool:
    """Whether team work becomes a personal result."""
    return held_share(state, who) >= SHARE_NEEDED and bool(own_actions(state, who))
