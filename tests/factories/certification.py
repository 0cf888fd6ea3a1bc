"""A standard, a rule and evidence; a test states everything that matters to it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import factory
from factory.django import DjangoModelFactory

from certification.domain.criteria import DrillEvidence, ExamEvidence, Inputs
from certification.models import AwardRule, Credential, Occupation, Standard, StandardLevel
from tests.factories.accounts import IndustryFactory, RegionFactory, UserFactory

RULE: dict[str, Any] = {
    "hours": 8,
    "course": "ics-security-basics",
    "exam": 60,
    "drill": {"scenario": "filling_line", "score": 60, "held": 0.7, "own_actions": 1},
}
AT = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def full_inputs(**changes: Any) -> Inputs:
    """Evidence that meets RULE exactly."""
    values: dict[str, Any] = {
        "hours": Decimal("8"),
        "course_completed_at": AT,
        "exam": ExamEvidence(Decimal("60"), "5f0c", AT),
        "drills": (
            DrillEvidence("3", "filling_line", Decimal("60"), Decimal("0.7"), (41, 57), AT, "netns", "灌装线演练"),
        ),
        "sources": {"course": {"title": "工控网络安全入门"}},
    }
    return Inputs(**{**values, **changes})


class OccupationFactory(DjangoModelFactory):
    class Meta:
        model = Occupation
        django_get_or_create = ("code2022",)

    code2022 = "4-04-04-02"
    code_std = "4-04-04-02"
    name = "网络与信息安全管理员"


class StandardFactory(DjangoModelFactory):
    class Meta:
        model = Standard
        django_get_or_create = ("code", "version")

    occupation = factory.SubFactory(OccupationFactory)
    code = "ics-ops"
    version = "2026.1"
    title = "工控网络安全运维岗位能力证明"
    credential_type = "platform_competency"
    issued_by = "由平台运营方按本标准评价并签发。"
    effective_from = date(2026, 1, 1)
    digest = "0" * 64


class LevelFactory(DjangoModelFactory):
    class Meta:
        model = StandardLevel
        django_get_or_create = ("standard", "rank")

    standard = factory.SubFactory(StandardFactory)
    rank = 1
    code = factory.LazyAttribute(lambda level: f"L{level.rank}")
    name = factory.LazyAttribute(lambda level: f"岗位{level.rank}级")
    audience = "兼管工控网络安全的人员"
    min_hours = Decimal("8")
    theory_pass = practice_pass = Decimal("60")
    has_review = False
    validity_months = 24


class AwardRuleFactory(DjangoModelFactory):
    class Meta:
        model = AwardRule

    level = factory.SubFactory(LevelFactory)
    data = factory.LazyFunction(lambda: RULE)


class CredentialFactory(DjangoModelFactory):
    """A row for counting; a certificate with its badge comes from services.issue."""

    class Meta:
        model = Credential

    credential_type = "platform_competency"
    number = factory.Sequence(lambda n: f"COUNT-{n}")
    title = "工控网络安全运维岗位能力证明 岗位一级"
    standard_code = "ics-ops"
    level_code = "L1"
    user = factory.SubFactory(UserFactory)
    person = factory.LazyAttribute(lambda row: row.user.pseudonym)
    holder_name = factory.LazyAttribute(lambda row: row.user.name)
    region = factory.SubFactory(RegionFactory)
    industry = factory.SubFactory(IndustryFactory)
    size = "small"
    issued_on = date(2026, 11, 1)
    issued_at = factory.LazyAttribute(
        lambda row: datetime(row.issued_on.year, row.issued_on.month, row.issued_on.day, tzinfo=UTC)
    )
    known_from = factory.LazyAttribute(lambda row: row.issued_on)
    expires_on = date(2028, 10, 31)
