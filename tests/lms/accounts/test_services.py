"""Inviting, joining, roles, leaving, consent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from lms.accounts import services
from lms.accounts.models import AuditEntry, Consent, Invitation, Membership, Organisation, User
from lms.accounts.rules import Role
from tests.factories.accounts import MembershipFactory, OrganisationFactory

pytestmark = pytest.mark.django_db
Member = Callable[..., User]
PASSWORD = "quiet-river-29"


@pytest.fixture
def place() -> Organisation:
    return OrganisationFactory()


@pytest.fixture
def admin(member: Member, place: Organisation) -> User:
    return member("admin", organisation=place)


def invite(place: Organisation, admin: User, username: str = "chen.xy", **values: object) -> tuple[User, str]:
    filled = {"name": "陈晓燕", "job_title": "班长", "phone": "", "roles": ["learner"], **values}
    return services.invite(place, username=username, by=admin, **filled)


def join(code: str, **values: object) -> User:
    return services.join(code=code, **{"password": PASSWORD, "consented": True, "ip": "127.0.0.1", **values})


def actions(place: Organisation) -> list[str]:
    return list(AuditEntry.objects.filter(organisation=place).order_by("pk").values_list("action", flat=True))


def held(user: User, place: Organisation) -> set[str]:
    return set(Membership.objects.active().of(place).filter(user=user).values_list("role", flat=True))


def test_invite_makes_a_person_who_cannot_sign_in_yet(place: Organisation, admin: User) -> None:
    user, code = invite(place, admin, roles=["learner", "security"])

    assert (user.username, user.name, user.job_title, user.has_usable_password()) == (
        "chen.xy",
        "陈晓燕",
        "班长",
        False,
    )
    assert held(user, place) == {"learner", "security"}
    assert [len(part) for part in code.split("-")] == [4, 4, 4]
    assert code not in str(Invitation.objects.values_list())
    assert actions(place) == ["staff.roles", "staff.invited"]


def test_invite_refuses_a_taken_name_in_any_case_and_roles_beyond_the_organisation(
    place: Organisation, admin: User
) -> None:
    invite(place, admin)

    for values, field in (
        ({"username": "CHEN.XY"}, "username"),
        ({"username": "other", "roles": ["officer"]}, "roles"),
    ):
        with pytest.raises(ValidationError) as refusal:
            invite(place, admin, **values)
        assert list(refusal.value.message_dict) == [field]
    assert User.objects.filter(username="other").count() == 0


def test_join_sets_the_password_records_consent_and_uses_the_code_up(place: Organisation, admin: User) -> None:
    user, code = invite(place, admin)

    joined = join(f" {code.lower()} ")

    assert joined == user
    assert User.objects.get(pk=user.pk).check_password(PASSWORD)
    consent = Consent.objects.get(user=user)
    assert (consent.purpose, consent.version, consent.ip) == ("service", services.CONSENT_VERSION, "127.0.0.1")
    assert actions(place)[-1] == "staff.joined"
    with pytest.raises(ValidationError):
        join(code)


def test_join_says_the_same_for_unknown_used_expired_replaced_and_closed(
    place: Organisation, admin: User, member: Member
) -> None:
    def words(code: str) -> list[str]:
        with pytest.raises(ValidationError) as refusal:
            join(code)
        return refusal.value.message_dict["code"]

    used = invite(place, admin, "one")[1]
    join(used)
    expired = invite(place, admin, "two")[1]
    Invitation.objects.filter(user__username="two").update(expires_at=timezone.now() - timedelta(seconds=1))
    user, replaced = invite(place, admin, "three")
    services.renew_code(user, organisation=place, by=admin, ip=None)
    closed = invite(place, admin, "four")[1]
    User.objects.filter(username="four").update(is_active=False)
    user, released = invite(place, admin, "five")
    services.release(user, organisation=place, by=admin)

    answers = {tuple(words(code)) for code in ("ABCD-EFGH-JKMN", "", used, expired, replaced, closed, released)}
    assert len(answers) == 1


def test_join_without_consent_or_with_a_weak_password_leaves_the_code_usable(place: Organisation, admin: User) -> None:
    user, code = invite(place, admin)

    for values, field in (({"consented": False}, "consent"), ({"password": "1234567890"}, "password")):
        with pytest.raises(ValidationError) as refusal:
            join(code, **values)
        assert list(refusal.value.message_dict) == [field]
        assert not User.objects.get(pk=user.pk).has_usable_password()
    assert join(code) == user


def test_renew_code_ends_the_earlier_one_and_is_recorded(place: Organisation, admin: User) -> None:
    user, first = invite(place, admin)

    second = services.renew_code(user, organisation=place, by=admin, ip="10.0.0.9")

    with pytest.raises(ValidationError):
        join(first)
    assert join(second) == user
    entry = AuditEntry.objects.get(action="staff.code")
    assert (entry.actor, entry.target_id, entry.ip) == (admin, str(user.pk), "10.0.0.9")


def test_renew_code_opens_no_door_beyond_the_organisation(place: Organisation, admin: User) -> None:
    user, _code = invite(place, admin)
    MembershipFactory(user=user, role="officer", organisation=OrganisationFactory(kind="bureau"))
    user.forget_roles()
    before = Invitation.objects.count()

    with pytest.raises(ValidationError, match="其他单位"):
        services.renew_code(user, organisation=place, by=admin, ip=None)
    assert Invitation.objects.count() == before


def test_set_roles_ends_memberships_and_keeps_them_as_history(place: Organisation, admin: User) -> None:
    user, _code = invite(place, admin, roles=["learner", "trainer"])

    services.set_roles(user, organisation=place, roles=["trainer", "security"], by=admin)

    assert held(user, place) == {"trainer", "security"}
    rows = Membership.objects.filter(user=user).order_by("pk").values_list("role", "ended_at")
    assert [(role, ended is None) for role, ended in rows] == [
        ("learner", False),
        ("trainer", True),
        ("security", True),
    ]


def test_set_roles_writes_nothing_when_nothing_changes(place: Organisation, admin: User) -> None:
    user, _code = invite(place, admin)
    before = actions(place)

    services.set_roles(user, organisation=place, roles=["learner"], by=admin)

    assert actions(place) == before


def test_set_roles_keeps_the_last_admin(place: Organisation, admin: User, member: Member) -> None:
    def drop(person: User) -> None:
        services.set_roles(person, organisation=place, roles=["learner"], by=admin)

    with pytest.raises(ValidationError, match="至少要留一名"):
        drop(admin)
    with pytest.raises(ValidationError, match="至少要留一名"):
        services.release(admin, organisation=place, by=admin)
    second = member("admin", organisation=place)
    drop(admin)
    with pytest.raises(ValidationError, match="至少要留一名"):
        drop(second)
    assert (held(admin, place), held(second, place)) == ({"learner"}, {"admin"})


def test_set_roles_leaves_what_the_platform_gave(place: Organisation, admin: User, member: Member) -> None:
    person = member("learner", "assessor", organisation=place)

    services.set_roles(person, organisation=place, roles=["security"], by=admin)

    assert held(person, place) == {"security", "assessor"}


def test_release_ends_every_role_and_is_recorded(place: Organisation, admin: User, member: Member) -> None:
    person = member("learner", "assessor", organisation=place)

    services.release(person, organisation=place, by=admin)

    assert held(person, place) == set()
    entry = AuditEntry.objects.get(action="staff.released")
    assert (entry.actor, entry.detail) == (admin, {"roles": ["assessor", "learner"]})
    assert User.objects.filter(pk=person.pk).exists()


def test_consent_is_given_once_withdrawn_and_given_anew(member: Member) -> None:
    person = member()

    def give() -> Consent:
        return services.give_consent(person, purpose="service", version="1", ip=None)

    first = give()
    assert give() == first
    services.withdraw_consent(first, by=person)
    services.withdraw_consent(first, by=person)
    second = give()

    assert first.withdrawn_at is not None
    assert (second.pk, second.withdrawn_at) != (first.pk, None)
    told = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
    assert told == ["consent.given", "consent.withdrawn", "consent.given"]


def test_personal_data_tells_all_of_oneself(place: Organisation, admin: User) -> None:
    user, code = invite(place, admin)
    join(code)

    data = services.personal_data(user)

    assert data["profile"]["username"] == "chen.xy"
    assert [(m["organisation"], m["role"], m["to"]) for m in data["memberships"]] == [(place.name, Role.LEARNER, None)]
    assert [c["purpose"] for c in data["consents"]] == ["service"]
    assert [a["action"] for a in data["audit"]] == ["staff.joined", "consent.given"]
    assert "password" not in str(data)
