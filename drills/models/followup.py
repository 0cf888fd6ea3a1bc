"""What was found wrong and what is done about it (问题清单 → 整改)."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from drills.models.live import Drill


class Finding(models.Model):
    """A finding is its own rectification task. States: open → done (evidence given) → closed (confirmed); overdue is open
    or done past its due day."""

    class State(models.TextChoices):
        OPEN = "open", _("整改中")
        DONE = "done", _("待验收")
        CLOSED = "closed", _("已销号")

    class Severity(models.TextChoices):
        HIGH = "high", _("严重")
        MEDIUM = "medium", _("一般")
        LOW = "low", _("轻微")

    drill = models.ForeignKey(Drill, models.CASCADE, related_name="findings")
    title = models.CharField(_("问题"), max_length=200)
    seq = models.PositiveIntegerField(_("依据记录号"), null=True, blank=True)
    severity = models.CharField(_("程度"), max_length=8, choices=Severity.choices, default=Severity.MEDIUM)
    measure = models.TextField(_("整改措施"))
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="rectifications", verbose_name=_("责任人")
    )
    due = models.DateField(_("完成期限"))
    state = models.CharField(_("状态"), max_length=8, choices=State.choices, default=State.OPEN)
    evidence = models.TextField(_("整改证据"), blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("整改任务")
        verbose_name_plural = _("整改任务")
        ordering: ClassVar = ["due", "pk"]
        indexes: ClassVar = [
            # What must this person put right, by when?
            models.Index(fields=["owner", "state", "due"], name="finding_by_owner"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def late(self) -> bool:
        return self.state != self.State.CLOSED and self.due < timezone.localdate()
