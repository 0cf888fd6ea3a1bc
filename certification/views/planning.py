"""The bureau's own figures: targets by standard and year, employees by place and industry from a sheet."""

from __future__ import annotations

from datetime import date

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from certification import counting, rules, services
from certification.counting import Scope
from certification.forms import TargetForm, WorkforceForm
from certification.models import Standard, Target, Workforce
from certification.services.planning import YEARS_AHEAD, WorkforceLine
from certification.services.refusal import Refusal
from certification.views.bureau import XLSX, Progress, query, region_of, trail
from certification.workforce import read, template
from lms.accounts.models import Region
from lms.accounts.rules import jurisdiction_prefixes

SALT = "certification.workforce"
HOURS = 2  # a checked sheet waits this long to be confirmed


def _own_region(request: HttpRequest) -> Region:
    if not rules.is_officer(request.user):
        raise PermissionDenied(_("这里供主管部门使用，请联系上级主管部门开通。"))
    return region_of(request)


@login_required
@require_http_methods(["GET", "POST"])
@never_cache
def targets(request: HttpRequest) -> HttpResponse:
    """Every target of a region with where it stands, and the form that sets one."""
    region = _own_region(request)
    today = timezone.localdate()
    years = range(today.year, today.year + YEARS_AHEAD + 1)
    form = TargetForm(request.POST or None, years=years, initial={"year": today.year})
    if request.method == "POST" and form.is_valid():
        try:
            services.set_target(region=region, by=request.user, **form.cleaned_data)
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, _("目标已保存。"))
            return redirect(f"{reverse('certification:targets')}?region={region.code}")
    return render(
        request,
        "certification/targets.html",
        {"region": region, "trail": trail(request, region), "form": form, "rows": _progress(region, today)},
        status=422 if form.errors else 200,
    )


def _progress(region: Region, today: date) -> list[Progress]:
    """Past years as they stood on their last day, this and later ones as they stand now."""
    standards = {standard.code: standard for standard in Standard.objects.order_by("effective_from")}
    found = []
    for target in Target.objects.filter(region=region).order_by("-year", "standard_code").select_related("set_by"):
        day = min(date(target.year, 12, 31), today)
        standard = standards[target.standard_code]
        scope = Scope(prefix=region.prefix, kind=standard.credential_type, as_of=day, since=date(day.year, 1, 1), standard=standard.code)  # fmt: skip
        found.append(Progress(target, standard.title, counting.cell(scope).holders, query(scope, region.code)))
    return found


@login_required
@require_http_methods(["GET", "POST"])
@never_cache
def workforce(request: HttpRequest) -> HttpResponse:
    """Sheet → every line with what is wrong or would change → apply. The checked lines wait signed in the form itself."""
    region = _own_region(request)
    if "apply" in request.POST:
        return _apply(request)
    form, lines, token = WorkforceForm(request.POST or None, request.FILES or None), [], ""
    if request.method == "POST" and form.is_valid():
        words = form.cleaned_data
        try:
            lines = read(words["file"].file, prefixes=jurisdiction_prefixes(request.user), as_of=words["as_of"])
        except ValidationError as fault:
            form.add_error("file", fault)
        else:
            if not lines:
                form.add_error("file", _("表里没有填写任何人数。"))
            elif words["as_of"] > timezone.localdate():
                form.add_error("as_of", _("数据日期不能晚于今天。"))
            elif not any(line.errors for line in lines):
                token = signing.dumps(
                    {
                        "by": request.user.pk,
                        "as_of": words["as_of"].isoformat(),
                        "source": words["source"],
                        "lines": [[line.region, line.industry, line.employees] for line in lines],
                    },
                    salt=SALT,
                    compress=True,
                )
    prefixes = jurisdiction_prefixes(request.user)
    known = [
        row
        for row in Workforce.objects.filter(region__code__startswith=region.prefix).select_related("region", "industry", "entered_by")[:500]
        if any(row.region_id.startswith(prefix) for prefix in prefixes)
    ]  # fmt: skip
    return render(
        request,
        "certification/workforce.html",
        {
            "region": region,
            "trail": trail(request, region),
            "form": form,
            "lines": [] if form.errors else lines,
            "faulty": sum(bool(line.errors) for line in lines),
            "token": token,
            "known": known,
        },
        status=422 if form.errors else 200,
    )


def _apply(request: HttpRequest) -> HttpResponse:
    try:
        kept = signing.loads(request.POST["apply"], salt=SALT, max_age=HOURS * 3600)
        if kept["by"] != request.user.pk:
            raise signing.BadSignature
    except signing.BadSignature:
        messages.error(request, _("这次导入已过期，请重新选择文件。"))
        return redirect("certification:workforce")
    try:
        written = services.enter_workforce(
            lines=[WorkforceLine(*line) for line in kept["lines"]],
            as_of=date.fromisoformat(kept["as_of"]),
            source=kept["source"],
            by=request.user,
        )
    except Refusal as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, _("已写入 %(n)s 行从业人员数。") % {"n": written})
    return redirect("certification:workforce")


@login_required
@require_GET
def workforce_template(request: HttpRequest) -> HttpResponse:
    region = _own_region(request)
    below = Region.objects.filter(code__startswith=region.prefix, valid_to=None).order_by("code")
    response = HttpResponse(template(below), content_type=XLSX)
    response["Content-Disposition"] = "attachment; filename*=UTF-8''" + "%E4%BB%8E%E4%B8%9A%E4%BA%BA%E5%91%98.xlsx"
    return response
