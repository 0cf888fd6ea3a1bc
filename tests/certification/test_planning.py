"""Targets, workforce and drills on the bureau's page: who may enter them, what they are set against, what is never made up."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date, timedelta

import openpyxl
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from certification import services
from certification.models import AwardRule, Credential, Target, Workforce
from certification.services.planning import WorkforceLine
from certification.services.releases import may_publish_as_of
from drills import figures
from drills.models import Drill, Seat
from lms.accounts.models import AuditEntry, Industry, Organisation, Region, User
from tests.factories.accounts import OrganisationFactory, RegionFactory, UserFactory
from tests.factories.certification import CredentialFactory
from tests.factories.drills import DrillFactory

pytestmark = pytest.mark.django_db
SignedIn = Callable[[User], Client]
Member = Callable[..., User]


@pytest.fixture
def prefecture(db: None) -> Region:
    province = RegionFactory(code="330000", name="浙江省")
    prefecture = RegionFactory(code="330600", name="绍兴市", parent=province)
    RegionFactory(code="330681", name="诸暨市", parent=prefecture)
    RegionFactory(code="330602", name="越城区", parent=prefecture)
    RegionFactory(code="330100", name="杭州市", parent=province)
    return prefecture


@pytest.fixture
def officer(member: Member, prefecture: Region) -> User:
    return member("officer", organisation=OrganisationFactory(kind="bureau", uscc=None, region=prefecture))


def path(name: str, *args: object) -> str:
    return reverse(f"certification:{name}", args=args)


def holders(number: int, region: str, **values: object) -> list[Credential]:
    return [CredentialFactory(region_id=region, **values) for _ in range(number)]


def sheet(*rows: tuple[object, ...]) -> SimpleUploadedFile:
    book = openpyxl.Workbook()
    book.active.append(["区划代码", "地区", "行业代码", "从业人员（人）"])
    for row in rows:
        book.active.append(list(row))
    out = io.BytesIO()
    book.save(out)
    return SimpleUploadedFile("people.xlsx", out.getvalue())


# --- targets -------------------------------------------------------------------------------------------------------------


def test_a_target_is_set_against_distinct_holders_of_its_standard(
    officer: User, award_rule: AwardRule, signed_in: SignedIn, prefecture: Region
) -> None:
    client, year = signed_in(officer), timezone.localdate().year
    holders(3, "330681", standard_code="ics-ops")
    holders(2, "330100", standard_code="ics-ops")

    client.post(path("targets") + "?region=330600", {"standard": "ics-ops", "year": year, "holders": 12, "source": "年度计划"})  # fmt: skip

    target = Target.objects.get()
    assert (target.region_id, target.standard_code, target.year, target.holders, target.set_by) == ("330600", "ics-ops", year, 12, officer)  # fmt: skip
    assert AuditEntry.objects.filter(action="target.set", actor=officer).count() == 1
    page = client.get(path("bureau")).content.decode()
    assert "持证 3 人，目标 12 人，完成 25%" in page


def test_a_target_is_changed_and_taken_away_with_the_old_number_in_the_log(
    officer: User, award_rule: AwardRule, prefecture: Region
) -> None:
    year = timezone.localdate().year
    for number in (10, 20, 0):
        services.set_target(region=prefecture, standard="ics-ops", year=year, holders=number, by=officer)

    assert not Target.objects.exists()
    told = [(row.action, row.detail["before"]) for row in AuditEntry.objects.filter(action__startswith="target.").order_by("pk")]  # fmt: skip
    assert told == [("target.set", 0), ("target.set", 10), ("target.removed", 20)]


def test_targets_of_other_regions_past_years_and_unknown_standards_are_refused(
    officer: User, award_rule: AwardRule, prefecture: Region
) -> None:
    year = timezone.localdate().year
    elsewhere = Region.objects.get(code="330100")
    for region, standard, when in ((elsewhere, "ics-ops", year), (prefecture, "ics-ops", year - 1), (prefecture, "nothing", year)):  # fmt: skip
        with pytest.raises(services.Refusal):
            services.set_target(region=region, standard=standard, year=when, holders=5, by=officer)


@pytest.mark.parametrize("name", ["targets", "workforce", "workforce_template"])
def test_the_bureaus_entries_are_for_its_officers_alone(
    name: str, officer: User, assessor: User, member: Member, signed_in: SignedIn
) -> None:
    assert signed_in(officer).get(path(name)).status_code == 200
    assert signed_in(officer).get(path(name) + "?region=330100").status_code == 403
    for wrong in (assessor, member("admin"), member("learner"), member("trainer")):
        assert signed_in(wrong).get(path(name)).status_code == 403
        assert signed_in(wrong).post(path(name), {"standard": "ics-ops"}).status_code in (403, 405)
    assert Client().get(path(name)).status_code == 302


# --- per 10,000 ----------------------------------------------------------------------------------------------------------


def test_without_a_figure_there_is_no_rate(officer: User, signed_in: SignedIn) -> None:
    holders(3, "330681")

    page = signed_in(officer).get(path("bureau") + "?map=rate").content.decode()

    assert "无数据：还没有导入" in page
    assert page.count("ct-shade-none") >= 2


def test_a_sheet_is_shown_line_by_line_and_written_when_confirmed(officer: User, signed_in: SignedIn) -> None:
    client = signed_in(officer)
    holders(3, "330681")
    words = {"as_of": "2025-12-31", "source": "绍兴统计年鉴 2026"}

    seen = client.post(path("workforce"), {**words, "file": sheet(("330600", "", "", 40000), ("330681", "", "", 6000), ("330602", "", "", None))})  # fmt: skip

    assert not Workforce.objects.exists()
    assert len(seen.context["lines"]) == 2
    client.post(path("workforce"), {"apply": seen.context["token"]})
    assert sorted(Workforce.objects.values_list("region_id", "employees", "source")) == [
        ("330600", 40000, "绍兴统计年鉴 2026"),
        ("330681", 6000, "绍兴统计年鉴 2026"),
    ]
    bureau = client.get(path("bureau") + "?map=rate")
    assert round(bureau.context["rate"].value, 3) == 0.75
    assert {tile.line.region: tile.value for tile in bureau.context["tiles"]} == {"330602": None, "330681": 5.0}
    assert "从业人员 40000 人（2025年12月31日，绍兴统计年鉴 2026）" in bureau.content.decode()


def test_faulty_lines_are_named_and_nothing_is_written(officer: User, signed_in: SignedIn) -> None:
    answer = signed_in(officer).post(
        path("workforce"),
        {
            "as_of": "2025-12-31", "source": "统计年鉴",
            "file": sheet(("330100", "", "", 5), ("999999", "", "", 5), ("330681", "", "XX", 5), ("330602", "", "", -1), ("330602", "", "", 7)),
        },
    )  # fmt: skip

    assert [len(line.errors) for line in answer.context["lines"]] == [1, 1, 1, 1, 1]
    assert answer.context["token"] == ""
    assert not Workforce.objects.exists()


def test_a_sheet_that_another_officer_checked_is_not_written(
    officer: User, member: Member, signed_in: SignedIn
) -> None:
    token = signed_in(officer).post(
        path("workforce"), {"as_of": "2025-12-31", "source": "统计年鉴", "file": sheet(("330681", "", "", 6000))}
    ).context["token"]  # fmt: skip
    other = member("officer", organisation=OrganisationFactory(kind="bureau", uscc=None, region_id="330100"))

    signed_in(other).post(path("workforce"), {"apply": token})

    assert not Workforce.objects.exists()


def test_the_newest_figure_up_to_the_day_counts_and_industries_stay_apart(officer: User, prefecture: Region) -> None:
    from certification.workforce import rates

    industry = Industry.objects.first() or Industry.objects.create(
        code="15", name="酒、饮料和精制茶制造业", section="C"
    )
    for day, people in ((date(2023, 12, 31), 1000), (date(2024, 12, 31), 2000), (date(2025, 12, 31), 4000)):
        services.enter_workforce(lines=[WorkforceLine("330600", "", people)], as_of=day, source="年鉴", by=officer)
    services.enter_workforce(
        lines=[WorkforceLine("330600", industry.code, 100)], as_of=date(2024, 12, 31), source="年鉴", by=officer
    )

    asked = {"330600": 10}
    assert rates(asked, industry="", size="", as_of=date(2025, 6, 30))["330600"].value == 50
    assert rates(asked, industry=industry.code, size="", as_of=date(2025, 6, 30))["330600"].value == 1000
    assert rates(asked, industry="", size="small", as_of=date(2025, 6, 30)) == {}
    assert rates(asked, industry="", size="", as_of=date(2020, 1, 1)) == {}


# --- drills --------------------------------------------------------------------------------------------------------------


def drill(region: str, people: int, *, ended: timedelta = timedelta(hours=1), phase: str = "ended", **values: object) -> Drill:  # fmt: skip
    now = timezone.now()
    place: Organisation = OrganisationFactory(region_id=region)
    row = DrillFactory(
        organisation=place, phase=phase, started_at=now - ended - timedelta(hours=1), ended_at=now - ended
    )
    for _ in range(people):
        Seat.objects.create(drill=row, seat="blue", cell="blue", user=UserFactory(), taken_at=now)
    Seat.objects.create(drill=row, seat="eye", cell="observer", user=UserFactory(), taken_at=now)
    Seat.objects.create(drill=row, seat="blue2", cell="blue", user=UserFactory())  # never sat down
    return row


def test_drills_are_counted_by_place_and_month_for_the_own_region(officer: User, signed_in: SignedIn) -> None:
    drill("330681", 3)
    drill("330602", 2)
    drill("330100", 9)
    drill("330681", 4, phase="running")

    page = signed_in(officer).get(path("bureau")).content.decode()

    assert "参演 5 人，2 家单位" in page
    rows = figures.held(prefix="3306", since=date(2000, 1, 1), as_of=timezone.localdate())
    assert figures.by_place(rows, "3306") == {"330602": figures.Figure(1, 2, 1), "330681": figures.Figure(1, 3, 1)}
    assert sum(figure.drills for figure in figures.by_month(rows).values()) == 2


def test_a_release_tells_participations_of_its_month_with_small_cells_hidden(officer: User, prefecture: Region) -> None:
    as_of = may_publish_as_of(timezone.localdate())[0]
    back = timezone.now() - timezone.make_aware(timezone.datetime(as_of.year, as_of.month, as_of.day, 12))
    drill("330681", 30, ended=back)
    drill("330602", 2, ended=back)
    drill("330100", 40, ended=back)

    release = services.publish_release(region=prefecture, as_of=as_of, by=officer)

    cells = {cell["region"]: cell["participations"] for cell in release.content["drills"]["cells"]}
    assert cells["330602"] is None
    assert None in (cells["330681"], cells["330600"])  # or the hidden one could be worked out


def test_trainers_look_at_drills_of_their_own_organisation_in_the_editor(member: Member, signed_in: SignedIn) -> None:
    from courses.services import align_groups, prepare_teaching

    prepare_teaching()
    trainer = member("trainer")
    align_groups()
    own = DrillFactory(organisation=trainer.memberships.get().organisation, title="本厂的演练")
    other = DrillFactory(title="别家的演练")
    client = signed_in(trainer)
    base = "/cms/snippets/drills/drill/"

    page = client.get(base).content.decode()

    assert "本厂的演练" in page
    assert "别家的演练" not in page
    assert client.get(f"{base}inspect/{own.pk}/").status_code == 200
    assert client.get(f"{base}inspect/{other.pk}/").status_code in (302, 404)
    for verb in (f"usage/{other.pk}/", f"history/{other.pk}/"):
        assert "别家的演练" not in client.get(base + verb, follow=True).content.decode()
    for verb in (f"edit/{own.pk}/", f"delete/{own.pk}/", "add/"):
        assert client.post(base + verb, {}).status_code in (302, 403, 404)
    assert Drill.objects.count() == 2
