"""演练 home, planning and lobby."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from cyber_range import catalogue
from cyber_range.models import RangeHost
from drills import log, rules, services
from drills.domain.state import State
from drills.forms import InviteForm, PlanForm
from drills.models import Drill, Seat
from drills.views.doors import eyes, managed, the_drill
from lms.accounts.context import chosen
from lms.accounts.models import User


@login_required
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Next drill with countdown, what I have to put right, past drills with the score's trend."""
    visible = Drill.objects.visible_to(request.user).select_related("organisation")
    coming = list(visible.coming().order_by("scheduled_at")[:20])
    page = Paginator(visible.past().order_by("-ended_at"), 20).get_page(request.GET.get("page"))
    mine = {
        seat.drill_id: seat
        for seat in Seat.objects.filter(user=request.user, drill__in=[d.pk for d in (*coming, *page.object_list)])
    }
    scored = list(visible.past().filter(score__isnull=False).order_by("-ended_at")[:12])[::-1]
    return render(
        request,
        "drills/home.html",
        {
            "next": coming[0] if coming else None,
            "coming": [(drill, mine.get(drill.pk)) for drill in coming],
            "next_seat": mine.get(coming[0].pk) if coming else None,
            "next_entry": _entry(coming[0].scenario) if coming else None,
            "page": page,
            "past": [(drill, mine.get(drill.pk)) for drill in page.object_list],
            "trend": _trend(scored),
            "rectifications": request.user.rectifications.exclude(state="closed").select_related("drill"),
            "may_plan": rules.may_plan(request.user),
        },
    )


def _entry(scenario: str) -> catalogue.Entry | None:
    try:
        return catalogue.entry(scenario)
    except LookupError:
        return None


def _trend(drills: list[Drill]) -> dict[str, Any] | None:
    """Points of a small line: x 0-300, y 0-60 (100 on top)."""
    if len(drills) < 2:
        return None
    step = 300 / (len(drills) - 1)
    dots = [
        {"x": round(i * step, 1), "y": round(60 - float(d.score or 0) * 0.6, 1), "drill": d}
        for i, d in enumerate(drills)
    ]
    return {"dots": dots, "line": " ".join(f"{dot['x']},{dot['y']}" for dot in dots)}


@login_required
@require_http_methods(["GET", "POST"])
def plan(request: HttpRequest) -> HttpResponse:
    if not rules.may_plan(request.user):
        raise PermissionDenied(_("演练由本单位的安全人员或企业管理员计划。"))
    if not catalogue.entries():
        return render(request, "drills/plan.html", {"form": None})
    entry = _entry(request.GET.get("scenario", "")) or catalogue.entries()[0]
    form = PlanForm(
        request.POST or None,
        user=request.user,
        initial={
            "organisation": chosen(request, rules.planning_organisations(request.user)),
            "scenario": entry.scenario.id,
            "title": f"{entry.scenario.title.zh}演练",
            "incident_class": entry.scenario.incident_class,
            "duration_minutes": round(entry.scenario.duration),
            "report_minutes": max(5, round(entry.scenario.duration / 3)),
            "scheduled_at": timezone.localtime() + timedelta(hours=1),
        },
    )
    if request.method == "POST" and form.is_valid():
        if not rules.may_plan(request.user, form.cleaned_data["organisation"].pk):
            raise PermissionDenied
        try:
            drill = services.plan_drill(by=request.user, seats=[], **form.cleaned_data)
        except services.Refused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, _("演练已计划。请在备战室邀请人员。"))
            return redirect("drills:lobby", drill.pk)
    return render(request, "drills/plan.html", {"form": form, "entries": catalogue.entries()})


@login_required
@require_GET
def lobby(request: HttpRequest, pk: int) -> HttpResponse:
    """备战室: who sits where, is everything there, go."""
    drill = the_drill(request.user, pk)
    seat, _viewer, state = eyes(request.user, drill)
    manage = rules.may_manage_drill(request.user, drill)
    entry = _entry(drill.scenario)
    return render(
        request,
        "drills/lobby.html",
        {
            "drill": drill,
            "seat": seat,
            "manage": manage,
            "direct": rules.may_direct(seat),
            "scenario": entry.scenario if entry else None,
            "state": state,
            "table": _table(drill, state),
            "invite": _invite_form(drill, state) if manage and not drill.over else None,
            "checks": _checks(drill, state),
            "job": _launch_job(request, drill),
        },
    )


def _launch_job(request: HttpRequest, drill: Drill) -> Any:
    if drill.instance is None or drill.over:
        return None
    return request.user.jobs.unfinished().filter(key=f"launch-{drill.instance.range_id}").first()


def _table(drill: Drill, state: State) -> list[dict[str, Any]]:
    """Each seat of the scenario with its people."""
    people: dict[str, list[Seat]] = {}
    for row in drill.seats.select_related("user"):
        people.setdefault(row.seat, []).append(row)
    return [
        {"spec": spec, "people": people.get(spec.id, []), "free": max(0, spec.max - len(people.get(spec.id, [])))}
        for spec in (state.script.seats if state.script else ())
        if spec.cell != "red" or drill.attack != Drill.Attack.SCRIPT
    ]


