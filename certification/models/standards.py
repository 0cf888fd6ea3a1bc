"""A job standard as data: occupation, version, levels, functions, work contents, requirements, weights.

A version is a set of rows that is not changed once a decision cites it; a correction is a new version.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class CredentialType(models.TextChoices):
    """Never added up: only filed bodies may issue official certificates, and ours are not those."""

    TRAINING = "training_completion", _("培训合格证书")
    COMPETENCY = "platform_competency", _("岗位能力证明")
    EXTERNAL = "official_external", _("外部登记证书")


class Occupation(models.Model):
    """Standards of 2021 carry the numbering of 2015, the classification of 2022 another: both are kept."""

    code2022 = models.CharField(_("大典（2022）编码"), max_length=16, unique=True)
    code_std = models.CharField(_("标准文本所印编码"), max_length=16)
    name = models.CharField(_("职业名称"), max_length=60)

    class Meta:
        verbose_name = _("职业")
        verbose_name_plural = _("职业")
        ordering: ClassVar = ["code2022"]

    def __str__(self) -> str:
        return f"{self.code2022} {self.name}"


class Standard(models.Model):
    """`digest` is the hash of the file it was read from: the same file loads to nothing, a changed one is seen."""

    occupation = models.ForeignKey(Occupation, models.PROTECT, related_name="standards", verbose_name=_("职业"))
    code = models.CharField(_("标准代号"), max_length=40)
    version = models.CharField(_("版本"), max_length=20)
    title = models.CharField(_("名称"), max_length=120)
    credential_type = models.CharField(_("证书类型"), max_length=24, choices=CredentialType.choices)
    issued_by = models.TextField(_("签发说明"))
    effective_from = models.DateField(_("施行日期"))
    superseded_by = models.CharField(_("被替代为"), max_length=20, blank=True)
    digest = models.CharField(max_length=64)

    class Meta:
        verbose_name = _("岗位标准")
        verbose_name_plural = _("岗位标准")
        ordering: ClassVar = ["code", "-effective_from"]
        constraints: ClassVar = [
            # Which rows are version 2026.1 of ics-ops? Exactly one set.
            models.UniqueConstraint(fields=["code", "version"], name="standard_version_once"),
        ]

    def __str__(self) -> str:
        return f"{self.title}({self.version})"


class StandardLevel(models.Model):
    standard = models.ForeignKey(Standard, models.CASCADE, related_name="levels")
    rank = models.PositiveSmallIntegerField(_("次序"))
    code = models.CharField(_("代号"), max_length=12)
    name = models.CharField(_("等级名称"), max_length=60)
    audience = models.TextField(_("适用人员"), blank=True)
    min_hours = models.DecimalField(_("最低学时"), max_digits=6, decimal_places=1)
    theory_pass = models.DecimalField(_("理论合格线"), max_digits=5, decimal_places=1)
    practice_pass = models.DecimalField(_("实操合格线"), max_digits=5, decimal_places=1)
    has_review = models.BooleanField(_("需综合评审"))
    validity_months = models.PositiveSmallIntegerField(_("有效期（月）"), null=True, blank=True)

    class Meta:
        verbose_name = _("等级")
        verbose_name_plural = _("等级")
        ordering: ClassVar = ["standard", "rank"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["standard", "rank"], name="level_rank_once"),
            models.UniqueConstraint(fields=["standard", "code"], name="level_code_once"),
        ]

    def __str__(self) -> str:
        return f"{self.standard.title} {self.name}"


class Function(models.Model):
    """职业功能; `basic` marks 基本要求, which the weight tables list beside the functions."""

    level = models.ForeignKey(StandardLevel, models.CASCADE, related_name="functions")
    code = models.CharField(max_length=12)
    name = models.CharField(max_length=60)
    basic = models.BooleanField(default=False)
    order = models.PositiveSmallIntegerField()

    class Meta:
        ordering: ClassVar = ["level", "order"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["level", "code"], name="function_code_once")]

    def __str__(self) -> str:
        return self.name


class WorkContent(models.Model):
    function = models.ForeignKey(Function, models.CASCADE, related_name="contents")
    code = models.CharField(max_length=24)
    name = models.CharField(max_length=60)
    order = models.PositiveSmallIntegerField()

    class Meta:
        ordering: ClassVar = ["function", "order"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["function", "code"], name="work_content_code_once")]

    def __str__(self) -> str:
        return self.name


class Requirement(models.Model):
    class Kind(models.TextChoices):
        ABILITY = "ability", _("能力要求")
        KNOWLEDGE = "knowledge", _("相关知识")

    content = models.ForeignKey(WorkContent, models.CASCADE, related_name="requirements")
    code = models.CharField(max_length=32)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    text = models.TextField()
    to_verify = models.BooleanField(_("待核"), default=False)
    order = models.PositiveSmallIntegerField()

    class Meta:
        ordering: ClassVar = ["content", "order"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["content", "code"], name="requirement_code_once")]

    def __str__(self) -> str:
        return self.code


class Weight(models.Model):
    """Percent of a function in the theory or the ability table; each table of a level adds up to 100."""

    class Component(models.TextChoices):
        THEORY = "theory", _("理论知识权重")
        ABILITY = "ability", _("能力要求权重")

    function = models.ForeignKey(Function, models.CASCADE, related_name="weights")
    component = models.CharField(max_length=8, choices=Component.choices)
    pct = models.PositiveSmallIntegerField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["function", "component"], name="weight_once")]
