"""靶场: what can be practised, what is running, and its captures."""

from __future__ import annotations

import re

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from cyber_range import catalogue, drawing, services
from cyber_range.engine.errors import RangeError
from cyber_range.models import Instance, RangeHost
from cyber_range.rules import may_download_captures, may_operate_instance, may_use_range, operating_organisations
from lms.accounts.models import Organisation

CAPTURE_NAME = re.compile(r"^[A-Za-z0-9._-]{1,120}$")


def _allowed(request: HttpRequest) -> None:
    if not may_use_range(request.user):
        raise PermissionDenied(_("靶场由安全人员和培训师使用。需要时请联系本单位企业管理员为您添加“安全人员”角色。"))


@login_required
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """The catalogue and the organisation's own ranges."""
    _allowed(request)
    instances = list(
        Instance.objects.visible_to(request.user).living().select_related("host", "organisation", "requested_by")
    )
    return render(
        request,
        "cyber_range/home.html",
        {
            "entries": catalogue.entries(),
            "faults": catalogue.faults() if request.user.is_staff else [],
            "instances": instances,
            "hosts": list(RangeHost.objects.all()),
            "memory": any(host.driver == "memory" for host in RangeHost.objects.all()),
        },
    )


@login_required
@require_GET
def scenario(request: HttpRequest, scenario_id: str) -> HttpResponse:
    """Story, map and objectives of one scenario, and the button that starts it."""
    _allowed(request)
    try:
        entry = catalogue.entry(scenario_id)
    except LookupError as error:
        raise Http404 from error
    organisations = Organisation.objects.filter(pk__in=operating_organisations(request.user))
    return render(
        request,
        "cyber_range/scenario.html",
        {
            "entry": entry,
            "scenario": entry.scenario,
            "drawing": drawing.draw(entry.scenario),
            "organisations": organisations,
            "techniques": sorted({step.technique for step in entry.scenario.campaign}),
        },
    )


@login_required
@require_POST
def launch(request: HttpRequest, scenario_id: str) -> HttpResponse:
    _allowed(request)
    organisation = get_object_or_404(
        Organisation.objects.filter(pk__in=operating_organisations(request.user)), pk=request.POST.get("organisation")
    )
    try:
        instance, _job = services.request_range(scenario=scenario_id, organisation=organisation, by=request.user)
    except services.RangeRefused as refused:
        messages.error(request, str(refused))
        return redirect("cyber_range:scenario", scenario_id)
    return redirect("cyber_range:instance", instance.pk)


def _own(request: HttpRequest, pk: int) -> Instance:
    _allowed(request)
    visible = Instance.objects.visible_to(request.user).select_related("host", "organisation", "requested_by")
    return get_object_or_404(visible, pk=pk)


@login_required
@require_GET
def instance(request: HttpRequest, pk: int) -> HttpResponse:
    """One range: health of its nodes, time left, captures."""
    one = _own(request, pk)
    found: dict[str, object] = {
        "instance": one,
        "may_operate": may_operate_instance(request.user, one),
        "job": one_job(one, request),
    }
    if one.living and one.state not in ("waiting", "launching"):
        try:
            found["status"] = services.status(one)
            if may_download_captures(request.user, one):
                found["captures"] = services.captures(one)
        except RangeError as error:
            found["trouble"] = error
    try:
        entry = catalogue.entry(one.scenario)
    except LookupError:
        pass
    else:
        found["drawing"] = drawing.draw(entry.scenario)
    return render(request, "cyber_range/instance.html", found)


def one_job(one: Instance, request: HttpRequest) -> object:
    """The job that is bringing it up or down, while it is the person's own."""
    return request.user.jobs.unfinished().filter(args__instance=one.pk, task__startswith="cyber_range.").first()


@login_required
@require_POST
def operate(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """reset, extend, destroy."""
    one = _own(request, pk)
    if not may_operate_instance(request.user, one):
        raise PermissionDenied(_("演练的靶场在演练室里由导调组操作。"))
    try:
        if verb == "destroy":
            services.request_destroy(instance=one, by=request.user)
            messages.success(request, _("正在结束靶场，几秒后完成。"))
            return redirect("cyber_range:home")
        if verb == "reset":
            services.request_reset(instance=one, by=request.user)
            messages.success(request, _("正在重置靶场。"))
        elif verb == "extend":
            services.extend(instance=one, seconds=3600, by=request.user)
            messages.success(request, _("已延长 1 小时。"))
        else:
            raise Http404
    except RangeError as error:
        messages.error(request, _("没有成功：%(error)s") % {"error": error})
    return redirect("cyber_range:instance", pk)


@login_required
@require_GET
def capture(request: HttpRequest, pk: int, name: str) -> StreamingHttpResponse:
    """A capture as an attachment. Never inline: its bytes come from an attacked network."""
    one = _own(request, pk)
    if not may_download_captures(request.user, one):
        raise PermissionDenied(_("演练的抓包在复盘页下载。"))
    if not CAPTURE_NAME.match(name):
        raise Http404
    return attach(one, name)


def attach(one: Instance, name: str) -> StreamingHttpResponse:
    try:
        if name not in {found["name"] for found in services.captures(one)}:
            raise Http404
    except RangeError as error:
        raise Http404 from error
    response = StreamingHttpResponse(services.pieces(one, name), content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="{one.scenario}-{one.range_id}-{name}"'
    response["Cache-Control"] = "no-store"
    return response
