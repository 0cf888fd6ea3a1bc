"""Somebody who works for two organisations says which one he works for now; what he may do there the rules decide."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from lms.accounts.models import Organisation, User
from tests.factories.accounts import MembershipFactory, OrganisationFactory, UserFactory

pytestmark = pytest.mark.django_db
SignedIn = Callable[[User], Client]


@pytest.fixture
def places() -> tuple[Organisation, Organisation]:
    return OrganisationFactory(name="清溪饮料厂"), OrganisationFactory(name="东江饮料厂")


@pytest.fixture
def person(places: tuple[Organisation, Organisation]) -> User:
    user = UserFactory(name="两头跑")
    for place in places:
        MembershipFactory(user=user, organisation=place, role="admin")
    return user


def choose(client: Client, place: Organisation, **more: str) -> int:
    return client.post(reverse("accounts:choose_organisation"), {"organisation": place.pk, **more}).status_code


def test_pages_about_one_organisation_follow_the_choice(
    person: User, places: tuple[Organisation, Organisation], signed_in: SignedIn
) -> None:
    first, second = places
    client = signed_in(person)
    assert client.get(reverse("accounts:staff")).context["organisation"] == first

    assert choose(client, second, next=reverse("accounts:me")) == 302

    assert client.get(reverse("accounts:staff")).context["organisation"] == second
    page = client.get(reverse("accounts:dossier")).content.decode()
    assert "当前单位：东江饮料厂" in page
    assert client.get(reverse("maturity:home")).status_code == 200


def test_an_organisation_that_is_not_ones_own_cannot_be_chosen(person: User, signed_in: SignedIn) -> None:
    client = signed_in(person)

    assert choose(client, OrganisationFactory()) == 403
    assert client.post(reverse("accounts:choose_organisation"), {"organisation": "x"}).status_code == 403
    assert client.get(reverse("accounts:choose_organisation")).status_code == 405


def test_a_choice_opens_nothing_that_the_roles_do_not(
    places: tuple[Organisation, Organisation], signed_in: SignedIn
) -> None:
    first, second = places
    user = UserFactory()
    MembershipFactory(user=user, organisation=first, role="admin")
    MembershipFactory(user=user, organisation=second, role="learner")
    client = signed_in(user)

    choose(client, second)

    assert client.get(reverse("accounts:staff")).context["organisation"] == first


def test_a_membership_that_ended_takes_its_choice_with_it(
    person: User, places: tuple[Organisation, Organisation], signed_in: SignedIn
) -> None:
    client = signed_in(person)
    choose(client, places[1])
    person.memberships.filter(organisation=places[1]).update(ended_at="2026-01-01T00:00Z")

    assert client.get(reverse("accounts:staff")).context["organisation"] == places[0]


def test_nobody_is_sent_elsewhere_by_the_form(
    person: User, places: tuple[Organisation, Organisation], signed_in: SignedIn
) -> None:
    answer = signed_in(person).post(
        reverse("accounts:choose_organisation"), {"organisation": places[0].pk, "next": "//evil.example/"}
    )

    assert answer["Location"] == reverse("home")


def test_people_of_one_organisation_see_no_choice(member: Callable[..., User], signed_in: SignedIn) -> None:
    assert "当前单位" not in signed_in(member("admin")).get(reverse("accounts:me")).content.decode()
