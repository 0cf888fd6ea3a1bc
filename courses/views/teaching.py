"""The trainer's desk: my courses and where they stand, the bank, papers and what the figures say about questions."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from wagtail.models import TaskState

from courses import rules
from courses.domain.selection import Item, shortages
from courses.models import CoursePage, Paper, Question, QuestionBank, QuestionVersion
from courses.services import align_groups, item_statistics, lessons_of


def _trainer(request: HttpRequest) -> None:
    if not rules.may_teach(request.user):
        raise PermissionDenied(_("教学工作台供培训师使用。如需授课，请联系本单位管理员开通培训师角色。"))


@login_required
def desk(request: HttpRequest) -> HttpResponse:
    _trainer(request)
    align_groups()  # a role given this minute opens the editor now, not at the follower's next round
    courses = list(
        CoursePage.objects.teachable_by(request.user)
        .annotate(
            learners=Count("enrolments", filter=~Q(enrolments__state="withdrawn"), distinct=True),
            finished=Count("enrolments", filter=Q(enrolments__completed_at__isnull=False), distinct=True),
        )
        .order_by("-latest_revision_created_at", "pk")
    )
    lessons = lessons_of(courses)
    waiting = set(
        TaskState.objects.filter(status=TaskState.STATUS_IN_PROGRESS).values_list(
            "workflow_state__object_id", flat=True
        )
    )
    rows = []
    for course in courses:
        state = (
            ("progress", _("审核中"))
            if str(course.pk) in waiting
            else ("none", _("草稿"))
            if not course.live
            else ("warning", _("已发布，有未发布的修改"))
            if course.has_unpublished_changes
            else ("done", _("已发布"))
        )
        rows.append((course, state, len(lessons[course.pk])))
    banks = QuestionBank.objects.visible_to(request.user).annotate(
        live=Count("questions", filter=Q(questions__state="live", questions__use="exam"), distinct=True),
        drafts=Count("questions", filter=Q(questions__state="draft"), distinct=True),
    )
    papers = (
        Paper.objects.visible_to(request.user)
        .select_related("course")
        .prefetch_related("cells")
        .annotate(
            sat=Count("sessions", filter=Q(sessions__state="submitted"), distinct=True),
            passed=Count("sessions", filter=Q(sessions__passed=True), distinct=True),
        )
    )
    return render(request, "courses/teaching/desk.html", {"rows": rows, "banks": banks, "papers": papers})


@login_required
def bank(request: HttpRequest, pk: int) -> HttpResponse:
    """The questions of a bank with their state and place in the standard."""
    _trainer(request)
    found = get_object_or_404(QuestionBank.objects.visible_to(request.user), pk=pk)
    questions = found.questions.select_related("current")
    use, kind, function, words = (request.GET.get(name, "") for name in ("use", "kind", "function", "q"))
    if use in Question.Use.values:
        questions = questions.filter(use=use)
    if kind in Question.Kind.values:
        questions = questions.filter(current__kind=kind)
    if function:
        questions = questions.filter(current__function=function)
    if words.strip():
        questions = questions.filter(Q(current__stem__icontains=words.strip()) | Q(code__icontains=words.strip()))
    page = Paginator(questions.order_by("code"), 25).get_page(request.GET.get("page"))
    functions = sorted(
        code
        for code in QuestionVersion.objects.filter(current_of__bank=found).values_list("function", flat=True).distinct()
        if code
    )
    return render(
        request,
        "courses/teaching/bank.html",
        {
            "bank": found,
            "page": page,
            "functions": functions,
            "kinds": Question.Kind.choices,
            "uses": Question.Use.choices,
            "use": use,
            "kind": kind,
            "function": function,
            "query": words,
            "may_edit": rules.may_edit_bank(request.user, found),
        },
    )


@login_required
def question(request: HttpRequest, pk: int) -> HttpResponse:
    """As the learner sees it; below, for the trainer, the key, the versions and the figures."""
    _trainer(request)
    found = get_object_or_404(Question.objects.visible_to(request.user).select_related("bank", "current"), pk=pk)
    return render(
        request,
        "courses/teaching/question.html",
        {
            "question": found,
            "version": found.current,
            "versions": found.versions.select_related("created_by"),
            "may_edit": rules.may_edit_bank(request.user, found.bank),
        },
    )


@login_required
def paper(request: HttpRequest, pk: int) -> HttpResponse:
    """The blueprint against what the bank holds, and how each question did."""
    _trainer(request)
    found = get_object_or_404(Paper.objects.visible_to(request.user).select_related("bank", "course"), pk=pk)
    current = list(QuestionVersion.objects.filter(current_of__in=found.bank.questions.drawable()))
    there: dict[tuple[str, str], int] = {}
    for version in current:
        for key in ((version.function, version.difficulty), (version.function, "")):
            there[key] = there.get(key, 0) + 1
    items = [Item(str(version.pk), version.function, version.difficulty) for version in current]
    figures = item_statistics(found)
    asked = QuestionVersion.objects.filter(pk__in=figures).select_related("question")
    return render(
        request,
        "courses/teaching/paper.html",
        {
            "paper": found,
            "cells": [(cell, there.get((cell.function, cell.difficulty), 0)) for cell in found.cells.all()],
            "missing": shortages(items, found.blueprint()),
            "figures": sorted(
                ((version, figures[version.pk]) for version in asked), key=lambda row: row[0].question.code
            ),
        },
    )
