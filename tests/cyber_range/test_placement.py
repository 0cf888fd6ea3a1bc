"""Which machine gets a range: laws over any set of machines."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cyber_range.placement import Place, choose

machine = st.builds(
    Place,
    host=st.integers(1, 99),
    name=st.sampled_from("abcdef"),
    open=st.booleans(),
    heard=st.booleans(),
    awaited=st.booleans(),
    capacity=st.integers(0, 20),
    most=st.none() | st.integers(0, 20),
    foreign=st.integers(0, 5),
    living=st.integers(0, 20),
    warm=st.integers(0, 3),
)
plain = Place(1, "a", True, True, True, capacity=4, most=None, foreign=0, living=0, warm=0)


@given(st.lists(machine))
def test_nothing_is_placed_where_it_is_not_wanted_or_has_no_room(places: list[Place]) -> None:
    found = choose(places)

    if found is None:
        assert not any(place.open and place.heard and place.room > 0 for place in places)
    else:
        assert found.open
        assert found.heard or found.awaited
        assert found.room > 0 or (found.capacity == 0 and not found.heard)


@given(st.lists(machine), st.randoms())
def test_the_order_of_asking_changes_nothing(places: list[Place], random: object) -> None:
    mixed = list(places)
    random.shuffle(mixed)  # type: ignore[attr-defined]

    def what(place: Place | None) -> tuple[object, ...] | None:
        return place and (place.name, place.room, bool(place.warm), place.heard)

    assert what(choose(places)) == what(choose(mixed))


@given(st.integers(1, 12), st.integers(1, 12))
def test_launches_not_yet_counted_take_their_room(first: int, second: int) -> None:
    """As many launches as there are places fit, spread so that no machine gets more than it carries; the next does not."""
    places = {1: replace(plain, capacity=first), 2: replace(plain, host=2, name="b", capacity=second)}

    for _ in range(first + second):
        found = choose(places.values())
        assert found is not None
        places[found.host] = replace(found, living=found.living + 1)

    assert [places[1].room, places[2].room] == [0, 0]
    assert choose(places.values()) is None


def test_a_warm_range_is_preferred_and_is_room_itself() -> None:
    full = replace(plain, capacity=3, foreign=1, living=2, warm=1)
    empty = replace(plain, host=2, name="b")

    assert choose([empty, full]) == full
    assert choose([replace(full, warm=0), empty]) == empty


def test_a_quota_narrows_the_machine_and_never_widens_it() -> None:
    assert replace(plain, most=2).limit == 2
    assert replace(plain, most=9).limit == 4


def test_a_machine_that_is_awaited_is_the_last_resort() -> None:
    silent = replace(plain, host=2, name="b", heard=False, capacity=9)

    assert choose([silent, plain]) == plain
    assert choose([silent, replace(plain, living=4)]) == silent
    assert choose([replace(silent, awaited=False)]) is None
