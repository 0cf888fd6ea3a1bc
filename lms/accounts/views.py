"""The enterprise's dossier and staff, and everyone's own page."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import segno
from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.core.signing import BadSignature, TimestampSigner
from django.db.models import Prefetch, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.crypto import get_random_string
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from django.views.decorators.vary import vary_on_headers
from wagtail import hooks

from lms.accounts import services, sheets
from lms.accounts.audit import client_ip, in_words, record
from lms.accounts.context import CHOSEN, chosen
from lms.accounts.forms import CONSENT_WORDS, JoinForm, PersonForm, ProfileForm, XlsxForm
from lms.accounts.language import remember
from lms.accounts.limits import too_often, used_up
from lms.accounts.models import AuditEntry, Consent, Membership, Organisation, User
from lms.accounts.rules import Role, organisation_ids

TRIES = {"limit": 10, "seconds": 600}  # wrong codes from one address; a whole shift behind one router may join at once
IMPORTS = "imports"
IMPORT_HOURS = 1  # how long a checked file waits for its confirmation
MOST_QR_CODES = 60  # a page with more would be too heavy for a phone
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def own_organisation(request: HttpRequest) -> Organisation:
    """The organisation the person administers; of several the chosen one."""
    place = chosen(request, organisation_ids(request.user, Role.ADMIN))
    organisation = Organisation.objects.filter(pk=place).select_related("region", "industry").first()
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
@vary_on_headers("HX-Request")
def staff(request: HttpRequest) -> HttpResponse:
    """Everyone here, found by name, user name, job title or role."""
    organisation = own_organisation(request)
    people, role, words = people_of(organisation), request.GET.get("role", ""), request.GET.get("q", "").strip()
    if role in Role.values:
        people = people.filter(pk__in=Membership.objects.active().of(organisation).filter(role=role).values("user"))
    if words:
        people = people.filter(Q(name__icontains=words) | Q(username__icontains=words) | Q(job_title__icontains=words))
    page = Paginator(people, 25).get_page(request.GET.get("page"))
    context = {"organisation": organisation, "page": page, "roles": Role.choices, "role": role, "q": words}
    partial = request.htmx and not request.htmx.history_restore_request
    return render(request, "accounts/_staff_rows.html" if partial else "accounts/staff.html", context)


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
            return codes(request, [(person, code)])
    return person_form(request, form, None)


def codes(request: HttpRequest, made: list[tuple[User, str]]) -> HttpResponse:
    """The codes, once, each with a picture for the phone. The code stands in the address's fragment, which browsers
    send to no server, so that it gets into no log."""
    address = request.build_absolute_uri(reverse("accounts:join"))
    cards = [
        {
            "person": person,
            "code": code,
            "qr": segno.make(f"{address}#{code}", error="m").svg_data_uri(scale=3, border=3, light="white")
            if len(made) <= MOST_QR_CODES
            else "",
        }
        for person, code in made
    ]
    return render(request, "accounts/codes.html", {"cards": cards, "address": address})


def person_form(request: HttpRequest, form: PersonForm, person: User | None) -> HttpResponse:
    status = 422 if form.is_bound and not form.is_valid() else 200
    return render(request, "accounts/person.html", {"form": form, "person": person}, status=status)


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
    return person_form(request, form, user)


@login_required
@never_cache
def new_code(request: HttpRequest, pk: int) -> HttpResponse:
    """A new code for someone who lost his or forgot the password. Asked for by GET (language switched, page reloaded)
    it leads back to the person."""
    organisation = own_organisation(request)
    user = get_object_or_404(people_of(organisation), pk=pk)
    if request.method != "POST":
        return redirect("accounts:person", pk=pk)
    try:
        code = services.renew_code(user, organisation=organisation, by=request.user, ip=client_ip(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("accounts:person", pk=pk)
    return codes(request, [(user, code)])


@login_required
def release(request: HttpRequest, pk: int) -> HttpResponse:
    """Leaving is confirmed by typing the name."""
    organisation = own_organisation(request)
    user = get_object_or_404(people_of(organisation), pk=pk)
    error = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() != user.name:
            error = _("输入的姓名不一致，没有办理离职。")
        else:
            try:
                services.release(user, organisation=organisation, by=request.user)
            except ValidationError as fault:
                error = " ".join(fault.messages)
            else:
                messages.success(request, _("%(name)s 已离职；学习记录和证书仍属于本人。") % {"name": user.name})
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
            if not rows:
                form.add_error("file", _("表头下面没有填写任何人。"))
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("new", "changed", "same", "wrong")}
    if counts["new"] + counts["changed"] and not counts["wrong"]:
        content.seek(0)
        token = signer.sign(keep_for_confirmation(content.read()))
    return render(
        request,
        "accounts/import.html",
        {"form": form, "rows": rows, "token": token, "counts": counts},
        status=422 if form.errors else 200,
    )


def keep_for_confirmation(content: bytes) -> str:
    """Puts a checked file aside and throws away what nobody confirmed: it holds names and telephone numbers."""
    if default_storage.exists(IMPORTS):
        for name in default_storage.listdir(IMPORTS)[1]:
            path = f"{IMPORTS}/{name}"
            try:
                if default_storage.get_modified_time(path) < timezone.now() - timedelta(hours=IMPORT_HOURS):
                    default_storage.delete(path)
            except FileNotFoundError:  # another request swept it
                continue
    return default_storage.save(f"{IMPORTS}/{get_random_string(24)}.xlsx", ContentFile(content))


def apply_import(request: HttpRequest, organisation: Organisation, signer: TimestampSigner) -> HttpResponse:
    try:
        path = signer.unsign(request.POST["apply"], max_age=IMPORT_HOURS * 3600)
    except BadSignature:
        messages.error(request, _("这次导入已过期，请重新选择文件。"))
        return redirect("accounts:staff_import")
    if not default_storage.exists(path):
        messages.info(request, _("这份文件已经导入过了。"))
        return redirect("accounts:staff")
    try:
        with default_storage.open(path) as file:
            rows = sheets.read(file, organisation)
        made = sheets.apply(rows, organisation, by=request.user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("accounts:staff_import")
    default_storage.delete(path)
    record("staff.imported", organisation, by=request.user, organisation=organisation, made=len(made), rows=len(rows))
    messages.success(request, _("已导入：新增 %(n)s 人。") % {"n": len(made)})
    if not made:
        return redirect("accounts:staff")
    return codes(request, made)


@sensitive_post_parameters("code", "password")
@never_cache
def join(request: HttpRequest) -> HttpResponse:
    """First password by invitation code. The code comes by the form or the address's fragment, never in a log."""
    who = client_ip(request) or ""
    if request.method == "POST" and used_up("join", who, limit=TRIES["limit"]):
        return render(request, "account/locked_out.html", {"joining": True}, status=429)
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
            if "code" in error.message_dict:
                too_often("join", who, **TRIES)
            form.add_error(None, error)
        else:
            if is_mfa_enabled(user):  # a code resets the password; it does not stand for the second step
                messages.success(request, _("密码已设置，请登录。"))
                return redirect("account_login")
            login(request, user, backend="django.contrib.auth.backends.ModelBackend")
            return remember(redirect("home"), user.language)
    return render(request, "accounts/join.html", {"form": form}, status=422 if form.errors else 200)


