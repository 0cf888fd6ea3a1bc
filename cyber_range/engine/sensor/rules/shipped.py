"""The rules that come with the sensor, and those a scenario adds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cyber_range.engine.sensor.rules.book import Book, load
from cyber_range.engine.sensor.rules.rule import Rule

SHIPPED = Path(__file__).with_name("lianbing-ics.rules")
# Read with the module: a node of the netns driver is forked from a process that loaded it where the project still was in sight.
TEXT = SHIPPED.read_text(encoding="utf-8")
OWN = "scenario"  # file name in reports about a scenario's own rules


def book_of(own: str = "", *, shipped: bool = True, variables: Mapping[str, str] | None = None) -> Book:
    """All rules that are understood; a scenario's rule takes the place of a shipped one with its sid."""
    mine, problems = load(own, OWN, variables)
    taken = {rule.sid for rule in mine}
    others: list[Rule] = []
    if shipped:
        others, more = load(TEXT, SHIPPED.name, variables)
        problems = [*problems, *more]
    book = Book([*mine, *(rule for rule in others if rule.sid not in taken)])
    book.problems += problems
    return book
