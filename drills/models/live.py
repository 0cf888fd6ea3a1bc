"""A drill, its seats, and its log. The log is the truth; `state`, `phase` and Seat rows are kept for lists and rules."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from cyber_range.models import Instance
from drills.rules import leading_organisations
from lms.accounts.models import Organisation, User

INCIDENT_CLASS = re.compile(r"^(MP|NA|DS|IC|DE|RO|SHE|AB|FOC|OTH)[A-Z]{0,14}$")


def check_incident_class(value: str) -> None:
    if not INCIDENT_CLASS.match(value):
        raise ValidationError(_("请填 GB/T 20986-2023 的事件分类代码，例如 NAEXPLOIT。"))


class DrillQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> DrillQuerySet:
        """Drills one has (had) a seat in, and those of organisations whose drills one leads."""
        return self.filter(
            models.Q(seats__user=user) | models.Q(organisation__in=leading_organisations(user))
        ).distinct()

    def live(self) -> DrillQuerySet:
        return self.filter(phase__in=[Drill.Phase.RUNNING, Drill.Phase.PAUSED])

    def to_follow(self) -> DrillQuerySet:
        """Those with something to do for the follower: a range on its way or living, or a clock that runs."""
        return self.filter(phase__in=Drill.OPEN).exclude(instance=None) | self.live()

    def coming(self) -> DrillQuerySet:
        return self.filter(phase__in=Drill.OPEN)

    def past(self) -> DrillQuerySet:
        return self.filter(phase__in=[Drill.Phase.ENDED, Drill.Phase.CLOSED])


class Drill(models.Model):
    """The plan, in the words of GB/T 38645. Phases as in drills.domain.state: planned → ready → running ⇄ paused →
    ended → closed (every finding rectified)."""

    class Form(models.TextChoices):
        TABLETOP = "tabletop", _("桌面推演")
        PRACTICAL = "practical", _("实操演练")
        SHOW = "show", _("示范演练")

    class Type(models.TextChoices):
        COMPREHENSIVE = "comprehensive", _("综合演练")
        SPECIAL = "special", _("专项演练")

    class Phase(models.TextChoices):
        PLANNED = "planned", _("已计划")
        READY = "ready", _("靶场就绪")
        RUNNING = "running", _("进行中")
        PAUSED = "paused", _("已暂停")
        ENDED = "ended", _("待复盘整改")
        CLOSED = "closed", _("已归档")

    class DataClass(models.TextChoices):
        GENERAL = "general", _("一般数据")
        IMPORTANT = "important", _("重要数据")
        CORE = "core", _("核心数据")

    class Attack(models.TextChoices):
        """Who attacks. A person: the red seat at its terminal, or the white cell step by step."""

        SCRIPT = "script", _("脚本自动（随演练开始）")
        PERSON = "person", _("人工（红队或导调逐步执行）")
        BOTH = "both", _("脚本与红队一起")

    OPEN = (Phase.PLANNED, Phase.READY, Phase.RUNNING, Phase.PAUSED)

    title = models.CharField(_("演练名称"), max_length=120)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="drills", verbose_name=_("单位"))
    purpose = models.TextField(_("目的"), max_length=600, blank=True)
    form = models.CharField(_("形式"), max_length=12, choices=Form.choices, default=Form.PRACTICAL)
    type = models.CharField(_("类型"), max_length=14, choices=Type.choices, default=Type.SPECIAL)
    scope = models.CharField(_("范围"), max_length=200, help_text=_("参演的部门、系统和产线"))
    incident_class = models.CharField(
        _("事件分类"), max_length=20, validators=[check_incident_class], help_text=_("GB/T 20986-2023 代码")
    )
    data_class = models.CharField(_("涉及数据"), max_length=10, choices=DataClass.choices, default=DataClass.GENERAL)
    plan_item = models.CharField(_("年度演练计划项"), max_length=120, blank=True)
    scheduled_at = models.DateTimeField(_("计划开始"))
    scenario = models.CharField(_("场景"), max_length=60)
    scenario_version = models.CharField(max_length=20, blank=True)
    attack = models.CharField(_("攻击方式"), max_length=6, choices=Attack.choices, default=Attack.SCRIPT)
    seed = models.CharField(max_length=64, editable=False)
    team = models.CharField(max_length=60, editable=False)
    duration_minutes = models.PositiveSmallIntegerField(_("时长（分钟）"), default=60)
    report_minutes = models.PositiveSmallIntegerField(_("报告时限（演练分钟）"), default=20)
    speed = models.FloatField(default=1, editable=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    phase = models.CharField(_("状态"), max_length=8, choices=Phase.choices, default=Phase.PLANNED, editable=False)
    started_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)
    score = models.DecimalField(_("得分"), max_digits=5, decimal_places=1, null=True, blank=True, editable=False)
    instance = models.ForeignKey(Instance, models.PROTECT, null=True, blank=True, related_name="drills", editable=False)
    # The log's newest number: the hub asks for this alone. Written only by drills.log.
    last_seq = models.PositiveIntegerField(default=0, editable=False)
    # What of the range's spool is in the log.
    range_cursor = models.PositiveIntegerField(default=0, editable=False)
    lessons = models.TextField(_("经验教训"), blank=True)
    plan_revision = models.TextField(_("预案修订记录"), blank=True)

    objects = DrillQuerySet.as_manager()

    class Meta:
        verbose_name = _("演练")
        verbose_name_plural = _("演练")
        ordering: ClassVar = ["-scheduled_at"]
        indexes: ClassVar = [
            # Which drills run now? (follower and hub, several times a second)
            models.Index(fields=["phase"], name="drill_by_phase"),
            # What is this organisation's record, newest first?
            models.Index(fields=["organisation", "-scheduled_at"], name="drill_by_organisation"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def live(self) -> bool:
        return self.phase in (self.Phase.RUNNING, self.Phase.PAUSED)

    @property
    def over(self) -> bool:
        return self.phase in (self.Phase.ENDED, self.Phase.CLOSED)

    @property
    def report_scale(self) -> float:
        """How much faster than the law's four hours the drill's clock is."""
        return 240 / max(self.report_minutes, 1)


class Seat(models.Model):
    """A person on (or invited to) a place of the drill. How long it was held is in the log; this row is for rules."""

    class Cell(models.TextChoices):
        WHITE = "white", _("导调组")
        BLUE = "blue", _("蓝队（防守）")
        RED = "red", _("红队（攻击）")
        OBSERVER = "observer", _("观摩")

    drill = models.ForeignKey(Drill, models.CASCADE, related_name="seats")
    seat = models.CharField(_("席位"), max_length=40)
    cell = models.CharField(_("组别"), max_length=10, choices=Cell.choices)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="drill_seats")
    invited_at = models.DateTimeField(default=timezone.now)
    taken_at = models.DateTimeField(null=True, blank=True)
    left_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            # A person has one place in a drill.
            models.UniqueConstraint(fields=["drill", "user"], name="seat_one_per_person"),
        ]
        indexes: ClassVar = [
            # Which drills am I in? (home 演练, rules)
            models.Index(fields=["user", "left_at"], name="seat_by_person"),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.get_cell_display()}"

    @property
    def held(self) -> bool:
        return self.taken_at is not None and self.left_at is None


class AppendOnly(models.QuerySet):
    """The log is added to and read."""

    def update(self, **values: object) -> int:
        raise TypeError("a drill's log is never changed; append an event instead")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError("a drill's log is never cut; erase the words in EventText instead")


class DrillEvent(models.Model):
    """It happened = it is here. Written by drills.log alone."""

    drill = models.ForeignKey(Drill, models.PROTECT, related_name="events")
    seq = models.PositiveIntegerField()
    kind = models.CharField(max_length=40)
    at = models.DateTimeField()
    actor = models.CharField(max_length=36, blank=True)  # pseudonym, "" = the machinery
    payload = models.JSONField()
    source = models.CharField(max_length=12, blank=True)  # range id
    source_number = models.PositiveIntegerField(null=True, blank=True)

    objects = AppendOnly.as_manager()

    class Meta:
        verbose_name = _("演练记录")
        verbose_name_plural = _("演练记录")
        ordering: ClassVar = ["drill", "seq"]
        constraints: ClassVar = [
            # One event per number: two writers at once cannot both have it.
            models.UniqueConstraint(fields=["drill", "seq"], name="drill_event_seq"),
            # A range's event is copied once, however often the follower tries.
            models.UniqueConstraint(
                fields=["drill", "source", "source_number"],
                condition=models.Q(source_number__isnull=False),
                name="drill_event_source",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.drill_id}#{self.seq} {self.kind}"


class EventText(models.Model):
    """Words of a person beside an event. Erased on request; the event stays."""

    event = models.ForeignKey(DrillEvent, models.CASCADE, related_name="texts")
    name = models.CharField(max_length=40)
    text = models.TextField(blank=True)
    erased_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["event", "name"], name="event_text_once"),
        ]


class TerminalRecording(models.Model):
    """What went over a terminal, recorded by range-host after notice; kept until `keep_until`."""

    KEEP = timedelta(days=180)

    drill = models.ForeignKey(Drill, models.CASCADE, related_name="recordings")
    instance = models.ForeignKey(Instance, models.PROTECT, related_name="+")
    name = models.CharField(max_length=120)
    actor = models.CharField(max_length=36)
    seat = models.CharField(max_length=40)
    node = models.CharField(max_length=40)
    opened_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=40, blank=True)
    keep_until = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["opened_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["instance", "name"], name="recording_once"),
        ]


class FollowerLease(models.Model):
    """Who is the one follower now. A row, taken over when it was not renewed in time."""

    name = models.CharField(max_length=40, primary_key=True)
    holder = models.CharField(max_length=80)
    until = models.DateTimeField()

    @classmethod
    def take(cls, *, name: str, holder: str, now: datetime, seconds: float) -> bool:
        """True while `holder` is the one."""
        until = now + timedelta(seconds=seconds)
        free = models.Q(holder=holder) | models.Q(until__lt=now)
        if cls.objects.filter(free, name=name).update(holder=holder, until=until):
            return True
        _row, made = cls.objects.get_or_create(name=name, defaults={"holder": holder, "until": until})
        return made
