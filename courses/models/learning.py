"""Who takes which course, how far he is, and what he answered on the way."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from courses.models.pages import CoursePage, LessonPage
from courses.models.questions import QuestionVersion
from courses.querysets import EnrolmentQuerySet


class Enrolment(models.Model):
    """States: active → completed (all lessons done; stays so when lessons are added later); active ↔ withdrawn.

    `evidence` is written once, on completion: the rule's name, every lesson with its revision and time, the hours.
    """

    class State(models.TextChoices):
        ACTIVE = "active", _("学习中")
        COMPLETED = "completed", _("已学完")
        WITHDRAWN = "withdrawn", _("已退出")

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="enrolments")
    course = models.ForeignKey(CoursePage, models.PROTECT, related_name="enrolments")
    state = models.CharField(_("状态"), max_length=10, choices=State.choices, default=State.ACTIVE)
    enrolled_at = models.DateTimeField(_("报名时间"), default=timezone.now)
    due_at = models.DateTimeField(_("应学完时间"), null=True, blank=True)
    completed_at = models.DateTimeField(_("学完时间"), null=True, blank=True)
    evidence = models.JSONField(default=dict, blank=True)

    objects = EnrolmentQuerySet.as_manager()

    class Meta:
        verbose_name = _("学习记录")
        verbose_name_plural = _("学习记录")
        ordering: ClassVar = ["-enrolled_at"]
        constraints: ClassVar = [
            # A person takes a course once; leaving and coming back is the same row.
            models.UniqueConstraint(fields=["user", "course"], name="enrolment_once"),
        ]
        indexes: ClassVar = [
            # How many of this course's people are how far? (trainer's desk)
            models.Index(fields=["course", "state"], name="enrolment_by_course"),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.course}"


class LessonProgress(models.Model):
    """A lesson as one learner stands to it. `position`: how far down the page (per mille) and into videos (seconds)."""

    enrolment = models.ForeignKey(Enrolment, models.CASCADE, related_name="lessons")
    lesson = models.ForeignKey(LessonPage, models.PROTECT, related_name="progress")
    first_seen_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    done_at = models.DateTimeField(null=True, blank=True)
    revision = models.PositiveBigIntegerField(null=True, blank=True)
    position = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name = _("课时进度")
        verbose_name_plural = _("课时进度")
        constraints: ClassVar = [
            # One row per learner and lesson, so that done twice is done once.
            models.UniqueConstraint(fields=["enrolment", "lesson"], name="lesson_progress_once"),
        ]


class InlineAnswer(models.Model):
    """The latest answer to a question inside a lesson, with how often it was tried."""

    progress = models.ForeignKey(LessonProgress, models.CASCADE, related_name="answers")
    block = models.CharField(max_length=40)
    version = models.ForeignKey(QuestionVersion, models.PROTECT, related_name="+")
    answer = models.JSONField(null=True)
    share = models.DecimalField(max_digits=5, decimal_places=4)
    tries = models.PositiveIntegerField(default=1)
    answered_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("随堂作答")
        verbose_name_plural = _("随堂作答")
        constraints: ClassVar = [
            # One row per learner and block of the lesson.
            models.UniqueConstraint(fields=["progress", "block"], name="inline_answer_once"),
        ]
