"""场景编写 for trainers: what there is, looking one over, trying it, writing it."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Max
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_POST

from cyber_range import catalogue
from cyber_range import services as ranges
from cyber_range.authoring import services, sources
from cyber_range.authoring.completion import allowed, schema
from cyber_range.authoring.edits import ROLES
from cyber_range.authoring.picture import picture
from cyber_range.authoring.preview import shown
from cyber_range.authoring.script import joined, script
from cyber_range.authoring.script_config import script_config
from cyber_range.authoring.text import parse
from cyber_range.authoring.versions import compare
from cyber_range.authoring.words import cells, kinds, pane_words, roles
from cyber_range.drawing import ICONS
from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.lab.vocabulary import USES
from cyber_range.engine.lab.written import BRIEF, MAIN
from cyber_range.engine.scenario.model import Scenario
from cyber_range.written import ScenarioVersion, WrittenScenario
from lms.accounts.context import chosen
from lms.accounts.models import Organisation
from lms.accounts.rules import Role, organisation_ids


def _training(request: HttpRequest) -> set[int]:
    """Organisations the person trains in."""
    held = organisation_ids(request.user, Role.TRAINER)
    if not held:
        raise PermissionDenied(_("场景由培训师编写和试运行。需要时请联系本单位管理员为您添加“培训师”角色。"))
    return held


def _own(request: HttpRequest, pk: int) -> WrittenScenario:
    rows = WrittenScenario.objects.visible_to(request.user).select_related("organisation", "updated_by")
    return get_object_or_404(rows, pk=pk)


@login_required
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """What the organisation writes, and what one may begin from."""
    held = _training(request)
    rows = WrittenScenario.objects.visible_to(request.user).select_related("organisation", "updated_by")
    archived = request.GET.get("archived") == "1"
    rows = rows.exclude(archived_at=None) if archived else rows.standing()
    rows = rows.annotate(count=Count("versions"), published=Max("versions__published_at")).defer("files")
    rows = rows.order_by("-updated_at", "-pk")  # counting forgets the model's own order
    return render(
        request,
        "cyber_range/authoring/home.html",
        {
            "page": Paginator(rows, 20).get_page(request.GET.get("page")),
            "archived": archived,
            "entries": catalogue.entries(),
            "versions": ScenarioVersion.objects.visible_to(request.user).offered().defer("files").order_by("title"),
            "organisations": Organisation.objects.filter(pk__in=held).order_by("pk"),
            "place": chosen(request, held),
        },
    )


@login_required
@require_POST
def create(request: HttpRequest) -> HttpResponse:
    held = _training(request)
    organisation = get_object_or_404(Organisation.objects.filter(pk__in=held), pk=request.POST.get("organisation") or 0)
    try:
        row = services.create(
            organisation=organisation, by=request.user,
            source=request.POST.get("source", ""), title=request.POST.get("title", ""),
        )  # fmt: skip
    except services.Refused as refused:
        messages.error(request, str(refused))
        return redirect("cyber_range:authoring")
    return redirect("cyber_range:editor", row.pk)


# ---------------------------------------------------------------- looking one over, trying it


def _seen(request: HttpRequest, key: str) -> tuple[catalogue.Entry, ScenarioVersion | None]:
    """A packaged scenario or an own version; 404 for everything else."""
    version = None
    if catalogue.is_trial(key):
        raise Http404  # a draft is looked at in its editor
    if catalogue.is_written(key):
        digits = key.removeprefix(catalogue.KEY)
        version = (
            ScenarioVersion.objects.visible_to(request.user)
            .filter(digest__startswith=digits)
            .select_related("scenario__organisation", "author")
            .first()
        )
        if version is None:
            raise Http404
    try:
        return catalogue.entry(key), version
    except LookupError as error:
        raise Http404 from error


@login_required
@require_GET
def preview(request: HttpRequest, key: str) -> HttpResponse:
    held = _training(request)
    entry, version = _seen(request, key)
    places = {version.scenario.organisation_id} if version else held
    return _preview(
        request,
        entry.scenario,
        sources.brief_of(entry.scenario.id, version),
        key=entry.key,
        version=version,
        digest=entry.written or entry.digest,
        organisations=Organisation.objects.filter(pk__in=places).order_by("pk"),
    )


@login_required
@require_GET
def preview_draft(request: HttpRequest, pk: int) -> HttpResponse:
    _training(request)
    row = _own(request, pk)
    form, faults = services.judged(row)
    if form is None:
        messages.error(request, _("草稿还有 %(n)d 处问题，改好后才能预览。") % {"n": len(faults)})
        return redirect("cyber_range:editor", pk)
    return _preview(request, form, row.files.get(BRIEF, ""), draft=row)


def _preview(request: HttpRequest, scenario: Scenario, instructor: str, **more: Any) -> HttpResponse:
    return render(
        request,
        "cyber_range/authoring/preview.html",
        {
            "scenario": scenario,
            **shown(scenario, instructor),
            "cells": cells(),
            "kinds": kinds(),
            "roles": roles(),
            **more,
        },
    )


@login_required
@require_POST
def try_run(request: HttpRequest, key: str) -> HttpResponse:
    """A practice range of it, seen live on the instance's page."""
    held = _training(request)
    entry, version = _seen(request, key)
    places = {version.scenario.organisation_id} if version else held
    organisation = get_object_or_404(
        Organisation.objects.filter(pk__in=places), pk=request.POST.get("organisation") or 0
    )
    try:
        instance, _job = ranges.request_range(scenario=entry.key, organisation=organisation, by=request.user)
    except ranges.RangeRefused as refused:
        messages.error(request, str(refused))
        return redirect("cyber_range:preview", entry.key)
    return redirect("cyber_range:instance", instance.pk)


