"""The after-action report 复盘报告, in the parts GB/T 38645-2020 asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

from drills.domain.scoring import CRITERIA, Score, Time, score, times
from drills.domain.state import State


@dataclass(frozen=True, slots=True)
class Criterion:
    id: str
    title: str
    look_for: str
    points: int | None
    of: int


@dataclass(frozen=True, slots=True)
class Moment:
    """A row of the course of the drill (演练过程). `at` is drill seconds."""

    at: float
    seq: int
    what: str
    ref: str


@dataclass(frozen=True, slots=True)
class AfterAction:
    """概况 (facts of the plan are the caller's), 过程, 评估结果; findings, measures and lessons are written by people."""

    score: Score
    times: tuple[Time, ...]
    criteria: tuple[Criterion, ...]
    course: tuple[Moment, ...]
    attacked: int
    stopped: int
    reports: int
    reports_in_time: int
    hints: int
    verified: tuple[str, ...] = field(default=())
    missed: tuple[str, ...] = field(default=())


def after_action(state: State) -> AfterAction:
    """Everything the report can say by itself."""
    course: list[Moment] = []
    for name, step in state.steps.items():
        if step.started_at is not None:
            course.append(Moment(step.started_at, step.seq, "step", name))
    for name, inject in state.injects.items():
        if inject.fired_at is not None:
            course.append(Moment(inject.fired_at, inject.seq, "inject", name))
    for name, objective in state.objectives.items():
        if objective.verified_at is not None and objective.verified_seq is not None:
            course.append(Moment(objective.verified_at, objective.verified_seq, "objective", name))
    for report in state.reports:
        course.append(Moment(report.at, report.seq, "report", str(report.number)))
    ids = [spec.id for spec in (state.script.objectives if state.script else ())]
    verified = tuple(i for i in ids if i in state.objectives and state.objectives[i].verified_at is not None)
    return AfterAction(
        score=score(state),
        times=times(state),
        criteria=tuple(
            Criterion(
                id_, title, look, state.ratings.get(id_, {}).get("points"), state.ratings.get(id_, {}).get("of", 5)
            )
            for id_, title, look in CRITERIA
        ),
        course=tuple(sorted(course, key=lambda moment: (moment.at, moment.seq))),
        attacked=sum(1 for step in state.steps.values() if step.state == "done"),
        stopped=sum(1 for step in state.steps.values() if step.state in ("blocked", "failed")),
        reports=len(state.reports),
        reports_in_time=sum(1 for report in state.reports if report.in_time),
        hints=len(state.hints),
        verified=verified,
        missed=tuple(i for i in ids if i not in verified),
    )
