"""Papers (blueprints) and sittings. Everything that decides a sitting is kept in it, so old results reproduce."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from modelcluster.fields import ParentalKey
from modelcluster.models import ClusterableModel

from courses.domain.selection import Cell
from courses.models.pages import CoursePage
from courses.models.questions import Question, QuestionBank, QuestionVersion
from courses.querysets import PaperQuerySet, SessionQuerySet


class Paper(ClusterableModel):
    """How an exam is made: so many questions of each function and difficulty, so many minutes, tried so often."""

    title = models.CharField(_("考试名称"), max_length=120)
    slug = models.SlugField(_("代码"), max_length=80, unique=True)
    course = models.ForeignKey(CoursePage, models.PROTECT, verbose_name=_("所属课程"), related_name="papers")
    bank = models.ForeignKey(QuestionBank, models.PROTECT, verbose_name=_("题库"), related_name="papers")
    intro = models.TextField(_("考试说明"), blank=True)
    minutes = models.PositiveIntegerField(_("时长（分钟）"), default=60, validators=[MinValueValidator(1)])
    grace_seconds = models.PositiveIntegerField(
        _("宽限（秒）"), default=30, help_text=_("到时后仍接收网络上迟到的作答。"), validators=[MaxValueValidator(600)]
    )
    pass_mark = models.PositiveIntegerField(_("合格分"), default=60, validators=[MaxValueValidator(100)])
    max_attempts = models.PositiveIntegerField(_("最多次数"), default=3, help_text=_("0 表示不限。"))
    wait_hours = models.PositiveIntegerField(_("两次间隔（小时）"), default=24)
    after_course = models.BooleanField(_("学完课程才能考"), default=True)
    shuffle_options = models.BooleanField(_("打乱选项"), default=True)
    is_open = models.BooleanField(_("开放"), default=False)
    open_from = models.DateTimeField(_("开放时间"), null=True, blank=True)
    open_until = models.DateTimeField(_("截止时间"), null=True, blank=True)

    objects = PaperQuerySet.as_manager()

    class Meta:
        verbose_name = _("试卷")
        verbose_name_plural = _("试卷")
        ordering: ClassVar = ["title"]

    def __str__(self) -> str:
        return self.title

    def blueprint(self) -> list[Cell]:
        return [Cell(cell.function, cell.difficulty, cell.count, cell.points) for cell in self.cells.all()]

    def function_names(self) -> dict[str, str]:
        return {cell.function: cell.function_name or cell.function for cell in self.cells.all()}

    @property
    def question_count(self) -> int:
        return sum(cell.count for cell in self.cells.all())


class PaperCell(models.Model):
    """One line of the blueprint."""

    paper = ParentalKey(Paper, on_delete=models.CASCADE, related_name="cells")
    function = models.CharField(_("职业功能代码"), max_length=20)
    function_name = models.CharField(_("职业功能名称"), max_length=60, blank=True)
    difficulty = models.CharField(
        _("难度"), max_length=8, choices=Question.Difficulty.choices, blank=True, help_text=_("留空表示不限。")
    )
    count = models.PositiveIntegerField(_("题数"), validators=[MinValueValidator(1)])
    points = models.PositiveIntegerField(_("每题分值"), default=1, validators=[MinValueValidator(1)])

    class Meta:
        ordering: ClassVar = ["pk"]


def new_seed() -> str:
    return secrets.token_hex(16)


class ExamSession(models.Model):
    """One sitting. States: running → submitted (by the learner, or by the clock after deadline + grace).

    `rules` is the paper as it was; `drawn` lists question versions in order with points and function. The seed settles which
    questions came, their order and the opaque names of options; it stays on the server.
    """

    class State(models.TextChoices):
        RUNNING = "running", _("进行中")
        SUBMITTED = "submitted", _("已交卷")

    class By(models.TextChoices):
        LEARNER = "learner", _("本人交卷")
        CLOCK = "clock", _("到时自动交卷")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    paper = models.ForeignKey(Paper, models.PROTECT, related_name="sessions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="exam_sessions")
    attempt = models.PositiveIntegerField(_("第几次"))
    seed = models.CharField(max_length=64, default=new_seed)
    rules = models.JSONField(default=dict)
    drawn = models.JSONField(default=list)
    state = models.CharField(_("状态"), max_length=10, choices=State.choices, default=State.RUNNING)
    started_at = models.DateTimeField(_("开始"), default=timezone.now)
    deadline = models.DateTimeField(_("到时"))
    closes_at = models.DateTimeField()
    submitted_at = models.DateTimeField(_("交卷"), null=True, blank=True)
    submitted_by = models.CharField(max_length=8, choices=By.choices, blank=True)
    score = models.DecimalField(_("得分"), max_digits=4, decimal_places=1, null=True, blank=True)
    passed = models.BooleanField(_("合格"), null=True, blank=True)
    result = models.JSONField(default=dict, blank=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("考试场次")
        verbose_name_plural = _("考试场次")
        ordering: ClassVar = ["-started_at"]
        constraints: ClassVar = [
            # A person has one running sitting of a paper: two tabs or two taps open the same one.
            models.UniqueConstraint(
                fields=["user", "paper"], condition=models.Q(state="running"), name="exam_running_once"
            ),
            # Attempts count up without a repeat, so that the limit holds.
            models.UniqueConstraint(fields=["user", "paper", "attempt"], name="exam_attempt_once"),
        ]
        indexes: ClassVar = [
            # Which sittings ran out of time? (follower, every second)
            models.Index(fields=["state", "closes_at"], name="exam_overdue"),
        ]

    def __str__(self) -> str:
        return f"{self.paper} · {self.user} · {self.attempt}"

    def evidence(self) -> dict[str, Any]:
        """What a decision may cite: which paper under which rules, the questions asked, times, seed, scores by function."""
        return {
            "session": str(self.public_id),
            "paper": self.paper_id,
            "attempt": self.attempt,
            "started_at": self.started_at.isoformat(),
            "deadline": self.deadline.isoformat(),
            "submitted_at": self.submitted_at and self.submitted_at.isoformat(),
            "submitted_by": self.submitted_by,
            "score": None if self.score is None else str(self.score),
            "passed": self.passed,
            "functions": self.result.get("functions", []),
            "rules": self.rules,
            "seed": self.seed,
            "questions": [drawn["version"] for drawn in self.drawn],
            "regraded": len(self.result.get("history", [])),
        }

    def seconds_left(self, now: datetime) -> int:
        return max(0, int((self.deadline - now) / timedelta(seconds=1)))

    @property
    def title(self) -> str:
        return str(self.rules.get("title", ""))


class ExamAnswer(models.Model):
    """The answer to one question of a sitting. `seq` is the browser's count of changes to it: an older one never wins."""

    session = models.ForeignKey(ExamSession, models.CASCADE, related_name="answers")
    number = models.PositiveIntegerField(_("题次"))
    version = models.ForeignKey(QuestionVersion, models.PROTECT, related_name="+")
    answer = models.JSONField(null=True, blank=True)
    seq = models.PositiveBigIntegerField(default=0)
    flagged = models.BooleanField(default=False)
    saved_at = models.DateTimeField(null=True, blank=True)
    share = models.DecimalField(max_digits=5, decimal_places=4, null=True, blank=True)

    class Meta:
        verbose_name = _("作答")
        verbose_name_plural = _("作答")
        ordering: ClassVar = ["session", "number"]
        constraints: ClassVar = [
            # One row per question of the sitting; saves go to it.
            models.UniqueConstraint(fields=["session", "number"], name="exam_answer_once"),
        ]
