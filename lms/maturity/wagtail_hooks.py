"""What the dossier shows of level and plan."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from wagtail import hooks

from lms.maturity.models import Assessment, PlanRow
from lms.maturity.services import plan_of


@hooks.register("slot:dossier", order=10)
def level_and_plan(request: HttpRequest, context: dict[str, Any]) -> str:
    """Level now and next with the two deficits, and how far the plan is."""
    organisation = context["organisation"]
    if organisation.kind != "enterprise":
        return ""
    latest = (
        Assessment.objects.filter(organisation=organisation).submitted().select_related("instrument_version").first()
    )
    needed = [row for row in plan_of(organisation) if row.needed]
    return render_to_string(
        "maturity/_dossier.html",
        {
            "latest": latest,
            "result": latest.result if latest else None,
            "needed": len(needed),
            "done": sum(row.state == PlanRow.State.DONE for row in needed),
        },
        request,
    )
