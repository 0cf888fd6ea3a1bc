"""评价工作台: what waits for a person, oldest first; evidence and rubric side by side."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from certification import rules, services
from certification.domain.credential import read_number
from certification.forms import RUBRIC_WORDS, AnswerForm, EndForm, MarkForm, RegisterForm
from certification.models import Appeal, Application, Credential
from certification.views import checklist


def _assessors_only(request: HttpRequest) -> None:
    if not rules.is_assessor(request.user):
        raise PermissionDenied(_("这里供评价机构的考评员使用。"))


@login_required
@require_GET
def desk(request: HttpRequest) -> HttpResponse:
    _assessors_only(request)
    number = read_number(request.GET.get("number", ""))
    if number:
        return redirect("certification:desk_certificate", number)
    cases = Application.objects.for_assessor(request.user).select_related("user", "level__standard", "organisation")
    waiting = cases.filter(state=Application.State.REVIEWING).order_by("reviewing_since")
    appeals = (
        Appeal.objects.for_assessor(request.user)
        .filter(state=Appeal.State.OPEN)
        .select_related("raised_by", "decision__application__level__standard")
        .order_by("raised_at")
    )
    return render(
        request,
        "certification/desk.html",
        {
            "page": Paginator(waiting, 25).get_page(request.GET.get("page")),
            "appeals": appeals[:50],
            "recent": cases.exclude(state__in=Application.OPEN).order_by("-checked_at")[:10],
            "searched": "number" in request.GET,
            "now": timezone.now(),
        },
    )


def _case(request: HttpRequest, pk: int) -> Application:
    _assessors_only(request)
    return get_object_or_404(
        Application.objects.for_assessor(request.user).select_related("user", "level__standard", "organisation"), pk=pk
    )


@login_required
@require_GET
def item(request: HttpRequest, pk: int) -> HttpResponse:
    return _item(request, _case(request, pk), MarkForm())


def _item(request: HttpRequest, application: Application, form: MarkForm, status: int = 200) -> HttpResponse:
    decision = application.decisions.select_related("rule").order_by("number").last()
    rule = application.level.rules.filter(active=True).first()
    marks = list(application.marks.select_related("assessor"))
    mine = next((mark for mark in marks if mark.assessor_id == request.user.pk), None)
    needed = rule.rule.review.markers if rule and rule.rule.review else 0
    outcome = decision.body["outcome"] if decision else {"criteria": [], "awaiting": []}
    return render(
        request,
        "certification/desk_item.html",
        {
            "application": application,
            "decision": decision,
            "rows": checklist.rows(outcome),
            "evidence": evidence_of(decision.body if decision else {}),
            "form": form,
            "mine": mine and {"total": mine.total, "comment": mine.comment, "lines": _lines(mine.rubric)},
            # The other marker's points stay hidden until enough are in.
            "marks": [
                {"who": mark.assessor, "total": mark.total, "comment": mark.comment, "lines": _lines(mark.rubric)}
                for mark in marks
            ]
            if len(marks) >= needed
            else [],
            "marked": len(marks),
            "needed": needed,
            "to_mark": "review" in outcome["awaiting"] and mine is None,
            "to_confirm": "confirm" in outcome["awaiting"] and "review" not in outcome["awaiting"],
            "others": application.decisions.order_by("-number"),
        },
        status=status,
    )


def _lines(rubric: dict[str, str]) -> list[tuple[str, str, int]]:
    return [(str(RUBRIC_WORDS[name][0]), rubric.get(name, ""), most) for name, most in services.RUBRIC.items()]


def evidence_of(body: dict[str, Any]) -> dict[str, Any]:
    """The parts of a record that people read: lessons, sub-scores by function, the drill that counted."""
    inputs = body.get("inputs", {})
    sources = inputs.get("sources", {})
    drill = sources.get("drills", {}).get(body.get("outcome", {}).get("drill", ""), {})
    return {
        "course": sources.get("course"),
        "exam": sources.get("exam"),
        "drill": drill,
        "objectives": drill.get("objectives", []),
        "actions": drill.get("actions", []),
        "range": drill.get("range", {}),
    }


@login_required
@require_POST
def mark(request: HttpRequest, pk: int) -> HttpResponse:
    application = _case(request, pk)
    form = MarkForm(request.POST)
    if not form.is_valid():
        return _item(request, application, form, status=422)
    try:
        services.mark(
            application=application,
            by=request.user,
            comment=form.cleaned_data["comment"],
            rubric={name: form.cleaned_data[name] for name in services.RUBRIC},
        )
    except services.Refusal as refusal:
        messages.error(request, f"{refusal.what} {refusal.remedy}")
    else:
        messages.success(request, _("评分已提交。"))
    return redirect("certification:desk_item", pk)


@login_required
@require_POST
def confirm(request: HttpRequest, pk: int) -> HttpResponse:
    application = _case(request, pk)
    try:
        decision = services.confirm(application=application, by=request.user)
    except services.Refusal as refusal:
        messages.error(request, f"{refusal.what} {refusal.remedy}")
    else:
        messages.success(request, _("已确认，证书已签发。") if decision and decision.met else _("已确认。"))
    return redirect("certification:desk_item", pk)


@login_required
@require_http_methods(["GET", "POST"])
def appeal(request: HttpRequest, pk: int) -> HttpResponse:
    _assessors_only(request)
    row = get_object_or_404(
        Appeal.objects.for_assessor(request.user).select_related("decision__application__level__standard", "raised_by"),
        pk=pk,
    )
    body = row.decision.body
    unmet = [
        (c["code"], checklist.title_of(c["code"]))
        for c in body["outcome"]["criteria"]
        if not c["met"] and c["code"] != "confirm"
    ]
    form = AnswerForm(request.POST or None, unmet=unmet)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            services.decide_appeal(
                appeal=row,
                by=request.user,
                upheld=data["verdict"] == "upheld",
                answer=data["answer"],
                recognise=data["recognise"],
            )
        except services.Refusal as refusal:
            form.add_error(None, f"{refusal.what} {refusal.remedy}")
        else:
            messages.success(request, _("申诉已答复。"))
            return redirect("certification:desk")
    return render(
        request,
        "certification/desk_appeal.html",
        {"appeal": row, "form": form, "rows": checklist.rows(body["outcome"]), "evidence": evidence_of(body)},
        status=422 if form.errors else 200,
    )


@login_required
@require_http_methods(["GET", "POST"])
def certificate(request: HttpRequest, number: str) -> HttpResponse:
    """Revoke or reissue. Whoever may not end it does not learn whether it exists."""
    _assessors_only(request)
    row = (
        Credential.objects.select_related("decision__application__level", "level", "organisation")
        .filter(number=number)
        .first()
    )
    if row is None or not rules.may_end(request.user, row):
        raise Http404
    form = EndForm(request.POST or None, number=row.number)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        verb = {"credential": row, "by": request.user, "reason": data["reason"], "note": data["note"]}
        try:
            if data["act"] == "revoke":
                services.revoke(**verb)
            else:
                row = services.reissue(**verb, holder_name=data["holder_name"])
        except services.Refusal as refusal:
            form.add_error(None, f"{refusal.what} {refusal.remedy}")
        else:
            messages.success(request, _("已撤销，查验页即时显示。") if data["act"] == "revoke" else _("已补发新证书。"))
            return redirect("certification:desk_certificate", row.number)
    return render(
        request,
        "certification/desk_certificate.html",
        {
            "credential": row,
            "form": form,
            "status": row.status_on(timezone.localdate()).value,
            "events": row.events.select_related("by").order_by("at"),
        },
        status=422 if form.errors else 200,
    )


@login_required
@require_http_methods(["GET", "POST"])
def register(request: HttpRequest) -> HttpResponse:
    _assessors_only(request)
    form = RegisterForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            credential = services.register_external(
                user=data["username"],
                organisation=data["organisation"],
                title=data["title"],
                standard_code=data["occupation"].code2022,
                level_code=data["level_code"],
                issuer=data["issuer"],
                number=data["number"],
                issued_on=data["issued_on"],
                expires_on=data["expires_on"],
                evidence=data["evidence"],
                by=request.user,
            )
        except services.Refusal as refusal:
            form.add_error(None, f"{refusal.what} {refusal.remedy}")
        else:
            messages.success(request, _("已登记，登记编号 %s。") % credential.number)
            return redirect("certification:desk")
    return render(request, "certification/register.html", {"form": form}, status=422 if form.errors else 200)
