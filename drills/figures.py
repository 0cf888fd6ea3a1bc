"""Drills as a bureau counts them: run, with whom, where and when. Exact for the officer's own region; reads only.

A drill counts in the month it ended, in the region of the organisation that held it, when its range really ran (it was
started). Participants are distinct people who took a seat other than observer; a person in two drills counts once per cell,
so cells of months or places do not add up to the total.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Substr, TruncMonth

from drills.models import Drill, Seat

FINER = {0: 2, 2: 4, 4: 6, 6: 6}  # digits of a unit's prefix → of the units below it


@dataclass(frozen=True, slots=True)
class Figure:
    drills: int = 0
    participants: int = 0
    enterprises: int = 0


COUNTS = {
    "drills": Count("pk", distinct=True),
    "participants": Count(
        "seats__user", filter=Q(seats__taken_at__isnull=False) & ~Q(seats__cell=Seat.Cell.OBSERVER), distinct=True
    ),
    "enterprises": Count("organisation", distinct=True),
}


def held(*, prefix: str, since: date, as_of: date) -> QuerySet[Drill]:
    return Drill.objects.past().filter(
        organisation__region__code__startswith=prefix,
        started_at__isnull=False,
        ended_at__date__gte=since,
        ended_at__date__lte=as_of,
    )


def total(rows: QuerySet[Drill]) -> Figure:
    return Figure(**rows.aggregate(**COUNTS))


def by_place(rows: QuerySet[Drill], prefix: str) -> dict[str, Figure]:
    """Digits of the next finer unit → figure."""
    cells = rows.annotate(place=Substr("organisation__region_id", 1, FINER[len(prefix)])).values("place")
    return {row.pop("place"): Figure(**row) for row in cells.annotate(**COUNTS).order_by("place")}


def by_month(rows: QuerySet[Drill]) -> dict[date, Figure]:
    """First day of the month → figure; months without a drill are left out."""
    cells = rows.annotate(month=TruncMonth("ended_at")).values("month")
    return {row.pop("month").date(): Figure(**row) for row in cells.annotate(**COUNTS).order_by("month")}


def participations(*, since: date, as_of: date) -> dict[str, int]:
    """Region code → person-times: each person once per drill. Unlike people, these add up over places, so a published table
    can hide small cells and still be consistent."""
    seats = Seat.objects.filter(drill__in=held(prefix="", since=since, as_of=as_of), taken_at__isnull=False).exclude(
        cell=Seat.Cell.OBSERVER
    )
    rows = seats.values("drill__organisation__region_id").annotate(n=Count("pk")).order_by()
    return {row["drill__organisation__region_id"]: row["n"] for row in rows}
