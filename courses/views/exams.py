"""Exams: the list, the lobby, the sitting, handing in, the result. No response here holds a key or an explanation."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from courses.domain.errors import Refused
from courses.domain.presenting import Presented
from courses.domain.selection import BankTooSmall
from courses.forms import answer_from_form
from courses.models import Enrolment, ExamSession, LessonPage, Paper
from courses.services import exam_ways, flag, may_open, open_exam, presented, save_answer, submit_exam


@login_required
def exam_list(request: HttpRequest) -> HttpResponse:
    """Exams of my courses with the one thing to do about each, and my results."""
    mine = Enrolment.objects.standing().filter(user=request.user).values("course")
    papers = list(Paper.objects.on_offer().filter(course__in=mine).select_related("course").prefetch_related("cells"))
    ways = exam_ways(papers, request.user)
    results = ExamSession.objects.visible_to(request.user).marked().select_related("paper")[:50]
    return render(
        request, "courses/exams.html", {"exams": [(paper, ways[paper.pk]) for paper in papers], "results": results}
    )


@login_required
def lobby(request: HttpRequest, pk: int) -> HttpResponse:
    """The rules, a check of the device, and the start."""
    paper = get_object_or_404(
        Paper.objects.filter(course__in=Enrolment.objects.standing().filter(user=request.user).values("course"))
        .select_related("course")
        .prefetch_related("cells"),
        pk=pk,
    )
    way = may_open(paper, request.user)
    left = paper.max_attempts - way.attempts if paper.max_attempts else None
    return render(request, "courses/lobby.html", {"paper": paper, "way": way, "left": left})


@login_required
@require_POST
def start(request: HttpRequest, pk: int) -> HttpResponse:
    paper = get_object_or_404(
        Paper, pk=pk, course__in=Enrolment.objects.standing().filter(user=request.user).values("course")
    )
    try:
        session = open_exam(paper=paper, user=request.user)
    except Refused as refused:
        messages.error(request, f"{refused.what}{refused.remedy}")
        return redirect("courses:exam_lobby", pk=paper.pk)
    except BankTooSmall:
        messages.error(request, _("题库暂时组不成这份试卷，没有占用您的考试次数。请告诉培训师。"))
        return redirect("courses:exam_lobby", pk=paper.pk)
    return redirect("courses:exam", public_id=session.public_id)


def _own(request: HttpRequest, public_id: uuid.UUID) -> ExamSession:
    return get_object_or_404(
        ExamSession.objects.visible_to(request.user).select_related("paper__course"), public_id=public_id
    )


@login_required
@never_cache
def sitting(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """The paper. Comes back exactly as it was left, in any window and on any device."""
    session, now = _own(request, public_id), timezone.now()
    if session.state == ExamSession.State.RUNNING and now > session.closes_at:
        session = submit_exam(session=session, by=None, now=now)
    if session.state != ExamSession.State.RUNNING:
        return redirect("courses:exam_result", public_id=public_id)
    questions = presented(session)
    return render(
        request,
        "courses/exam.html",
        {
            "session": session,
            "questions": questions,
            "answered": sum(question.answered for question in questions),
            "clock": _clock(session),
        },
    )


def _clock(session: ExamSession) -> dict[str, int]:
    """Milliseconds, so that the page can follow the server's clock whatever its own says."""
    return {
        "now": int(timezone.now().timestamp() * 1000),
        "deadline": int(session.deadline.timestamp() * 1000),
        "closes": int(session.closes_at.timestamp() * 1000),
    }


def _refuse(session: ExamSession, refused: Refused) -> JsonResponse:
    """Told to the page: what, what now, and whether the exam is over."""
    over = refused.code in ("too_late", "submitted")
    return JsonResponse({**refused.as_dict(), "over": over, **_clock(session)}, status=409)


