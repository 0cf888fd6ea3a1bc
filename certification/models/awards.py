"""From an application to a decision: rules as data, marks by people, appeals, and decisions that are only ever added."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from certification.domain.criteria import Rule, RuleError
from certification.models.standards import StandardLevel
from certification.querysets import AppealQuerySet, ApplicationQuerySet
from lms.accounts.models import Organisation


def check_rule(data: object) -> None:
    """A form that would store a rule nobody can decide by says which key is wrong."""
    try:
        Rule.from_data(data)  # type: ignore[arg-type]  # a wrong shape is what is being looked for
    except (RuleError, TypeError, KeyError, AttributeError) as fault:
        raise ValidationError(str(fault)) from fault


class AwardRule(models.Model):
    """What a level asks for, as versioned data (certification/domain/criteria.py names the keys).

    One version of a level is active; earlier ones stay because decisions cite them. `assessed_by` is the body whose
    assessors mark and hear appeals; empty = those of any assessment body.
    """

    level = models.ForeignKey(StandardLevel, models.PROTECT, related_name="rules", verbose_name=_("等级"))
    version = models.PositiveSmallIntegerField(_("版本"), default=1)
    data = models.JSONField(_("规则"), validators=[check_rule])
    active = models.BooleanField(_("现行"), default=True)
    effective_from = models.DateTimeField(_("施行时间"), default=timezone.now)
    assessed_by = models.ForeignKey(
        Organisation, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("评价机构")
    )

    class Meta:
        verbose_name = _("授予规则")
        verbose_name_plural = _("授予规则")
        ordering: ClassVar = ["level", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["level", "version"], name="rule_version_once"),
            # Which rule decides today? At most one per level.
            models.UniqueConstraint(fields=["level"], condition=models.Q(active=True), name="rule_active_once"),
        ]

    def __str__(self) -> str:
        return f"{self.level} v{self.version}"

    @property
    def rule(self) -> Rule:
        return Rule.from_data(self.data)


class Application(models.Model):
    """One person's way to one level. `inputs`: the evidence as last collected, shown in the live checklist.

    States: collecting (conditions are missing; decided again as evidence comes) → reviewing (everything is there but
    what people must add: marks, confirmation) → awarded | declined (marks are in and too low; an appeal may reopen) .
    collecting → withdrawn by the person himself.
    """

    class State(models.TextChoices):
        COLLECTING = "collecting", _("待补齐条件")
        REVIEWING = "reviewing", _("考评中")
        AWARDED = "awarded", _("已授予")
        DECLINED = "declined", _("未通过")
        WITHDRAWN = "withdrawn", _("已撤回")

    OPEN = (State.COLLECTING, State.REVIEWING)

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="award_applications")
    level = models.ForeignKey(StandardLevel, models.PROTECT, related_name="applications")
    organisation = models.ForeignKey(Organisation, models.PROTECT, null=True, related_name="+")
    state = models.CharField(_("状态"), max_length=12, choices=State.choices, default=State.COLLECTING)
    inputs = models.JSONField(default=dict)
    recognised = models.JSONField(default=dict)
    confirmed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    applied_at = models.DateTimeField(_("申请时间"), default=timezone.now)
    checked_at = models.DateTimeField(null=True)
    reviewing_since = models.DateTimeField(null=True)

    objects = ApplicationQuerySet.as_manager()

    class Meta:
        verbose_name = _("申请")
        verbose_name_plural = _("申请")
        ordering: ClassVar = ["applied_at"]
        constraints: ClassVar = [
            # A person has one open way to a level: a double tap or a repeated message makes no second.
            models.UniqueConstraint(
                fields=["user", "level"],
                condition=models.Q(state__in=["collecting", "reviewing"]),
                name="application_open_once",
            )
        ]
        indexes: ClassVar = [
            # What waits longest on the assessment desk, and which open ones are due for a look?
            models.Index(fields=["state", "reviewing_since"], name="application_queue"),
            models.Index(fields=["state", "checked_at"], name="application_due"),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.level}"


class ManualMark(models.Model):
    """One marker's judgement by the rubric; the other marker's stays hidden until both are in."""

    application = models.ForeignKey(Application, models.CASCADE, related_name="marks")
    assessor = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    rubric = models.JSONField(default=dict)
    total = models.DecimalField(max_digits=5, decimal_places=1)
    comment = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["at", "pk"]
        constraints: ClassVar = [
            # A marker marks once: a changed mind goes by appeal, in the open.
            models.UniqueConstraint(fields=["application", "assessor"], name="mark_once_per_marker")
        ]


class ImmutableError(RuntimeError):
    """Someone tried to change a record that stands for ever."""


class Decision(models.Model):
    """Everything a decision was made from and what came out, in one chain over all decisions.

    `body` is the whole record (rule with version, every input, outcome, who, when); `hash` covers the hash before it and
    the body, so a changed, dropped or moved record shows. `key` is the hash of rule and inputs without the clock:
    deciding again from the same evidence finds the decision that is there.
    """

    class Kind(models.TextChoices):
        RULE = "rule", _("按规则")
        ASSESSOR = "assessor", _("考评员确认")
        APPEAL = "appeal", _("申诉复核")

    number = models.PositiveBigIntegerField(unique=True)
    application = models.ForeignKey(Application, models.PROTECT, related_name="decisions")
    rule = models.ForeignKey(AwardRule, models.PROTECT, related_name="decisions")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    met = models.BooleanField()
    body = models.JSONField()
    key = models.CharField(max_length=64)
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField()

    class Meta:
        verbose_name = _("决定")
        verbose_name_plural = _("决定")
        ordering: ClassVar = ["number"]
        constraints: ClassVar = [
            # The same evidence under the same rule is decided once, however often it is asked.
            models.UniqueConstraint(fields=["application", "key"], name="decision_once")
        ]

    def __str__(self) -> str:
        return f"#{self.number}"

    def save(self, *args: object, **kwargs: object) -> None:
        """A row is added; it is never stored again."""
        if self.pk is not None:
            raise ImmutableError("a decision is never changed: add another one that stands after it")
        super().save(*args, **kwargs)  # type: ignore[arg-type]  # Django's own signature, passed through

    def delete(self, *args: object, **kwargs: object) -> tuple[int, dict[str, int]]:
        raise ImmutableError("a decision is never deleted: the chain over all decisions would break")


class ChainHead(models.Model):
    """The last link. Locked while one is added, so numbers have no gap and no two links share a place."""

    name = models.CharField(max_length=20, primary_key=True)
    number = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, blank=True)


class Appeal(models.Model):
    """States: open → upheld (named criteria are recognised and the case is decided again) | rejected, both with an answer."""

    class State(models.TextChoices):
        OPEN = "open", _("待复核")
        UPHELD = "upheld", _("申诉成立")
        REJECTED = "rejected", _("维持原决定")

    decision = models.ForeignKey(Decision, models.PROTECT, related_name="appeals")
    raised_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    reason = models.TextField(_("申诉理由"))
    raised_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    answer = models.TextField(_("答复"), blank=True)
    recognised = models.JSONField(default=list)
    answered_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    answered_at = models.DateTimeField(null=True)

    objects = AppealQuerySet.as_manager()

    class Meta:
        verbose_name = _("申诉")
        verbose_name_plural = _("申诉")
        ordering: ClassVar = ["raised_at"]
        constraints: ClassVar = [
            # One open appeal per decision.
            models.UniqueConstraint(fields=["decision"], condition=models.Q(state="open"), name="appeal_open_once")
        ]
