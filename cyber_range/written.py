"""Scenarios written in the browser: a draft that is saved at every step, and versions that never change.

Beside `models` and not in `authoring`, because the catalogue of scenarios reads versions and everything above writes them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lms.accounts.models import Organisation, User
from lms.accounts.rules import Role, organisation_ids

KEY = "own-"  # a version's name among scenarios; packaged names have at most 31 characters
TRIAL_KEY = "try-"  # the name of a draft that is tried out
KEY_DIGITS = 40  # hexadecimal digits of its hash that follow: 160 bits


class ImmutableError(TypeError):
    """A version was asked to become another one."""


class WrittenQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> WrittenQuerySet:
        """Scenarios of organisations in which the person trains."""
        return self.filter(organisation__in=organisation_ids(user, Role.TRAINER))

    def standing(self) -> WrittenQuerySet:
        return self.filter(archived_at=None)


class WrittenScenario(models.Model):
    """A scenario an organisation writes. `files` is its draft: the texts of the folder it would be. States: draft without
    versions → published (has versions) → archived (offered to nobody any more; its versions stay for the record)."""

    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="+", verbose_name=_("单位"))
    title = models.CharField(_("名称"), max_length=120)
    based_on = models.CharField(_("来源"), max_length=80, blank=True)
    files = models.JSONField(default=dict)
    # Counts every saved change; who saves names the one he saw, so that two people never overwrite each other unseen.
    revision = models.PositiveIntegerField(default=1)
    problems = models.PositiveIntegerField(_("待改问题"), default=0)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    updated_at = models.DateTimeField(_("最近修改"), default=timezone.now)
    archived_at = models.DateTimeField(_("归档"), null=True, blank=True)

    objects = WrittenQuerySet.as_manager()

    class Meta:
        verbose_name = _("自编场景")
        verbose_name_plural = _("自编场景")
        ordering: ClassVar = ["-updated_at", "-pk"]
        indexes: ClassVar = [
            # What does this organisation write? (screen 场景编写)
            models.Index(fields=["organisation", "archived_at"], name="written_by_organisation"),
        ]

    def __str__(self) -> str:
        return self.title


class VersionQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> VersionQuerySet:
        return self.filter(scenario__organisation__in=organisation_ids(user, Role.TRAINER))

    def offered(self) -> VersionQuerySet:
        """Newest version of every scenario that is not archived."""
        newest = ScenarioVersion.objects.filter(scenario=models.OuterRef("scenario")).order_by("-number")
        return self.filter(scenario__archived_at=None, pk=models.Subquery(newest.values("pk")[:1]))

    def update(self, **values: Any) -> int:
        raise ImmutableError("a version is never changed: publish another one")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise ImmutableError("a version is never deleted: archive its scenario")


class ScenarioVersion(models.Model):
    """One published text. `digest` is the SHA-256 of its canonical form and names it on every host; `form` is the hash of
    the checked form, which a range reports and evidence cites."""

    scenario = models.ForeignKey(WrittenScenario, models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(_("版次"))
    files = models.JSONField()
    digest = models.CharField(_("摘要"), max_length=64)
    form = models.CharField(max_length=64)
    version = models.CharField(_("版本"), max_length=20)
    title = models.CharField(_("名称"), max_length=120)
    note = models.CharField(_("说明"), max_length=300, blank=True)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    published_at = models.DateTimeField(_("发布时间"), default=timezone.now, editable=False)

    objects = VersionQuerySet.as_manager()

    class Meta:
        verbose_name = _("场景版本")
        verbose_name_plural = _("场景版本")
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            # Versions are counted without gaps or doubles.
            models.UniqueConstraint(fields=["scenario", "number"], name="version_numbered_once"),
            # A version says something new.
            models.UniqueConstraint(fields=["scenario", "digest"], name="version_says_something_new"),
        ]
        indexes: ClassVar = [
            # Which texts does this hash name? (catalogue, launch)
            models.Index(fields=["digest"], name="version_by_digest"),
        ]

    def __str__(self) -> str:
        return f"{self.title} v{self.version}"

    @property
    def key(self) -> str:
        """Its name wherever a scenario is named: drills, instances, addresses of pages."""
        return f"{KEY}{self.digest[:KEY_DIGITS]}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None and not self._state.adding:
            raise ImmutableError("a version is never changed: publish another one")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise ImmutableError("a version is never deleted: archive its scenario")


class DraftTrial(models.Model):
    """A draft as it stood when somebody tried it out: no version, listed nowhere, chosen by no drill. It lives as long as
    its range; the next try of the scenario takes away what no range needs any more."""

    scenario = models.ForeignKey(WrittenScenario, models.CASCADE, related_name="trials")
    revision = models.PositiveIntegerField()
    files = models.JSONField()
    digest = models.CharField(_("摘要"), max_length=64)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    started_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("草稿试运行")
        verbose_name_plural = _("草稿试运行")
        constraints: ClassVar = [
            # The same texts are tried under one name.
            models.UniqueConstraint(fields=["scenario", "digest"], name="trial_named_once"),
        ]
        indexes: ClassVar = [
            # Which texts does this hash name? (launch)
            models.Index(fields=["digest"], name="trial_by_digest"),
        ]

    def __str__(self) -> str:
        return f"{self.scenario} r{self.revision}"

    @property
    def key(self) -> str:
        return f"{TRIAL_KEY}{self.digest[:KEY_DIGITS]}"
