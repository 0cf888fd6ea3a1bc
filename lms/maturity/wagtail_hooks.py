"""What the dossier shows of level and plan."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.template.loader import render_to_string
from wagtail import hooks

from lms.accounts.models import User
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


@hooks.register("personal_data")
def personal_data(user: User) -> dict[str, Any]:
    """For "download my data": what the person did for the enterprise's self-assessment and plan."""
    did = Assessment.objects.filter(Q(started_by=user) | Q(submitted_by=user)).select_related("organisation")
    return {
        "maturity": {
            "assessments": [
                {
                    "organisation": one.organisation.name,
                    "started": one.started_at.isoformat() if one.started_by_id == user.pk else None,
                    "submitted": one.submitted_at.isoformat()
                    if one.submitted_at and one.submitted_by_id == user.pk
                    else None,
                }
                for one in did
            ],
            "plan_rows": [{"row": str(row), "state": row.state} for row in user.plan_rows.all()],
        }
    }
