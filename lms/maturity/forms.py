"""The plan row's form: who, until when, how far."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from lms.accounts.models import User
from lms.maturity.models import PlanRow


class PlanRowForm(forms.ModelForm):
    class Meta:
        model = PlanRow
        fields: ClassVar = ["owner", "due_on", "state", "evidence_note"]
        labels: ClassVar = {"owner": _("责任人")}
        # The browser's date field knows the ISO form alone, whatever the page's language.
        widgets: ClassVar = {"due_on": forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].queryset = (
            User.objects.filter(memberships__organisation=self.instance.organisation, memberships__ended_at=None)
            .distinct()
            .order_by("name")
        )
