"""Figures equal a recount, books are built twice to the same rows, releases hide what they must and show a forgery."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import date, timedelta

import pytest
from django.utils import timezone

from certification import counting, services
from certification.counting import Scope
from certification.domain.cube import Cell, tally
from certification.models import BureauAccess, Credential, DailyRollup, Release
from lms.accounts.models import AuditEntry, Organisation, Region, User
from lms.jobs.models import Job
from tests.factories.accounts import OrganisationFactory, RegionFactory, UserFactory
from tests.factories.certification import CredentialFactory

pytestmark = pytest.mark.django_db
KINDS = ["platform_competency", "training_completion", "official_external"]
COUNTIES = ["330681", "330602", "330106", "110101"]


def tree(*codes: str) -> None:
    for code in codes:
        province = RegionFactory(code=f"{code[:2]}0000")
        prefecture = RegionFactory(code=f"{code[:4]}00", parent=province)
        RegionFactory(code=code, parent=prefecture)


@pytest.fixture
def officer(member: Callable[..., User]) -> Callable[[str], User]:
    def make(code: str) -> User:
        return member(
            "officer",
            organisation=OrganisationFactory(kind=Organisation.Kind.BUREAU, uscc=None, region=RegionFactory(code=code)),
        )

    return make


@pytest.fixture
def many(db: None) -> list[Credential]:
    """Certificates of all kinds, places, levels and fates, the same ones every time."""
    tree(*COUNTIES)
    dice = random.Random(7)
    people = [UserFactory() for _ in range(12)]
    rows = []
    for number in range(60):
        known = date(2026, 11, 15) - timedelta(days=dice.randrange(400))
        user = dice.choice(people)
        ended = dice.choice([None, None, known + timedelta(days=dice.randrange(200))])
        rows.append(
            Credential(
                credential_type=dice.choice(KINDS),
                number=f"N{number}",
                title="t",
                standard_code=dice.choice(["ics-ops", "data"]),
                level_code=dice.choice(["L1", "L2"]),
                user=user,
                person=user.pseudonym,
                holder_name=user.name,
                region_id=dice.choice(COUNTIES),
                size=dice.choice(["small", "medium"]),
                issued_at=timezone.now(),
                issued_on=known,
                known_from=known,
                expires_on=dice.choice([None, known + timedelta(days=dice.randrange(300))]),
                ended_on=ended,
                state="revoked" if ended else "active",
                external_issuer="x",
                external_number=str(number),
            )
        )
    return Credential.objects.bulk_create(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefix", ["", "33", "3306", "330681"])
@pytest.mark.parametrize("day", [date(2026, 11, 20), date(2026, 3, 31), date(2025, 12, 31)])
def test_every_figure_equals_a_recount_certificate_by_certificate(
    many: list[Credential], kind: str, prefix: str, day: date
) -> None:
    scope = Scope(prefix=prefix, kind=kind, as_of=day, since=date(day.year, 1, 1))
    facts = [fact for fact in counting.facts(Credential.objects.all()) if fact.region.startswith(prefix)]

    recount = tally(facts, as_of=day, since=scope.since)
    levels = tally(facts, as_of=day, since=scope.since, by=("region", "standard", "level"))

    assert counting.cell(scope) == recount.get((kind,), Cell())
    if prefix == "3306":
        assert counting.by_place_and_level(scope) == {key[1:]: cell for key, cell in levels.items() if key[0] == kind}


def test_types_are_never_in_one_figure(many: list[Credential]) -> None:
    scope = Scope(prefix="", kind=KINDS[0], as_of=date(2026, 11, 20), since=date(2026, 1, 1))

    assert set(scope.rows().values_list("credential_type", flat=True)) == {KINDS[0]}


def test_months_add_up_to_what_was_entered(many: list[Credential]) -> None:
    scope = Scope(prefix="", kind=KINDS[0], as_of=date(2026, 11, 20), since=date(2026, 1, 1), measure="issued")

    assert sum(counting.by_month(scope).values()) == counting.cell(scope).issued == scope.rows().count()


def test_the_books_of_a_day_are_the_same_when_built_again_and_add_up_to_the_certificates(
    many: list[Credential],
) -> None:
    day = date(2026, 9, 30)
    services.build_rollup(day=day)
    first = list(
        DailyRollup.objects.order_by("pk").values_list(
            "credential_type", "region_code", "standard_code", "level_code", "valid"
        )
    )

    CredentialFactory(issued_on=date(2026, 9, 1), known_from=date(2026, 11, 1))  # entered later: the past stays
    services.build_rollup(day=day)

    again = DailyRollup.objects.order_by("pk").values_list(
        "credential_type", "region_code", "standard_code", "level_code", "valid"
    )
    assert sorted(again) == sorted(first)
    assert sum(row[-1] for row in first) == Credential.objects.counting_on(day).filter(known_from__lte=day).count()


def test_days_without_books_are_asked_for_once(many: list[Credential]) -> None:
    services.build_rollup(day=timezone.localdate() - timedelta(days=4))

    assert services.roll_up_due() == 3
    assert services.roll_up_due() == 3  # the same three jobs: asked for by name

    assert Job.objects.filter(task="certification.rollup").count() == 3


# --- named records ---------------------------------------------------------------------------------------------------


def test_named_records_open_only_in_the_own_region_with_a_purpose_that_is_written_down(
    many: list[Credential], officer: Callable[[str], User]
) -> None:
    county = officer("330681")
    own = Scope(prefix="330681", kind=KINDS[0], as_of=date(2026, 11, 20), since=date(2026, 1, 1))

    access = services.open_records(by=county, purpose="核对补贴名单", scope=own)

    assert (access.user, access.purpose, access.shown) == (county, "核对补贴名单", own.rows().count())
    assert Scope.from_data(access.scope) == own
    assert AuditEntry.objects.get(action="bureau.records_opened").detail["purpose"] == "核对补贴名单"
    for prefix in ("3306", "330602", "33", ""):
        with pytest.raises(services.Refusal, match="只能查看本地区"):
            services.open_records(by=county, purpose="核对补贴名单", scope=own.within(prefix))
    with pytest.raises(services.Refusal, match="用途"):
        services.open_records(by=county, purpose="  看 ", scope=own)
    assert BureauAccess.objects.count() == 1


# --- releases --------------------------------------------------------------------------------------------------------


def month_end() -> date:
    return services.may_publish_as_of(timezone.localdate())[0]


def hold(county: str, people: int) -> None:
    day = month_end() - timedelta(days=40)
    for _ in range(people):
        CredentialFactory(region_id=county, issued_on=day, known_from=day, expires_on=None)


def test_a_release_hides_small_cells_the_same_way_for_the_county_and_its_province(
    officer: Callable[[str], User],
) -> None:
    tree(*COUNTIES)
    hold("330681", 2)
    hold("330602", 9)
    hold("330106", 7)

    province = services.publish_release(
        region=Region.objects.get(code="330000"), as_of=month_end(), by=officer("330000")
    )
    county = services.publish_release(region=Region.objects.get(code="330602"), as_of=month_end(), by=officer("330602"))

    (table,) = province.content["tables"]
    assert {cell["region"]: cell["holders"] for cell in table["cells"]} == {
        "330000": 18,
        "330100": 7,
        "330106": 7,
        "330600": 11,
        "330602": None,
        "330681": None,
    }
    assert county.content["tables"][0]["cells"] == [{"region": "330602", "holders": None}]


def test_a_release_is_published_once_and_checks_out_until_a_single_digit_changes(
    officer: Callable[[str], User],
) -> None:
    tree("330681")
    hold("330681", 6)
    who, region = officer("330681"), Region.objects.get(code="330681")

    release = services.publish_release(region=region, as_of=month_end(), by=who)
    assert services.publish_release(region=region, as_of=month_end(), by=who) == release
    assert Release.objects.count() == 1
    file = json.dumps({"content": release.content, "signature": release.signature}, ensure_ascii=False)

    check = services.check_release(text=file)
    assert (check.genuine, check.known, check.content) == (True, release, release.content)

    head, body, signature = release.signature.split(".")
    place = len(body) // 2
    changed = f"{head}.{body[:place]}{'A' if body[place] != 'A' else 'B'}{body[place + 1 :]}.{signature}"
    assert services.check_release(text=changed).genuine is False
    for rubbish in ("", "{}", "a.b.c", '{"signature": 4}', f"{head}.{body}", "é.é.é"):
        assert services.check_release(text=rubbish).fault == "unreadable"


def test_a_release_is_for_the_own_region_and_a_months_end(officer: Callable[[str], User]) -> None:
    tree("330681", "330602")
    who = officer("330681")
    for region, day, words in (
        ("330602", month_end(), "只能发布本地区"),
        ("330600", month_end(), "只能发布本地区"),
        ("330681", timezone.localdate(), "月的最后一天"),
        ("330681", month_end() - timedelta(days=1), "月的最后一天"),
    ):
        with pytest.raises(services.Refusal, match=words):
            services.publish_release(region=Region.objects.get(code=region), as_of=day, by=who)


def test_months_offered_are_the_last_twelve_ends() -> None:
    days = services.may_publish_as_of(date(2026, 3, 31))

    assert (days[0], days[1], days[-1], len(days)) == (date(2026, 2, 28), date(2026, 1, 31), date(2025, 3, 31), 12)
