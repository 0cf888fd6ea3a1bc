"""Counting laws, and the law of publishing: no hidden cell can be worked out."""

from __future__ import annotations

import itertools
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certification.domain.cube import (
    THRESHOLD,
    TYPES,
    Cell,
    Fact,
    Node,
    UnevenTableError,
    counts_on,
    possible,
    region_tree,
    suppress,
    tally,
)

DAY = date(2026, 11, 30)
days = st.integers(-400, 400).map(lambda n: DAY + timedelta(days=n))
facts = st.builds(
    Fact,
    person=st.sampled_from("abcde"),
    kind=st.sampled_from(TYPES),
    standard=st.sampled_from(["ics-ops", "data"]),
    level=st.sampled_from(["L1", "L2"]),
    region=st.sampled_from(["330681", "330602", "110101"]),
    industry=st.just("15"),
    size=st.sampled_from(["small", "medium"]),
    issued_on=days,
    known_from=days,
    until=st.none() | days,
    ended_on=st.none() | days,
)


@given(st.lists(facts, max_size=25))
def test_types_are_never_mixed_and_people_are_counted_once(rows: list[Fact]) -> None:
    cells = tally(rows, as_of=DAY, since=date(2026, 1, 1))

    for kind in TYPES:
        alive = [fact for fact in rows if fact.kind == kind and counts_on(fact, DAY)]
        cell = cells.get((kind,), Cell())
        assert (cell.holders, cell.valid) == (len({fact.person for fact in alive}), len(alive))


@given(st.lists(facts, max_size=25), facts)
def test_what_enters_the_books_later_leaves_the_past_as_it_was(rows: list[Fact], late: Fact) -> None:
    late = Fact(**{**{name: getattr(late, name) for name in late.__slots__}, "known_from": DAY + timedelta(days=1)})

    assert tally([*rows, late], as_of=DAY, since=date(2026, 1, 1), by=("region", "level")) == tally(
        rows, as_of=DAY, since=date(2026, 1, 1), by=("region", "level")
    )


def test_a_certificate_counts_to_the_end_of_its_last_day_and_not_on_the_day_it_is_revoked() -> None:
    fact = Fact("a", TYPES[1], "ics-ops", "L1", "330681", "15", "small", DAY, DAY, until=DAY, ended_on=None)
    revoked = Fact("a", TYPES[1], "ics-ops", "L1", "330681", "15", "small", DAY, DAY, until=None, ended_on=DAY)

    assert counts_on(fact, DAY)
    assert not counts_on(fact, DAY + timedelta(days=1))
    assert not counts_on(revoked, DAY)


REGIONS = ["330681", "330682", "330602", "330100", "330102", "330000", "110101", "110105"]
tables = st.dictionaries(st.sampled_from(REGIONS), st.integers(0, 14), max_size=6)


def worlds(root: Node, top: int) -> list[dict[int, int]]:
    """Every way to fill the hidden cells (1..top) that agrees with what is published: a reader's whole knowledge,
    found by trying and not by the ranges that the product computes."""

    def fill(node: Node) -> list[dict[int, int]]:
        if not node.children:
            choices = range(1, top + 1) if node.hidden else [node.value]
            return [{id(node): value} for value in choices]
        found = []
        for parts in itertools.product(*(fill(child) for child in node.children)):
            total = sum(part[id(child)] for part, child in zip(parts, node.children, strict=True))
            if total == node.value if not node.hidden else total >= 1:
                found.append({id(node): total, **{key: value for part in parts for key, value in part.items()}})
        return found

    return fill(root)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(REGIONS[:5]), st.integers(0, 9), max_size=4))
def test_a_reader_who_tries_every_possibility_cannot_tell_a_hidden_cell(values: dict[str, int]) -> None:
    root = suppress(region_tree("country", values))

    every = worlds(root, top=13)

    for node in root.walk():
        if node.hidden:
            assert len({world[id(node)] for world in every}) >= THRESHOLD, node.name


@given(tables)
def test_small_cells_are_hidden_zeros_are_not_and_hiding_is_stable(values: dict[str, int]) -> None:
    root = suppress(region_tree("country", values))

    for node in root.walk():
        if 0 < node.value < THRESHOLD:
            assert node.hidden
        if node.value == 0:
            assert not node.hidden
        if node.hidden:
            low, high = possible(root)[id(node)]
            assert low <= node.value
            assert high is None or node.value <= high
    again = suppress(region_tree("country", values))
    assert [node.hidden for node in again.walk()] == [node.hidden for node in root.walk()]


@given(st.dictionaries(st.sampled_from(REGIONS), st.integers(5, 500), max_size=8))
def test_a_table_without_small_cells_is_published_whole(values: dict[str, int]) -> None:
    assert not any(node.hidden for node in suppress(region_tree("country", values)).walk())


def test_one_small_county_takes_the_smallest_neighbour_with_it() -> None:
    root = suppress(region_tree("country", {"330681": 2, "330602": 40, "330604": 9}))

    assert {node.name: node.hidden for node in root.walk()} == {
        "country": False,
        "330000": False,
        "330600": False,
        "330602": False,
        "330604": True,
        "330681": True,
    }


def test_parts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(UnevenTableError, match="330000: parts add up to 1, not 3"):
        suppress(Node("330000", 3, [Node("330100", 1)]))


def test_a_country_of_three_thousand_counties_is_worked_out_in_seconds() -> None:
    values = {f"{p}{c:02}{d:02}": (p * c + d) % 11 for p in range(11, 41) for c in range(1, 11) for d in range(1, 11)}

    root = suppress(region_tree("country", values))

    assert all(node.hidden for node in root.walk() if 0 < node.value < THRESHOLD)
