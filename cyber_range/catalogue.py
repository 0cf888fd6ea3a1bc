"""Scenarios as checked forms: the packaged ones, and published versions of those written in the browser.

A faulty folder is named, never hidden. A version's name is its hash; it was checked when it was published.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.lab.written import digest_of, read
from cyber_range.engine.scenario.load import digest, load
from cyber_range.engine.scenario.model import Scenario
from cyber_range.written import KEY, KEY_DIGITS, TRIAL_KEY, DraftTrial, ScenarioVersion

if TYPE_CHECKING:
    from lms.accounts.models import Organisation

FOLDER = Path(__file__).parent / "scenarios"


@dataclass(frozen=True, slots=True)
class Entry:
    scenario: Scenario
    digest: str
    written: str = ""  # digest of a version written in the browser
    trial: bool = False  # of a draft that is only tried out

    @property
    def key(self) -> str:
        """How rows name it: a packaged one by its id, a version by its hash."""
        prefix = TRIAL_KEY if self.trial else KEY
        return f"{prefix}{self.written[:KEY_DIGITS]}" if self.written else self.scenario.id


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


def entry(scenario_id: str, organisation: Organisation | None = None, *, trials: bool = False) -> Entry:
    """The scenario of that id. LookupError names those there are. With an organisation, of versions only its own, and of
    drafts that are tried out none unless `trials`: whoever plans with them would plan with what may change."""
    if is_written(scenario_id):
        if organisation is not None and is_trial(scenario_id) and not trials:
            raise LookupError(f"{scenario_id!r} is a draft that is tried out; publish it first")
        return _entry_of(_version(scenario_id, organisation))
    for one in entries():
        if one.scenario.id == scenario_id:
            return one
    known = ", ".join(one.scenario.id for one in entries()) or "none"
    raise LookupError(f"no packaged scenario {scenario_id!r}; there are: {known}")


def is_written(scenario_id: str) -> bool:
    return scenario_id.startswith((KEY, TRIAL_KEY)) and len(scenario_id) == len(KEY) + KEY_DIGITS


def is_trial(scenario_id: str) -> bool:
    return is_written(scenario_id) and scenario_id.startswith(TRIAL_KEY)


def belongs_to(scenario_id: str, organisations: Collection[int]) -> bool:
    """Packaged ones belong to everybody, a version to the organisation that wrote it."""
    if not is_written(scenario_id):
        return True
    return _rows(scenario_id).filter(scenario__organisation__in=organisations).exists()


def offered_to(organisations: Collection[int]) -> list[tuple[ScenarioVersion, Entry]]:
    """Newest versions of what these organisations have written."""
    rows = ScenarioVersion.objects.offered().filter(scenario__organisation__in=organisations)
    return [(row, _entry_of(row)) for row in rows.select_related("scenario__organisation").order_by("title", "pk")]


def sent_to(client: Any, scenario_id: str) -> str:
    """What range-host calls it; a version is sent there first where it is not known."""
    if not is_written(scenario_id):
        return scenario_id
    row = _version(scenario_id, None)
    if not client.call("scenario_put", digest=row.digest)["known"]:
        client.call("scenario_put", digest=row.digest, files=row.files)
    return row.digest


def _rows(scenario_id: str) -> QuerySet[Any]:
    """Versions, or drafts tried out, of that name."""
    rows = DraftTrial.objects if is_trial(scenario_id) else ScenarioVersion.objects
    return rows.filter(digest__startswith=scenario_id.partition("-")[2])


def _version(scenario_id: str, organisation: Organisation | None) -> ScenarioVersion | DraftTrial:
    found = _rows(scenario_id)
    if organisation is not None:
        found = found.filter(scenario__organisation=organisation)
    row: ScenarioVersion | DraftTrial | None = found.order_by("pk").first()
    if row is None:
        raise LookupError(f"no version {scenario_id!r}")
    return row


_READ: dict[str, Entry] = {}  # a few checked versions; their texts cannot change


def _entry_of(row: ScenarioVersion | DraftTrial) -> Entry:
    known = _READ.get(row.key)
    if known is None:
        if digest_of(row.files) != row.digest:
            raise LookupError(f"version {row.pk} is not what was published")
        try:
            scenario = read(row.files, seeds=())
        except ScenarioError as error:  # published under rules that have become stricter since
            raise LookupError(f"version {row.pk} cannot be built any more: {error}") from error
        if len(_READ) >= 64:
            _READ.pop(next(iter(_READ)))
        known = _READ[row.key] = Entry(scenario, digest(scenario), row.digest, isinstance(row, DraftTrial))
    return known
