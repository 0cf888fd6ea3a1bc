"""Drawing a paper from a bank: seeded, stratified by function and difficulty, reproducible on any machine.

The order within a stratum is that of SHA-256(seed, purpose, question), so it depends neither on the order in which the
bank was read nor on a library's random generator. Laws: same seed same paper; no question twice; exactly the counts asked.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """A question that may be drawn. `id` is the immutable version's."""

    id: str
    function: str
    difficulty: str


@dataclass(frozen=True, slots=True)
class Cell:
    """So many questions of this function; `difficulty` "" takes any that stricter cells have left."""

    function: str
    difficulty: str
    count: int
    points: int = 1


@dataclass(frozen=True, slots=True)
class Drawn:
    id: str
    function: str
    points: int


class BankTooSmall(Exception):
    """The bank lacks questions; says of which function and difficulty, how many, and what to do."""

    def __init__(self, missing: Sequence[tuple[Cell, int]]) -> None:
        self.missing = tuple(missing)
        parts = [
            f"职业功能 {cell.function} 难度 {cell.difficulty or '不限'}：需要 {cell.count} 题，可用 {there} 题"
            for cell, there in self.missing
        ]
        self.what = "题库题量不足。" + ";".join(parts)
        self.remedy = "请在题库中补充并启用相应试题，或在试卷中减少题数。"
        super().__init__(f"{self.what}。{self.remedy}")

    def as_dict(self) -> dict[str, str]:
        return {"code": "bank_too_small", "what": self.what, "remedy": self.remedy}


def rank(seed: str, purpose: str, thing: str) -> bytes:
    """A place in line that nobody can foretell without the seed."""
    return hashlib.sha256(f"{seed}\x1f{purpose}\x1f{thing}".encode()).digest()


def shuffled(seed: str, purpose: str, things: Iterable[str]) -> list[str]:
    return sorted(things, key=lambda thing: (rank(seed, purpose, thing), thing))


def opaque(seed: str, question: str, option: str) -> str:
    """The name an option goes by in one session: says nothing about the option's name or place in the bank."""
    return rank(seed, f"option of {question}", option).hex()[:12]


def _merged(cells: Sequence[Cell]) -> list[Cell]:
    """Equal strata joined, strict ones first: what they take, no open one may need elsewhere."""
    counts: Counter[tuple[str, str, int]] = Counter()
    for cell in cells:
        counts[cell.function, cell.difficulty, cell.points] += cell.count
    merged = [Cell(function, difficulty, count, points) for (function, difficulty, points), count in counts.items()]
    return sorted(merged, key=lambda cell: (cell.difficulty == "", cell.function, cell.difficulty, cell.points))


def shortages(bank: Iterable[Item], cells: Sequence[Cell]) -> list[tuple[Cell, int]]:
    """(cell, how many are there) for each stratum the bank cannot fill; empty when the paper can be drawn."""
    left: Counter[tuple[str, str]] = Counter()
    for item in {item.id: item for item in bank}.values():
        left[item.function, item.difficulty] += 1
    missing = []
    for cell in _merged(cells):
        strata = [key for key in left if key[0] == cell.function and cell.difficulty in ("", key[1])]
        there = sum(left[key] for key in strata)
        if there < cell.count:
            missing.append((cell, there))
        wanted = cell.count
        for key in strata:
            taken = min(wanted, left[key])
            left[key] -= taken
            wanted -= taken
    return missing


def draw(bank: Iterable[Item], cells: Sequence[Cell], seed: str) -> list[Drawn]:
    """The paper in the order it is shown. Raises BankTooSmall rather than handing out a shorter one."""
    items = {item.id: item for item in bank}
    missing = shortages(items.values(), cells)
    if missing:
        raise BankTooSmall(missing)
    line = sorted(items.values(), key=lambda item: (rank(seed, "draw", item.id), item.id))
    taken: dict[str, Drawn] = {}
    for cell in _merged(cells):
        fitting = [
            item
            for item in line
            if item.id not in taken and item.function == cell.function and cell.difficulty in ("", item.difficulty)
        ]
        taken.update({item.id: Drawn(item.id, item.function, cell.points) for item in fitting[: cell.count]})
    return [taken[id_] for id_ in shuffled(seed, "order", taken)]
