"""我的证书: what I hold, what I may apply for and what is missing, the certificate itself."""

from __future__ import annotations

import json

import jwt
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from certification import rules, services
from certification.documents import qr_svg
from certification.domain.criteria import as_data
from certification.forms import AppealForm
from certification.models import Application, Credential, Decision, StandardLevel
from certification.services.credentials import days_left, verification_url
from certification.views import checklist
from certification.wording import ISSUER_NAME, proven
from lms.accounts.models import User
from lms.jobs.models import Job


def offers(user: User) -> list[dict[str, object]]:
    """Every level that can be applied for, with the live checklist."""
    found = []
    levels = StandardLevel.objects.filter(rules__active=True, standard__superseded_by="").select_related("standard")
    for level in levels.order_by("standard__code", "rank"):
        standing = services.preview(user=user, level=level)
        if standing is None or standing.held is not None:
            continue
        rows = checklist.rows(as_data(standing.outcome), standing.rule)
        found.append(
            {
                "level": level,
                "rows": rows,
                "done": sum(row.met for row in rows),
                "ready": standing.outcome.met,
                "application": standing.application,
                "awaiting": standing.outcome.awaiting,
            }
        )
    return found


@login_required
@require_GET
def mine(request: HttpRequest) -> HttpResponse:
    today = timezone.localdate()
    held = Credential.objects.held_by(request.user).select_related("level__standard").order_by("-issued_at")
    cards = [
        {"credential": credential, "status": credential.status_on(today).value, "left": days_left(credential, today)}
        for credential in held
    ]
    return render(request, "certification/mine.html", {"cards": cards, "offers": offers(request.user)})


@login_required
@require_POST
def apply(request: HttpRequest, level: int) -> HttpResponse:
    try:
        application = services.apply_for(user=request.user, level=get_object_or_404(StandardLevel, pk=level))
    except services.Refusal as refusal:
        messages.error(request, f"{refusal.what} {refusal.remedy}")
        return redirect("certification:mine")
    if application.state == Application.State.AWARDED:
        credential = Credential.objects.get(decision__application=application, replaces=None)
        messages.success(request, _("条件全部满足，证书已签发。"))
        return redirect("certification:certificate", credential.number)
    messages.info(request, _("申请已记录。条件补齐后系统会自动复核，也可以再次点“复核”。"))
    return redirect("certification:application", application.pk)


@login_required
@require_GET
def application(request: HttpRequest, pk: int) -> HttpResponse:
    """The way so far: every decision with its reasons, appeals and their answers."""
    row = get_object_or_404(
        Application.objects.filter(user=request.user).select_related("level__standard", "organisation"), pk=pk
    )
    decisions = list(row.decisions.prefetch_related("appeals").order_by("-number"))
    return render(
        request,
        "certification/application.html",
        {
            "application": row,
            "decisions": [
                {
                    "decision": decision,
                    "rows": checklist.rows(decision.body["outcome"], decision.rule if n == 0 else None),
                }
                for n, decision in enumerate(decisions)
            ],
            "credential": Credential.objects.filter(decision__application=row).order_by("-pk").first(),
            "may_appeal": bool(decisions)
            and not decisions[0].met
            and not any(appeal.state == "open" for appeal in decisions[0].appeals.all()),
            "appeal_form": AppealForm(),
            "open": row.state in Application.OPEN,
        },
    )


@login_required
@require_POST
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(Application.objects.filter(user=request.user), pk=pk)
    try:
        services.withdraw(application=row, by=request.user)
    except services.Refusal as refusal:
        messages.error(request, str(refusal.what))
    else:
        messages.success(request, _("申请已撤回，学习、考试和演练记录都在，随时可以重新申请。"))
    return redirect("certification:mine")


@login_required
@require_POST
def appeal(request: HttpRequest, number: int) -> HttpResponse:
    decision = get_object_or_404(Decision.objects.filter(application__user=request.user), number=number)
    form = AppealForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("请写明申诉理由（至少 10 个字）。"))
    else:
        try:
            services.raise_appeal(decision=decision, by=request.user, reason=form.cleaned_data["reason"])
        except services.Refusal as refusal:
            messages.error(request, f"{refusal.what} {refusal.remedy}")
        else:
            messages.success(request, _("申诉已提交，由没有参与原决定的考评员复核。"))
    return redirect("certification:application", decision.application_id)


def own(request: HttpRequest, number: str) -> Credential:
    credential = get_object_or_404(
        Credential.objects.select_related("level__standard__occupation", "decision__application", "organisation"),
        number=number,
    )
    if not rules.may_have_document(request.user, credential):
        raise Http404
    return credential


@login_required
@require_GET
@never_cache
def certificate(request: HttpRequest, number: str) -> HttpResponse:
    credential = own(request, number)
    ours = credential.is_ours
    job = None
    if ours and not credential.document:
        job = Job.objects.filter(key=f"certification.document:{credential.pk}").first()
    return render(
        request,
        "certification/certificate.html",
        {
            "credential": credential,
            "status": credential.status_on(timezone.localdate()).value,
            "left": days_left(credential, timezone.localdate()),
            "proven": proven(credential),
            "issuer": ISSUER_NAME,
            "check_code": services.check_code_of(credential) if ours else "",
            "verification_url": verification_url(credential) if ours else "",
            "qr": mark_safe(qr_svg(verification_url(credential))) if ours else "",  # noqa: S308  drawn by us, no input in it
            "rows": checklist.rows(credential.decision.body["outcome"]) if credential.decision else [],
            "events": credential.events.order_by("at"),
            "job": job,
        },
    )


@login_required
@require_POST
def document_again(request: HttpRequest, number: str) -> HttpResponse:
    credential = own(request, number)
    try:
        services.order_document_again(credential=credential, by=request.user)
    except services.Refusal as refusal:
        messages.error(request, f"{refusal.what} {refusal.remedy}")
    return redirect("certification:certificate", credential.number)


@login_required
@require_GET
@never_cache
def document(request: HttpRequest, number: str) -> HttpResponse:
    credential = own(request, number)
    if not credential.document:
        raise Http404
    return FileResponse(
        credential.document.open("rb"),
        as_attachment=True,
        filename=f"{credential.title} {credential.number}.pdf",
        content_type="application/pdf",
    )


@login_required
@require_GET
@never_cache
def badge_jwt(request: HttpRequest, number: str) -> HttpResponse:
    """The signed credential, as wallets and verifiers take it."""
    credential = own(request, number)
    if not credential.badge:
        raise Http404
    return HttpResponse(
        credential.badge,
        content_type="application/vc+jwt",
        headers={"Content-Disposition": f'attachment; filename="{credential.number}.jwt"'},
    )


@login_required
@require_GET
@never_cache
def badge_json(request: HttpRequest, number: str) -> HttpResponse:
    """The same in an envelope that JSON readers take (VC 2.0, EnvelopedVerifiableCredential), with its content beside it."""
    credential = own(request, number)
    if not credential.badge:
        raise Http404
    content = jwt.decode(credential.badge, options={"verify_signature": False})  # our own, only shown
    body = {
        "@context": "https://www.w3.org/ns/credentials/v2",
        "type": "EnvelopedVerifiableCredential",
        "id": f"data:application/vc+jwt,{credential.badge}",
        "content": {name: value for name, value in content.items() if name not in ("iss", "sub", "jti", "nbf", "exp")},
    }
    return HttpResponse(
        json.dumps(body, ensure_ascii=False, indent=2),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{credential.number}.json"'},
    )
