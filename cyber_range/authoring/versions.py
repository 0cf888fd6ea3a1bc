"""What changed from one version to another, file by file, for reading. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """`kind`: + added, - removed, " " around it, @ a gap. Numbers count from 1 in the old and the new text; 0 for none."""

    kind: str
    text: str
    old: int = 0
    new: int = 0


@dataclass(frozen=True, slots=True)
class Changed:
    name: str
    added: int
    removed: int
    lines: tuple[Line, ...]


def compare(old: Mapping[str, str], new: Mapping[str, str]) -> list[Changed]:
    """Files that differ, scenario.yml first."""
    names = sorted(set(old) | set(new), key=lambda name: ("/" in name, name != "scenario.yml", name))
    return [_file(name, old.get(name, ""), new.get(name, "")) for name in names if old.get(name) != new.get(name)]


def _file(name: str, old: str, new: str) -> Changed:
    before, after = old.splitlines(), new.splitlines()
    lines: list[Line] = []
    for number, group in enumerate(difflib.SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(3)):
        if number:
            lines.append(Line("@", "⋯"))
        for tag, a1, a2, b1, b2 in group:
            if tag == "equal":
                lines += [Line(" ", before[a], a + 1, b1 + a - a1 + 1) for a in range(a1, a2)]
                continue
            lines += [Line("-", before[a], a + 1) for a in range(a1, a2)]
            lines += [Line("+", after[b], 0, b + 1) for b in range(b1, b2)]
    return Changed(name, sum(line.kind == "+" for line in lines), sum(line.kind == "-" for line in lines), tuple(lines))
