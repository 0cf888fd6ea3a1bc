"""What a bureau sets itself and sets against: targets per standard and year, and how many people work there."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lms.accounts.models import Industry, Region


class Target(models.Model):
    """So many people of a region are to hold a valid certificate of a standard (any level) by the end of a year."""

    region = models.ForeignKey(Region, models.PROTECT, related_name="+", verbose_name=_("地区"))
    standard_code = models.CharField(_("标准"), max_length=40)
    year = models.PositiveSmallIntegerField(_("年度"))
    holders = models.PositiveIntegerField(_("目标人数"), validators=[MinValueValidator(1)])
    source = models.CharField(_("依据"), max_length=200, blank=True)
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    set_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("年度目标")
        verbose_name_plural = _("年度目标")
        ordering: ClassVar = ["region", "year", "standard_code"]
        constraints: ClassVar = [
            # What is this region's target for a standard this year? One number; earlier ones are in the audit log.
            models.UniqueConstraint(fields=["region", "standard_code", "year"], name="target_once"),
        ]

    def __str__(self) -> str:
        return f"{self.region_id} {self.standard_code} {self.year}"


class Workforce(models.Model):
    """Employees of a region (of one industry, or of all) on a day, as somebody published them. Never computed by us."""

    region = models.ForeignKey(Region, models.PROTECT, related_name="+", verbose_name=_("地区"))
    industry = models.ForeignKey(Industry, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("行业"))  # fmt: skip
    as_of = models.DateField(_("数据日期"))
    employees = models.PositiveIntegerField(_("从业人员（人）"), validators=[MinValueValidator(1)])
    source = models.CharField(_("数据来源"), max_length=200)
    entered_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    entered_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("从业人员数")
        verbose_name_plural = _("从业人员数")
        ordering: ClassVar = ["region", "industry", "-as_of"]
        constraints: ClassVar = [
            # How many people worked there on that day, by the latest word? One number per industry …
            models.UniqueConstraint(
                fields=["region", "industry", "as_of"],
                condition=models.Q(industry__isnull=False),
                name="workforce_once_by_industry",
            ),
            # … and one over all industries.
            models.UniqueConstraint(
                fields=["region", "as_of"], condition=models.Q(industry=None), name="workforce_once_over_all"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.region_id} {self.industry_id or ''} {self.as_of}"
