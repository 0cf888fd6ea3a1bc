"""Quotas: numbers of organisation, purpose and machine; every refusal says number, holders and remedy."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from cyber_range import services
from cyber_range.models import Instance, Quota
from tests.factories.accounts import OrganisationFactory
from tests.factories.cyber_range import InstanceFactory, RangeHostFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_scenarios")]


@pytest.fixture
def person(member: Any) -> Any:
    return member("security", name="李安")


def ask(person: Any, purpose: str = "practice") -> Instance:
    organisation = person.memberships.get().organisation
    return services.request_range(scenario="mini", organisation=organisation, by=person, purpose=purpose)[0]


def test_the_refusal_says_number_holders_and_remedy(person: Any, settings: Any) -> None:
    settings.PRACTICE_RANGES_PER_ORGANISATION = 2
    organisation = person.memberships.get().organisation
    at = datetime(2030, 1, 2, 15, 30, tzinfo=timezone.get_default_timezone())
    InstanceFactory(organisation=organisation, title="甲", requested_by=person, state="ready", expires_at=at)
    InstanceFactory(organisation=organisation, title="乙", state="launching")
    InstanceFactory(organisation=OrganisationFactory(), title="别家的", state="ready")

    with pytest.raises(services.RangeRefused) as refused:
        ask(person)

    assert str(refused.value) == (
        "本单位同时最多运行 2 个自由练习靶场（平台默认），现有 2 个：“甲”（李安，15:30 到期）、“乙”（系统，启动中）。"
        "请先结束一个，或请靶场管理员提高额度。"
    )


def test_what_ends_or_is_lost_takes_nothing(person: Any, settings: Any) -> None:
    settings.PRACTICE_RANGES_PER_ORGANISATION = 1
    organisation = person.memberships.get().organisation
    InstanceFactory(organisation=organisation, state="closing")
    InstanceFactory(organisation=organisation, state="gone")
    InstanceFactory(organisation=organisation, state="ready", silent_since=timezone.now() - timedelta(minutes=1))

    assert ask(person).state == "waiting"


def test_a_row_beats_the_default_in_both_directions(person: Any, settings: Any) -> None:
    settings.PRACTICE_RANGES_PER_ORGANISATION = 1
    organisation = person.memberships.get().organisation
    row = Quota.objects.create(organisation=organisation, purpose="practice", most=2)
    ask(person), ask(person)
    with pytest.raises(services.RangeRefused, match="最多运行 2 个自由练习靶场（管理员设定）"):
        ask(person)

    row.most = 0
    row.save()
    with pytest.raises(services.RangeRefused, match="额度为 0"):
        ask(person)


def test_drills_are_bound_by_the_whole_and_by_their_own(person: Any) -> None:
    organisation = person.memberships.get().organisation
    Quota.objects.create(organisation=organisation, most=2)
    ask(person), ask(person, "drill")
    with pytest.raises(services.RangeRefused, match="最多运行 2 个靶场"):
        ask(person, "drill")

    Quota.objects.filter(purpose="").update(most=9)
    Quota.objects.create(organisation=organisation, purpose="drill", most=1)
    with pytest.raises(services.RangeRefused, match="最多运行 1 个演练靶场"):
        ask(person, "drill")
    assert ask(person).purpose == "practice"


def test_a_machine_s_quota_is_its_end(person: Any) -> None:
    host = RangeHostFactory(state="here", last_seen=timezone.now(), capacity=9, free=9)
    Quota.objects.create(host=host, most=1)
    ask(person)

    with pytest.raises(services.RangeRefused, match="最多 1 个，运行中 1 个"):
        ask(person)


@pytest.mark.parametrize("wrong", [{}, {"both": True}, {"host_purpose": True}])
def test_a_quota_is_of_one(wrong: dict[str, bool]) -> None:
    host, organisation = RangeHostFactory(), OrganisationFactory()
    values: dict[str, Any] = {"most": 1}
    if wrong.get("both"):
        values |= {"host": host, "organisation": organisation}
    if wrong.get("host_purpose"):
        values |= {"host": host, "purpose": "practice"}

    with pytest.raises(ValidationError):
        Quota(**values).full_clean()
