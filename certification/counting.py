"""The cube in SQL: the words of domain.cube over the certificates in the database. Reads only.

`Scope` is what the bureau page, an export, a drill-down and a release all mean by "these certificates": one place for the
question, so that a figure, its list and its recount are never about different things.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from django.db.models import Count
from django.db.models.functions import Substr, TruncMonth

from certification.domain.cube import Cell, Fact
from certification.models import Credential
from certification.querysets import CredentialQuerySet

FINER = {0: 2, 2: 4, 4: 6, 6: 6}  # digits of a unit's prefix → of the units below it


@dataclass(frozen=True, slots=True)
class Scope:
    """`prefix`: region digits ("", "33", "3306", "330681"). `kind` is always one type: types are never mixed."""

    prefix: str
    kind: str
    as_of: date
    since: date
    standard: str = ""
    level: str = ""
    industry: str = ""
    size: str = ""
    measure: str = "holders"  # or "issued"

    def rows(self) -> CredentialQuerySet:
        """The certificates behind the figure: valid on the day, or entered in the period."""
        if self.measure == "issued":
            return self.certificates().entered(self.since, self.as_of)
        return self.certificates().counting_on(self.as_of)

    def certificates(self) -> CredentialQuerySet:
        """All of the scope, whatever their status; the date words come on top."""
        rows = Credential.objects.within(self.prefix).filter(credential_type=self.kind)
        for field, value in (
            ("standard_code", self.standard),
            ("level_code", self.level),
            ("industry_id", self.industry),
            ("size", self.size),
        ):
            if value:
                rows = rows.filter(**{field: value})
        return rows

    def within(self, prefix: str, **changes: Any) -> Scope:
        return replace(self, prefix=prefix, **changes)

    def as_data(self) -> dict[str, str]:
        return {
            "prefix": self.prefix,
            "kind": self.kind,
            "as_of": self.as_of.isoformat(),
            "since": self.since.isoformat(),
            "standard": self.standard,
            "level": self.level,
            "industry": self.industry,
            "size": self.size,
            "measure": self.measure,
        }

    @classmethod
    def from_data(cls, data: dict[str, str]) -> Scope:
        return cls(**{**data, "as_of": date.fromisoformat(data["as_of"]), "since": date.fromisoformat(data["since"])})


def cell(scope: Scope) -> Cell:
    """Distinct holders and valid certificates on the day, and those entered since."""
    rows = scope.certificates()
    valid = rows.counting_on(scope.as_of).aggregate(holders=Count("person", distinct=True), valid=Count("pk"))
    return Cell(valid["holders"], valid["valid"], rows.entered(scope.since, scope.as_of).count())


def by_place_and_level(scope: Scope) -> dict[tuple[str, str, str], Cell]:
    """(place, standard, level) → cell, where place is the next finer unit: its digits, or the whole code of the scope's own
    people ("330600" when the prefix is "3306" and somebody's place is the prefecture itself)."""
    digits = FINER[len(scope.prefix)]
    keys = ("place", "standard_code", "level_code")
    rows = scope.certificates().annotate(place=Substr("region_id", 1, digits))
    found: dict[tuple[str, str, str], Cell] = {}
    for row in (
        rows.counting_on(scope.as_of).values(*keys).annotate(h=Count("person", distinct=True), v=Count("pk")).order_by()
    ):
        found[tuple(row[key] for key in keys)] = Cell(row["h"], row["v"], 0)
    for row in rows.entered(scope.since, scope.as_of).values(*keys).annotate(n=Count("pk")).order_by():
        key = tuple(row[name] for name in keys)
        found[key] = replace(found.get(key, Cell()), issued=row["n"])
    return found


def by_place(scope: Scope) -> dict[str, Cell]:
    """Place → cell over all levels: people counted anew, because levels do not add up to people."""
    digits = FINER[len(scope.prefix)]
    rows = scope.certificates().annotate(place=Substr("region_id", 1, digits))
    found: dict[str, Cell] = {}
    for row in (
        rows.counting_on(scope.as_of)
        .values("place")
        .annotate(h=Count("person", distinct=True), v=Count("pk"))
        .order_by()
    ):
        found[row["place"]] = Cell(row["h"], row["v"], 0)
    for row in rows.entered(scope.since, scope.as_of).values("place").annotate(n=Count("pk")).order_by():
        found[row["place"]] = replace(found.get(row["place"], Cell()), issued=row["n"])
    return found


def by_month(scope: Scope) -> dict[date, int]:
    """First day of the month → certificates entered in it, since..as_of."""
    rows = scope.certificates().entered(scope.since, scope.as_of).annotate(month=TruncMonth("known_from"))
    return {row["month"]: row["n"] for row in rows.values("month").annotate(n=Count("pk")).order_by("month")}


def facts(rows: CredentialQuerySet) -> Iterator[Fact]:
    """Certificates one by one as the domain counts them: the recount that the figures must equal."""
    for row in rows.values_list(
        "person",
        "credential_type",
        "standard_code",
        "level_code",
        "region_id",
        "industry_id",
        "size",
        "issued_on",
        "known_from",
        "expires_on",
        "ended_on",
    ).iterator():
        yield Fact(str(row[0]), row[1], row[2], row[3], row[4], row[5] or "", *row[6:])