# ---------------------------------------------------------------- the editor


@login_required
@require_GET
def editor(request: HttpRequest, pk: int) -> HttpResponse:
    _training(request)
    row = _own(request, pk)
    return render(
        request,
        "cyber_range/authoring/editor.html",
        {
            "row": row,
            "newest": row.versions.defer("files").first(),
            "icons": sorted(
                {*ICONS.values(), "network", "stack-2", "terminal-2", "plus", "alert-triangle", "circle-check"}
            ),
            "config": {
                "state": _state(row),
                "urls": {
                    name: reverse(f"cyber_range:editor_{name}", args=[pk])
                    for name in ("state", "change", "file", "undo", "allowed")
                },
                "archived": row.archived_at is not None,
                "roles": [{"value": role, "word": roles()[role]} for role in ROLES],
                "uses": [{"value": use, "zh": one.zh, "en": one.en, "roles": one.roles} for use, one in USES.items()],
                "words": pane_words(),
                "script": script_config(),
            },
        },
    )


def _state(row: WrittenScenario) -> dict[str, Any]:
    """Everything the editor shows: texts, drawing and faults of one and the same revision."""
    form, faults = services.judged(row)
    try:
        data = parse(row.files.get(MAIN, ""))
        readable = isinstance(data, dict)
    except ScenarioError:
        data, readable = None, False
    whole = data if isinstance(data, dict) else {}
    return {
        "revision": row.revision,
        "title": row.title,
        "files": row.files,
        "picture": picture(data),
        "script": script(joined(row.files)) if readable else script(None),
        "readable": readable,
        "valid": form is not None,
        "faults": [fault.as_dict() for fault in faults],
        "whole": {
            key: whole.get(key)
            for key in ("title", "summary", "difficulty", "duration", "incident_class", "requirements")
        },
    }


def _asked(request: HttpRequest) -> dict[str, Any]:
    try:
        asked = json.loads(request.body)
    except (ValueError, RecursionError):
        raise Http404 from None
    if not isinstance(asked, dict):
        raise Http404
    return asked


def _answer(request: HttpRequest, pk: int, work: Any) -> JsonResponse:
    """What the editor shows after `work`; 409 with the newest state when somebody else was first, 422 with the reason."""
    _training(request)
    row = _own(request, pk)
    asked = _asked(request)
    try:
        revision = int(asked.get("revision") or 0)
        row = work(row, revision, asked)
    except services.Conflict as conflict:
        return JsonResponse({"error": str(conflict), "state": _state(_own(request, pk))}, status=409)
    except services.Refused as refused:
        return JsonResponse({"error": str(refused), "field": refused.field}, status=422)
    except (TypeError, ValueError):
        raise Http404 from None
    return JsonResponse({"state": _state(row)})


@login_required
@require_GET
def editor_state(request: HttpRequest, pk: int) -> JsonResponse:
    _training(request)
    return JsonResponse({"state": _state(_own(request, pk))})


@login_required
@require_POST
def editor_change(request: HttpRequest, pk: int) -> JsonResponse:
    return _answer(
        request, pk,
        lambda row, revision, asked: services.change(
            scenario=row, revision=revision, edit=dict(asked["edit"]) if isinstance(asked.get("edit"), dict) else {}, by=request.user
        ),
    )  # fmt: skip


