"""Counting certificates: which ones count on a day, distinct people, and what may be published.

A cell never mixes credential types: the type is the first part of every key, and nothing here adds over it.
People are counted once per cell. Within one (type, standard, level) a person holds one valid credential in one place, so
such cells add up over regions; over levels or standards they do not, and people are counted anew.

Published tables hide every cell below the threshold, and as many others as are needed so that nobody can work a hidden
one out: for a reader who knows all published cells, that hidden cells are at least 1 (zeros are published) and that
children add up to their parent, each hidden cell must still have at least `threshold` possible values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

TYPES = ("training_completion", "platform_competency", "official_external")
THRESHOLD = 5


@dataclass(frozen=True, slots=True)
class Fact:
    """One credential as far as counting goes. `known_from`: the day it entered our books, so the past never changes.
    `until`: the last day it counts (term), `ended_on`: the day of revocation or replacement, on which it no longer does."""

    person: str
    kind: str
    standard: str
    level: str
    region: str
    industry: str
    size: str
    issued_on: date
    known_from: date
    until: date | None = None
    ended_on: date | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """holders: distinct people with a valid credential; valid: credentials; issued: entered in the period."""

    holders: int = 0
    valid: int = 0
    issued: int = 0


def counts_on(fact: Fact, day: date) -> bool:
    """Valid on that day and in the books by then."""
    return (
        fact.known_from <= day
        and fact.issued_on <= day
        and (fact.until is None or day <= fact.until)
        and (fact.ended_on is None or day < fact.ended_on)
    )


def tally(facts: Iterable[Fact], *, as_of: date, since: date, by: tuple[str, ...] = ()) -> dict[tuple[str, ...], Cell]:
    """Cells keyed (type, *by). `by` names fields of Fact, or "month" for the month it entered the books ("2026-11";
    then only what entered by `as_of` counts as issued). `issued` counts since <= known_from <= as_of."""
    people: dict[tuple[str, ...], set[str]] = defaultdict(set)
    valid: dict[tuple[str, ...], int] = defaultdict(int)
    issued: dict[tuple[str, ...], int] = defaultdict(int)
    for fact in facts:
        key = (fact.kind, *(_dimension(fact, name) for name in by))
        if counts_on(fact, as_of):
            people[key].add(fact.person)
            valid[key] += 1
        if since <= fact.known_from <= as_of:
            issued[key] += 1
    return {
        key: Cell(len(people.get(key, ())), valid.get(key, 0), issued.get(key, 0))
        for key in sorted(set(valid) | set(issued))
    }


def _dimension(fact: Fact, name: str) -> str:
    if name == "month":
        return fact.known_from.strftime("%Y-%m")
    return str(getattr(fact, name))


# --- publishing ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """A cell of a published table; its value is the sum of its children when it has any."""

    name: str
    value: int
    children: list[Node] = field(default_factory=list)
    hidden: bool = False

    def walk(self) -> Iterable[Node]:
        yield self
        for child in self.children:
            yield from child.walk()


class UnevenTableError(ValueError):
    """A cell whose parts do not add up to it: publishing it would be wrong before it is unsafe."""


def region_tree(name: str, values: Mapping[str, int]) -> Node:
    """The whole country as one tree from region codes: country > province > prefecture > county.

    The pattern of hidden cells is worked out for the whole tree, so that a county's and its province's releases hide the
    same cells and cannot be played against each other. People of "330100" itself stand as "330100*" beside its counties.
    """
    root = Node(name, 0)
    provinces: dict[str, Node] = {}
    prefectures: dict[str, Node] = {}
    for code, value in sorted(values.items()):
        province = provinces.setdefault(code[:2], Node(f"{code[:2]}0000", 0))
        if code[2:] == "0000":
            path, leaf = [root, province], Node(f"{code}*", value)
        else:
            if code[:4] not in prefectures:
                prefectures[code[:4]] = Node(f"{code[:4]}00", 0)
                province.children.append(prefectures[code[:4]])
            path = [root, province, prefectures[code[:4]]]
            leaf = Node(f"{code}*" if code[4:] == "00" else code, value)
        path[-1].children.append(leaf)
        for node in path:
            node.value += value
    root.children = list(provinces.values())
    return root


def suppress(root: Node, threshold: int = THRESHOLD) -> Node:
    """Hides cells in place until every hidden one is safe; returns the root."""
    parents: dict[int, Node] = {}
    for node in root.walk():
        if node.children and sum(child.value for child in node.children) != node.value:
            raise UnevenTableError(
                f"{node.name}: parts add up to {sum(c.value for c in node.children)}, not {node.value}"
            )
        node.hidden = 0 < node.value < threshold
        parents.update((id(child), node) for child in node.children)
    while True:
        bounds = possible(root)
        exposed = [node for node in root.walk() if node.hidden and not _safe(bounds[id(node)], threshold)]
        if not exposed:
            return root
        helped: set[int] = set()
        for node in exposed:  # one more cell per family and round: hiding is kept to what is needed
            family = parents.get(id(node), node)
            if id(family) not in helped:
                helped.add(id(family))
                _hide_one_more(root, node, parents)


def possible(root: Node) -> dict[int, tuple[int, int | None]]:
    """For each cell (by id) the lowest and highest value a reader can hold possible; None = no upper end.

    The sums form a tree, so tightening the ranges upwards and then downwards is exact.
    """
    bounds: dict[int, tuple[int, int | None]] = {}

    def upwards(node: Node) -> None:
        low, high = (1, None) if node.hidden else (node.value, node.value)
        for child in node.children:
            upwards(child)
        if node.children:
            low = max(low, sum(bounds[id(child)][0] for child in node.children))
            high = _least(high, _total(bounds[id(child)][1] for child in node.children))
        bounds[id(node)] = (low, high)

    def downwards(node: Node) -> None:
        low, high = bounds[id(node)]
        before = [bounds[id(child)] for child in node.children]
        lows = sum(lower for lower, _upper in before)
        for child, (own_low, own_high) in zip(node.children, before, strict=True):
            rest_high = _total(
                bound[1] for other, bound in zip(node.children, before, strict=True) if other is not child
            )
            if rest_high is not None:
                own_low = max(own_low, low - rest_high)
            if high is not None:
                own_high = _least(own_high, high - (lows - bounds[id(child)][0]))
            bounds[id(child)] = (own_low, own_high)
        for child in node.children:
            downwards(child)

    upwards(root)
    downwards(root)
    return bounds


def _safe(bounds: tuple[int, int | None], threshold: int) -> bool:
    low, high = bounds
    return high is None or high - low + 1 >= threshold


def _hide_one_more(root: Node, exposed: Node, parents: Mapping[int, Node]) -> None:
    """The smallest published sibling, else the parent, else the same one floor up; at last anything still shown."""
    node = exposed
    while (parent := parents.get(id(node))) is not None:
        shown = [sibling for sibling in parent.children if not sibling.hidden and sibling.value]
        if shown:
            min(shown, key=lambda sibling: (sibling.value, sibling.name)).hidden = True
            return
        if not parent.hidden:
            parent.hidden = True
            return
        node = parent
    shown = [node for node in root.walk() if not node.hidden and node.value]
    if shown:  # none: another cell of this round has already hidden the last one
        min(shown, key=lambda node: (node.value, node.name)).hidden = True


def _least(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else min(first, second)


def _total(uppers: Iterable[int | None]) -> int | None:
    total = 0
    for upper in uppers:
        if upper is None:
            return None
        total += upper
    return total
