"""Who may do what with people and organisations. Deny by default; nothing here writes.

Roles are held in an organisation. What a role reaches: a learner himself; an enterprise admin, trainer, security
person or assessor the own organisation; a bureau officer the own region and everything below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from lms.accounts.models import Organisation, User


class Role(models.TextChoices):
    LEARNER = "learner", _("员工")
    ADMIN = "admin", _("企业管理员")
    TRAINER = "trainer", _("培训师")
    SECURITY = "security", _("安全人员")
    ASSESSOR = "assessor", _("考评员")
    OFFICER = "officer", _("主管部门")


Held = frozenset[tuple[int, str]]


def roles_of(user: User | AnonymousUser) -> Held:
    """(organisation id, role) pairs the person holds now. One query per user object, then remembered on it."""
    if not user.is_authenticated:
        return frozenset()
    known: Held | None = getattr(user, "_held_roles", None)
    if known is None:
        known = frozenset(user.memberships.active().values_list("organisation_id", "role"))
        user._held_roles = known
    return known


def has_role(user: User | AnonymousUser, role: str, organisation_id: int | None = None) -> bool:
    """Whether the person holds `role` (in that organisation, or in any when none is named)."""
    return any(held == role and organisation_id in (None, organisation) for organisation, held in roles_of(user))


def organisation_ids(user: User | AnonymousUser, *roles: str) -> set[int]:
    """Organisations in which the person holds one of `roles` (any role when none is named)."""
    return {organisation for organisation, held in roles_of(user) if not roles or held in roles}


def may_manage_staff(user: User | AnonymousUser, organisation: Organisation) -> bool:
    return has_role(user, Role.ADMIN, organisation.pk)


def may_reset_password(person: User, organisation: Organisation) -> bool:
    """Whether this organisation's admin may hand out a code that sets the person's password: only when nothing beyond
    the organisation would open with it (no role elsewhere, no seat in the platform's administration)."""
    if person.is_staff or person.is_superuser:
        return False
    return organisation_ids(person) == {organisation.pk}


def may_see_organisation(user: User | AnonymousUser, organisation: Organisation) -> bool:
    """Its own members, and the officers of its region and above."""
    if organisation.pk in organisation_ids(user):
        return True
    return any(organisation.region_id.startswith(prefix) for prefix in jurisdiction_prefixes(user))


def jurisdiction_prefixes(user: User | AnonymousUser) -> tuple[str, ...]:
    """Region code prefixes ("33", "3301", "330106") of the bureaus the person is an officer of; empty for everyone else."""
    if not has_role(user, Role.OFFICER):
        return ()
    known: tuple[str, ...] | None = getattr(user, "_jurisdictions", None)
    if known is None:
        known = tuple(
            membership.organisation.region.prefix
            for membership in user.memberships.active().filter(role=Role.OFFICER).select_related("organisation__region")
        )
        user._jurisdictions = known
    return known


# What an organisation's admin may grant at home. Bureau officers are granted by the bureau's own admin.
GRANTABLE = {
    "enterprise": (Role.LEARNER, Role.SECURITY, Role.ADMIN, Role.TRAINER),
    "park": (Role.LEARNER, Role.SECURITY, Role.ADMIN, Role.TRAINER),
    "provider": (Role.LEARNER, Role.TRAINER, Role.ADMIN),
    "assessment": (Role.ASSESSOR, Role.ADMIN),
    "bureau": (Role.OFFICER, Role.ADMIN),
}


def grantable_roles(organisation: Organisation) -> tuple[Role, ...]:
    return GRANTABLE.get(organisation.kind, ())
