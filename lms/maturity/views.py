"""Self-assessment, result and plan of the own enterprise."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from wagtail import hooks

from lms.accounts.context import chosen
from lms.accounts.models import Organisation
from lms.accounts.rules import Role, organisation_ids
from lms.maturity import rules, services
from lms.maturity.domain.instrument import Instrument, is_answered, rounded
from lms.maturity.forms import PlanRowForm
from lms.maturity.models import Assessment, PlanRow


def _own(request: HttpRequest, places: set[int]) -> Organisation | None:
    """Of several enterprises the one the person has chosen."""
    enterprises = Organisation.objects.enterprises().filter(pk__in=places)
    return enterprises.filter(pk=chosen(request, set(enterprises.values_list("pk", flat=True)))).first()


def own_enterprise(request: HttpRequest) -> Organisation:
    """The enterprise the person administers. PermissionDenied, with whom to ask, for everyone else."""
    enterprise = _own(request, organisation_ids(request.user, Role.ADMIN))
    if enterprise is None:
        raise PermissionDenied(_("数字化自评由本企业的企业管理员填写。"))
    return enterprise


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Where the enterprise stands, the draft under way, and earlier assessments."""
    enterprise = own_enterprise(request)
    assessments = list(Assessment.objects.filter(organisation=enterprise).select_related("instrument_version"))
    draft = next((a for a in assessments if a.state == Assessment.State.DRAFT), None)
    history = [a for a in assessments if a.state == Assessment.State.SUBMITTED]
    version = draft.instrument_version if draft else services.current_instrument()
    return render(
        request,
        "maturity/home.html",
        {
            "enterprise": enterprise,
            "draft": draft,
            "draft_result": draft.result if draft else None,
            "latest": history[0] if history else None,
            "latest_result": history[0].result if history else None,
            "history": history,
            "instrument": version.instrument if version else None,
        },
    )


@login_required
def start(request: HttpRequest) -> HttpResponse:
    """The first open question of the draft, which begins here when there is none."""
    enterprise = own_enterprise(request)
    if request.method != "POST":
        return redirect("maturity:home")
    try:
        draft = services.start_assessment(enterprise, by=request.user)
    except ValidationError as fault:
        messages.error(request, " ".join(fault.messages))
        return redirect("maturity:home")
    return redirect("maturity:question", number=first_open(draft))


def first_open(draft: Assessment) -> int:
    """The number (from 1) of the first question without an answer; the last one when all are answered."""
    keys = draft.instrument.questions()
    return next((n for n, key in enumerate(keys, 1) if not is_answered(draft.answers.get(key))), len(keys))


@login_required
def question(request: HttpRequest, number: int) -> HttpResponse:
    """One question per card. Saving goes on to the next; leaving loses nothing."""
    enterprise = own_enterprise(request)
    draft = Assessment.objects.filter(organisation=enterprise, state=Assessment.State.DRAFT).first()
    if draft is None:
        return redirect("maturity:home")
    keys = draft.instrument.questions()
    if not 1 <= number <= len(keys):
        raise Http404
    key, error = keys[number - 1], ""
    if request.method == "POST":
        try:
            answer = services.answer_from_form(draft, key, request.POST)
            draft = services.save_answer(draft, key=key, answer=answer, by=request.user)
        except ValidationError as fault:
            error = " ".join(fault.messages)
        else:
            if "leave" in request.POST:
                messages.success(request, _("已保存，随时可以接着填。"))
                return redirect("maturity:home")
            return (
                redirect("maturity:question", number=number + 1) if number < len(keys) else redirect("maturity:check")
            )
    context = card(draft.instrument, key, draft.answers.get(key))
    context["fields"] = [
        (code, label, unit, request.POST.get(f"field_{code}", "")) for code, label, unit in context["fields"]
    ]
    context |= {"number": number, "total": len(keys), "result": draft.result, "error": error, "draft": draft}
    return render(request, "maturity/question.html", context, status=422 if error else 200)


def card(instrument: Instrument, key: str, answer: Any) -> dict[str, Any]:
    """What the question's card shows."""
    if key.startswith("scene:"):
        scene = instrument.scene(key[6:])
        options = [(0, _("还没有做到")), *enumerate(scene.levels, 1)]
        return {
            "title": scene.title, "question": scene.help, "help": instrument.scene_help, "example": "",
            "group": dict(instrument.stages)[scene.stage], "constrained": scene.constrained, "kind": "scene",
            "options": [(str(grade), text, answer == grade) for grade, text in options], "fields": (),
        }  # fmt: skip
    item = instrument.item(key)
    chosen = answer if isinstance(answer, list) else [answer]
    return {
        "title": item.name, "question": item.question, "help": item.help, "example": item.example,
        "group": f"{item.dimension} · {item.sub}", "constrained": False, "kind": item.type,
        "options": [(o.code, o.label, o.code in chosen) for o in item.options], "fields": item.fields,
        "exclusive": [o.code for o in item.options if o.exclusive], "points": rounded(item.points),
    }  # fmt: skip


