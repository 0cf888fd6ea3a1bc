"""The packaged scenarios as checked forms. A faulty folder is named, never hidden."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.scenario.load import digest, load
from cyber_range.engine.scenario.model import Scenario

FOLDER = Path(__file__).parent / "scenarios"


@dataclass(frozen=True, slots=True)
class Entry:
    scenario: Scenario
    digest: str


@lru_cache(maxsize=64)
def _loaded(folder: Path, _changed: int) -> Entry:
    scenario = load(folder)
    return Entry(scenario, digest(scenario))


def _folders() -> list[Path]:
    if not FOLDER.is_dir():
        return []
    return sorted(folder for folder in FOLDER.iterdir() if (folder / "scenario.yml").is_file())


def _entry(folder: Path) -> Entry:
    changed = max((file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()), default=0)
    return _loaded(folder, changed)


def entries() -> list[Entry]:
    """Every scenario that can be built."""
    found = []
    for folder in _folders():
        try:
            found.append(_entry(folder))
        except ScenarioError:
            continue
    return found


def faults() -> list[str]:
    """One sentence per folder that cannot be built."""
    found = []
    for folder in _folders():
        try:
            _entry(folder)
        except ScenarioError as error:
            found.append(f"{folder.name}: {error}")
    return found


def entry(scenario_id: str) -> Entry:
    """The scenario of that id. LookupError names those there are."""
    for one in entries():
        if one.scenario.id == scenario_id:
            return one
    known = ", ".join(one.scenario.id for one in entries()) or "none"
    raise LookupError(f"no packaged scenario {scenario_id!r}; there are: {known}")