@login_required
def me(request: HttpRequest) -> HttpResponse:
    """My profile, language, consents, data and what was recorded of me."""
    form = ProfileForm(
        request.POST or None,
        instance=User.objects.get(pk=request.user.pk),
        initial={"language": request.user.language or translation.get_language()},
    )
    if request.method == "POST" and form.is_valid():
        services.update_own_profile(User.objects.get(pk=request.user.pk), **form.cleaned_data)
        with translation.override(form.cleaned_data["language"]):
            messages.success(request, _("已保存。"))
        return remember(redirect("accounts:me"), form.cleaned_data["language"])
    memberships = request.user.memberships.active().select_related("organisation").order_by("pk")
    consents = list(request.user.consents.order_by("-pk"))
    return render(
        request,
        "accounts/me.html",
        {
            "form": form,
            "memberships": memberships,
            "consents": consents,
            "consent_words": CONSENT_WORDS,
            "standing": any(c.purpose == Consent.Purpose.SERVICE and not c.withdrawn_at for c in consents),
            "recent": [(entry, in_words(entry.action)) for entry in AuditEntry.objects.filter(actor=request.user)[:10]],
        },
        status=422 if form.errors else 200,
    )


@login_required
@require_POST
def choose_organisation(request: HttpRequest) -> HttpResponse:
    """From now on pages that are about one organisation are about this one. Only one's own can be chosen."""
    wanted = request.POST.get("organisation", "")
    if not wanted.isdecimal() or int(wanted) not in organisation_ids(request.user):
        raise PermissionDenied(_("只能切换到您所在的单位。"))
    request.session[CHOSEN] = int(wanted)
    messages.success(request, _("已切换到 %(name)s。") % {"name": Organisation.objects.get(pk=int(wanted)).name})
    back = request.POST.get("next", "")
    # Only pages that exist for everybody are gone back to: a page about one thing of the other organisation is not.
    return redirect(back if back in {reverse("accounts:me"), reverse("home")} else "home")


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
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """One of the own consents ends, after a page that says what that means."""
    consent = get_object_or_404(Consent, pk=pk, user=request.user, withdrawn_at=None)
    if request.method == "POST":
        services.withdraw_consent(consent, by=request.user)
        messages.success(request, _("已撤回；已发的证书不受影响。"))
        return redirect("accounts:me")
    return render(request, "accounts/withdraw.html", {"consent": consent})


@login_required
def agree(request: HttpRequest) -> HttpResponse:
    """Consent given anew, by someone who had withdrawn it or never was asked."""
    if request.method == "POST":
        services.give_consent(
            request.user,
            purpose=Consent.Purpose.SERVICE,
            version=services.CONSENT_VERSION,
            ip=client_ip(request),
        )
        messages.success(request, _("已记录您的同意。"))
    return redirect("accounts:me")
