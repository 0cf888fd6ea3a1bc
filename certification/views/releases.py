"""Signed releases: published by an officer, checked by anyone."""

from __future__ import annotations

import json
from datetime import date

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from certification import rules, services
from certification.forms import CheckReleaseForm, ReleaseForm
from certification.models import Release
from certification.views.bureau import region_of
from lms.accounts.models import Region


@login_required
@require_http_methods(["GET", "POST"])
def releases(request: HttpRequest) -> HttpResponse:
    if not rules.is_officer(request.user):
        raise PermissionDenied(_("这里供主管部门使用，请联系上级主管部门开通。"))
    region = region_of(request)
    form = ReleaseForm(request.POST or None, days=services.may_publish_as_of(timezone.localdate()))
    if request.method == "POST" and form.is_valid():
        try:
            row = services.publish_release(
                region=region, as_of=date.fromisoformat(form.cleaned_data["as_of"]), by=request.user
            )
        except services.Refusal as refusal:
            form.add_error(None, f"{refusal.what} {refusal.remedy}")
        else:
            messages.success(request, _("已发布。发布后不再改动，同一地区同一日期只有一份。"))
            return redirect("certification:release", row.pk)
    rows = Release.objects.visible_to(request.user).select_related("region", "published_by")
    return render(
        request,
        "certification/releases.html",
        {"rows": rows[:60], "form": form, "region": region},
        status=422 if form.errors else 200,
    )


@login_required
@require_GET
def release(request: HttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(Release.objects.visible_to(request.user).select_related("region", "published_by"), pk=pk)
    return render(request, "certification/release.html", {"release": row, **shown(row.content)})


@login_required
@require_GET
def download(request: HttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(Release.objects.visible_to(request.user), pk=pk)
    body = {"content": row.content, "signature": row.signature}
    return HttpResponse(
        json.dumps(body, ensure_ascii=False, indent=1),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="release-{row.region_id}-{row.as_of}.json"'},
    )


@require_http_methods(["GET", "POST"])
def check(request: HttpRequest) -> HttpResponse:
    """Anyone: is this the release as it was published? The file's own table is not looked at, only what is signed."""
    form = CheckReleaseForm(request.POST or None, request.FILES or None)
    context: dict[str, object] = {"form": form}
    if request.method == "POST" and form.is_valid():
        found = services.check_release(text=form.cleaned_data["text"])
        context["check"] = found
        if found.content is not None:
            context.update(shown(found.content))
    return render(request, "certification/check_release.html", context, status=422 if form.errors else 200)


def shown(content: dict[str, object]) -> dict[str, object]:
    """The signed table with names of places."""
    tables = content.get("tables", [])
    assert isinstance(tables, list)
    drills = content.get("drills")
    drill_cells = drills["cells"] if isinstance(drills, dict) else []
    codes = {cell["region"].rstrip("*") for cells in (*(t["cells"] for t in tables), drill_cells) for cell in cells}
    names = dict(Region.objects.filter(code__in=codes).values_list("code", "full_name"))
    return {
        "content": content,
        "drills": [
            {"code": cell["region"], "name": _place(cell["region"], names), "participations": cell["participations"]}
            for cell in drill_cells
        ],
        "tables": [
            {
                **table,
                "rows": [
                    {
                        "code": cell["region"],
                        "name": _place(cell["region"], names),
                        "holders": cell["holders"],
                    }
                    for cell in table["cells"]
                ],
            }
            for table in tables
        ],
    }


def _place(code: str, names: dict[str, str]) -> str:
    return names.get(code.rstrip("*"), code) + (_("（本级）") if "*" in code else "")
