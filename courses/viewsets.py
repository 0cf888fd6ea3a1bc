"""题库， 试卷 and 插图 in Wagtail's admin, each trainer's own."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from wagtail.admin.panels import FieldPanel, FieldRowPanel, InlinePanel, MultiFieldPanel, ObjectList
from wagtail.snippets.views.snippets import SnippetViewSet

from courses.forms import FigureForm, QuestionForm
from courses.models import Figure, Paper, Question, QuestionBank


class BankViewSet(SnippetViewSet):
    model = QuestionBank
    icon = "folder-open-inverse"
    menu_label = _("题库")
    menu_order = 210
    add_to_admin_menu = True
    list_display = ("title", "organisation")
    panels = [FieldPanel("title"), FieldPanel("slug"), FieldPanel("organisation"), FieldPanel("note")]  # noqa: RUF012  Wagtail's way

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return QuestionBank.objects.visible_to(request.user)


class QuestionViewSet(SnippetViewSet):
    """The preview beside the form shows the question as a learner will see it."""

    model = Question
    icon = "help"
    menu_label = _("试题")
    menu_order = 211
    add_to_admin_menu = True
    list_display = ("code", "bank", "use", "state")
    list_filter = ("bank", "use", "state", "current__kind", "current__difficulty")
    search_fields = ("code", "current__stem")
    edit_handler = ObjectList(
        [
            FieldRowPanel([FieldPanel("bank"), FieldPanel("code")]),
            FieldRowPanel([FieldPanel("use"), FieldPanel("state")]),
            FieldPanel("kind"),
            FieldPanel("stem"),
            FieldPanel("answer_lines"),
            FieldPanel("explanation"),
            MultiFieldPanel(
                [FieldRowPanel([FieldPanel("function"), FieldPanel("difficulty")]), FieldPanel("requirements")], heading=_("对应标准")
            ),
        ],
        base_form_class=QuestionForm,
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return Question.objects.visible_to(request.user).select_related("bank", "current")


class PaperViewSet(SnippetViewSet):
    model = Paper
    icon = "form"
    menu_label = _("试卷")
    menu_order = 212
    add_to_admin_menu = True
    list_display = ("title", "course", "minutes", "is_open")
    edit_handler = ObjectList(
        [
            FieldPanel("title"),
            FieldRowPanel([FieldPanel("slug"), FieldPanel("is_open")]),
            FieldRowPanel([FieldPanel("course"), FieldPanel("bank")]),
            FieldPanel("intro"),
            FieldRowPanel([FieldPanel("minutes"), FieldPanel("grace_seconds"), FieldPanel("pass_mark")]),
            FieldRowPanel([FieldPanel("max_attempts"), FieldPanel("wait_hours")]),
            FieldRowPanel([FieldPanel("after_course"), FieldPanel("shuffle_options")]),
            FieldRowPanel([FieldPanel("open_from"), FieldPanel("open_until")]),
            InlinePanel("cells", label=_("抽题"), heading=_("组卷蓝图"), min_num=1),
        ]
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return Paper.objects.visible_to(request.user).select_related("course")


class FigureViewSet(SnippetViewSet):
    model = Figure
    icon = "image"
    menu_label = _("插图")
    menu_order = 213
    add_to_admin_menu = True
    list_display = ("title", "created_at")
    edit_handler = ObjectList(
        [FieldPanel("title"), FieldPanel("alt"), FieldPanel("file"), FieldPanel("svg")], base_form_class=FigureForm
    )
