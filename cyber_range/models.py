"""Machines that hold ranges, and the ranges on them. What lives in a range is range-host's; here is who asked for it."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from cyber_range.rules import operating_organisations
from lms.accounts.models import Organisation, User

SILENT_SECONDS = 15  # a host not heard of for so long counts as away
LOST_SECONDS = 30  # … and as lost: what waits for it is moved, what lived on it is said to be lost
WARN_BEFORE = timedelta(minutes=10)  # before the end of a range's time to live (range-host warns then, too)


def new_range_id() -> str:
    return secrets.token_hex(6)


def new_seed() -> str:
    return secrets.token_hex(8)


class RangeHost(models.Model):
    """A machine with a range-host daemon and, beside it, a Celery worker on a queue of its own.

    `state` is what was heard: unknown → here ⇄ away (its namespaces' labs end with the daemon); away for LOST_SECONDS = lost.
    `duty` is what the administrator wants of it: open; draining (finishes what lives, gets nothing new); retired (out of use,
    the row stays for the history of its ranges)."""

    class State(models.TextChoices):
        UNKNOWN = "unknown", _("未联系")
        HERE = "here", _("在线")
        AWAY = "away", _("失联")

    class Duty(models.TextChoices):
        OPEN = "open", _("接收新靶场")
        DRAINING = "draining", _("腾空中")
        RETIRED = "retired", _("已停用")

    name = models.CharField(_("名称"), max_length=60, unique=True)
    socket = models.CharField(
        _("套接字"),
        max_length=200,
        blank=True,
        help_text=_("其他机器上通往这台主机的套接字路径，例如用 ssh -L 转发来的。本机的由设置决定，这里留空。"),
    )
    queue = models.CharField(
        _("任务队列"), max_length=80, blank=True, help_text=_("由主机旁的工作进程自己登记，通常不用填。")
    )
    duty = models.CharField(_("安排"), max_length=8, choices=Duty.choices, default=Duty.OPEN)
    driver = models.CharField(_("驱动"), max_length=20, blank=True)
    drivers = models.JSONField(_("驱动检查"), default=list, blank=True)
    capacity = models.PositiveIntegerField(_("可容纳"), default=0)
    free = models.PositiveIntegerField(_("空余"), default=0)
    # Ranges there that are nobody's row: warm ones, and those started from a command line.
    foreign = models.PositiveIntegerField(_("预热及其他"), default=0)
    trouble = models.CharField(_("问题"), max_length=300, blank=True)
    state = models.CharField(_("状态"), max_length=8, choices=State.choices, default=State.UNKNOWN)
    last_seen = models.DateTimeField(_("最近联系"), null=True, blank=True)
    worker_seen = models.DateTimeField(_("工作进程最近联系"), null=True, blank=True)
    # Whether the follower asks this host itself; otherwise the worker beside it tells (cyber_range/README.md).
    followed = models.BooleanField(default=True)

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

    @property
    def lost(self) -> bool:
        """Was heard once and is not for so long that nobody waits for it any more."""
        return bool(self.last_seen and self.last_seen < timezone.now() - timedelta(seconds=LOST_SECONDS))

    @property
    def served(self) -> bool:
        """Whether a worker takes what is on its queue."""
        return bool(
            self.queue and self.worker_seen and self.worker_seen > timezone.now() - timedelta(seconds=SILENT_SECONDS)
        )


class Quota(models.Model):
    """How many ranges may run at once: of an organisation (all of them, or of one purpose), or on a host.

    Where no row says otherwise the settings RANGES_PER_ORGANISATION and PRACTICE_RANGES_PER_ORGANISATION hold; a host
    without one carries what its range-host was started with."""

    class For(models.TextChoices):
        ANY = "", _("全部用途")
        PRACTICE = "practice", _("自由练习")
        DRILL = "drill", _("演练")

    organisation = models.ForeignKey(
        Organisation, models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("单位")
    )
    host = models.ForeignKey(
        RangeHost, models.CASCADE, null=True, blank=True, related_name="quotas", verbose_name=_("主机")
    )
    purpose = models.CharField(_("用途"), max_length=10, choices=For.choices, default=For.ANY, blank=True)
    most = models.PositiveIntegerField(_("同时最多"), help_text=_("0 表示不允许启动。"))
    note = models.CharField(_("备注"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("靶场额度")
        verbose_name_plural = _("靶场额度")
        ordering: ClassVar = ["organisation__name", "host__name", "purpose"]
        constraints: ClassVar = [
            # Whose is it? Of one organisation or of one host, never of both or none.
            models.CheckConstraint(
                condition=models.Q(organisation__isnull=True, host__isnull=False, purpose="")
                | models.Q(organisation__isnull=False, host__isnull=True),
                name="quota_of_one",
                violation_error_message=_("请选择一个单位或一台主机，不能两者都选或都不选；主机额度不分用途。"),
            ),
            models.UniqueConstraint(
                fields=["organisation", "purpose"],
                name="quota_of_organisation_once",
                violation_error_message=_("这个单位已有同一用途的额度，请修改那一条。"),
            ),
            models.UniqueConstraint(
                fields=["host"],
                name="quota_of_host_once",
                violation_error_message=_("这台主机已有额度，请修改那一条。"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.organisation or self.host} {self.get_purpose_display()} ≤ {self.most}"


class WarmPool(models.Model):
    """Ranges of one scenario launched ahead on one host, so that a launch is a thaw. The wish is the administrator's; `ready`
    and what follows is the host's word, written down by whoever looks after it."""

    host = models.ForeignKey(RangeHost, models.CASCADE, related_name="pools", verbose_name=_("主机"))
    scenario = models.CharField(_("场景"), max_length=60)
    minimum = models.PositiveSmallIntegerField(_("最少"), default=1, validators=[MaxValueValidator(200)])
    maximum = models.PositiveSmallIntegerField(
        _("最多"), default=1, validators=[MaxValueValidator(200)], help_text=_("机器空闲时补到这个数。")
    )
    ready = models.PositiveIntegerField(_("已备好"), default=0, editable=False)
    making = models.PositiveIntegerField(_("准备中"), default=0, editable=False)
    claimed = models.PositiveIntegerField(_("已领取"), default=0, editable=False)
    missed = models.PositiveIntegerField(_("落空"), default=0, editable=False)
    trouble = models.CharField(_("问题"), max_length=300, blank=True, editable=False)

    class Meta:
        verbose_name = _("预热池")
        verbose_name_plural = _("预热池")
        ordering: ClassVar = ["host__name", "scenario"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["host", "scenario"],
                name="warm_pool_once",
                violation_error_message=_("这台主机上已有这个场景的预热池，请修改那一条。"),
            ),
            models.CheckConstraint(
                condition=models.Q(maximum__gte=models.F("minimum")),
                name="warm_pool_bounds",
                violation_error_message=_("最多不能小于最少。"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.host} {self.scenario} {self.minimum}–{self.maximum}"


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
    claimed = models.BooleanField(_("来自预热池"), null=True, blank=True)  # None = not launched yet
    warned_at = models.DateTimeField(null=True, blank=True)  # of the end of its time, once for each end
    replaces = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="replaced_by")

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
    def ends_soon(self) -> bool:
        return bool(self.living and self.expires_at and self.expires_at < timezone.now() + WARN_BEFORE)

    @property
    def lost(self) -> bool:
        """Lives according to its row, but its host has not been heard of."""
        return bool(self.living and self.silent_since)

    @property
    def ill_nodes(self) -> list[tuple[str, str]]:
        """(node, why) of those that do not answer."""
        return sorted(
            (name, health.get("reason", "")) for name, health in self.health.items() if health.get("state") == "ill"
        )

    @property
    def sick_nodes(self) -> list[str]:
        return sorted(name for name, health in self.health.items() if health.get("state") == "ill")


from cyber_range import written  # noqa: E402, F401 - Django looks for models from here
