"""Queries as words."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

from lms.accounts.querysets import in_regions
from lms.accounts.rules import Role, jurisdiction_prefixes, organisation_ids

if TYPE_CHECKING:
    from lms.accounts.models import User


def _judged_by(user: User, path: str = "") -> Q:
    """The words of rules.may_judge for a list; `path` leads from the row to its application."""
    bodies = organisation_ids(user, Role.ASSESSOR)
    if not bodies:
        return Q(pk__in=[])
    rules = f"{path}level__rules__"
    body = Q(**{f"{rules}assessed_by": None}) | Q(**{f"{rules}assessed_by__in": bodies})
    colleague = Q(**{f"{path}organisation__in": organisation_ids(user)})
    return (
        Q(**{f"{rules}active": True})
        & body
        & ~Q(**{f"{path}user": user})
        & (Q(**{f"{path}organisation": None}) | ~colleague)
    )


class ApplicationQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> ApplicationQuerySet:
        """One's own, and those one may judge."""
        return self.filter(Q(user=user) | _judged_by(user)).distinct()

    def for_assessor(self, user: User) -> ApplicationQuerySet:
        return self.filter(_judged_by(user)).distinct()

    def open(self) -> ApplicationQuerySet:
        return self.filter(state__in=["collecting", "reviewing"])


class AppealQuerySet(models.QuerySet):
    def for_assessor(self, user: User) -> AppealQuerySet:
        """Appeals on cases one may judge, without those decided or marked by oneself."""
        mine = Q(decision__decided_by=user) | Q(decision__application__marks__assessor=user)
        return self.filter(_judged_by(user, "decision__application__")).exclude(mine).distinct()


class CredentialQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> CredentialQuerySet:
        """The holder's own, and for an officer those of the own region (shown with masked names)."""
        return self.filter(Q(user=user) | in_regions("region_id", jurisdiction_prefixes(user)))

    def held_by(self, user: User) -> CredentialQuerySet:
        return self.filter(user=user)

    def within(self, prefix: str) -> CredentialQuerySet:
        return self.filter(region__code__startswith=prefix)

    def counting_on(self, day: date) -> CredentialQuerySet:
        """The same words as certification.domain.cube.counts_on; a test holds the two together."""
        return self.filter(
            Q(expires_on=None) | Q(expires_on__gte=day),
            Q(ended_on=None) | Q(ended_on__gt=day),
            known_from__lte=day,
            issued_on__lte=day,
        )

    def entered(self, since: date, until: date) -> CredentialQuerySet:
        return self.filter(known_from__gte=since, known_from__lte=until)


class ReleaseQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> ReleaseQuerySet:
        """An officer sees the releases of the own region; what is published may be checked by anyone."""
        return self.filter(in_regions("region_id", jurisdiction_prefixes(user)))
