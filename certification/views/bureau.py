"""人才与演练一张图: exact figures of the own region, types apart, each figure with the way it was counted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from certification import counting, rules, services
from certification.counting import FINER, Scope
from certification.domain.credential import add_months
from certification.domain.cube import Cell, tally
from certification.domain.tiles import bounds, shades
from certification.forms import PurposeForm
from certification.models import BureauAccess, StandardLevel, Target
from certification.models.standards import CredentialType
from certification.sheets import workbook
from certification.views import checklist
from certification.views.desk import evidence_of
from certification.workforce import Rate, rates
from lms.accounts import audit
from lms.accounts.context import chosen
from lms.accounts.models import Industry, Organisation, Region
from lms.accounts.rules import Role, jurisdiction_prefixes, organisation_ids

TREND_MONTHS = 12
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@dataclass(frozen=True, slots=True)
class Column:
    standard: str
    level: str
    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    region: str
    name: str
    prefix: str
    cells: list[tuple[Column, Cell]]
    people: Cell
    bar: float
    deeper: bool
    rate: Rate | None = None


@dataclass(frozen=True, slots=True)
class Tile:
    """`shade` None: the value is unknown, which is not zero."""

    line: Line
    value: float | None
    shade: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """A target with where it stands; `share` in percent, at most 100 for the bar."""

    target: Target
    title: str
    holders: int
    query: str

    @property
    def percent(self) -> int:
        return self.holders * 100 // self.target.holders

    @property
    def share(self) -> int:
        return min(100, self.percent)


def _officers_only(request: HttpRequest) -> None:
    if not rules.is_officer(request.user):
        raise PermissionDenied(_("这里供主管部门使用，请联系上级主管部门开通。"))


def region_of(request: HttpRequest) -> Region:
    """The asked-for region when it lies within the own one, else the own."""
    code = request.GET.get("region", "") or own_region(request)
    region = Region.objects.filter(code=code).first()
    if region is None:
        raise Http404
    if not rules.may_see_region(request.user, region):
        raise PermissionDenied(_("只能查看本地区及下级地区的统计。"))
    return region


def own_region(request: HttpRequest) -> str:
    """The region of the bureau the officer works for now, of several the chosen one."""
    bureau = chosen(request, organisation_ids(request.user, Role.OFFICER))
    return str(Organisation.objects.values_list("region_id", flat=True).get(pk=bureau))


def scope_of(request: HttpRequest, region: Region) -> Scope:
    today = timezone.localdate()
    as_of = min(parse_date_safely(request.GET.get("as_of", "")) or today, today)
    kind = request.GET.get("kind", "")
    asked = {name: request.GET.get(name, "")[:40] for name in ("standard", "level", "industry", "size")}
    return Scope(
        prefix=region.prefix,
        kind=kind if kind in CredentialType.values else CredentialType.COMPETENCY.value,
        as_of=as_of,
        since=date(as_of.year, 1, 1),
        measure="issued" if request.GET.get("measure") == "issued" else "holders",
        **asked,
    )


def parse_date_safely(text: str) -> date | None:
    try:
        return parse_date(text)
    except ValueError:
        return None


def query(scope: Scope, region: str, **changes: str) -> str:
    """The address part that asks for the same figure again."""
    values = {
        "region": region,
        "kind": scope.kind,
        "as_of": scope.as_of.isoformat(),
        "standard": scope.standard,
        "level": scope.level,
        "industry": scope.industry,
        "size": scope.size,
        **({"measure": "issued"} if scope.measure == "issued" else {}),
    }
    values.update(changes)
    return urlencode({name: value for name, value in values.items() if value})


@login_required
@require_GET
@never_cache
def bureau(request: HttpRequest) -> HttpResponse:
    _officers_only(request)
    region = region_of(request)
    scope = scope_of(request, region)
    columns = columns_of(scope)
    trend_since = add_months(scope.as_of.replace(day=1), 1 - TREND_MONTHS)
    months = counting.by_month(replace(scope, since=trend_since))
    series = [
        {"month": (month := add_months(trend_since, n)).strftime("%Y-%m"), "issued": months.get(month, 0)}
        for n in range(TREND_MONTHS)
    ]
    figures = [
        {
            "kind": kind,
            "label": kind.label,
            "cell": counting.cell(replace(scope, kind=kind.value, standard="", level="")),
            "query": query(replace(scope, kind=kind.value, standard="", level=""), region.code),
        }
        for kind in (CredentialType.COMPETENCY, CredentialType.TRAINING, CredentialType.EXTERNAL)
    ]
    found = lines(scope, region, columns)
    total = counting.cell(scope)
    by_rate = request.GET.get("map") == "rate"
    tiles = tiles_of(found, by_rate)
    return render(
        request,
        "certification/bureau.html",
        {
            "tiles": tiles,
            "by_rate": by_rate,
            "legend": list(enumerate(bounds(max((t.value or 0 for t in tiles), default=0), not by_rate), start=1)),
            "unknown": any(tile.shade is None for tile in tiles),
            "rate": rates(
                {region.code: total.holders}, industry=scope.industry, size=scope.size, as_of=scope.as_of
            ).get(region.code),
            "targets": progress_of(scope, region),
            "own_year": scope.as_of.year,
            "region": region,
            "trail": trail(request, region),
            "scope": scope,
            "kinds": CredentialType,
            "kind_label": CredentialType(scope.kind).label,
            "columns": columns,
            "lines": found,
            "total": total,
            "totals": [
                (column, counting.cell(replace(scope, standard=column.standard, level=column.level)))
                for column in columns
            ],
            "series": series,
            "figures": figures,
            "standards": sorted({(c.standard, c.title) for c in columns_of(replace(scope, standard="", level=""))}),
            "industries": Industry.objects.filter(section="C"),
            "sizes": Organisation.Size.choices,
            "query": query(scope, region.code),
            "today": timezone.localdate(),
            "prefixes": jurisdiction_prefixes(request.user),
        },
    )


def trail(request: HttpRequest, region: Region) -> list[Region]:
    """From the own region down to this one."""
    found: list[Region] = []
    step: Region | None = region
    while step is not None and rules.may_see_region(request.user, step):
        found.insert(0, step)
        step = step.parent
    return found


def columns_of(scope: Scope) -> list[Column]:
    """Standards and levels of the type: those in force here, and whatever is in the books."""
    found: dict[tuple[str, str], Column] = {}
    levels = StandardLevel.objects.filter(standard__credential_type=scope.kind, standard__superseded_by="")
    for level in levels.select_related("standard").order_by("standard__code", "rank"):
        found[level.standard.code, level.code] = Column(
            level.standard.code, level.code, level.name, level.standard.title
        )
    rows = scope.certificates().values_list("standard_code", "level_code", "title").distinct()
    for standard, level, title in rows:
        found.setdefault((standard, level), Column(standard, level, level or title, title))
    return [
        column
        for column in found.values()
        if (not scope.standard or column.standard == scope.standard)
        and (not scope.level or column.level == scope.level)
    ]


def lines(scope: Scope, region: Region, columns: list[Column]) -> list[Line]:
    """One line per unit below, zeros too; a county shows itself."""
    cells, people = counting.by_place_and_level(scope), counting.by_place(scope)
    digits = FINER[len(scope.prefix)]
    children = list(region.children.filter(valid_to=None).order_by("code"))
    places = {child.code[:digits]: child for child in children} if children else {region.code[:digits]: region}
    for place in people:  # people of the unit itself, or of a unit that was merged since
        if place not in places:
            code = place.ljust(6, "0")
            places[place] = Region.objects.filter(code=code).first() or Region(code=code, name=code)
    most = max((cell.holders for cell in people.values()), default=0)
    known = rates(
        # people of the unit itself are a part of it: its figure of employees is not theirs
        {unit.code: people.get(place, Cell()).holders for place, unit in places.items() if unit.code != region.code or not children},
        industry=scope.industry, size=scope.size, as_of=scope.as_of,
    )  # fmt: skip
    found = []
    for place, unit in sorted(places.items()):
        cell = people.get(place, Cell())
        own = unit.code == region.code and bool(children)
        found.append(
            Line(
                region=unit.code,
                name=_("%s本级") % unit.name if own else unit.name,
                prefix=place,
                cells=[(column, cells.get((place, column.standard, column.level), Cell())) for column in columns],
                people=cell,
                bar=math.ceil(100 * cell.holders / most) if most else 0,
                deeper=unit.code != region.code,
                rate=None if own else known.get(unit.code),
            )
        )
    return found


def tiles_of(found: list[Line], by_rate: bool) -> list[Tile]:
    values = {line.prefix: (line.rate.value if line.rate else None) if by_rate else float(line.people.holders) for line in found}  # fmt: skip
    steps = shades(values)
    return [Tile(line, values[line.prefix], steps[line.prefix]) for line in found]


def progress_of(scope: Scope, region: Region) -> list[Progress]:
    """This year's targets of the region, each against distinct people with a valid certificate of that standard.
    Over all industries and sizes, as targets are."""
    targets = Target.objects.filter(region=region, year=scope.as_of.year)
    titles = {
        level.standard.code: level.standard
        for level in StandardLevel.objects.filter(
            standard__code__in=[target.standard_code for target in targets]
        ).select_related("standard").order_by("standard__effective_from")
    }  # fmt: skip
    found = []
    for target in targets:
        standard = titles[target.standard_code]
        asked = replace(scope, kind=standard.credential_type, standard=standard.code, level="", industry="", size="", measure="holders")  # fmt: skip
        found.append(Progress(target, standard.title, counting.cell(asked).holders, query(asked, region.code)))
    return found


@login_required
@require_GET
@never_cache
def counted(request: HttpRequest) -> HttpResponse:
    """How one figure was counted: its definition, its conditions, and a recount certificate by certificate."""
    _officers_only(request)
    region = region_of(request)
    scope = scope_of(request, region)
    figure = counting.cell(scope)
    recount = tally(counting.facts(scope.certificates()), as_of=scope.as_of, since=scope.since).get(
        (scope.kind,), Cell()
    )
    return render(
        request,
        "certification/counted.html",
        {
            "region": region,
            "scope": scope,
            "figure": figure,
            "recount": recount,
            "agrees": figure == recount,
            "kind_label": CredentialType(scope.kind).label,
            "query": query(scope, region.code),
            "form": PurposeForm(),
            "industry": Industry.objects.filter(code=scope.industry).first() if scope.industry else None,
            "size": dict(Organisation.Size.choices).get(scope.size, ""),
            "counted_at": timezone.localtime(),
            "behind": scope.rows().count(),
        },
    )


@login_required
@require_POST
def open_records(request: HttpRequest) -> HttpResponse:
    """Asks for the purpose, writes it down, then shows."""
    _officers_only(request)
    region = region_of(request)
    scope = scope_of(request, region)
    form = PurposeForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("请写明查看名单的用途（至少 4 个字）。"))
        return redirect(f"{reverse('certification:counted')}?{query(scope, region.code)}")
    access = services.open_records(by=request.user, purpose=form.cleaned_data["purpose"], scope=scope)
    return redirect("certification:records", access.pk)


def _access(request: HttpRequest, pk: int) -> tuple[BureauAccess, Scope]:
    """The own access, not older than its hours, for a region that is still the own."""
    _officers_only(request)
    access = get_object_or_404(BureauAccess, pk=pk, user=request.user)
    scope = Scope.from_data(access.scope)
    if access.at < timezone.now() - timedelta(hours=BureauAccess.HOURS):
        raise PermissionDenied(_("本次查看已超过 %s 小时，请回到统计页重新写明用途。") % BureauAccess.HOURS)
    if not rules.may_see_prefix(request.user, scope.prefix):
        raise PermissionDenied(_("只能查看本地区及下级地区的名单。"))
    return access, scope


@login_required
@require_GET
@never_cache
def records(request: HttpRequest, pk: int) -> HttpResponse:
    access, scope = _access(request, pk)
    rows = scope.rows().select_related("region", "organisation").order_by("region_id", "-issued_at", "pk")
    page = Paginator(rows, 50).get_page(request.GET.get("page"))
    return render(
        request,
        "certification/records.html",
        {
            "access": access,
            "page": page,
            "kind_label": CredentialType(scope.kind).label,
            "scope": scope,
            "rows": [(row, row.status_on(scope.as_of).value) for row in page.object_list],
        },
    )


@login_required
@require_GET
@never_cache
def record(request: HttpRequest, pk: int, number: str) -> HttpResponse:
    """One certificate down to the drill's evidence, the holder's name masked; the look is logged."""
    access, scope = _access(request, pk)
    row = get_object_or_404(
        scope.rows().select_related("region", "organisation", "industry", "decision__rule", "level__standard"),
        number=number,
    )
    audit.record("bureau.record_seen", row, by=request.user, access=access.pk, purpose=access.purpose)
    body: dict[str, Any] = row.decision.body if row.decision else {}
    return render(
        request,
        "certification/record.html",
        {
            "access": access,
            "credential": row,
            "decision": row.decision,
            "events": row.events.order_by("at"),
            "status": row.status_on(timezone.localdate()).value,
            "rows": checklist.rows(body["outcome"]) if body else [],
            "evidence": evidence_of(body),
        },
    )


@login_required
@require_GET
@never_cache
def export(request: HttpRequest) -> HttpResponse:
    """The bureau's form: cover, one sheet per type, definitions."""
    _officers_only(request)
    region = region_of(request)
    scope = scope_of(request, region)
    sheets = []
    for kind in CredentialType:
        part = replace(scope, kind=kind.value, **({} if kind.value == scope.kind else {"standard": "", "level": ""}))
        columns = columns_of(part)
        sheets.append(
            (
                str(kind.label),
                [(c.title, c.name) for c in columns],
                [
                    (
                        line.region,
                        line.name,
                        [cell.holders for _column, cell in line.cells],
                        line.people.holders,
                        line.people.issued,
                    )
                    for line in lines(part, region, columns)
                ],
                counting.cell(part),
                [counting.cell(replace(part, standard=c.standard, level=c.level)).holders for c in columns],
            )
        )
    content = workbook(region=region, as_of=scope.as_of, since=scope.since, by=request.user, sheets=sheets)
    audit.record("bureau.exported", region, by=request.user, scope=scope.as_data())
    name = f"{region.name}持证人才统计表_{scope.as_of:%Y%m%d}.xlsx"
    response = HttpResponse(content, content_type=XLSX)
    response["Content-Disposition"] = f"attachment; filename*=UTF-8''{urlencode({'': name})[1:].replace('+', '%20')}"
    return response
