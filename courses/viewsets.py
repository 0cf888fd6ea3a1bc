"""题库， 试卷 and 插图 in Wagtail's admin, each trainer's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest
from django.utils.translation import gettext_lazy as _
from wagtail.admin.panels import FieldPanel, FieldRowPanel, InlinePanel, MultiFieldPanel, ObjectList
from wagtail.permission_policies import ModelPermissionPolicy
from wagtail.permissions import register_permission_policy
from wagtail.snippets.views.chooser import ChooseResultsView, ChooseView, SnippetChooserViewSet, SnippetChosenView
from wagtail.snippets.views.snippets import CopyView, DeleteView, EditView, HistoryView, SnippetViewSet, UsageView

from courses import rules
from courses.forms import BankForm, FigureForm, PaperForm, QuestionForm
from courses.models import Figure, Paper, Question, QuestionBank
from lms.accounts.models import User


class OwnBanks(ModelPermissionPolicy):
    """Group permissions say what trainers do; this says with whose: only the banks of the own organisation, and what hangs
    on them. The platform's own are looked at."""

    def user_has_permission_for_instance(self, user: User, action: str, instance: Model) -> bool:
        if not self.user_has_permission(user, action):
            return False
        bank = instance if isinstance(instance, QuestionBank) else instance.bank  # type: ignore[attr-defined]
        return rules.may_see_bank(user, bank) if action == "view" else rules.may_edit_bank(user, bank)

    def user_has_any_permission_for_instance(self, user: User, actions: Iterable[str], instance: Model) -> bool:
        return any(self.user_has_permission_for_instance(user, action, instance) for action in actions)


class OwnFigures(ModelPermissionPolicy):
    """Everyone who writes may use a drawing; changing it is for whoever brought it."""

    def user_has_permission_for_instance(self, user: User, action: str, instance: Model) -> bool:
        mine = action == "view" or instance.created_by_id == user.pk  # type: ignore[attr-defined]
        return mine and self.user_has_permission(user, action)

    def user_has_any_permission_for_instance(self, user: User, actions: Iterable[str], instance: Model) -> bool:
        return any(self.user_has_permission_for_instance(user, action, instance) for action in actions)


for model in (QuestionBank, Question, Paper):
    register_permission_policy(model, OwnBanks(model))
register_permission_policy(Figure, OwnFigures(Figure))


class OfOwn:
    """Wagtail's snippet views ask the group's permission only; these ask for the very thing, and others' do not exist."""

    wants = "view"

    def get_object(self, *args: Any) -> Any:
        found = super().get_object(*args)  # type: ignore[misc]
        if not self.user_has_permission_for_instance(self.wants, found):  # type: ignore[attr-defined]
            raise Http404
        return found


class OwnEdit(OfOwn, EditView):
    wants = "change"


class OwnCopy(OfOwn, CopyView):
    wants = "change"


class OwnDelete(OfOwn, DeleteView):
    wants = "delete"


class OwnUsage(OfOwn, UsageView):
    pass


class OwnHistory(OfOwn, HistoryView):
    pass


class OwnViewSet(SnippetViewSet):
    edit_view_class = OwnEdit
    copy_view_class = OwnCopy
    delete_view_class = OwnDelete
    usage_view_class = OwnUsage
    history_view_class = OwnHistory


class ForLessons:
    """The chooser of a lesson offers lesson questions of the own banks: what exams draw is not given away in a lesson."""

    def get_object_list(self) -> QuerySet[Any]:
        return Question.objects.visible_to(self.request.user).filter(use=Question.Use.LESSON)  # type: ignore[attr-defined]

    def get_object(self, pk: Any) -> Any:
        return self.get_object_list().get(pk=pk)


class ChooseQuestion(ForLessons, ChooseView):
    pass


class ChooseQuestionResults(ForLessons, ChooseResultsView):
    pass


class QuestionChosen(ForLessons, SnippetChosenView):
    pass


class QuestionChooserViewSet(SnippetChooserViewSet):
    choose_view_class = ChooseQuestion
    choose_results_view_class = ChooseQuestionResults
    chosen_view_class = QuestionChosen


class OfOwnPlace:
    """The chooser of a bank offers the own organisation's."""

    def get_object_list(self) -> QuerySet[Any]:
        return QuestionBank.objects.visible_to(self.request.user).exclude(organisation=None)  # type: ignore[attr-defined]

    def get_object(self, pk: Any) -> Any:
        return self.get_object_list().get(pk=pk)


class ChooseBank(OfOwnPlace, ChooseView):
    pass


class ChooseBankResults(OfOwnPlace, ChooseResultsView):
    pass


class BankChosen(OfOwnPlace, SnippetChosenView):
    pass


class BankChooserViewSet(SnippetChooserViewSet):
    choose_view_class = ChooseBank
    choose_results_view_class = ChooseBankResults
    chosen_view_class = BankChosen


class BankViewSet(OwnViewSet):
    model = QuestionBank
    chooser_viewset_class = BankChooserViewSet
    icon = "folder-open-inverse"
    menu_label = _("题库")
    menu_order = 210
    add_to_admin_menu = True
    list_display = ("title", "organisation")
    edit_handler = ObjectList(
        [FieldPanel("title"), FieldPanel("slug"), FieldPanel("organisation"), FieldPanel("note")],
        base_form_class=BankForm,
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return QuestionBank.objects.visible_to(request.user)


class QuestionViewSet(OwnViewSet):
    """The preview beside the form shows the question as a learner will see it."""

    model = Question
    chooser_viewset_class = QuestionChooserViewSet
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
                [FieldRowPanel([FieldPanel("function"), FieldPanel("difficulty")]), FieldPanel("requirements")],
                heading=_("对应标准"),
            ),
        ],
        base_form_class=QuestionForm,
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return Question.objects.visible_to(request.user).select_related("bank", "current")


class PaperViewSet(OwnViewSet):
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
        ],
        base_form_class=PaperForm,
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return Paper.objects.visible_to(request.user).select_related("course")


class FigureViewSet(OwnViewSet):
    model = Figure
    icon = "image"
    menu_label = _("插图")
    menu_order = 213
    add_to_admin_menu = True
    list_display = ("title", "created_at")
    edit_handler = ObjectList(
        [FieldPanel("title"), FieldPanel("alt"), FieldPanel("file"), FieldPanel("svg")], base_form_class=FigureForm
    )
