"""Machines that hold ranges, and the ranges on them. What lives in a range is range-host's; here is who asked for it."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from cyber_range.rules import operating_organisations
from lms.accounts.models import Organisation, User

SILENT_SECONDS = 15  # a host not heard of for so long counts as away


def new_range_id() -> str:
    return secrets.token_hex(6)


def new_seed() -> str:
    return secrets.token_hex(8)


class RangeHost(models.Model):
    """A machine with a range-host daemon. `away` = not answering; its namespaces' labs end with the daemon."""

    class State(models.TextChoices):
        UNKNOWN = "unknown", _("未联系")
        HERE = "here", _("在线")
        AWAY = "away", _("失联")

    name = models.CharField(_("名称"), max_length=60, unique=True)
    socket = models.CharField(_("套接字"), max_length=200, blank=True, help_text=_("留空则用本机设置"))
    queue = models.CharField(_("任务队列"), max_length=80, blank=True)
    driver = models.CharField(_("驱动"), max_length=20, blank=True)
    drivers = models.JSONField(_("驱动检查"), default=list, blank=True)
    capacity = models.PositiveIntegerField(_("可容纳"), default=0)
    free = models.PositiveIntegerField(_("空余"), default=0)
    state = models.CharField(_("状态"), max_length=8, choices=State.choices, default=State.UNKNOWN)
    last_seen = models.DateTimeField(_("最近联系"), null=True, blank=True)

    class Meta:
        verbose_name = _("靶场主机")
        verbose_name_plural = _("靶场主机")
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def here(self) -> bool:
        return bool(
            self.state == self.State.HERE
            and self.last_seen
            and self.last_seen > timezone.now() - timedelta(seconds=SILENT_SECONDS)
        )


class InstanceQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> InstanceQuerySet:
        """Those of organisations whose ranges the person runs."""
        return self.filter(organisation__in=operating_organisations(user))

    def living(self) -> InstanceQuerySet:
        return self.exclude(state__in=Instance.OVER)


class Instance(models.Model):
    """One range. States: waiting (job written) → launching → ready ⇄ paused; ill (answers, but a node does not);
    gone (ended, or its host lost it); failed (never came up). The state is range-host's word, copied by the follower."""

    class State(models.TextChoices):
        WAITING = "waiting", _("排队中")
        LAUNCHING = "launching", _("启动中")
        READY = "ready", _("运行中")
        PAUSED = "paused", _("已暂停")
        ILL = "ill", _("有故障")
        CLOSING = "closing", _("关闭中")
        GONE = "gone", _("已结束")
        FAILED = "failed", _("启动失败")

    class Purpose(models.TextChoices):
        PRACTICE = "practice", _("自由练习")
        DRILL = "drill", _("演练")

    OVER = (State.GONE, State.FAILED)

    range_id = models.CharField(max_length=12, unique=True, default=new_range_id, editable=False)
    purpose = models.CharField(_("用途"), max_length=10, choices=Purpose.choices, default=Purpose.PRACTICE)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="+", verbose_name=_("单位"))
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    host = models.ForeignKey(RangeHost, models.PROTECT, related_name="instances", verbose_name=_("主机"))
    scenario = models.CharField(_("场景"), max_length=60)
    scenario_version = models.CharField(_("场景版本"), max_length=20)
    scenario_hash = models.CharField(_("场景摘要"), max_length=64)
    title = models.CharField(_("名称"), max_length=120)
    seed = models.CharField(max_length=64, default=new_seed, editable=False)
    team = models.CharField(max_length=60)
    driver = models.CharField(_("驱动"), max_length=20, blank=True)
    speed = models.FloatField(default=1)
    ttl = models.PositiveIntegerField(_("时限（秒）"), default=4 * 3600)
    state = models.CharField(_("状态"), max_length=10, choices=State.choices, default=State.WAITING)
    reason = models.CharField(_("原因"), max_length=300, blank=True)
    health = models.JSONField(_("节点状态"), default=dict, blank=True)
    production = models.BooleanField(_("生产正常"), null=True, blank=True)
    expires_at = models.DateTimeField(_("到期"), null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)
    silent_since = models.DateTimeField(null=True, blank=True)

    objects = InstanceQuerySet.as_manager()

    class Meta:
        verbose_name = _("靶场实例")
        verbose_name_plural = _("靶场实例")
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [
            # Which ranges of this organisation are there? (screen 靶场, quota)
            models.Index(fields=["organisation", "state"], name="instance_by_organisation"),
            # Which ranges of this host must the follower look after?
            models.Index(fields=["host", "state"], name="instance_by_host"),
        ]

    def __str__(self) -> str:
        return f"{self.title} {self.range_id}"

    @property
    def living(self) -> bool:
        return self.state not in self.OVER

    @property
    def sick_nodes(self) -> list[str]:
        return sorted(name for name, health in self.health.items() if health.get("state") == "ill")


from cyber_range import written  # noqa: E402, F401 - Django looks for models from here
