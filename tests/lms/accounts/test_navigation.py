"""The ways each person has, and the one he stands on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory

from lms.accounts import context
from lms.accounts.models import User

pytestmark = pytest.mark.django_db
Member = Callable[..., User]


def ways(user: User | AnonymousUser, path: str = "/people/me/") -> list[context.Way]:
    request = RequestFactory().get(path)
    request.user = user
    return context.navigation(request)["ways"]


def test_nobody_has_ways() -> None:
    assert ways(AnonymousUser()) == []
    assert context.navigation(RequestFactory().get("/")) == {"ways": []}


@pytest.mark.parametrize(
    ("role", "opens", "closed"),
    [
        ("learner", {"我的", "任务"}, {"企业档案", "员工", "数字化自评"}),
        ("admin", {"企业档案", "员工", "数字化自评", "我的"}, set()),
        ("officer", {"我的", "任务"}, {"企业档案", "学习", "考试"}),
    ],
)
def test_ways_follow_the_roles(member: Member, role: str, opens: set[str], closed: set[str]) -> None:
    labels = {str(way.label) for way in ways(member(role))}

    assert opens <= labels
    assert closed.isdisjoint(labels)


def test_phone_bar_has_four_ways_at_most(member: Member) -> None:
    for role in ("learner", "admin", "trainer", "security", "assessor", "officer"):
        assert 1 <= len([way for way in ways(member(role)) if way.phone]) <= 4


@pytest.mark.parametrize(
    ("path", "here"), [("/people/staff/7/", ["员工"]), ("/maturity/plan/", ["数字化自评"]), ("/nowhere/", [])]
)
def test_exactly_the_nearest_way_is_active(member: Member, path: str, here: list[str]) -> None:
    assert [str(way.label) for way in ways(member("admin"), path) if way.active] == here


def test_longer_way_wins_over_its_beginning(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (("短", "accounts:staff", "users", {"admin"}, False), ("长", "accounts:invite", "plus", {"admin"}, False))
    monkeypatch.setattr(context, "ENTRIES", entries)

    assert [way.label for way in ways(member("admin"), "/people/staff/invite/") if way.active] == ["长"]
