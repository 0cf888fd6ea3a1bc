"""Laws of the fold: replay equals going on; what a seat may not see changes nothing for it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from drills.domain import events as ev
from drills.domain import script
from drills.domain.scoring import held_share, own_actions, score, times
from drills.domain.state import Clock, Entry, State, apply, fold
from drills.domain.visibility import Viewer, project

RANGE = "0123456789ab"
SEATS = (
    ev.SeatSpec(id="white", cell="white", title={"zh": "导调组"}),
    ev.SeatSpec(id="blue", cell="blue", title={"zh": "蓝队"}, max=4, sees=("office",)),
)
SCRIPT = ev.ScriptSet(
    seats=SEATS,
    objectives=(
        ev.ObjectiveSpec(id="find", title={"zh": "找到"}, what="detect", points=20, par_minutes=5),
        ev.ObjectiveSpec(id="cut", title={"zh": "切断"}, what="defence", points=40),
    ),
    injects=(
        ev.InjectSpec(id="call", at_s=60, title={"zh": "电话"}, body={"zh": ""}, to=("blue",)),
        ev.InjectSpec(id="late", at_s=30, title={"zh": "后来"}, body={"zh": ""}, to=("white",), after_step="knock"),
    ),
)
PLAN = ev.Planned(
    title="演练", scenario="mini", form="practical", scope="", type="special", incident_class="NAEXPLOIT",
    duration_s=600, report_limit_s=120,
)  # fmt: skip
ATTACHED = ev.LabAttached(
    range_id=RANGE,
    driver="memory",
    host="local",
    scenario="mini",
    scenario_version="1.0.0",
    digest="d",
    seed="s",
    team="t",
)


def said(kind: str, number: int = 1, range_id: str = RANGE, **data: Any) -> ev.Event:
    return ev.KINDS[f"range.{kind}"](range_id=range_id, number=number, scenario_at=0, time=0, data=data)


def log(*steps: tuple[float, ev.Event] | tuple[float, ev.Event, str]) -> list[Entry]:
    return [
        Entry(number, step[0], step[2] if len(step) > 2 else "", step[1]) for number, step in enumerate(steps, start=1)
    ]


OPENING = (
    (0.0, PLAN), (0.0, SCRIPT), (0.0, ev.LabLaunching(range_id=RANGE)), (0.0, ATTACHED),
    (0.0, ev.SeatTaken(seat="blue", cell="blue", who="b"), "b"), (100.0, ev.Started()),
)  # fmt: skip

anything = st.one_of(
    st.builds(ev.Paused), st.builds(ev.Resumed), st.builds(ev.Started),
    st.builds(ev.Ended, reason=st.sampled_from(["white", "time"])),
    st.builds(ev.Extended, seconds=st.floats(1, 600)),
    st.builds(ev.SpeedSet, speed=st.floats(0.5, 10)),
    st.builds(ev.SeatTaken, seat=st.just("blue"), cell=st.just("blue"), who=st.sampled_from("ab")),
    st.builds(ev.SeatLeft, seat=st.just("blue"), who=st.sampled_from("abc")),
    st.builds(ev.InjectFired, inject=st.sampled_from(["call", "late", "?"]), to=st.just(("blue",)), how=st.just("clock")),
    st.builds(ev.InjectReplied, inject=st.sampled_from(["call", "?"]), seat=st.just("blue")),
    st.builds(ev.NoteAdded, scope=st.sampled_from(["white", "team", "all"]), cell=st.sampled_from(["white", "blue"])),
    st.builds(lambda o, s: said("objective", objective=o, state=s), st.sampled_from(["find", "cut", "?"]),
              st.sampled_from(["open", "holding", "verified", "lost"])),
    st.builds(lambda s: said("step", step="knock", state=s, technique="T0859"), st.sampled_from(["running", "done", "blocked"])),
    st.builds(lambda o, r, w: said("submission", objective=o, right=r, session=w), st.sampled_from(["find", "?"]),
              st.booleans(), st.sampled_from("ab")),
    st.builds(lambda z: said("alert", zone=z, rule="x"), st.sampled_from(["office", "workshop"])),
    st.builds(lambda n, s: said("alarm", name=n, state=s), st.sampled_from(["tank", "fill"]), st.sampled_from(["on", "off"])),
    st.builds(lambda: said("hint", hint="h", cost=5, session="a")),
    st.builds(ev.HintGiven, hint=st.just("h"), objective=st.just("find"), cost=st.just(5), text=st.just({"zh": "看"})),
)  # fmt: skip
histories = st.lists(st.tuples(st.floats(0, 50), anything, st.sampled_from(["", "a", "b"])), max_size=40).map(
    lambda gaps: [Entry(i, 100 + sum(g[0] for g in gaps[:i]), g[2], g[1]) for i, g in enumerate(gaps, start=1)]
)


@given(histories, st.integers(0, 40))
def test_replaying_from_any_point_equals_folding_from_the_start(entries: list[Entry], cut: int) -> None:
    cut = min(cut, len(entries))

    assert fold(entries[cut:], fold(entries[:cut])) == fold(entries)


@given(histories)
def test_applying_changes_no_earlier_state(entries: list[Entry]) -> None:
    states = [State()]
    for entry in entries:
        states.append(apply(states[-1], entry))
    again = State()
    for entry, before in zip(entries, states, strict=False):
        assert again == before
        again = apply(again, entry)


@given(histories)
def test_events_survive_the_way_through_json(entries: list[Entry]) -> None:
    for entry in entries:
        assert ev.parse(entry.event.kind, entry.event.model_dump(mode="json")) == entry.event


@given(histories)
def test_the_drill_clock_never_runs_backwards(entries: list[Entry]) -> None:
    state, before = fold(log(*OPENING)), 0.0
    for entry in entries:
        if isinstance(entry.event, ev.Started):
            continue
        state = apply(state, entry)
        now = state.now(entry.at)
        assert now >= before - 1e-6
        before = now


@given(histories)
@settings(max_examples=60)
def test_what_is_hidden_leaves_no_trace_in_the_seats_state(entries: list[Entry]) -> None:
    blue = Viewer("blue", "blue", "b", frozenset(("office",)))
    hidden = [entry for entry in entries if project(entry, blue) is None]
    without = [entry for entry in entries if entry not in hidden]

    def seen(entries: list[Entry]) -> State:
        visible = [(entry, project(entry, blue)) for entry in entries]
        return fold(Entry(n, e.at, e.actor, p) for n, (e, p) in enumerate([v for v in visible if v[1]], start=1))

    assert seen(entries) == seen(without)


def test_unknown_fields_and_kinds_are_refused() -> None:
    for kind, payload in (("drill.paused", {"extra": 1}), ("drill.paused", {"version": 2}), ("no.such", {})):
        try:
            ev.parse(kind, payload)
        except ValueError:
            continue
        raise AssertionError(f"{kind} {payload} was taken")


def test_a_pause_stops_the_script_and_speed_hurries_it() -> None:
    state = fold(log(*OPENING))
    assert [i.id for i in script.due(state, 159)] == []
    assert [i.id for i in script.due(state, 161)] == ["call"]
    paused = apply(state, Entry(9, 150, "", ev.Paused()))
    assert script.due(paused, 1000) == []
    resumed = apply(paused, Entry(10, 1000, "", ev.Resumed()))
    assert [i.id for i in script.due(resumed, 1009)] == []
    assert [i.id for i in script.due(resumed, 1011)] == ["call"]
    fast = apply(state, Entry(9, 100, "", ev.SpeedSet(speed=10)))
    assert [i.id for i in script.due(fast, 106.1)] == ["call"]


def test_a_message_after_a_step_waits_for_its_end() -> None:
    state = fold(log(*OPENING, (110.0, said("step", step="knock", state="running", technique="T0859"))))
    assert [i.id for i in script.due(state, 155)] == []
    state = apply(state, Entry(8, 120, "", said("step", 2, step="knock", state="blocked", technique="T0859")))
    assert [i.id for i in script.due(state, 151)] == ["late"]


def test_score_times_and_shares_are_counted_from_the_log() -> None:
    state = fold(
        log(
            *OPENING,
            (110.0, said("step", 1, step="knock", state="running", technique="T0859")),
            (160.0, said("hint", 2, hint="h", cost=5, session="b")),
            (170.0, ev.HintGiven(hint="h", objective="find", cost=5, text={"zh": "看"}), "b"),
            (200.0, said("submission", 3, objective="find", right=True, session="b")),
            (200.0, said("objective", 4, objective="find", state="verified", evidence=[])),
            (210.0, said("console", 5, action="opened", session="b", node="fw")),
            (300.0, said("objective", 6, objective="cut", state="verified", evidence=[])),
            (300.0, ev.SeatLeft(seat="blue", who="b"), "b"),
            (400.0, ev.Ended(reason="white")),
        )
    )

    counted = score(state)
    assert (counted.points, counted.possible, counted.hints, counted.percent) == (55, 60, 5, 91.7)
    assert [(t.name, t.took, t.met) for t in times(state)] == [
        ("detect", 90.0, True), ("contain", 190.0, None), ("recover", 190.0, None), ("report", None, None)
    ]  # fmt: skip
    assert round(held_share(state, "b"), 3) == 0.667
    assert [(a.what, a.ref, a.seq) for a in own_actions(state, "b")] == [
        ("submission", "find", 10),
        ("defence", "cut", 13),
    ]


def test_words_of_a_replaced_range_change_nothing() -> None:
    other = "ba9876543210"
    state = fold(log(*OPENING, (200.0, ev.LabLaunching(range_id=other, again=True))))

    after = apply(state, Entry(8, 201, "", said("objective", 9, objective="cut", state="verified")))

    assert (after.objectives, after.lab.earlier) == ({}, (RANGE,))


def test_a_clock_counts_only_while_it_runs() -> None:
    clock = Clock().run(10, 2.0)

    assert (clock.now(15), clock.stop(15).now(99), clock.stop(15).run(20).now(21)) == (10.0, 10.0, 12.0)
