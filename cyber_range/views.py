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

from cyber_range import catalogue, drawing, hosts, services
from cyber_range.engine.errors import RangeError
from cyber_range.forms import SliceForm
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
    if not catalogue.belongs_to(scenario_id, operating_organisations(request.user)):
        raise Http404
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
        "replaced_by": one.replaced_by.order_by("-pk").first(),
    }
    found["may_relaunch"] = bool(found["may_operate"] and not found["replaced_by"] and (one.lost or not one.living))
    if one.living and one.state not in ("waiting", "launching"):
        found |= what_the_host_says(one, captures=may_download_captures(request.user, one))
    try:
        entry = catalogue.entry(one.scenario)
    except LookupError:
        pass
    else:
        found["drawing"] = drawing.draw(entry.scenario)
    return render(request, "cyber_range/instance.html", found)


def what_the_host_says(one: Instance, *, captures: bool) -> dict[str, object]:
    """Status and captures asked now; `far` when only the worker beside the host reaches it, `trouble` when it is silent."""
    if not hosts.within_reach(one.host):
        return {"far": True}
    try:
        found: dict[str, object] = {"status": services.status(one)}
        if captures:
            found["captures"] = services.captures(one)
            found["slice_form"] = SliceForm(captures=found["captures"])
            found["snapshots"] = services.snapshots(one)
    except RangeError as error:
        return {"trouble": error}
    return found


def one_job(one: Instance, request: HttpRequest) -> object:
    """The job that is bringing it up or down, while it is the person's own."""
    return request.user.jobs.unfinished().filter(args__instance=one.pk, task__startswith="cyber_range.").first()


@login_required
@require_POST
def operate(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """reset, pause, resume, snapshot, restore, extend, relaunch, destroy."""
    one = _own(request, pk)
    if not may_operate_instance(request.user, one):
        raise PermissionDenied(_("演练的靶场在演练室里由导调组操作。"))
    try:
        said, goal = carry_out(one, verb, request)
    except (RangeError, services.RangeRefused) as error:
        messages.error(request, _("没有成功：%(error)s") % {"error": error})
        return redirect("cyber_range:instance", pk)
    messages.success(request, said)
    return redirect("cyber_range:instance", goal) if goal else redirect("cyber_range:home")


HOUR = 3600


def carry_out(one: Instance, verb: str, request: HttpRequest) -> tuple[str, int | None]:
    """One verb on a range: what to say, and the range to show next (None when it ends)."""
    by = request.user
    match verb:
        case "destroy":
            services.request_destroy(instance=one, by=by)
            return _("正在结束靶场，几秒后完成。"), None
        case "reset":
            services.request_reset(instance=one, by=by)
            return _("正在重置靶场。"), one.pk
        case "relaunch":
            anew, _job = services.relaunch(instance=one, by=by)
            return _("已在主机 %(host)s 上重新启动。") % {"host": anew.host.name}, anew.pk
        case "snapshot" | "restore" | "delete_snapshot":
            job = services.request_snapshot(instance=one, verb=verb, name=request.POST.get("name", ""), by=by)
            return f"{job.title}……", one.pk
        case "extend":
            waiting = services.operate(instance=one, verb=verb, by=by, seconds=HOUR)
            return (_("正在延长。") if waiting else _("已延长 1 小时。")), one.pk
        case "pause":
            waiting = services.operate(instance=one, verb=verb, by=by)
            return (_("正在暂停。") if waiting else _("已暂停。节点、连接和时钟都停在此刻。")), one.pk
        case "resume":
            waiting = services.operate(instance=one, verb=verb, by=by)
            return (_("正在继续。") if waiting else _("已继续运行。")), one.pk
    raise Http404


@login_required
@require_POST
def slice(request: HttpRequest, pk: int) -> HttpResponse:
    """A stretch of time of one zone's capture, as an attachment."""
    one = _own(request, pk)
    if not may_download_captures(request.user, one):
        raise PermissionDenied(_("演练的抓包在复盘页下载。"))
    return cut_out(request, one, back=redirect("cyber_range:instance", pk))


def cut_out(request: HttpRequest, one: Instance, *, back: HttpResponse) -> HttpResponse:
    try:
        form = SliceForm(request.POST, captures=services.captures(one))
        if not form.is_valid():
            for fault in [fault for faults in form.errors.values() for fault in faults]:
                messages.error(request, fault)
            return back
        made = services.cut(one, zone=form.cleaned_data["zone"], start=form.start, end=form.end)
    except RangeError as error:
        messages.error(request, _("没有成功：%(error)s") % {"error": error})
        return back
    if not made.get("packets"):
        messages.warning(request, _("这段时间里该分区没有数据包。"))
        return back
    return download(one, made["name"])


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
    return download(one, name)


def download(one: Instance, name: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(services.pieces(one, name), content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="{one.scenario}-{one.range_id}-{name}"'
    response["Cache-Control"] = "no-store"
    return response
