"""The plan's promise: taking all needed steps reaches the next level."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from lms.maturity.domain.advice import Step, advise, with_option
from lms.maturity.domain.instrument import assess
from tests.lms.maturity.strategies import INSTRUMENT, answers


def take(given_answers: dict[str, Any], step: Step) -> dict[str, Any]:
    """The answers once the step is done, read from the step's key alone."""
    kind, code, target = step.key.split(":")
    if kind == "scene":
        before, after = target.split("->")
        assert given_answers.get(f"scene:{code}", 0) == int(before)
        return {**given_answers, f"scene:{code}": int(after)}
    item = INSTRUMENT.item(code)
    return {**given_answers, code: with_option(item, given_answers.get(code), target)}


@given(answers)
def test_taking_all_needed_steps_reaches_the_next_level(given_answers: dict[str, Any]) -> None:
    result = assess(INSTRUMENT, given_answers)
    needed = [step for step in advise(INSTRUMENT, given_answers, result) if step.needed]

    after = given_answers
    for step in needed:
        after = take(after, step)

    assert (result.next is None) == (not needed)
    if result.next is not None:
        assert assess(INSTRUMENT, after).level >= result.next.level


@given(answers)
def test_every_step_gains_what_it_says(given_answers: dict[str, Any]) -> None:
    now = given_answers
    for step in [s for s in advise(INSTRUMENT, given_answers, assess(INSTRUMENT, given_answers)) if s.needed]:
        following = take(now, step)
        assert assess(INSTRUMENT, following).score - assess(INSTRUMENT, now).score == step.gain
        now = following


@given(answers)
def test_steps_stand_once_needed_ones_first_with_words_and_tags(given_answers: dict[str, Any]) -> None:
    steps = advise(INSTRUMENT, given_answers, assess(INSTRUMENT, given_answers))

    assert len({step.key for step in steps}) == len(steps)
    assert [step.needed for step in steps] == sorted((step.needed for step in steps), reverse=True)
    assert all(step.action and step.tags and step.title and step.effort in (1, 2, 3) for step in steps)


@given(answers)
def test_scene_steps_asked_for_are_no_more_than_the_level_asks(given_answers: dict[str, Any]) -> None:
    result = assess(INSTRUMENT, given_answers)
    steps = advise(INSTRUMENT, given_answers, result)
    scenes = {step.key.split(":")[1] for step in steps if step.needed and step.key.startswith("scene:")}

    if result.next is None:
        assert scenes == set()
    else:
        assert len(scenes) == max(result.next.scenes, result.next.constrained)


def test_plan_of_an_empty_enterprise_climbs_step_by_step() -> None:
    steps = advise(INSTRUMENT, {}, assess(INSTRUMENT, {}))

    scenes = [step.key for step in steps if step.needed and step.key.startswith("scene:")]
    assert [key.rsplit(":", 1)[1] for key in scenes] == ["0->1"] * 6
    assert [step.constrained for step in steps if step.needed][:3] == [True] * 3
    assert sum(step.gain for step in steps if step.needed) >= 20
