"""The enterprise's dossier and staff, and everyone's own page."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.core.signing import BadSignature, TimestampSigner
from django.db.models import Prefetch, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import translation
from django.utils.crypto import get_random_string
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from wagtail import hooks

from lms.accounts import services, sheets
from lms.accounts.audit import client_ip, record
from lms.accounts.forms import JoinForm, PersonForm, ProfileForm, XlsxForm
from lms.accounts.limits import too_often
from lms.accounts.models import AuditEntry, Consent, Membership, Organisation, User
from lms.accounts.rules import Role, organisation_ids

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def own_organisation(request: HttpRequest) -> Organisation:
    """The organisation the person administers."""
    organisation = (
        Organisation.objects.filter(pk__in=organisation_ids(request.user, Role.ADMIN))
        .select_related("region", "industry")
        .first()
    )
    if organisation is None:
        raise PermissionDenied(_("员工和企业档案由本单位的企业管理员管理。"))
    return organisation


def people_of(organisation: Organisation) -> Any:
    """Its present people, each with the roles held here."""
    here = Membership.objects.active().of(organisation)
    return (
        User.objects.filter(pk__in=here.values("user"))
        .prefetch_related(Prefetch("memberships", queryset=here, to_attr="roles_here"))
        .order_by("name", "pk")
    )


@login_required
def dossier(request: HttpRequest) -> HttpResponse:
    """企业档案: who we are; level, plan, people at risk and the next drill come from the apps above."""
    organisation = own_organisation(request)
    return render(
        request,
        "accounts/dossier.html",
        {"organisation": organisation, "staff": people_of(organisation).count()},
    )


@login_required
def staff(request: HttpRequest) -> HttpResponse:
    organisation = own_organisation(request)
    people, role, words = people_of(organisation), request.GET.get("role", ""), request.GET.get("q", "").strip()
    if role in Role.values:
        people = people.filter(pk__in=Membership.objects.active().of(organisation).filter(role=role).values("user"))
    if words:
        people = people.filter(Q(name__icontains=words) | Q(username__icontains=words) | Q(job_title__icontains=words))
    page = Paginator(people, 25).get_page(request.GET.get("page"))
    context = {"organisation": organisation, "page": page, "roles": Role.choices, "role": role, "q": words}
    return render(request, "accounts/_staff_rows.html" if request.htmx else "accounts/staff.html", context)


@login_required
@never_cache
def invite(request: HttpRequest) -> HttpResponse:
    """One person. The code is shown once, to be handed over on paper or as a picture."""
    organisation = own_organisation(request)
    form = PersonForm(request.POST or None, organisation=organisation, initial={"roles": [Role.LEARNER]})
    if request.method == "POST" and form.is_valid():
        try:
            person, code = services.invite(organisation, by=request.user, **form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            return render(request, "accounts/codes.html", {"made": [(person, code)], "organisation": organisation})
    return render(request, "accounts/person.html", {"form": form, "organisation": organisation, "person": None})


@login_required
def person(request: HttpRequest, pk: int) -> HttpResponse:
    organisation = own_organisation(request)
    user = get_object_or_404(people_of(organisation), pk=pk)
    initial = {
        "name": user.name,
        "job_title": user.job_title,
        "phone": user.phone,
        "roles": [m.role for m in user.roles_here],
    }
    form = PersonForm(request.POST or None, organisation=organisation, user=user, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            services.update_person(user, organisation=organisation, by=request.user, **form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, _("已保存。"))
            return redirect("accounts:staff")
    return render(request, "accounts/person.html", {"form": form, "organisation": organisation, "person": user})


@login_required
@require_POST
@never_cache
def new_code(request: HttpRequest, pk: int) -> HttpResponse:
    """A new code for someone who lost his or forgot the password."""
    organisation = own_organisation(request)
    user = get_object_or_404(people_of(organisation), pk=pk)
    code = services.make_code(user, organisation=organisation, by=request.user)
    record("staff.code", user, by=request.user, organisation=organisation, ip=client_ip(request))
    return render(request, "accounts/codes.html", {"made": [(user, code)], "organisation": organisation})


@login_required
def release(request: HttpRequest, pk: int) -> HttpResponse:
    """Leaving is confirmed by typing the name."""
    organisation = own_organisation(request)
    user = get_object_or_404(people_of(organisation), pk=pk)
    error = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() != user.name:
            error = _("输入的姓名不一致,没有办理离职。")
        else:
            try:
                services.release(user, organisation=organisation, by=request.user)
            except ValidationError as fault:
                error = " ".join(fault.messages)
            else:
                messages.success(request, _("%(name)s 已离职;学习记录和证书仍属于本人。") % {"name": user.name})
                return redirect("accounts:staff")
    return render(request, "accounts/release.html", {"person": user, "error": error}, status=422 if error else 200)


@login_required
def staff_xlsx(request: HttpRequest) -> HttpResponse:
    organisation = own_organisation(request)
    if "template" in request.GET:
        return attachment(sheets.template(organisation), "员工导入模板.xlsx")
    record("staff.exported", organisation, by=request.user, organisation=organisation, ip=client_ip(request))
    people = list(people_of(organisation).prefetch_related("memberships"))
    return attachment(sheets.export(organisation, people), f"{organisation}员工.xlsx")


def attachment(content: bytes, name: str) -> HttpResponse:
    response = HttpResponse(content, content_type=XLSX)
    response.headers["Content-Disposition"] = content_disposition_header(True, name)
    return response


@login_required
@never_cache
def staff_import(request: HttpRequest) -> HttpResponse:
    """File → what would happen, row by row → apply. Between the steps the file waits in private storage."""
    organisation = own_organisation(request)
    signer = TimestampSigner(salt=f"staff-import-{organisation.pk}-{request.user.pk}")
    if request.method == "POST" and "apply" in request.POST:
        return apply_import(request, organisation, signer)
    form, rows, token = XlsxForm(request.POST or None, request.FILES or None), [], ""
    if request.method == "POST" and form.is_valid():
        content = form.cleaned_data["file"]
        try:
            rows = sheets.read(content.file, organisation)
        except ValidationError as error:
            form.add_error("file", error)
        else:
            content.seek(0)
            path = default_storage.save(f"imports/{get_random_string(24)}.xlsx", ContentFile(content.read()))
            token = signer.sign(path)
            if not rows:
                form.add_error("file", _("表头下面没有填写任何人。"))
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("new", "changed", "same", "wrong")}
    return render(
        request,
        "accounts/import.html",
        {"form": form, "rows": rows, "token": token, "counts": counts, "organisation": organisation},
    )


def apply_import(request: HttpRequest, organisation: Organisation, signer: TimestampSigner) -> HttpResponse:
    try:
        path = signer.unsign(request.POST["apply"], max_age=3600)
    except BadSignature:
        messages.error(request, _("这次导入已过期,请重新选择文件。"))
        return redirect("accounts:staff_import")
    if not default_storage.exists(path):
        messages.info(request, _("这份文件已经导入过了。"))
        return redirect("accounts:staff")
    with default_storage.open(path) as file:
        rows = sheets.read(file, organisation)
    try:
        made = sheets.apply(rows, organisation, by=request.user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("accounts:staff_import")
    default_storage.delete(path)
    record("staff.imported", organisation, by=request.user, organisation=organisation, made=len(made), rows=len(rows))
    messages.success(request, _("已导入:新增 %(n)s 人。") % {"n": len(made)})
    if not made:
        return redirect("accounts:staff")
    return render(request, "accounts/codes.html", {"made": made, "organisation": organisation})


@sensitive_post_parameters("code", "password")
@never_cache
def join(request: HttpRequest) -> HttpResponse:
    """First password by invitation code. The code comes by the form or the address's fragment, never in a log."""
    if request.method == "POST" and too_often("join", client_ip(request) or "", limit=10, seconds=600):
        return render(request, "account/locked_out.html", status=429)
    form = JoinForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = services.join(
                code=form.cleaned_data["code"],
                password=form.cleaned_data["password"],
                consented=form.cleaned_data["consent"],
                ip=client_ip(request),
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            login(request, user, backend="django.contrib.auth.backends.ModelBackend")
            return redirect("home")
    return render(request, "accounts/join.html", {"form": form})


@login_required
def me(request: HttpRequest) -> HttpResponse:
    """My profile, language, consents, data and what was recorded of me."""
    form = ProfileForm(
        request.POST or None,
        instance=request.user,
        initial={"language": request.user.language or translation.get_language()},
    )
    if request.method == "POST" and form.is_valid():
        services.update_own_profile(User.objects.get(pk=request.user.pk), **form.cleaned_data)
        response = redirect("accounts:me")
        response.set_cookie("django_language", form.cleaned_data["language"], samesite="Lax", max_age=31536000)
        messages.success(request, _("已保存。"))
        return response
    memberships = request.user.memberships.active().select_related("organisation")
    return render(
        request,
        "accounts/me.html",
        {"form": form, "memberships": memberships, "consents": request.user.consents.all(),
         "recent": AuditEntry.objects.filter(actor=request.user)[:10]},
    )  # fmt: skip


@login_required
@never_cache
def my_data(request: HttpRequest) -> HttpResponse:
    """Everything we hold of the person, from every app, as JSON."""
    data: dict[str, Any] = {"accounts": services.personal_data(request.user)}
    for add in hooks.get_hooks("personal_data"):
        data |= add(request.user)
    record("profile.downloaded", request.user, by=request.user, ip=client_ip(request))
    response = HttpResponse(
        json.dumps(data, ensure_ascii=False, indent=1, default=str), content_type="application/json"
    )
    response.headers["Content-Disposition"] = 'attachment; filename="my-data.json"'
    return response


@login_required
@require_POST
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    consent = Consent.objects.filter(pk=pk, user=request.user).first()
    if consent is None:
        raise Http404
    services.withdraw_consent(consent, by=request.user)
    messages.success(request, _("已撤回;已发的证书不受影响。"))
    return redirect("accounts:me")
