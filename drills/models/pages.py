"""A drill as a part of a course: a page that names a scenario. Courses know nothing of it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from wagtail.admin.panels import FieldPanel
from wagtail.fields import RichTextField
from wagtail.models import Page

from cyber_range import catalogue
from drills.rules import may_plan


class DrillPage(Page):
    """Says what is rehearsed and why; planning starts from here with the scenario filled in."""

    scenario = models.SlugField(_("场景"), max_length=60, help_text=_("场景目录中的编号，例如 filling_line"))
    brief = models.TextField(_("一句话说明"), max_length=300)
    body = RichTextField(_("说明"), blank=True, features=["h3", "bold", "ul", "ol", "link"])
    pass_mark = models.PositiveSmallIntegerField(_("合格分"), default=60)

    parent_page_types: ClassVar = ["courses.CoursePage"]
    subpage_types: ClassVar[list[str]] = []
    template = "drills/drill_page.html"
    content_panels: ClassVar = [
        *Page.content_panels, FieldPanel("scenario"), FieldPanel("brief"), FieldPanel("body"), FieldPanel("pass_mark")
    ]  # fmt: skip

    class Meta:
        verbose_name = _("演练页")
        verbose_name_plural = _("演练页")

    def clean(self) -> None:
        super().clean()
        known = {entry.scenario.id for entry in catalogue.entries()}
        if self.scenario and self.scenario not in known:
            raise ValidationError(
                {"scenario": _("没有这个场景。现有：%(known)s") % {"known": "、".join(sorted(known)) or "—"}}
            )

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context(request, *args, **kwargs)
        context["may_plan"] = may_plan(request.user) if hasattr(request, "user") else False  # no one in a preview
        context["entry"] = next((e for e in catalogue.entries() if e.scenario.id == self.scenario), None)
        return context
