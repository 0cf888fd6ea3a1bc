"""Who may see and do what: the right person, and the wrong one beside him."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import AnonymousUser
from django.utils import timezone

from lms.accounts import rules
from lms.accounts.models import AuditEntry, Organisation, User
from lms.accounts.rules import Role
from tests.factories.accounts import MembershipFactory, OrganisationFactory, RegionFactory, UserFactory

pytestmark = pytest.mark.django_db
Member = Callable[..., User]


def bureau(code: str) -> Organisation:
    return OrganisationFactory(kind="bureau", industry=None, size="", region=RegionFactory(code=code))


def test_roles_of_nobody_are_none() -> None:
    nobody = AnonymousUser()

    assert rules.roles_of(nobody) == frozenset()
    assert rules.jurisdiction_prefixes(nobody) == ()
    assert list(Organisation.objects.visible_to(nobody)) == []


def test_ended_membership_counts_no_more(member: Member) -> None:
    person = member("admin")
    place = person.memberships.get().organisation
    assert rules.may_manage_staff(person, place)

    person.memberships.update(ended_at=timezone.now())

    assert not rules.may_manage_staff(User.objects.get(pk=person.pk), place)


def test_roles_are_read_once_and_forgotten_on_demand(member: Member, django_assert_num_queries: Callable) -> None:
    person = User.objects.get(pk=member("admin", "learner").pk)

    with django_assert_num_queries(1):
        assert rules.has_role(person, Role.ADMIN)
        assert len(rules.organisation_ids(person, Role.LEARNER)) == 1
    person.forget_roles()

    assert "_held_roles" not in person.__dict__


def test_organisations_visible_are_the_own_and_the_region_s(member: Member) -> None:
    here = OrganisationFactory(region=RegionFactory(code="330681"))
    next_door = OrganisationFactory(region=RegionFactory(code="330602"))
    far = OrganisationFactory(region=RegionFactory(code="440106"))
    office = bureau("330600")

    def seen(person: User) -> set[Organisation]:
        return set(Organisation.objects.visible_to(person))

    assert seen(member("admin", organisation=here)) == {here}
    assert seen(member("learner", organisation=far)) == {far}
    assert seen(member("officer", organisation=office)) == {here, next_door, office}
    assert seen(member("officer", organisation=bureau("330681"))) >= {here}
    assert next_door not in seen(member("officer", organisation=bureau("330681")))
    assert seen(UserFactory()) == set()


@pytest.mark.parametrize(
    ("code", "sees"), [("330000", True), ("330600", True), ("330681", True), ("330602", False), ("440000", False)]
)
def test_officer_sees_enterprises_of_his_region_and_below(member: Member, code: str, sees: bool) -> None:
    factory = OrganisationFactory(region=RegionFactory(code="330681"))
    officer = member("officer", organisation=bureau(code))

    assert rules.may_see_organisation(officer, factory) is sees
    assert Organisation.objects.visible_to(officer).filter(pk=factory.pk).exists() is sees


@pytest.mark.parametrize("role", ["admin", "trainer", "security", "assessor"])
def test_people_visible_to_leaders_are_those_of_their_organisation(member: Member, role: str) -> None:
    place = OrganisationFactory()
    leader, colleague, stranger = member(role, organisation=place), member(organisation=place), member()

    assert set(User.objects.visible_to(leader)) == {leader, colleague}
    assert set(User.objects.visible_to(colleague)) == {colleague}
    assert stranger not in User.objects.visible_to(leader)


def test_people_who_left_are_not_visible(member: Member) -> None:
    place = OrganisationFactory()
    admin, gone = member("admin", organisation=place), member(organisation=place)
    gone.memberships.update(ended_at=timezone.now())

    assert set(User.objects.visible_to(admin)) == {admin}


def test_audit_visible_to_actor_and_the_organisation_s_admin(member: Member) -> None:
    place = OrganisationFactory()
    admin, worker = member("admin", organisation=place), member(organisation=place)
    other_admin = member("admin")
    entry = AuditEntry.objects.create(
        action="x.done", actor=worker, organisation=place, target_type="t", target_id="1", target_label="t"
    )

    assert list(AuditEntry.objects.visible_to(worker)) == [entry]
    assert list(AuditEntry.objects.visible_to(admin)) == [entry]
    assert list(AuditEntry.objects.visible_to(other_admin)) == []


def test_password_may_be_reset_only_where_nothing_else_opens_with_it(member: Member) -> None:
    place, elsewhere = OrganisationFactory(), OrganisationFactory()
    only_here, both = member(organisation=place), member(organisation=place)
    MembershipFactory(user=both, organisation=elsewhere)
    operator = member(organisation=place, is_staff=True)

    assert [rules.may_reset_password(p, place) for p in (only_here, both, operator)] == [True, False, False]
    assert not rules.may_reset_password(only_here, elsewhere)


def test_grantable_roles_keep_officers_to_bureaus() -> None:
    kinds = {kind: set(rules.grantable_roles(Organisation(kind=kind))) for kind in Organisation.Kind.values}

    assert {kind for kind, roles in kinds.items() if Role.OFFICER in roles} == {"bureau"}
    assert {kind for kind, roles in kinds.items() if Role.ASSESSOR in roles} == {"assessment"}
    assert all(Role.ADMIN in roles for roles in kinds.values())
    assert rules.grantable_roles(Organisation(kind="unknown")) == ()
