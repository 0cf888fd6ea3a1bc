"""A drill on a real (memory) range: from the start to evidence."""

from __future__ import annotations

import pytest

from cyber_range import services as ranges
from drills import log, services
from drills.domain.scoring import score
from drills.domain.visibility import Viewer
from drills.models import Drill, DrillEvent
from drills.services import following
from lms.accounts.models import User

from .conftest import fresh, seat, until

pytestmark = pytest.mark.django_db


def test_the_range_is_noted_with_the_script_in_the_teams_own_values(ready: Drill) -> None:
    state = log.full_state(ready)

    assert (state.phase, state.lab.state, state.lab.driver) == ("ready", "attached", "memory")
    body = state.spec_of_inject("call").body["zh"]
    assert "${" not in body
    assert "10." in body


def test_a_right_answer_scores_and_is_the_persons_own_action(running: Drill, people: dict[str, User]) -> None:
    status = ranges.status(running.instance)
    topology = ranges.call(running.instance, "topology")
    answer = next(n for n in topology["nodes"] if n["name"] == "intruder")["legs"][0]["ip"]

    wrong = services.submit_objective(
        drill=running, seat=seat(running, people["blue"]), objective="name_it", value="1.2.3.4"
    )
    right = services.submit_objective(
        drill=running, seat=seat(running, people["blue"]), objective="name_it", value=answer
    )

    assert (wrong["right"], right["right"]) == (False, True)
    state = until(lambda: _state_when(running, lambda s: s.objectives["name_it"].verified_at is not None))
    assert [(a.who, a.what, a.ref) for a in state.actions] == [(str(people["blue"].pseudonym), "submission", "name_it")]
    assert score(state).points == 20
    assert state.objectives["name_it"].wrong == 1
    assert status["state"] == "ready"


def _state_when(drill: Drill, check) -> object:
    following.copy_range_events(drill=fresh(drill))
    state = log.full_state(drill)
    return state if check(state) else None


def test_the_end_takes_the_last_look_and_names_the_captures(running: Drill, people: dict[str, User]) -> None:
    services.end(drill=running, by=people["white"])

    drill = fresh(running)
    state = log.full_state(drill)
    assert (drill.phase, state.ended_by) == ("ended", "white")
    assert {len(one["sha256"]) for one in state.lab.captures} == {64}
    evidence = services.seat_evidence(people["blue"], drill)
    assert evidence["held_share"] > 0.9
    assert evidence == services.seat_evidence(people["blue"], drill)


def test_copying_twice_loses_and_doubles_nothing(running: Drill) -> None:
    following.copy_range_events(drill=running)
    first = following.copied_numbers(running, running.instance.range_id)
    Drill.objects.filter(pk=running.pk).update(range_cursor=0)  # as if the cursor had been lost

    with pytest.raises(Exception, match=r"(?i)unique"):
        following.copy_range_events(drill=fresh(running))

    assert first == list(range(1, len(first) + 1))


def test_a_hint_is_told_to_all_and_costs_once(running: Drill, people: dict[str, User]) -> None:
    one = services.take_hint(drill=running, seat=seat(running, people["blue"]), hint="look")
    services.take_seat(drill=running, user=people["blue2"])
    two = services.take_hint(drill=running, seat=seat(running, people["blue2"]), hint="look")
    following.copy_range_events(drill=fresh(running))

    assert one == two
    assert score(log.full_state(running)).hints == 5
    _events, _n, state = log.read(running, Viewer("blue", "blue", str(people["blue2"].pseudonym)), after=0)
    assert state.hints["look"]["text"]["zh"] == one["text"]["zh"]


def test_attack_steps_are_seen_by_white_alone(running: Drill, people: dict[str, User]) -> None:
    until(lambda: _state_when(running, lambda s: s.steps))

    white = Viewer("white", "white", str(people["white"].pseudonym))
    blue = Viewer("blue", "blue", str(people["blue"].pseudonym), frozenset(("office", "workshop")))
    kinds = {v.cell: [e.kind for e in log.read(running, v)[0]] for v in (white, blue)}
    assert "range.step" in kinds["white"]
    assert "range.step" not in kinds["blue"]
    assert [e.n for e in log.read(running, blue)[0]] == list(range(1, len(kinds["blue"]) + 1))
    assert DrillEvent.objects.filter(drill=running).count() == len(kinds["white"])
