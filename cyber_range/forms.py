"""Which stretch of time of which zone's capture, and the administrator's wishes for pools."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _
from wagtail.admin.forms.models import WagtailAdminModelForm

from cyber_range import catalogue
from cyber_range.models import WarmPool
from cyber_range.templatetags.cyber_range_map import in_words


class SliceForm(forms.Form):
    """Zones are those the host has captured; times stand in the reader's time zone, empty = from the first, to the last."""

    zone = forms.ChoiceField(label=_("分区"))
    begin = forms.DateTimeField(
        label=_("从"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S"),
        input_formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"],
    )
    finish = forms.DateTimeField(
        label=_("到"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S"),
        input_formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"],
    )

    def __init__(self, *args: Any, captures: Any = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zones = sorted({one["zone"] for one in captures if one.get("zone")})
        self.fields["zone"].choices = [(zone, zone) for zone in zones]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise forms.ValidationError(_("“从”要早于“到”。"))
        return found

    @property
    def start(self) -> float | None:
        return _unix(self.cleaned_data.get("begin"))

    @property
    def end(self) -> float | None:
        return _unix(self.cleaned_data.get("finish"))


def _unix(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


class WarmPoolForm(WagtailAdminModelForm):
    """Offers the packaged scenarios; a pool takes room that others miss, so its size is checked against the host."""

    scenario = forms.ChoiceField(label=_("场景"))

    class Meta:
        model = WarmPool
        fields: ClassVar[Sequence[str]] = ["host", "scenario", "minimum", "maximum"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scenario"].choices = [  # type: ignore[attr-defined]
            (entry.scenario.id, f"{in_words(entry.scenario.title)} ({entry.scenario.id})")
            for entry in catalogue.entries()
        ]

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        host, minimum, maximum = found.get("host"), found.get("minimum"), found.get("maximum")
        if minimum is not None and maximum is not None and maximum < minimum:
            self.add_error("maximum", _("最多不能小于最少。"))
        if host and minimum and host.capacity and minimum >= host.capacity:
            self.add_error(
                "minimum",
                _("主机 %(host)s 总共容纳 %(n)d 个靶场，预热的必须更少，给启动留出位置。")
                % {"host": host.name, "n": host.capacity},
            )
        return found
