"""The law of the rule: met exactly when everything is there, in one drill, and never by rounding."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certification.domain.criteria import (
    Criterion,
    DrillEvidence,
    ExamEvidence,
    Inputs,
    Mark,
    Outcome,
    Rule,
    RuleError,
    as_data,
    chained,
    decide,
    inputs_from_data,
)

RULE = {
    "hours": 8,
    "course": "ics-security-basics",
    "exam": 60,
    "drill": {"scenario": "filling_line", "score": 60, "held": 0.7, "own_actions": 1},
}
AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
scores = st.decimals(0, 100, places=3)
drills = st.builds(
    DrillEvidence,
    drill=st.uuids().map(str),
    scenario=st.sampled_from(["filling_line", "cold_store"]),
    score=scores,
    held=st.decimals(0, 1, places=3),
    own_actions=st.lists(st.integers(1, 900), max_size=2).map(tuple),
)
inputs = st.builds(
    Inputs,
    hours=st.decimals(0, 20, places=2),
    course_completed_at=st.none() | st.just(AT),
    exam=st.none() | st.builds(ExamEvidence, score=scores, attempt=st.just("1"), at=st.none() | st.just(AT)),
    drills=st.lists(drills, max_size=4).map(tuple),
)


@given(inputs)
def test_met_exactly_when_every_condition_holds_and_the_drill_ones_in_one_drill(given_inputs: Inputs) -> None:
    met = decide(Rule.from_data(RULE), given_inputs).met

    assert met == (
        given_inputs.hours >= 8
        and given_inputs.course_completed_at is not None
        and given_inputs.exam is not None
        and given_inputs.exam.score >= 60
        and any(
            d.scenario == "filling_line" and d.score >= 60 and d.held >= Decimal("0.7") and d.own_actions
            for d in given_inputs.drills
        )
    )


@given(inputs)
def test_a_recorded_decision_decides_the_same_again(given_inputs: Inputs) -> None:
    record = json.loads(json.dumps(as_data(given_inputs)))

    assert as_data(decide(Rule.from_data(RULE), inputs_from_data(record))) == as_data(
        decide(Rule.from_data(RULE), given_inputs)
    )


@given(inputs, drills)
def test_more_evidence_never_takes_a_certificate_away(given_inputs: Inputs, more: DrillEvidence) -> None:
    richer = Inputs(
        given_inputs.hours, given_inputs.course_completed_at, given_inputs.exam, (*given_inputs.drills, more)
    )

    assert decide(Rule.from_data(RULE), richer).met >= decide(Rule.from_data(RULE), given_inputs).met


def full(**changes: Any) -> Inputs:
    values: dict[str, Any] = {
        "hours": Decimal("8"),
        "course_completed_at": AT,
        "exam": ExamEvidence(Decimal("60"), "7"),
        "drills": (DrillEvidence("3", "filling_line", Decimal("60"), Decimal("0.7"), (41,)),),
    }
    return Inputs(**{**values, **changes})


def test_every_criterion_says_what_was_wanted_what_was_there_and_where_it_was_seen() -> None:
    outcome = decide(Rule.from_data(RULE), full(exam=ExamEvidence(Decimal("59.999"), "7")))

    assert outcome == Outcome(
        met=False,
        criteria=(
            Criterion("hours", True, "8", "8", "ics-security-basics"),
            Criterion("course", True, "ics-security-basics", AT.isoformat(), "ics-security-basics"),
            Criterion("exam", False, "60", "59.999", "exam:7"),
            Criterion("drill", True, "60", "60", "drill:3"),
            Criterion("seat", True, "0.7", "0.7", "drill:3"),
            Criterion("own_action", True, "1", "1", "drill:3#41"),
        ),
        awaiting=(),
        drill="3",
    )


def test_someone_elses_good_drill_and_an_own_action_elsewhere_do_not_add_up() -> None:
    scattered = (
        DrillEvidence("1", "filling_line", Decimal("95"), Decimal("0.2"), ()),
        DrillEvidence("2", "filling_line", Decimal("10"), Decimal("1"), (5, 6)),
    )

    assert not decide(Rule.from_data(RULE), full(drills=scattered)).met


def test_an_upheld_appeal_counts_and_stays_visible_as_one() -> None:
    outcome = decide(Rule.from_data(RULE), full(hours=Decimal("7.5"), recognised={"hours": "12"}))

    assert outcome.met
    assert outcome.criteria[0] == Criterion("hours", True, "8", "7.5", "appeal:12", recognised=True)


@pytest.mark.parametrize(
    ("totals", "met", "awaiting"),
    [
        ((), False, ("review",)),
        ((80,), False, ("review",)),
        ((70, 52), False, ("review",)),  # 18 points apart: a third marker
        ((70, 52, 61), True, ()),  # the middle one counts
        ((70, 52, 55), False, ()),
        ((62, 58), True, ()),
    ],
)
def test_reviews_wait_for_their_markers_and_for_a_third_when_two_disagree(
    totals: tuple[int, ...], met: bool, awaiting: tuple[str, ...]
) -> None:
    rule = Rule.from_data({**RULE, "review": {"markers": 2, "pass": 60, "gap": 15}})

    outcome = decide(rule, full(marks=tuple(Mark(str(n), Decimal(total)) for n, total in enumerate(totals))))

    assert (outcome.met, outcome.awaiting) == (met, awaiting)


def test_nobody_is_asked_to_mark_what_cannot_pass_yet() -> None:
    rule = Rule.from_data({**RULE, "review": {"markers": 2, "pass": 60, "gap": 15}, "confirm": True})

    assert decide(rule, full(hours=Decimal(0))).awaiting == ()
    assert decide(rule, full()).awaiting == ("review", "confirm")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({**RULE, "hour": 8}, "rule: unknown key 'hour'; allowed: confirm, course, drill, exam, hours, review"),
        ({"course": "x"}, "rule.hours: missing"),
        ({**RULE, "hours": "many"}, "rule.hours: 'many' is not a number"),
        ({**RULE, "hours": "NaN"}, "rule.hours: 'NaN' must be a number of 0 or more"),
        ({**RULE, "drill": {"score": 60, "held": 70, "own_actions": 1}}, "rule.drill.held: a share"),
        ({"hours": 0}, "rule: at least a course or a drill must be asked for"),
    ],
)
def test_a_faulty_rule_names_its_fault(data: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleError) as error:
        Rule.from_data(data)

    assert str(error.value).startswith(message)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3)), min_size=2, max_size=6),
    st.data(),
)
def test_a_changed_record_changes_every_hash_after_it(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    def chain(records: list[dict[str, Any]]) -> list[str]:
        hashes = [""]
        for record in records:
            hashes.append(chained(hashes[-1], record))
        return hashes[1:]

    place = data.draw(st.integers(0, len(bodies) - 1))
    forged = [*bodies[:place], {**bodies[place], "forged": True}, *bodies[place + 1 :]]

    assert all(a != b for a, b in zip(chain(bodies)[place:], chain(forged)[place:], strict=True))
