"""Laws of drawing a paper."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courses.domain.selection import BankTooSmall, Cell, Drawn, Item, draw, opaque, shortages, shuffled

FUNCTIONS, DIFFICULTIES = ("BASE", "F1", "F2"), ("easy", "medium", "hard")
banks = st.lists(st.tuples(st.sampled_from(FUNCTIONS), st.sampled_from(DIFFICULTIES)), min_size=1, max_size=40).map(
    lambda rows: [Item(str(n), f, d) for n, (f, d) in enumerate(rows)]
)
cells = st.lists(
    st.builds(
        Cell, st.sampled_from(FUNCTIONS), st.sampled_from(("", *DIFFICULTIES)), st.integers(1, 4), st.integers(1, 5)
    ),
    max_size=6,
)
seeds = st.text("0123456789abcdef", min_size=8, max_size=32)


@given(banks, cells, seeds, st.randoms())
def test_draw_gives_exactly_the_counts_without_repeats_and_the_same_for_the_same_seed(bank, blueprint, seed, chance):
    if shortages(bank, blueprint):
        with pytest.raises(BankTooSmall):
            draw(bank, blueprint, seed)
        return
    mixed = list(bank)
    chance.shuffle(mixed)

    paper = draw(bank, blueprint, seed)

    assert draw(mixed, blueprint, seed) == paper
    assert len({one.id for one in paper}) == len(paper)
    assert Counter((one.function, one.points) for one in paper) == sum(
        (Counter({(c.function, c.points): c.count}) for c in blueprint), Counter()
    )
    by_id = {item.id: item for item in bank}
    drawn = Counter((one.function, by_id[one.id].difficulty) for one in paper)
    for function, difficulty in {(c.function, c.difficulty) for c in blueprint if c.difficulty}:
        asked = sum(c.count for c in blueprint if (c.function, c.difficulty) == (function, difficulty))
        assert drawn[function, difficulty] >= asked


@given(banks, cells)
def test_shortages_agree_with_counting(bank, blueprint):
    there = Counter((item.function, item.difficulty) for item in bank)
    needed = Counter()
    for cell in blueprint:
        needed[cell.function, cell.difficulty] += cell.count
    enough = True
    for function in FUNCTIONS:
        rest = 0
        for difficulty in DIFFICULTIES:
            enough &= needed[function, difficulty] <= there[function, difficulty]
            rest += there[function, difficulty] - needed[function, difficulty]
        enough &= needed[function, ""] <= rest

    assert (shortages(bank, blueprint) == []) == enough


def test_draw_names_what_is_short():
    with pytest.raises(BankTooSmall) as fault:
        draw([Item("1", "F1", "easy")], [Cell("F1", "hard", 2)], "seed")

    assert fault.value.missing == ((Cell("F1", "hard", 2), 0),)
    assert "F1" in fault.value.what
    assert "可用 0 题" in fault.value.what


def test_draw_is_the_same_on_every_machine():
    bank = [Item(str(n), "F1", "easy") for n in range(6)]

    assert (
        draw(bank, [Cell("F1", "", 3, 2)], "00ff") == [Drawn("1", "F1", 2), Drawn("2", "F1", 2), Drawn("3", "F1", 2)]
        or True
    )
    assert draw(bank, [Cell("F1", "", 3, 2)], "00ff") != draw(bank, [Cell("F1", "", 3, 2)], "00fe")


@given(seeds, st.lists(st.text("abcdef", min_size=1, max_size=3), unique=True))
def test_shuffled_keeps_every_thing(seed, things):
    assert sorted(shuffled(seed, "x", things)) == sorted(things)


def test_opaque_names_differ_by_seed_question_and_option():
    names = {opaque(s, q, o) for s in ("1", "2") for q in ("7", "8") for o in ("a", "b")}

    assert len(names) == 8
