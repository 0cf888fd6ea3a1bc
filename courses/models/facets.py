"""By what a course can be found: for whom, for which trade and scene, and what it answers."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class Facet(models.Model):
    """One value of one facet. Requirement codes come from a standard's data, plan tags from the self-assessment's, as plain
    codes: courses knows neither, so both may be renewed without touching a course."""

    class Kind(models.TextChoices):
        LAYER = "layer", _("人才层次")
        ROLE = "role", _("岗位")
        INDUSTRY = "industry", _("行业")
        SCENE = "scene", _("场景")
        REQUIREMENT = "requirement", _("标准要求")
        PLAN = "plan", _("自评改进项")

    kind = models.CharField(_("类别"), max_length=12, choices=Kind.choices)
    code = models.CharField(_("代码"), max_length=80)
    name = models.CharField(_("名称"), max_length=120)

    class Meta:
        verbose_name = _("分类")
        verbose_name_plural = _("分类")
        ordering: ClassVar = ["kind", "code"]
        constraints: ClassVar = [
            # A value stands once in its facet: the import looks it up by code.
            models.UniqueConstraint(fields=["kind", "code"], name="facet_once"),
        ]

    def __str__(self) -> str:
        return self.name
