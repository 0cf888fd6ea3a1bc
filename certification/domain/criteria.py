"""The rule engine: rule data and evidence in, a decision with every input out. Pure, so an old decision can be re-run.

A rule is data of a versioned row. Today's rule for a platform competency: minimum hours, course completed, exam >= 60,
and *one* drill with score >= 60 in which the person held a seat >= 70 % of the time with >= 1 verified action of his
own. The four drill conditions must hold in the same drill: a good score earned by others in one drill and an own action
in another prove nothing together.

Numbers are Decimals and are written into the record as text, so that 59.999 is never 60 and a hash is always the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

RULE_KEYS = {"hours", "course", "exam", "drill", "review", "confirm"}
DRILL_KEYS = {"scenario", "score", "held", "own_actions"}
REVIEW_KEYS = {"markers", "pass", "gap"}


class RuleError(ValueError):
    """A rule that cannot be used, with the key at fault."""


@dataclass(frozen=True, slots=True)
class DrillRule:
    """`scenario` empty = any; `held` is a share of the drill's time between 0 and 1."""

    score: Decimal
    held: Decimal
    own_actions: int
    scenario: str = ""


@dataclass(frozen=True, slots=True)
class ReviewRule:
    """`markers` people mark apart from one another; more than `gap` points between two calls one more marker."""

    markers: int
    passing: Decimal
    gap: Decimal


@dataclass(frozen=True, slots=True)
class Rule:
    """None = this level does not ask for it."""

    hours: Decimal
    course: str
    exam: Decimal | None
    drill: DrillRule | None
    review: ReviewRule | None = None
    confirm: bool = False

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Rule:
        """Reads a rule row; an unknown key is an error that lists what is allowed."""
        _only(data, RULE_KEYS, "rule")
        drill, review = data.get("drill"), data.get("review")
        if drill is not None:
            _only(drill, DRILL_KEYS, "rule.drill")
        if review is not None:
            _only(review, REVIEW_KEYS, "rule.review")
        rule = cls(
            hours=_number(data, "hours"),
            course=str(data.get("course", "")),
            exam=None if data.get("exam") is None else _number(data, "exam"),
            drill=drill
            and DrillRule(
                score=_number(drill, "score"),
                held=_number(drill, "held"),
                own_actions=int(drill["own_actions"]),
                scenario=str(drill.get("scenario", "")),
            ),
            review=review and ReviewRule(int(review["markers"]), _number(review, "pass"), _number(review, "gap")),
            confirm=bool(data.get("confirm", False)),
        )
        if rule.drill and not 0 < rule.drill.held <= 1:
            raise RuleError("rule.drill.held: a share of the drill's time between 0 and 1, for example 0.7")
        if not (rule.course or rule.drill):
            raise RuleError("rule: at least a course or a drill must be asked for, or everybody would pass")
        return rule


