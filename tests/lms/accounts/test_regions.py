"""Regions from the package, its faults patched, and the reporting units over them."""

from __future__ import annotations

from collections import Counter

import pytest

from lms.accounts import regions
from lms.accounts.models import Industry, Region, ReportingUnit


@pytest.fixture(scope="module")
def rows() -> dict[str, Region]:
    return {region.code: region for region in regions.rows()}


def test_regions_have_the_published_counts(rows: dict[str, Region]) -> None:
    levels = Counter(region.level for region in rows.values())

    assert levels[1] == 34
    assert 330 <= levels[2] <= 345
    assert 2840 <= levels[3] <= 3000


def test_regions_have_six_digits_and_a_parent_that_shares_them(rows: dict[str, Region]) -> None:
    assert all(len(code) == 6 and code.isdigit() for code in rows)
    strays = [
        code
        for code, region in rows.items()
        if (region.parent is None) is not (region.level == 1)
        or (region.parent is not None and not code.startswith(region.parent.prefix))
    ]
    assert strays == []


def test_regions_say_taiwan_by_its_code_and_districts_of_municipalities_as_counties(rows: dict[str, Region]) -> None:
    assert rows["710000"].name == "台湾省"
    district = rows["310115"]
    assert (district.level, district.full_name) == (3, "上海市浦东新区")
    assert rows["330681"].full_name == "浙江省绍兴市诸暨市"


def test_reporting_units_count_every_county_once(rows: dict[str, Region]) -> None:
    units = regions.reporting_units([r for r in rows.values() if r.level == 1])

    def reporters(code: str) -> list[str]:
        return [
            unit.name
            for unit in units
            if any(code.startswith(p) for p in unit.includes) and not any(code.startswith(p) for p in unit.excludes)
        ]

    counties = [code for code, r in rows.items() if r.level == 3 and f"{code[:2]}0000" not in regions.NOT_REPORTING]
    assert {code: reporters(code) for code in counties if len(reporters(code)) != 1} == {}
    assert Counter(unit.kind for unit in units) == {"province": 31, "planned_city": 5, "corps": 1}
    assert reporters("330203") == ["宁波市"]
    assert reporters("330106") == ["浙江省"]
    assert reporters("659001") == ["新疆生产建设兵团"]


def test_reporting_units_have_cities_that_exist(rows: dict[str, Region]) -> None:
    assert {code: rows[code].name for code in regions.PLANNED_CITIES} == regions.PLANNED_CITIES


@pytest.mark.django_db
def test_load_places_twice_gives_the_same_and_corrects_names() -> None:
    regions.load_places()
    before = (Region.objects.count(), ReportingUnit.objects.count(), Industry.objects.count())
    ReportingUnit.objects.filter(code="330000").update(name="别名")
    regions.load_places()

    assert (Region.objects.count(), ReportingUnit.objects.count(), Industry.objects.count()) == before
    assert before == (len(regions.rows()), 37, 31)
    assert ReportingUnit.objects.get(code="330000").name == "浙江省"
    assert Region.objects.get(code="330681").parent_id == "330600"


@pytest.mark.parametrize(("code", "prefix"), [("330000", "33"), ("330100", "3301"), ("330106", "330106")])
def test_region_prefix_is_what_all_below_share(code: str, prefix: str) -> None:
    assert Region(code=code).prefix == prefix
