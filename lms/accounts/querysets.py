"""Queries as words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q
from django.utils import timezone

from lms.accounts.rules import Role, jurisdiction_prefixes, organisation_ids

if TYPE_CHECKING:
    from lms.accounts.models import User


def in_regions(field: str, prefixes: tuple[str, ...]) -> Q:
    """Rows whose six-digit region code (path to it: `field`, "region_id" or "organisation__region_id") lies in one of the
    prefixes; nothing for none. Text lookups ask for the key's own field, which costs no join."""
    condition = Q(pk__in=[])
    if field.endswith("_id"):
        field = field.removesuffix("_id") + "__code"
    for prefix in prefixes:
        condition |= Q(**{f"{field}__startswith": prefix})
    return condition


class OrganisationQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> OrganisationQuerySet:
        """Own organisations, and for a bureau officer all of the own region and below."""
        return self.filter(
            Q(pk__in=organisation_ids(user)) | in_regions("region_id", jurisdiction_prefixes(user))
        ).distinct()

    def enterprises(self) -> OrganisationQuerySet:
        return self.filter(kind="enterprise")

    def within(self, prefix: str) -> OrganisationQuerySet:
        return self.filter(in_regions("region_id", (prefix,)))


class MembershipQuerySet(models.QuerySet):
    def active(self) -> MembershipQuerySet:
        return self.filter(Q(ended_at=None) | Q(ended_at__gt=timezone.now()))

    def of(self, organisation: models.Model) -> MembershipQuerySet:
        return self.filter(organisation=organisation)


class UserQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> UserQuerySet:
        """Oneself, and the people of organisations one administers, trains, leads in drills or assesses."""
        leading = organisation_ids(user, Role.ADMIN, Role.TRAINER, Role.SECURITY, Role.ASSESSOR)
        return self.filter(
            Q(pk=user.pk) | Q(memberships__organisation__in=leading, memberships__ended_at=None)
        ).distinct()


class AuditQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> AuditQuerySet:
        """What one did oneself, and everything in organisations one administers."""
        return self.filter(Q(actor=user) | Q(organisation__in=organisation_ids(user, Role.ADMIN)))
