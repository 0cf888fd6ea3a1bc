"""复盘: one timeline, the state at any second, the evidence, the report, findings and what is done about them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.files.storage import default_storage
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from cyber_range import catalogue, drawing
from cyber_range import services as ranges
from cyber_range.engine.errors import RangeError
from drills import log, rules, services
from drills.domain import scoring
from drills.domain.report import after_action
from drills.domain.visibility import Viewer
from drills.files import SAFE, path_of
from drills.forms import FindingForm, LessonsForm
from drills.models import Drill, EventText, Finding
from drills.views.doors import the_drill
from drills.views.live import _people
from drills.views.mimics import variables_of
from drills.views.paper import TEMPLATE, report_data
from drills.views.planning import invitable
from drills.views.words import room_words
from lms.accounts import audit
from lms.design import typeset


def _reviewed(request: HttpRequest, pk: int) -> Drill:
    drill = the_drill(request.user, pk)
    if not rules.may_review(request.user, drill):
        raise PermissionDenied(_("演练结束后才能复盘。"))
    return drill


def _time_words() -> dict[str, str]:
    return {"detect": _("发现"), "contain": _("遏制"), "recover": _("恢复"), "report": _("报告")}


@login_required
@require_GET
def review(request: HttpRequest, pk: int) -> HttpResponse:
    drill = _reviewed(request, pk)
    state = log.full_state(drill)
    words = _time_words()
    found = after_action(state)
    manage = rules.may_write_findings(request.user, drill)
    people = _people(drill)
    return render(
        request,
        "drills/review.html",
        {
            "drill": drill,
            "state": state,
            "action": found,
            "times": [(words[t.name], t) for t in found.times],
            "objectives": _objectives(state),
            "people": people,
            "shares": _shares(state, people),
            "files": _files(drill, state),
            "recordings": drill.recordings.all(),
            "findings": [
                (f, rules.may_do_finding(request.user, f), rules.may_close_finding(request.user, f))
                for f in drill.findings.select_related("owner", "drill")
            ],
            "finding_form": FindingForm(people=invitable(drill)) if manage and drill.phase == "ended" else None,
            "lessons_form": LessonsForm(instance=drill) if manage and drill.phase == "ended" else None,
            "manage": manage,
            "config": {"drill": drill.pk, "map": _map(drill), "review": True, "plant": variables_of(drill.scenario)},
            "words": room_words(),
        },
    )


def _map(drill: Drill) -> dict[str, Any] | None:
    try:
        return drawing.draw(catalogue.entry(drill.scenario).scenario, everything=False).as_dict()
    except LookupError:
        return None


def _objectives(state: Any) -> list[dict[str, Any]]:
    rows = []
    for spec in state.script.objectives if state.script else ():
        done = state.objectives.get(spec.id)
        rows.append({"spec": spec, "done": done, "verified": bool(done and done.verified_at is not None)})
    return rows


def _shares(state: Any, people: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    return [
        {
            "name": people.get(who, {}).get("name", _("已注销人员")),
            "cell": state.held[who][-1].cell,
            "share": round(scoring.held_share(state, who) * 100),
            "actions": scoring.own_actions(state, who),
            "counts": scoring.seat_counts(state, who),
        }
        for who in state.held
    ]


def _files(drill: Drill, state: Any) -> list[dict[str, Any]]:
    return [dict(one) for one in state.lab.captures]


@login_required
@require_GET
def timeline(request: HttpRequest, pk: int) -> JsonResponse:
    """Everything that happened, for the timeline and the slider. After the end nobody is kept from anything."""
    drill = _reviewed(request, pk)
    after = 0
    events: list[dict[str, Any]] = []
    while True:
        page, newest, state = log.read(drill, Viewer.reviewing(), after=after, limit=1000)
        events += [event.as_dict() for event in page]
        after += len(page)
        if not page or after >= newest:
            break
    clock = log.clock_of(drill)
    return JsonResponse(
        {
            "events": [dict(event, clock=clock[event["n"]]) for event in events],
            "people": _people(drill),
            "end": state.now(state.ended_at or state.last_at),
            "duration_s": state.duration_s,
        }
    )


@login_required
@require_GET
def moment(request: HttpRequest, pk: int) -> JsonResponse:
    """What was, at that drill second: the fold of the log up to there."""
    drill = _reviewed(request, pk)
    try:
        second = float(request.GET.get("at", "0"))
    except ValueError:
        second = 0.0
    state = log.state_at_clock(drill, second)
    counted = scoring.score(state)
    shown = state.as_dict()
    for private in ("script", "held", "consoles", "actions", "invited", "plan"):
        shown.pop(private)
    return JsonResponse({**shown, "score": {"points": counted.points, "possible": counted.possible}})


def account_of(drill: Drill) -> dict[str, Any]:
    """Everything the report says, for the print page and for the PDF."""
    state = log.full_state(drill)
    words = _time_words()
    found = after_action(state)
    entry = None
    with contextlib.suppress(LookupError):
        entry = catalogue.entry(drill.scenario)
    names = _names(state)
    people = _people(drill)
    texts: dict[int, dict[str, str]] = {}
    for text in EventText.objects.filter(event__drill=drill, event__kind="report.submitted").select_related("event"):
        texts.setdefault(text.event.seq, {})[text.name] = _("（内容已按要求删除）") if text.erased_at else text.text
    return {
        "drill": drill, "state": state, "action": found, "entry": entry, "people": people,
        "times": [(words[t.name], t) for t in found.times],
        "course": [(m, names.get((m.what, m.ref), m.ref)) for m in found.course],
        "objectives": _objectives(state), "findings": drill.findings.select_related("owner"),
        "reports": [(one, texts.get(one.seq, {}), people.get(one.who, {}).get("name", "—")) for one in state.reports],
        "roles": _roles(drill),
    }  # fmt: skip


@login_required
@require_GET
def report(request: HttpRequest, pk: int) -> HttpResponse:
    """复盘报告 for the printer."""
    return render(request, "drills/report.html", account_of(_reviewed(request, pk)))


@login_required
@require_GET
def report_pdf(request: HttpRequest, pk: int) -> HttpResponse:
    """The same as a file to be kept and handed in."""
    drill = _reviewed(request, pk)
    content = typeset.pdf(TEMPLATE, report_data(account_of(drill), printed=timezone.localtime()))
    audit.record("drill.report_downloaded", drill, by=request.user, organisation=drill.organisation)
    name = _("复盘报告") + f"_{drill.title}.pdf"
    return HttpResponse(
        content,
        content_type="application/pdf",
        headers={
            "Content-Disposition": content_disposition_header(True, name) or "attachment",
            "Cache-Control": "no-store",
        },
    )


def _names(state: Any) -> dict[tuple[str, str], str]:
    names: dict[tuple[str, str], str] = {}
    if state.script:
        names |= {("step", s.id): f"攻击：{s.title['zh']}（{s.technique}）" for s in state.script.steps}
        names |= {("inject", i.id): f"注入：{i.title['zh']}" for i in state.script.injects}
        names |= {("objective", o.id): f"达成：{o.title['zh']}" for o in state.script.objectives}
    names |= {("report", str(r.number)): f"事件报告 {r.number}" for r in state.reports}
    return names


def _roles(drill: Drill) -> list[tuple[str, list[str]]]:
    rows: dict[str, list[str]] = {}
    for seat in drill.seats.select_related("user"):
        rows.setdefault(str(seat.get_cell_display()), []).append(seat.user.name)
    return list(rows.items())


@login_required
@require_GET
def event_log(request: HttpRequest, pk: int) -> HttpResponse:
    """The whole log as JSON, as kept: pseudonyms, numbers, words that were not erased."""
    drill = _reviewed(request, pk)
    rows: list[dict[str, Any]] = []
    after = 0
    while True:
        page, newest, _state = log.read(drill, Viewer.reviewing(), after=after, limit=1000)
        rows += [event.as_dict() for event in page]
        after += len(page)
        if not page or after >= newest:
            break
    for row in rows:
        row["seq"] = row.pop("n")  # nothing is hidden here, so the viewer's number is the log's
    audit.record("drill.log_downloaded", drill, by=request.user, organisation=drill.organisation)
    body = json.dumps(
        {"drill": drill.pk, "title": drill.title, "scenario": drill.scenario, "events": rows},
        ensure_ascii=False,
        indent=1,
    )
    response = HttpResponse(body, content_type="application/json; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="drill-{drill.pk}-events.json"'
    return response


@login_required
@require_GET
def capture(request: HttpRequest, pk: int, range_id: str, name: str) -> HttpResponseBase:
    drill = _reviewed(request, pk)
    known = {(one["range_id"], one["name"]) for one in log.full_state(drill).lab.captures}
    if (range_id, name) not in known:
        raise Http404
    audit.record("drill.capture_downloaded", drill, by=request.user, organisation=drill.organisation, name=name)
    return _attached(drill, range_id, name, "captures", "capture")


@login_required
@require_GET
def recording(request: HttpRequest, pk: int, recording_pk: int) -> HttpResponseBase:
    """What went over a terminal; only for those who lead the drill, and logged."""
    drill = _reviewed(request, pk)
    if not rules.may_manage_drill(request.user, drill):
        raise PermissionDenied(_("终端录像只供导调组和本单位安全人员复盘使用。"))
    row = get_object_or_404(drill.recordings.select_related("instance"), pk=recording_pk)
    audit.record("drill.recording_downloaded", drill, by=request.user, organisation=drill.organisation, name=row.name)
    return _attached(drill, row.instance.range_id, row.name, "recordings", "recording")


def _attached(drill: Drill, range_id: str, name: str, what: str, verb: str) -> HttpResponseBase:
    """From storage when it was kept, else from the range that still stands. Always an attachment."""
    if not SAFE.match(name):
        raise Http404
    filename = f"drill-{drill.pk}-{range_id}-{name}"
    path = path_of(drill, range_id, name, what)
    response: HttpResponseBase
    if default_storage.exists(path):
        response = FileResponse(default_storage.open(path), as_attachment=True, filename=filename)
    else:
        instance = drill.instance
        if instance is None or instance.range_id != range_id or not instance.living:
            raise Http404
        try:
            ranges.status(instance)
        except RangeError as error:
            raise Http404 from error
        response = StreamingHttpResponse(ranges.pieces(instance, name, verb=verb))
        response["Content-Disposition"] = f'attachment; filename="{filename}"'
    response["Content-Type"] = "application/octet-stream"
    response["Cache-Control"] = "no-store"
    return response


# ---------------------------------------------------------------- findings


def _back(drill: Drill) -> HttpResponse:
    return redirect(reverse("drills:review", args=[drill.pk]) + "#findings")


def _try(request: HttpRequest, drill: Drill, work: Any, said: str) -> HttpResponse:
    try:
        work()
    except services.Refused as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, said)
    return _back(drill)


def _writer(request: HttpRequest, pk: int) -> Drill:
    drill = _reviewed(request, pk)
    if not rules.may_write_findings(request.user, drill):
        raise PermissionDenied(_("问题和整改由导调组和本单位安全人员登记。"))
    return drill


@login_required
@require_POST
def add_finding(request: HttpRequest, pk: int) -> HttpResponse:
    drill = _writer(request, pk)
    form = FindingForm(request.POST, people=invitable(drill))
    if not form.is_valid():
        for errors in form.errors.values():
            for error in errors:
                messages.error(request, error)
        return _back(drill)
    return _try(
        request,
        drill,
        lambda: services.add_finding(drill=drill, by=request.user, **form.cleaned_data),
        _("已登记整改任务。"),
    )


@login_required
@require_POST
def finish_finding(request: HttpRequest, pk: int, finding_pk: int) -> HttpResponse:
    drill = the_drill_of_finding(request, pk)
    finding = get_object_or_404(Finding, drill=drill, pk=finding_pk)
    if not rules.may_do_finding(request.user, finding):
        raise PermissionDenied(_("这项整改由责任人完成。"))
    return _try(
        request,
        drill,
        lambda: services.finish_finding(finding=finding, by=request.user, evidence=request.POST.get("evidence", "")),
        _("已提交整改证据，等待验收。"),
    )


def the_drill_of_finding(request: HttpRequest, pk: int) -> Drill:
    """An owner of a task may come without having been in the drill."""
    drill = get_object_or_404(Drill, pk=pk)
    if rules.may_see_drill(request.user, drill) or drill.findings.filter(owner=request.user).exists():
        return drill
    raise Http404


@login_required
@require_POST
def close_finding(request: HttpRequest, pk: int, finding_pk: int) -> HttpResponse:
    drill = _reviewed(request, pk)
    finding = get_object_or_404(Finding.objects.select_related("drill"), drill=drill, pk=finding_pk)
    if not rules.may_close_finding(request.user, finding):
        raise PermissionDenied(_("整改由责任人以外的组织者验收。"))
    accept = request.POST.get("accept") == "yes"
    return _try(
        request,
        drill,
        lambda: services.close_finding(finding=finding, by=request.user, accept=accept),
        _("已销号。") if accept else _("已退回整改。"),
    )


@login_required
@require_POST
def lessons(request: HttpRequest, pk: int) -> HttpResponse:
    drill = _writer(request, pk)
    form = LessonsForm(request.POST)
    form.is_valid()
    return _try(
        request, drill, lambda: services.write_lessons(drill=drill, by=request.user, **form.cleaned_data), _("已保存。")
    )


@login_required
@require_POST
def close(request: HttpRequest, pk: int) -> HttpResponse:
    drill = _writer(request, pk)
    return _try(request, drill, lambda: services.close_drill(drill=drill, by=request.user), _("演练已归档。"))