def _invite_form(drill: Drill, state: State, data: Any = None) -> InviteForm:
    return InviteForm(data, people=invitable(drill), seats=[
        (spec.id, spec.title["zh"]) for spec in (state.script.seats if state.script else ())
        if spec.cell != "red" or drill.attack != Drill.Attack.SCRIPT
    ])  # fmt: skip


def invitable(drill: Drill) -> Any:
    """The organisation's own people, and trainers: they lead drills for those they teach."""
    return (
        User.objects.filter(
            Q(memberships__organisation=drill.organisation_id) | Q(memberships__role="trainer"),
            memberships__ended_at=None,
            is_active=True,
        )
        .distinct()
        .order_by("name", "pk")
    )


def _checks(drill: Drill, state: State) -> list[dict[str, Any]]:
    """What must be right before the start, in words."""
    host = drill.instance.host if drill.instance else RangeHost.objects.first()
    blue = [spec.id for spec in (state.script.seats if state.script else ()) if spec.cell == "blue"]
    white = [spec.id for spec in (state.script.seats if state.script else ()) if spec.cell == "white"]
    sick = drill.instance.sick_nodes if drill.instance else []
    return [
        {"ok": bool(host and host.here), "title": _("靶场主机在线"), "why": _("后台进程（follower）和 range-host 都要在运行。")},
        {"ok": state.lab.state == "attached", "title": _("靶场已就绪"), "why": _("由组织者点“启动靶场”，通常几秒完成。")},
        {"ok": state.lab.state == "attached" and not sick, "title": _("全部节点正常"), "why": "、".join(sick) or _("靶场就绪后检查。")},
        {"ok": any(state.holders(one) for one in white), "title": _("导调组已入席"), "why": _("导调员点“入席”。")},
        {"ok": any(state.holders(one) for one in blue), "title": _("蓝队已入席"), "why": _("至少一名蓝队成员点“入席”。")},
    ]  # fmt: skip


def _back(request: HttpRequest, drill: Drill, said: str = "") -> HttpResponse:
    if said:
        messages.success(request, said)
    return redirect("drills:lobby", drill.pk)


def _try(request: HttpRequest, drill: Drill, work: Any, said: str = "") -> HttpResponse:
    try:
        work()
    except services.Refused as refused:
        messages.error(request, str(refused))
        return _back(request, drill)
    return _back(request, drill, said)


@login_required
@require_POST
def invite(request: HttpRequest, pk: int) -> HttpResponse:
    drill = managed(request.user, pk)
    form = _invite_form(drill, log.full_state(drill), request.POST)
    if not form.is_valid():
        messages.error(request, _("请选择人员和席位。"))
        return _back(request, drill)
    data = form.cleaned_data
    return _try(
        request,
        drill,
        lambda: services.invite(drill=drill, user=data["user"], seat=data["seat"], by=request.user),
        _("已邀请 %(name)s。") % {"name": data["user"]},
    )


@login_required
@require_POST
def remove(request: HttpRequest, pk: int, seat_pk: int) -> HttpResponse:
    drill = managed(request.user, pk)
    row = get_object_or_404(drill.seats.select_related("user"), pk=seat_pk)
    return _try(
        request,
        drill,
        lambda: services.remove_from_seat(drill=drill, user=row.user, by=request.user),
        _("已取消席位。"),
    )


@login_required
@require_POST
def take(request: HttpRequest, pk: int) -> HttpResponse:
    drill = the_drill(request.user, pk)
    return _try(request, drill, lambda: services.take_seat(drill=drill, user=request.user), _("已入席。"))


@login_required
@require_POST
def leave(request: HttpRequest, pk: int) -> HttpResponse:
    drill = the_drill(request.user, pk)
    return _try(request, drill, lambda: services.leave_seat(drill=drill, user=request.user), _("已离席。"))


@login_required
@require_POST
def launch(request: HttpRequest, pk: int) -> HttpResponse:
    drill = managed(request.user, pk)
    again = log.full_state(drill).lab.state not in ("none",)
    verb = services.relaunch_range if again else services.launch_range
    return _try(request, drill, lambda: verb(drill=drill, by=request.user))


@login_required
@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    drill = managed(request.user, pk)
    if drill.live:
        messages.error(request, _("演练已经开始，请在演练室里结束。"))
        return _back(request, drill)
    if request.POST.get("confirm", "").strip() != drill.title:
        messages.error(request, _("请输入演练名称以确认取消。"))
        return _back(request, drill)
    return _try(
        request, drill, lambda: services.end(drill=drill, by=request.user, reason="cancelled"), _("演练已取消。")
    )


@login_required
@require_POST
def start(request: HttpRequest, pk: int) -> HttpResponse:
    drill = the_drill(request.user, pk)
    if not rules.may_direct(rules.seat_of(request.user, drill)):
        raise PermissionDenied(_("只有入席的导调组可以开始演练。"))
    try:
        services.start(drill=drill, by=request.user)
    except services.Refused as refused:
        messages.error(request, str(refused))
        return _back(request, drill)
    return redirect("drills:room", drill.pk)