@login_required
@require_POST
def save(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """One answer from the page's script: number, seq, answer (JSON). Sent again after a lost line it does no harm."""
    session = _own(request, public_id)
    number, seq = request.POST.get("number", ""), request.POST.get("seq", "")
    try:
        answer: Any = json.loads(request.POST.get("answer", "null"))
        if not number.isdigit() or not seq.isdigit():
            raise ValueError(number)
    except ValueError:
        return _refuse(
            session, Refused("bad_answer", _("这份作答与题目对不上，没有保存。"), _("请刷新页面后重新作答。"))
        )
    try:
        saved = save_answer(session=session, number=int(number), answer=answer, seq=int(seq), by=request.user)
    except Refused as refused:
        return _refuse(session, refused)
    return JsonResponse(
        {
            "state": saved.state,
            "number": saved.number,
            "seq": saved.seq,
            "answer": saved.answer,
            "answered": saved.answered,
            **_clock(session),
        }
    )


@login_required
@require_POST
def mark(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Flags a question to come back to."""
    session = _own(request, public_id)
    number = request.POST.get("number", "")
    if not number.isdigit():
        raise Http404
    try:
        flag(session=session, number=int(number), flagged=request.POST.get("flagged") == "1", by=request.user)
    except Refused as refused:
        return _refuse(session, refused)
    return HttpResponse(status=204)


@login_required
@require_POST
def save_all(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """The whole page as a plain form: what works without script. Then on to the paper, or to handing in."""
    session = _own(request, public_id)
    try:
        for question in presented(session):
            given = answer_from_form(question.kind, request.POST, f"q{question.number}")
            if given != question.answer and (given is not None or _cleared(question, request)):
                save_answer(session=session, number=question.number, answer=given, by=request.user)
            flagged = f"flag{question.number}" in request.POST
            if flagged != question.flagged:
                flag(session=session, number=question.number, flagged=flagged, by=request.user)
    except Refused as refused:
        messages.error(request, f"{refused.what}{refused.remedy}")
        return redirect("courses:exam", public_id=public_id)
    if "hand_in" in request.POST:
        return redirect("courses:exam_hand_in", public_id=public_id)
    messages.success(request, _("作答已保存。"))
    return redirect("courses:exam", public_id=public_id)


def _cleared(question: Presented, request: HttpRequest) -> bool:
    """A plain form shows every question, so an empty one was emptied; an unfinished order is kept as it was."""
    return question.kind != "ordering" and f"shown{question.number}" in request.POST


@login_required
@never_cache
def hand_in(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Asks once more, naming what is open; the post hands in. Twice is once."""
    session = _own(request, public_id)
    if session.state == ExamSession.State.RUNNING and request.method == "POST":
        session = submit_exam(session=session, by=request.user)
    if session.state != ExamSession.State.RUNNING:
        return redirect("courses:exam_result", public_id=public_id)
    questions = presented(session)
    return render(
        request,
        "courses/hand_in.html",
        {
            "session": session,
            "open": [question.number for question in questions if not question.answered],
            "flagged": [question.number for question in questions if question.flagged],
            "total": len(questions),
            "clock": _clock(session),
        },
    )


@login_required
@never_cache
def result(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """The score by function of the standard and what to read again. Which option was right is not told: the bank is used again."""
    session = _own(request, public_id)
    if session.state == ExamSession.State.RUNNING:
        if timezone.now() <= session.closes_at:
            return redirect("courses:exam", public_id=public_id)
        session = submit_exam(session=session, by=None)
    functions = session.result.get("functions", [])
    lessons = list(session.paper.course.lessons())
    weak = sorted((row for row in functions if float(row["score"]) < 80), key=lambda row: float(row["score"]))
    study = [(row, _teaching(lessons, row["function"])) for row in weak]
    return render(
        request,
        "courses/result.html",
        {
            "session": session,
            "functions": functions,
            "study": [(row, found) for row, found in study if found],
            "way": may_open(session.paper, request.user),
            "course": session.paper.course,
        },
    )


def _teaching(lessons: list[LessonPage], function: str) -> list[LessonPage]:
    return [lesson for lesson in lessons if function in lesson.function_codes]