@login_required
def check(request: HttpRequest) -> HttpResponse:
    """Everything answered at a glance, the pledge, and submitting."""
    enterprise = own_enterprise(request)
    draft = Assessment.objects.filter(organisation=enterprise, state=Assessment.State.DRAFT).first()
    if draft is None:
        return redirect("maturity:home")
    error = ""
    if request.method == "POST":
        try:
            done = services.submit_assessment(draft, by=request.user, pledged="pledge" in request.POST)
        except ValidationError as fault:
            error = " ".join(fault.messages)
        else:
            messages.success(request, _("自评已提交，计划已生成。"))
            return redirect("maturity:result", pk=done.pk)
    instrument, rows = draft.instrument, []
    for number, key in enumerate(instrument.questions(), 1):
        shown = card(instrument, key, draft.answers.get(key))
        words = [label for _code, label, chosen in shown["options"] if chosen]
        rows.append({"number": number, "title": shown["title"], "words": words, "group": shown["group"]})
    return render(
        request,
        "maturity/check.html",
        {"draft": draft, "rows": rows, "result": draft.result, "instrument": instrument, "error": error},
        status=422 if error else 200,
    )


@login_required
def result(request: HttpRequest, pk: int) -> HttpResponse:
    """Level, the two deficits, points by dimension and grades by scene, as they came out under their own version."""
    assessment = get_object_or_404(
        Assessment.objects.visible_to(request.user).submitted().select_related("instrument_version", "organisation"),
        pk=pk,
    )
    outcome, instrument = assessment.result, assessment.instrument
    scenes = [{"scene": instrument.scene(code), "grade": grade, "bar": range(1, 5)} for code, grade in outcome.grades]
    stages = [(name, [s for s in scenes if s["scene"].stage == code]) for code, name in instrument.stages]
    return render(
        request,
        "maturity/result.html",
        {
            "assessment": assessment, "result": outcome, "instrument": instrument, "stages": stages,
            "dimensions": [(name, rounded(reached), rounded(of)) for name, reached, of in outcome.by_dimension],
            "score": rounded(outcome.score), "may_plan": rules.may_answer(request.user, assessment.organisation),
        },
    )  # fmt: skip


def courses_for(request: HttpRequest, rows: list[PlanRow]) -> dict[str, list[tuple[str, str]]]:
    """tag -> [(course title, address)], from whoever offers courses (hook "courses_for_tags")."""
    tags = {tag for row in rows for tag in row.tags}
    found: dict[str, list[tuple[str, str]]] = {}
    for offer in hooks.get_hooks("courses_for_tags"):
        for tag, links in offer(request, tags).items():
            found.setdefault(tag, []).extend(links)
    return found


@login_required
def plan(request: HttpRequest) -> HttpResponse:
    """一企一策: what to do, in order, with who, until when, and the courses that help. The admin changes it, everyone of
    the enterprise may read it."""
    enterprise = _own(request, organisation_ids(request.user))
    if organisation_ids(request.user, Role.ADMIN):
        enterprise = own_enterprise(request)
    if enterprise is None:
        raise PermissionDenied(_("计划属于企业；您还不是任何企业的成员。"))
    rows, everything = services.plan_of(enterprise), request.GET.get("show") == "all"
    shown = rows if everything else [row for row in rows if row.needed or row.state != PlanRow.State.OPEN]
    offers = courses_for(request, shown)
    for row in shown:
        row.courses = sorted({link for tag in row.tags for link in offers.get(tag, [])})
    return render(
        request,
        "maturity/plan.html",
        {
            "enterprise": enterprise,
            "rows": shown,
            "everything": rows,
            "done": sum(row.state == PlanRow.State.DONE for row in rows if row.needed),
            "needed": sum(row.needed for row in rows),
            "all": everything,
            "may_plan": rules.may_answer(request.user, enterprise),
        },
    )


@login_required
def plan_row(request: HttpRequest, pk: int) -> HttpResponse:
    """Change one step."""
    row = get_object_or_404(PlanRow, pk=pk, organisation=own_enterprise(request))
    form = PlanRowForm(request.POST or None, instance=row)
    if request.method == "POST" and form.is_valid():
        try:
            services.update_plan_row(PlanRow.objects.get(pk=pk), by=request.user, **form.cleaned_data)
        except ValidationError as fault:
            form.add_error(None, fault)
        else:
            messages.success(request, _("计划已更新。"))
            return redirect("maturity:plan")
    return render(request, "maturity/plan_row.html", {"row": row, "form": form}, status=422 if form.errors else 200)
