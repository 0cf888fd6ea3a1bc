"""Instrument versions, an enterprise's assessments under them, and the plan that came out."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lms.accounts.models import Organisation, User
from lms.accounts.querysets import in_regions
from lms.accounts.rules import jurisdiction_prefixes, organisation_ids
from lms.maturity.domain.instrument import Instrument, Result, assess, parse


class InstrumentVersion(models.Model):
    """One published version of the instrument, whole, as data. Never changed once an assessment uses it: a correction
    is a new row with a higher revision, and old answers come out as they did."""

    code = models.CharField(max_length=60)
    version = models.CharField(_("版本"), max_length=20)
    revision = models.PositiveIntegerField(_("修订"), default=1)
    title = models.CharField(_("名称"), max_length=120)
    data = models.JSONField()
    digest = models.CharField(max_length=64, unique=True)
    loaded_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("自评指标版本")
        verbose_name_plural = _("自评指标版本")
        ordering: ClassVar = ["code", "-version", "-revision"]
        constraints: ClassVar = [
            # Which data does "2024, revision 2" mean? Exactly one.
            models.UniqueConstraint(fields=["code", "version", "revision"], name="instrument_version_once"),
        ]

    def __str__(self) -> str:
        return f"{self.title} r{self.revision}"

    @cached_property
    def instrument(self) -> Instrument:
        return parse(self.data)


class AssessmentQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> AssessmentQuerySet:
        """The own enterprise's; for a bureau officer those of the own region and below, once submitted."""
        return self.filter(
            models.Q(organisation__in=organisation_ids(user))
            | (in_regions("organisation__region_id", jurisdiction_prefixes(user)) & models.Q(state="submitted"))
        )

    def submitted(self) -> AssessmentQuerySet:
        return self.filter(state="submitted")


class Assessment(models.Model):
    """States: draft (answers may change, one per organisation) → submitted (answers and result stand for ever)."""

    class State(models.TextChoices):
        DRAFT = "draft", _("填写中")
        SUBMITTED = "submitted", _("已提交")

    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="assessments")
    instrument_version = models.ForeignKey(InstrumentVersion, models.PROTECT)
    state = models.CharField(_("状态"), max_length=10, choices=State.choices, default=State.DRAFT)
    answers = models.JSONField(default=dict)
    score = models.DecimalField(_("得分"), max_digits=6, decimal_places=3, null=True)
    level = models.PositiveSmallIntegerField(_("等级"), null=True)
    level_name = models.CharField(max_length=20, blank=True)
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    started_at = models.DateTimeField(default=timezone.now)
    submitted_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    submitted_at = models.DateTimeField(null=True)

    objects = AssessmentQuerySet.as_manager()

    class Meta:
        verbose_name = _("数字化水平自评")
        verbose_name_plural = _("数字化水平自评")
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            # An enterprise has one draft at a time: two admins fill in the same one.
            models.UniqueConstraint(
                fields=["organisation"], condition=models.Q(state="draft"), name="assessment_one_draft"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.organisation} {self.instrument_version}"

    @property
    def instrument(self) -> Instrument:
        return self.instrument_version.instrument

    @property
    def result(self) -> Result:
        """Worked out anew from answers and instrument: what was shown then comes out now."""
        return assess(self.instrument, self.answers)


class PlanRow(models.Model):
    """One step of the plan: what, who, until when, with which evidence. Carries course tags, not courses."""

    class State(models.TextChoices):
        OPEN = "open", _("待办")
        DOING = "doing", _("进行中")
        DONE = "done", _("已完成")
        DROPPED = "dropped", _("不做")

    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="plan_rows")
    assessment = models.ForeignKey(Assessment, models.CASCADE, related_name="plan_rows")
    key = models.CharField(max_length=120)
    title = models.CharField(_("差距"), max_length=160)
    action = models.CharField(_("做法"), max_length=240)
    expected_evidence = models.CharField(_("证据"), max_length=160, blank=True)
    owner_role = models.CharField(_("建议责任岗位"), max_length=60, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="plan_rows"
    )
    tags = models.JSONField(default=list)
    effort = models.PositiveSmallIntegerField(default=1)
    gain = models.DecimalField(max_digits=5, decimal_places=2, default=0)
    needed = models.BooleanField(_("升级所需"), default=False)
    position = models.PositiveIntegerField(default=0)
    due_on = models.DateField(_("完成日期"), null=True, blank=True)
    state = models.CharField(_("状态"), max_length=8, choices=State.choices, default=State.OPEN)
    evidence_note = models.CharField(_("完成说明"), max_length=300, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("一企一策计划")
        verbose_name_plural = _("一企一策计划")
        ordering: ClassVar = ["position"]
        constraints: ClassVar = [
            # A step stands in a plan once.
            models.UniqueConstraint(fields=["assessment", "key"], name="plan_row_once"),
        ]

    def __str__(self) -> str:
        return self.title