@dataclass(frozen=True, slots=True)
class ExamEvidence:
    score: Decimal
    attempt: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DrillEvidence:
    """One ended drill as seen from one seat holder. `own_actions` are event numbers of the drill's log."""

    drill: str
    scenario: str
    score: Decimal
    held: Decimal
    own_actions: tuple[int, ...]
    ended_at: datetime | None = None
    driver: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    marker: str
    total: Decimal
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything the rule may look at, and nothing else. `recognised`: criteria that an upheld appeal accepts.

    `sources` is what courses said in their own words (lessons with revisions, questions asked, sub-scores): kept in the
    record for whoever checks it, never looked at by the rule.
    """

    hours: Decimal = Decimal(0)
    course_completed_at: datetime | None = None
    exam: ExamEvidence | None = None
    drills: tuple[DrillEvidence, ...] = ()
    marks: tuple[Mark, ...] = ()
    confirmed_by: str = ""
    recognised: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Criterion:
    """`code` names the condition; `wanted` and `got` are what was compared; `evidence` points to where it was seen."""

    code: str
    met: bool
    wanted: str
    got: str
    evidence: str = ""
    recognised: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """`awaiting`: what only people can still add (marks, confirmation) when everything else is met."""

    met: bool
    criteria: tuple[Criterion, ...]
    awaiting: tuple[str, ...] = ()
    drill: str = ""


def decide(rule: Rule, inputs: Inputs) -> Outcome:
    """Every criterion with what was wanted and what was there; met when all are."""
    found: list[Criterion] = []
    found.append(Criterion("hours", inputs.hours >= rule.hours, _text(rule.hours), _text(inputs.hours), rule.course))
    if rule.course:
        done = inputs.course_completed_at
        found.append(Criterion("course", done is not None, rule.course, done.isoformat() if done else "", rule.course))
    if rule.exam is not None:
        exam = inputs.exam
        found.append(
            Criterion(
                "exam",
                exam is not None and exam.score >= rule.exam,
                _text(rule.exam),
                _text(exam.score) if exam else "",
                f"exam:{exam.attempt}" if exam else "",
            )
        )
    best = None
    if rule.drill is not None:
        best = best_drill(rule.drill, inputs.drills)
        found.extend(_drill_criteria(rule.drill, best))
    found = [_recognise(criterion, inputs.recognised) for criterion in found]
    ready = all(criterion.met for criterion in found)
    awaiting: list[str] = []
    if rule.review is not None:
        score, missing = review_score(rule.review, inputs.marks)
        met = score is not None and score >= rule.review.passing
        found.append(
            _recognise(
                Criterion("review", met, _text(rule.review.passing), "" if score is None else _text(score)),
                inputs.recognised,
            )
        )
        if not found[-1].met:
            ready = ready and missing  # marks that are in and too low leave nothing to wait for
            awaiting.append("review")
    if rule.confirm:
        found.append(Criterion("confirm", bool(inputs.confirmed_by), "1", "1" if inputs.confirmed_by else "0"))
        if not inputs.confirmed_by:
            awaiting.append("confirm")
    return Outcome(
        met=all(criterion.met for criterion in found),
        criteria=tuple(found),
        awaiting=tuple(awaiting) if ready else (),
        drill=best.drill if best else "",
    )


def best_drill(rule: DrillRule, drills: tuple[DrillEvidence, ...]) -> DrillEvidence | None:
    """The drill that serves the person best: most conditions met in it, then the higher score, then the earlier."""
    fitting = [drill for drill in drills if not rule.scenario or drill.scenario == rule.scenario]
    if not fitting:
        return None
    return min(fitting, key=lambda d: (-sum(c.met for c in _drill_criteria(rule, d)), -d.score, d.drill))


def review_score(rule: ReviewRule, marks: tuple[Mark, ...]) -> tuple[Decimal | None, bool]:
    """(score, whether a marker is still missing). Mean of the markers; far apart, the middle one of three."""
    if len(marks) < rule.markers:
        return None, True
    totals = sorted(mark.total for mark in marks)
    if totals[-1] - totals[0] > rule.gap and len(totals) < rule.markers + 1:
        return None, True
    if len(totals) > rule.markers:
        middle = len(totals) // 2
        return (totals[middle] if len(totals) % 2 else (totals[middle - 1] + totals[middle]) / 2), False
    return sum(totals, Decimal(0)) / len(totals), False


def _drill_criteria(rule: DrillRule, drill: DrillEvidence | None) -> list[Criterion]:
    where = f"drill:{drill.drill}" if drill else ""
    own = f"{where}#{','.join(map(str, drill.own_actions))}" if drill else ""
    return [
        Criterion(
            "drill",
            bool(drill and drill.score >= rule.score),
            _text(rule.score),
            _text(drill.score) if drill else "",
            where,
        ),
        Criterion(
            "seat", bool(drill and drill.held >= rule.held), _text(rule.held), _text(drill.held) if drill else "", where
        ),
        Criterion(
            "own_action",
            bool(drill and len(drill.own_actions) >= rule.own_actions),
            str(rule.own_actions),
            str(len(drill.own_actions)) if drill else "",
            own,
        ),
    ]


def _recognise(criterion: Criterion, recognised: Mapping[str, str]) -> Criterion:
    if criterion.met or criterion.code not in recognised:
        return criterion
    return Criterion(
        criterion.code, True, criterion.wanted, criterion.got, f"appeal:{recognised[criterion.code]}", recognised=True
    )


# --- the record ----------------------------------------------------------------------------------------------------


def as_data(thing: Any) -> Any:
    """A dataclass of this module as plain JSON values: Decimals and times as text, tuples as lists."""
    if isinstance(thing, Decimal):
        return _text(thing)
    if isinstance(thing, datetime):
        return thing.isoformat()
    if isinstance(thing, Mapping):
        return {str(key): as_data(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [as_data(value) for value in thing]
    if hasattr(thing, "__dataclass_fields__"):
        return as_data(asdict(thing))
    return thing


def inputs_from_data(data: Mapping[str, Any]) -> Inputs:
    """The inputs of a recorded decision, so that it can be decided again."""
    exam = data.get("exam")
    return Inputs(
        hours=Decimal(data["hours"]),
        course_completed_at=_moment(data["course_completed_at"]),
        exam=exam and ExamEvidence(Decimal(exam["score"]), exam["attempt"], _moment(exam["at"])),
        drills=tuple(
            DrillEvidence(
                d["drill"],
                d["scenario"],
                Decimal(d["score"]),
                Decimal(d["held"]),
                tuple(d["own_actions"]),
                _moment(d["ended_at"]),
                d["driver"],
                d["title"],
            )
            for d in data["drills"]
        ),
        marks=tuple(Mark(m["marker"], Decimal(m["total"]), _moment(m["at"])) for m in data["marks"]),
        confirmed_by=data["confirmed_by"],
        recognised=dict(data["recognised"]),
        sources=dict(data["sources"]),
    )


def canonical(data: Any) -> bytes:
    """One spelling per value: sorted keys, no blanks, UTF-8. What is hashed and signed."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(data: Any) -> str:
    return hashlib.sha256(canonical(data)).hexdigest()


def chained(previous: str, body: Any) -> str:
    """The hash of a record that stands after `previous`: changing, dropping or moving any earlier one breaks it."""
    return hashlib.sha256(previous.encode() + b"\n" + canonical(body)).hexdigest()


def _text(number: Decimal) -> str:
    text = format(number.normalize(), "f")
    return "0" if text in ("-0", "") else text


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _number(data: Mapping[str, Any], key: str) -> Decimal:
    try:
        value = Decimal(str(data[key]))
    except KeyError:
        raise RuleError(f"rule.{key}: missing") from None
    except ArithmeticError:
        raise RuleError(f"rule.{key}: {data[key]!r} is not a number") from None
    if not value.is_finite() or value < 0:
        raise RuleError(f"rule.{key}: {data[key]!r} must be a number of 0 or more")
    return value


def _only(data: Mapping[str, Any], allowed: set[str], where: str) -> None:
    unknown = set(data) - allowed
    if unknown:
        raise RuleError(f"{where}: unknown key {sorted(unknown)[0]!r}; allowed: {', '.join(sorted(allowed))}")
