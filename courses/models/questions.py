"""The question bank. A question is its versions: editing adds one, and what was once asked stays as it was asked."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from wagtail.models import PreviewableMixin

from courses.domain import notation
from courses.querysets import BankQuerySet, QuestionQuerySet


class QuestionBank(models.Model):
    """Whose questions they are. Without an organisation it is the platform's own: all trainers see it, imports change it."""

    title = models.CharField(_("题库名称"), max_length=120)
    slug = models.SlugField(_("代码"), max_length=80, unique=True)
    organisation = models.ForeignKey(
        "accounts.Organisation", models.PROTECT, null=True, blank=True, verbose_name=_("所属单位")
    )
    note = models.TextField(_("说明"), blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = BankQuerySet.as_manager()

    class Meta:
        verbose_name = _("题库")
        verbose_name_plural = _("题库")
        ordering: ClassVar = ["title"]

    def __str__(self) -> str:
        return self.title


class Question(PreviewableMixin, models.Model):
    """States: draft (being written, never drawn) → live (may be drawn) → retired (stays in old papers, is drawn no more).

    `use` parts what exams draw from what lessons show with the answer: a question is never both.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("草稿")
        LIVE = "live", _("启用")
        RETIRED = "retired", _("停用")

    class Use(models.TextChoices):
        EXAM = "exam", _("考试")
        LESSON = "lesson", _("随堂")

    class Kind(models.TextChoices):
        SINGLE = "single", _("单选题")
        MULTIPLE = "multiple", _("多选题")
        TRUEFALSE = "truefalse", _("判断题")
        NUMERIC = "numeric", _("数值题")
        MATCHING = "matching", _("配对题")
        ORDERING = "ordering", _("排序题")

    class Difficulty(models.TextChoices):
        EASY = "easy", _("易")
        MEDIUM = "medium", _("中")
        HARD = "hard", _("难")

    bank = models.ForeignKey(QuestionBank, models.PROTECT, verbose_name=_("题库"), related_name="questions")
    code = models.CharField(_("题号"), max_length=80)
    use = models.CharField(_("用途"), max_length=8, choices=Use.choices, default=Use.EXAM)
    state = models.CharField(_("状态"), max_length=8, choices=State.choices, default=State.DRAFT)
    current = models.OneToOneField(
        "courses.QuestionVersion", models.PROTECT, null=True, blank=True, editable=False, related_name="current_of"
    )

    objects = QuestionQuerySet.as_manager()

    class Meta:
        verbose_name = _("试题")
        verbose_name_plural = _("试题")
        ordering: ClassVar = ["bank", "code"]
        constraints: ClassVar = [
            # A number stands once in its bank: imports find the question by it.
            models.UniqueConstraint(fields=["bank", "code"], name="question_code_once"),
        ]
        indexes: ClassVar = [
            # Which questions may be drawn from this bank? (opening an exam)
            models.Index(fields=["bank", "use", "state"], name="question_drawable"),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.current.stem[:40] if self.current else ''}".strip()

    def serve_preview(self, request: Any, mode_name: str) -> TemplateResponse:
        """The question as a learner sees it, from the version in the editor (`draft`) or the current one."""
        version = getattr(self, "draft", None) or self.current
        return TemplateResponse(request, "courses/question_preview.html", {"question": self, "version": version})


class QuestionVersion(models.Model):
    """What was asked, in exactly these words. Never changed: sessions, evidence and statistics point here."""

    question = models.ForeignKey(Question, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(_("版本"))
    kind = models.CharField(_("题型"), max_length=10, choices=Question.Kind.choices)
    stem = models.TextField(_("题干"))
    content = models.JSONField(default=dict)
    key = models.JSONField()
    explanation = models.TextField(_("解析"), blank=True)
    function = models.CharField(_("职业功能"), max_length=20, blank=True)
    requirements = models.JSONField(_("标准要求"), default=list, blank=True)
    difficulty = models.CharField(_("难度"), max_length=8, choices=Question.Difficulty.choices, default="medium")
    digest = models.CharField(max_length=64, editable=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("试题版本")
        verbose_name_plural = _("试题版本")
        ordering: ClassVar = ["question", "-number"]
        constraints: ClassVar = [
            # Versions count up without a gap or a repeat.
            models.UniqueConstraint(fields=["question", "number"], name="question_version_once"),
        ]

    def __str__(self) -> str:
        return f"{self.question_id}.{self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None and not kwargs.get("force_insert"):
            raise TypeError("试题版本不可修改：请新建版本（services.revise_question）。")
        super().save(*args, **kwargs)

    @property
    def key_text(self) -> str:
        return notation.key_text(self.kind, self.content, self.key)
