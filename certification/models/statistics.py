"""The books of the bureau: daily cells, who looked at whom and why, what was published."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from certification.models.standards import CredentialType
from certification.querysets import ReleaseQuerySet
from lms.accounts.models import Region


class DailyRollup(models.Model):
    """Valid certificates at the end of a day and those entered on it. Cells of one (type, standard, level) add up over
    places because a person holds one there; distinct people over levels or standards are counted from certificates."""

    day = models.DateField()
    credential_type = models.CharField(max_length=24, choices=CredentialType.choices)
    standard_code = models.CharField(max_length=40)
    level_code = models.CharField(max_length=40, blank=True)
    region_code = models.CharField(max_length=6)
    industry_code = models.CharField(max_length=4, blank=True)
    size = models.CharField(max_length=8, blank=True)
    is_demo = models.BooleanField(default=False)
    holders = models.PositiveIntegerField()
    valid = models.PositiveIntegerField()
    issued = models.PositiveIntegerField()

    class Meta:
        constraints: ClassVar = [
            # One row per cell and day, and the way in: day and type first, then region by prefix.
            models.UniqueConstraint(
                fields=[
                    "day",
                    "credential_type",
                    "region_code",
                    "standard_code",
                    "level_code",
                    "industry_code",
                    "size",
                    "is_demo",
                ],
                name="rollup_cell_once",
            )
        ]


class BureauAccess(models.Model):
    """An officer opened named records of the own region: who, when, why, which, how many. Added only.

    The purpose holds for `HOURS` hours and for this scope; after that it is asked again.
    """

    HOURS = 2

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    purpose = models.CharField(_("用途"), max_length=200)
    scope = models.JSONField(default=dict)
    shown = models.PositiveIntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["-at"]
        indexes: ClassVar = [
            # What did this officer look at lately?
            models.Index(fields=["user", "-at"], name="bureau_access_by_user"),
        ]


class Release(models.Model):
    """A table as it was published: signed, small cells hidden, never changed. `content` is what `signature` signs."""

    region = models.ForeignKey(Region, models.PROTECT, verbose_name=_("地区"))
    as_of = models.DateField(_("统计截止日期"))
    title = models.CharField(_("标题"), max_length=160)
    content = models.JSONField()
    signature = models.TextField()
    digest = models.CharField(max_length=64, unique=True)
    published_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    published_at = models.DateTimeField(default=timezone.now)

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        verbose_name = _("统计发布")
        verbose_name_plural = _("统计发布")
        ordering: ClassVar = ["-as_of", "region"]
        constraints: ClassVar = [
            # One release per region and date: two that differ would let readers subtract.
            models.UniqueConstraint(fields=["region", "as_of"], name="release_once")
        ]

    def __str__(self) -> str:
        return self.title
