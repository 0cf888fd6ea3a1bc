"""What browsers send: answers of every kind, catalogue filters, and the question editor of Wagtail's admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _
from wagtail.admin.forms import WagtailAdminModelForm

from courses.domain import notation
from courses.domain.figures import FigureError, clean_svg
from courses.domain.grading import Kind
from courses.models import CoursePage, Figure, Question, QuestionBank, QuestionVersion
from courses.services import revise_question
from lms.accounts.models import Organisation
from lms.accounts.rules import Role, organisation_ids


def answer_from_form(kind: str, data: QueryDict, name: str) -> Any:
    """The answer in a posted form: fields `name`, `name-<left>` (matching), `name-<item>` = place (ordering).

    Two items on one place are no order: nothing is answered then.
    """
    start = f"{name}-"
    match Kind(kind):
        case Kind.MULTIPLE:
            return data.getlist(name) or None
        case Kind.TRUEFALSE:
            return {"true": True, "false": False}.get(data.get(name, ""))
        case Kind.MATCHING:
            return {
                field[len(start) :]: data[field] for field in data if field.startswith(start) and data[field]
            } or None
        case Kind.ORDERING:
            places = [(data[field], field[len(start) :]) for field in data if field.startswith(start)]
            if not places or any(not place.isdigit() for place, _item in places):
                return None
            if len({int(place) for place, _item in places}) < len(places):
                return None
            return [item for _place, item in sorted(places, key=lambda pair: int(pair[0]))]
        case _:
            return data.get(name, "").strip() or None


class QuestionForm(WagtailAdminModelForm):
    """Edits the question's words by making a new version of it; the preview shows them before they are kept."""

    kind = forms.ChoiceField(label=_("题型"), choices=Question.Kind.choices)
    stem = forms.CharField(label=_("题干"), widget=forms.Textarea(attrs={"rows": 3}))
    answer_lines = forms.CharField(
        label=_("选项与答案"),
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text=_(
            "单选、多选：每行一个选项，正确的以 + 开头，其余以 - 开头。判断：正确 或 错误。数值：500 ± 5 毫升。"
            "配对：每行“左 = 右”。排序：按正确次序每行一项。学员看到的次序由系统打乱。"
        ),
    )
    explanation = forms.CharField(label=_("解析"), required=False, widget=forms.Textarea(attrs={"rows": 3}))
    function = forms.CharField(label=_("职业功能代码"), required=False, max_length=20)
    requirements = forms.CharField(label=_("标准要求代码"), required=False, help_text=_("用空格隔开。"))
    difficulty = forms.ChoiceField(label=_("难度"), choices=Question.Difficulty.choices, initial="medium")

    class Meta:
        model = Question
        fields = ("bank", "code", "use", "state")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        version = self.instance.current if self.instance.pk else None
        if version is not None:
            self.initial.update(
                kind=version.kind,
                stem=version.stem,
                answer_lines=notation.write(version.kind, version.content, version.key),
                explanation=version.explanation,
                function=version.function,
                requirements=" ".join(version.requirements),
                difficulty=version.difficulty,
            )
            # Another bank or use would move the question under the papers and lessons that name it.
            for name in ("bank", "code", "use"):
                self.fields[name].disabled = True
        if self.for_user is not None:
            self.fields["bank"].queryset = QuestionBank.objects.visible_to(self.for_user).exclude(organisation=None)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("kind") and data.get("answer_lines"):
            try:
                self.asked = notation.parse(data["kind"], data["answer_lines"])
            except notation.NotationError as fault:
                self.add_error("answer_lines", str(fault))
        return data

    def save(self, commit: bool = True) -> Question:
        data = self.cleaned_data
        asked = getattr(self, "asked", notation.Asked({}, None))
        words = {
            "kind": data["kind"], "stem": data["stem"], "content": asked.content, "key": asked.key,
            "explanation": data["explanation"], "function": data["function"],
            "requirements": data["requirements"].split(), "difficulty": data["difficulty"],
        }  # fmt: skip
        if not commit:
            self.instance.draft = QuestionVersion(number=0, pk=0, **words)
            return self.instance
        question = revise_question(
            bank=data["bank"], code=data["code"], use=data["use"], state=data["state"], by=self.for_user, **words
        )
        self.instance.pk, self.instance.current = question.pk, question.current
        self.instance._state.adding = False
        return self.instance

    def save_m2m(self) -> None:
        """Nothing beyond the version to save."""


class BankForm(WagtailAdminModelForm):
    """A bank belongs to an organisation one trains for."""

    class Meta:
        model = QuestionBank
        fields = ("title", "slug", "organisation", "note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.for_user is not None:
            self.fields["organisation"].queryset = Organisation.objects.filter(
                pk__in=organisation_ids(self.for_user, Role.TRAINER)
            )
        self.fields["organisation"].required = True


class PaperForm(WagtailAdminModelForm):
    """A paper draws from one's own bank, for a course one wrote."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.for_user is not None:
            self.fields["bank"].queryset = QuestionBank.objects.visible_to(self.for_user).exclude(organisation=None)
            self.fields["course"].queryset = CoursePage.objects.teachable_by(self.for_user)


class FigureForm(WagtailAdminModelForm):
    """Takes pasted or uploaded SVG, and keeps only what a drawing needs."""

    file = forms.FileField(label=_("SVG 文件"), required=False)

    class Meta:
        model = Figure
        fields = ("title", "alt", "svg")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["svg"].required = False

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        source = data["file"].read() if data.get("file") else data.get("svg")
        if not source:
            self.add_error("file", _("请上传 SVG 文件，或粘贴源码。"))
            return data
        try:
            drawing = clean_svg(source)
        except FigureError as fault:
            self.add_error("file" if data.get("file") else "svg", str(fault))
            return data
        if Figure.objects.filter(digest=drawing.digest).exclude(pk=self.instance.pk).exists():
            self.add_error("file", _("同样的插图已经有了，请直接选用。"))
        data["svg"] = drawing.svg
        self.instance.digest, self.instance.width, self.instance.height = drawing.digest, drawing.width, drawing.height
        return data
