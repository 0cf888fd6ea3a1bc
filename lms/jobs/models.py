"""A row per slow verb. The queue only carries the number of the row."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class JobQuerySet(models.QuerySet):
    def visible_to(self, user: models.Model) -> JobQuerySet:
        """One's own jobs only."""
        return self.filter(requested_by=user)

    def unfinished(self) -> JobQuerySet:
        return self.filter(state__in=[Job.State.WAITING, Job.State.RUNNING])

    def lost(self) -> JobQuerySet:
        """Waiting longer than a queue message takes, or running past its lease, and not sent again just now."""
        now = timezone.now()
        return self.filter(send_after__lte=now).filter(
            models.Q(state=Job.State.WAITING) | models.Q(state=Job.State.RUNNING, lease_until__lt=now)
        )


class Job(models.Model):
    """States: waiting (row written, message sent or lost) → running (a worker holds the lease) → done | failed.

    running falls back to running under another worker when the lease runs out; waiting is sent again by the follower.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("排队中")
        RUNNING = "running", _("进行中")
        DONE = "done", _("已完成")
        FAILED = "failed", _("未完成")

    task = models.CharField(max_length=80)
    title = models.CharField(_("任务"), max_length=160)
    args = models.JSONField(default=dict)
    key = models.CharField(max_length=120, unique=True, null=True, blank=True)
    state = models.CharField(_("状态"), max_length=8, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    max_attempts = models.PositiveSmallIntegerField(default=5)
    lease_seconds = models.PositiveIntegerField(default=120)
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_token = models.CharField(max_length=32, blank=True)
    send_after = models.DateTimeField(default=timezone.now)
    progress = models.PositiveSmallIntegerField(_("进度"), default=0)
    step = models.CharField(_("当前步骤"), max_length=160, blank=True)
    result = models.JSONField(default=dict, blank=True)
    error = models.JSONField(default=dict, blank=True)
    link = models.CharField(max_length=200, blank=True)
    queue = models.CharField(max_length=80, blank=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="jobs")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("任务")
        verbose_name_plural = _("任务")
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [
            # Which jobs must be sent again? (follower, every second)
            models.Index(fields=["state", "send_after", "lease_until"], name="job_lost"),
            # What did I ask for lately? (screen 任务)
            models.Index(fields=["requested_by", "-created_at"], name="job_by_person"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def what_failed(self) -> str:
        """Why it failed or must wait. Faults of the works tell themselves; what this app says is in the reader's
        language."""
        code = self.error.get("code")
        if code in SAID_HERE:
            return str(SAID_HERE[code][0])
        return self.error.get("what", "")

    @property
    def remedy(self) -> str:
        code = self.error.get("code")
        if code in SAID_HERE:
            return str(SAID_HERE[code][1]) % {"reference": self.error.get("reference", "")}
        return self.error.get("remedy", "")


# code: (what happened, what to do). The numbers in `reference` stand in the worker's log beside the traceback.
SAID_HERE = {
    "attempts": (_("工作进程多次中断，任务没有完成。"), _("请重试；若再次失败，请联系平台管理员。")),
    "fault": (_("平台内部出错，任务没有完成。"), _("请重试；若再次失败，请联系平台管理员并报编号 %(reference)s。")),
}
