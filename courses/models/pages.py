"""The catalogue, courses and lessons, as Wagtail pages: drafts, review, preview and schedules come with them."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.core.validators import MinValueValidator
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from modelcluster.fields import ParentalManyToManyField
from wagtail.admin.forms import WagtailAdminPageForm
from wagtail.admin.panels import FieldPanel, FieldRowPanel, MultiFieldPanel
from wagtail.fields import StreamField
from wagtail.models import Page, PageManager

from courses.blocks import LessonBody
from courses.domain import prose, search
from courses.models.facets import Facet
from courses.querysets import CourseQuerySet, FoundQuerySet


class Tier(models.TextChoices):
    """Course difficulty. Never 初级/中级/高级: those are levels of an occupation."""

    INTRO = "intro", _("入门")
    BASIC = "basic", _("基础")
    ADVANCED = "advanced", _("进阶")
    SPECIAL = "special", _("专项")


class CatalogueIndexPage(Page):
    """The one parent of all courses. Learners see it at courses:catalogue, with search and facets."""

    subpage_types: ClassVar = ["courses.CoursePage"]
    max_count = 1

    class Meta:
        verbose_name = _("课程目录")
        verbose_name_plural = _("课程目录")

    def get_url_parts(self, request: HttpRequest | None = None) -> Any:
        parts = super().get_url_parts(request)
        return parts and (parts[0], parts[1], reverse("courses:catalogue"))


class GroupedFacets(forms.models.ModelChoiceIterator):
    """Facet values under their kinds, so that the editor's list reads like a form."""

    def __iter__(self) -> Any:
        values: dict[str, list[Any]] = {}
        for facet in self.queryset:
            values.setdefault(facet.kind, []).append(self.choice(facet))
        for kind, label in Facet.Kind.choices:
            if kind in values:
                yield label, values[kind]


class FacetField(forms.ModelMultipleChoiceField):
    iterator = GroupedFacets


class CourseForm(WagtailAdminPageForm):
    facets = FacetField(
        Facet.objects.all(),
        required=False,
        label=_("分类"),
        widget=forms.SelectMultiple(attrs={"size": 14}),
        help_text=_("按住 Ctrl 可多选。决定课程在目录里怎样被找到、对应哪些标准要求和自评改进项。"),
    )


class CoursePage(Page):
    """A course. Its lessons are its children; other kinds of pages (drills) may be its children too."""

    subtitle = models.CharField(_("副标题"), max_length=120, blank=True)
    tier = models.CharField(_("层级"), max_length=8, choices=Tier.choices, default=Tier.INTRO)
    hours = models.DecimalField(
        _("学时"),
        max_digits=5,
        decimal_places=1,
        default=1,
        validators=[MinValueValidator(0)],
        help_text=_("标准学时，每学时 45 分钟。"),
    )
    intro = models.TextField(_("课程介绍"), blank=True, help_text=_("Markdown。"))
    objectives = models.TextField(_("学完能做什么"), blank=True, help_text=_("每行一条，用“能够……”开头。"))
    audience = models.TextField(_("适合谁学"), blank=True)
    facets = ParentalManyToManyField(Facet, verbose_name=_("分类"), blank=True, related_name="courses")
    content_digest = models.CharField(max_length=64, blank=True, editable=False)
    search_text = models.TextField(editable=False, default="")

    objects: ClassVar = PageManager.from_queryset(CourseQuerySet)()

    parent_page_types: ClassVar = ["courses.CatalogueIndexPage"]
    base_form_class = CourseForm
    template = "courses/course.html"
    content_panels: ClassVar = [
        *Page.content_panels,
        FieldPanel("subtitle"),
        FieldRowPanel([FieldPanel("tier"), FieldPanel("hours")]),
        FieldPanel("intro"),
        FieldPanel("objectives"),
        FieldPanel("audience"),
        MultiFieldPanel([FieldPanel("facets")], heading=_("分类")),
    ]

    class Meta:
        verbose_name = _("课程")
        verbose_name_plural = _("课程")

    def clean(self) -> None:
        super().clean()
        self.search_text = search.index_text(
            self.title, self.subtitle, prose.plain(self.intro), self.objectives, self.audience
        )

    @property
    def objective_list(self) -> list[str]:
        return [line.strip() for line in self.objectives.splitlines() if line.strip()]

    def lessons(self) -> models.QuerySet[LessonPage]:
        """Published lessons in reading order."""
        return LessonPage.objects.child_of(self).live().defer("body", "search_text").order_by("path")

    def facets_of(self, kind: str) -> list[Facet]:
        return [facet for facet in self.facets.all() if facet.kind == kind]

    def by_kind(self) -> dict[str, list[Facet]]:
        """Facets under their kinds, for templates."""
        return {kind: self.facets_of(kind) for kind in Facet.Kind.values}


class LessonPage(Page):
    """A lesson: one sitting's reading with its questions. `minutes` counts toward the course's hours."""

    summary = models.TextField(_("摘要"), blank=True)
    minutes = models.PositiveIntegerField(_("时长（分钟）"), default=45, validators=[MinValueValidator(1)])
    functions = models.CharField(
        _("对应职业功能"), max_length=200, blank=True, help_text=_("功能代码，用空格隔开。考试后按它推荐复习本课。")
    )
    body = StreamField(LessonBody(), verbose_name=_("内容"), blank=True)
    search_text = models.TextField(editable=False, default="")

    objects: ClassVar = PageManager.from_queryset(FoundQuerySet)()

    parent_page_types: ClassVar = ["courses.CoursePage"]
    subpage_types: ClassVar[list[str]] = []
    template = "courses/lesson.html"
    content_panels: ClassVar = [
        *Page.content_panels,
        FieldPanel("summary"),
        FieldRowPanel([FieldPanel("minutes"), FieldPanel("functions")]),
        FieldPanel("body"),
    ]

    class Meta:
        verbose_name = _("课时")
        verbose_name_plural = _("课时")

    def clean(self) -> None:
        super().clean()
        self.search_text = search.index_text(self.title, self.summary, *self.texts())

    def texts(self) -> list[str]:
        """The words of the body, for search."""
        found = []
        for block in self.body:
            match block.block_type:
                case "heading":
                    found.append(block.value)
                case "markdown":
                    found.append(prose.plain(block.value))
                case "text":
                    found.append(prose.plain(block.value.source))
                case "callout":
                    found += [block.value["title"], prose.plain(block.value["text"])]
                case "checklist":
                    found += [block.value["title"], *block.value["items"]]
                case "figure":
                    found += [block.value["alt"], block.value["caption"]]
                case "video" | "file":
                    found.append(block.value["title"])
        return found

    def question_blocks(self) -> list[Any]:
        """Inline questions in the order of the page, as stream children (their id names the answer). A question that exams draw
        is none, whoever put it here: its answer would be told."""
        return [
            block
            for block in self.body
            if block.block_type == "question"
            and block.value is not None
            and block.value.use == "lesson"
            and block.value.current_id
        ]

    @property
    def course(self) -> CoursePage:
        return self.get_parent().specific

    @property
    def function_codes(self) -> list[str]:
        return self.functions.split()
