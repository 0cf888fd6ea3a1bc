"""Copies of code in the warm process: same behaviour, other memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cyber_range.engine.drivers.netns import gathering


def counter(start: int, *, step: int = 2) -> Callable[[], int]:
    def count() -> int:
        nonlocal start
        start += step
        return start

    return count


def squares(upto: int) -> Iterator[int]:
    yield from (number * number for number in range(upto))


def never_called() -> str:
    return "left alone"


def what_they_do() -> tuple[int, int, list[int]]:
    count = counter(5)
    count()
    return count(), counter(0, step=7)(), list(squares(4))


def test_called_code_is_copied_with_the_functions_in_it_and_does_the_same() -> None:
    before = (counter.__code__, squares.__code__, never_called.__code__)
    did = what_they_do()
    old_closure = counter(100)

    codes = gathering.called(what_they_do)
    gathering.gather(codes, "no.such.package")
    after = (counter.__code__, squares.__code__, never_called.__code__)

    assert {id(code) for code in before[:2]} <= codes
    assert [new is old for new, old in zip(after, before, strict=True)] == [False, False, True]
    assert (after[:2] == before[:2], what_they_do(), old_closure()) == (True, did, 102)
    assert counter(1).__code__ in counter.__code__.co_consts


def test_a_package_is_copied_whole() -> None:
    before = never_called.__code__

    gathering.gather(set(), __name__)

    assert (never_called.__code__ is before, never_called()) == (False, "left alone")