@login_required
@require_POST
def editor_file(request: HttpRequest, pk: int) -> JsonResponse:
    def work(row: WrittenScenario, revision: int, asked: dict[str, Any]) -> WrittenScenario:
        text = asked.get("text")
        if text is not None and not isinstance(text, str):
            raise TypeError
        return services.save_file(
            scenario=row, revision=revision, name=str(asked.get("name")), text=text, by=request.user
        )

    return _answer(request, pk, work)


@login_required
@require_POST
def editor_undo(request: HttpRequest, pk: int) -> JsonResponse:
    return _answer(
        request, pk,
        lambda row, revision, asked: services.put_back(
            scenario=row, revision=revision, files=dict(asked.get("files") or {}), by=request.user
        ),
    )  # fmt: skip


@login_required
@require_POST
def editor_allowed(request: HttpRequest, pk: int) -> JsonResponse:
    """What may be written where the cursor stands. Reads nothing but the names of the draft."""
    _training(request)
    row = _own(request, pk)
    asked = _asked(request)
    text, name = str(asked.get("text", ""))[:600_000], str(asked.get("name", MAIN))
    try:
        data = parse(row.files.get(MAIN, ""))
    except ScenarioError:
        data = None
    try:
        line, column = int(asked.get("line", 0)), int(asked.get("column", 0))
    except (TypeError, ValueError):
        raise Http404 from None
    return JsonResponse(allowed(text, line, name, data, column))


@login_required
@require_GET
@cache_control(private=True, max_age=3600)
def published_schema(request: HttpRequest) -> JsonResponse:
    """The JSON Schema of scenario.yml, for an editor of one's own."""
    _training(request)
    response = JsonResponse(schema(), json_dumps_params={"ensure_ascii": False, "indent": 2})
    response["Content-Type"] = "application/schema+json; charset=utf-8"
    return response


# ---------------------------------------------------------------- versions


def _revision(request: HttpRequest) -> int:
    """The draft the form was made from."""
    try:
        return int(request.POST.get("revision") or 0)
    except ValueError:
        raise Http404 from None


@login_required
@require_POST
def publish(request: HttpRequest, pk: int) -> HttpResponse:
    _training(request)
    row = _own(request, pk)
    revision = _revision(request)
    try:
        version = services.publish(scenario=row, revision=revision, note=request.POST.get("note", ""), by=request.user)
    except services.Refused as refused:
        messages.error(request, str(refused))
        return redirect("cyber_range:editor", pk)
    messages.success(request, _("第 %(n)d 版已发布。现在可以试运行，也可以在演练计划里选用。") % {"n": version.number})
    return redirect("cyber_range:preview", version.key)


@login_required
@require_POST
def try_draft(request: HttpRequest, pk: int) -> HttpResponse:
    """A practice range of the draft, before anybody else may use it."""
    _training(request)
    row = _own(request, pk)
    revision = _revision(request)
    try:
        instance = services.try_draft(scenario=row, revision=revision, by=request.user)
    except (services.Refused, ranges.RangeRefused) as refused:
        messages.error(request, str(refused))
        return redirect("cyber_range:editor", pk)
    return redirect("cyber_range:instance", instance.pk)


@login_required
@require_POST
def archive(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    _training(request)
    row = _own(request, pk)
    if verb == "archive":
        services.archive(scenario=row, by=request.user)
        messages.success(request, _("已归档。已发布的版本保留，供以往演练查阅。"))
    else:
        services.restore(scenario=row, by=request.user)
        messages.success(request, _("已取消归档。"))
    return redirect("cyber_range:authoring")


@login_required
@require_GET
def versions(request: HttpRequest, pk: int) -> HttpResponse:
    """Every version, and the difference between two of them (the draft is number 0)."""
    _training(request)
    row = _own(request, pk)
    there = list(row.versions.defer("files").select_related("author"))
    numbers = [version.number for version in there]
    newest = numbers[0] if numbers else 0
    old = _number(request.GET.get("from"), numbers, numbers[1] if len(numbers) > 1 else newest)
    new = _number(request.GET.get("to"), [0, *numbers], newest if len(numbers) > 1 else 0)
    return render(
        request,
        "cyber_range/authoring/versions.html",
        {
            "row": row, "versions": there, "old": old, "new": new,
            "changed": compare(_texts(row, old), _texts(row, new)) if numbers else [],
        },
    )  # fmt: skip


def _number(said: str | None, known: list[int], default: int) -> int:
    return int(said) if said is not None and said.isdigit() and int(said) in known else default


def _texts(row: WrittenScenario, number: int) -> dict[str, str]:
    return row.files if number == 0 else row.versions.get(number=number).files
