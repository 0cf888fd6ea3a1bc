"""The sheet of employees by place and industry: template, reading with a verdict per line, and the figure per 10,000.

Where nobody has entered a figure there is none: it is neither estimated nor added up from parts.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import BinaryIO

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from openpyxl import Workbook
from openpyxl.styles import Font

from certification.models import Workforce
from certification.services.planning import WorkforceLine
from lms.accounts.models import Industry, Region
from lms.accounts.sheets import unpack

COLUMNS = ("区划代码", "地区", "行业代码", "从业人员（人）")
PER = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """People holding a certificate per 10,000 employees, with the figure it rests on."""

    value: float
    employees: int
    as_of: date
    source: str


@dataclass(slots=True)
class Line:
    number: int
    region: str
    industry: str
    employees: int
    name: str = ""
    before: int | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def entry(self) -> WorkforceLine:
        return WorkforceLine(self.region, self.industry, self.employees)


def template(regions: Iterable[Region]) -> bytes:
    """One line per place below the officer's own, to be filled; text cells keep the zeros of codes."""
    book = Workbook()
    page = book.active
    page.title = "从业人员"
    page.append(list(COLUMNS))
    for cell in page[1]:
        cell.font = Font(bold=True)
    for region in regions:
        page.append([region.code, region.full_name, "", None])
        page.cell(page.max_row, 1).number_format = page.cell(page.max_row, 3).number_format = "@"
    for letter, width in zip("ABCD", (12, 36, 12, 18), strict=True):
        page.column_dimensions[letter].width = width
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def read(file: BinaryIO, *, prefixes: tuple[str, ...], as_of: date) -> list[Line]:
    """Every line with a number in it, and what is wrong with it. Lines without a number are left out."""
    rows = unpack(file)
    head = next((n for n, row in enumerate(rows) if COLUMNS[0] in row and COLUMNS[3] in row), None)
    if head is None:
        raise ValidationError(_("没有找到表头“区划代码、从业人员（人）”，请用本页的模板填写。"))
    place, industry, people = (rows[head].index(name) if name in rows[head] else None for name in (COLUMNS[0], COLUMNS[2], COLUMNS[3]))  # fmt: skip
    assert place is not None
    assert people is not None
    found = []
    for number, row in enumerate(rows[head + 1 :], start=head + 2):
        cells = [*row, "", "", "", ""]
        text = cells[people].replace(",", "").replace("，", "").strip()
        if not text:
            continue
        code = cells[place].strip()
        line = Line(number, code, cells[industry].strip() if industry is not None else "", 0)
        if text.removesuffix(".0").isdecimal() and 0 < int(text.removesuffix(".0")) < 2**31:
            line.employees = int(text.removesuffix(".0"))
        else:
            line.errors.append(_("从业人员应为大于 0 的整数，现在是“%s”。") % text[:20])
        found.append(line)
    _judge(found, prefixes, as_of)
    return found


def _judge(lines: list[Line], prefixes: tuple[str, ...], as_of: date) -> None:
    regions = Region.objects.in_bulk([line.region for line in lines])
    industries = set(Industry.objects.values_list("code", flat=True))
    standing = {
        (row.region_id, row.industry_id or ""): row.employees
        for row in Workforce.objects.filter(region__in=regions, as_of=as_of)
    }
    seen: set[tuple[str, str]] = set()
    for line in lines:
        region = regions.get(line.region)
        if region is None:
            line.errors.append(_("没有区划代码“%s”。") % line.region[:12])
        else:
            line.name = region.full_name
            if not any(region.prefix.startswith(prefix) for prefix in prefixes):
                line.errors.append(_("不在本地区。"))
        if line.industry and line.industry not in industries:
            line.errors.append(_("没有行业代码“%s”，请填 GB/T 4754 两位大类代码，全部行业留空。") % line.industry[:12])
        if (line.region, line.industry) in seen:
            line.errors.append(_("与前面某一行重复。"))
        seen.add((line.region, line.industry))
        line.before = standing.get((line.region, line.industry))


def rates(holders: dict[str, int], *, industry: str, size: str, as_of: date) -> dict[str, Rate]:
    """Region code → rate, for the places whose figure is known by that day. By size class nobody publishes figures: none."""
    if size or not holders:
        return {}
    found: dict[str, Rate] = {}
    rows = Workforce.objects.filter(region__in=holders, industry_id=industry or None, as_of__lte=as_of)
    for row in rows.order_by("as_of"):  # the newest wins
        found[row.region_id] = Rate(holders[row.region_id] / row.employees * PER, row.employees, row.as_of, row.source)
    return found
