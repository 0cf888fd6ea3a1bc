"""Forms of planning and review. The live room speaks JSON."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from cyber_range import catalogue
from drills.models import Drill, Finding
from drills.rules import planning_organisations
from lms.accounts.models import Organisation, User


class PlanForm(forms.ModelForm):
    """One page, three short parts: what, when, who. Seats follow on the lobby."""

    scenario = forms.ChoiceField(label=_("场景"))

    class Meta:
        model = Drill
        fields = (
            "organisation", "scenario", "title", "purpose", "form", "type", "scope", "incident_class", "data_class",
            "plan_item", "attack", "scheduled_at", "duration_minutes", "report_minutes",
        )  # fmt: skip
        widgets: ClassVar = {
            "scheduled_at": forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
            "purpose": forms.Textarea(attrs={"rows": 2}),
        }

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["organisation"].queryset = Organisation.objects.filter(pk__in=planning_organisations(user))
        self.fields["organisation"].empty_label = None
        self.fields["scenario"].choices = [
            (entry.scenario.id, f"{entry.scenario.title.zh}（{entry.scenario.difficulty}）")
            for entry in catalogue.entries()
        ] + [
            (entry.key, f"{version}（{version.scenario.organisation}自编）")
            for version, entry in catalogue.offered_to(planning_organisations(user))
        ]
        self.fields["attack"].required = False
        self.fields["scheduled_at"].input_formats = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
        self.fields["duration_minutes"].widget.attrs.update(min=5, max=480)
        self.fields["report_minutes"].widget.attrs.update(min=5, max=240)

    def clean_duration_minutes(self) -> int:
        value: int = self.cleaned_data["duration_minutes"]
        if not 5 <= value <= 480:
            raise forms.ValidationError(_("时长应在 5 到 480 分钟之间。"))
        return value

    def clean_attack(self) -> str:
        return self.cleaned_data["attack"] or Drill.Attack.SCRIPT

    def clean_scheduled_at(self) -> Any:
        value = self.cleaned_data["scheduled_at"]
        if value < timezone.now() - timedelta(hours=1):
            raise forms.ValidationError(_("计划开始时间已经过去。"))
        return value


class InviteForm(forms.Form):
    user = forms.ModelChoiceField(label=_("人员"), queryset=User.objects.none(), empty_label=None)
    seat = forms.ChoiceField(label=_("席位"))

    def __init__(self, *args: Any, people: Any, seats: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["user"].queryset = people
        self.fields["seat"].choices = seats


class FindingForm(forms.ModelForm):
    class Meta:
        model = Finding
        fields = ("title", "severity", "measure", "owner", "due", "seq")
        widgets: ClassVar = {
            "measure": forms.Textarea(attrs={"rows": 2}),
            "due": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        }

    def __init__(self, *args: Any, people: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].queryset = people
        self.fields["due"].input_formats = ["%Y-%m-%d"]


class LessonsForm(forms.ModelForm):
    class Meta:
        model = Drill
        fields = ("lessons", "plan_revision")
        widgets: ClassVar = {
            "lessons": forms.Textarea(attrs={"rows": 4}),
            "plan_revision": forms.Textarea(attrs={"rows": 3}),
        }
