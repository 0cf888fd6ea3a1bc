"""Course and lesson pages. Wagtail finds the page; these give it the reader's own standing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from courses import rules
from courses.domain import presenting, progress
from courses.domain.errors import Refused
from courses.forms import answer_from_form
from courses.models import CoursePage, Enrolment, InlineAnswer, LessonPage, Paper
from courses.services import (
    Feedback,
    answer_inline,
    best_exam,
    complete_lesson,
    feedback_on,
    inline_seed,
    may_open,
    save_position,
    see_lesson,
    standing,
)


@dataclass(frozen=True, slots=True)
class Part:
    """A block of the lesson; a question with how the learner sees it and what he was told."""

    block: Any
    question: presenting.Presented | None = None
    feedback: Feedback | None = None
    number: int = 0


def _enrolment(request: HttpRequest, course: CoursePage) -> Enrolment | None:
    return Enrolment.objects.filter(user=request.user, course=course).prefetch_related("lessons").first()


def course(request: HttpRequest, page: CoursePage) -> HttpResponse:
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    enrolment = _enrolment(request, page)
    lessons = list(page.lessons())
    rows = standing(enrolment, lessons)
    done = {row.id for row in rows if row.done}
    state = progress.progress(rows)
    paper = Paper.objects.on_offer().filter(course=page).first()
    return render(
        request,
        page.get_template(request),
        {
            **page.get_context(request),
            "enrolment": enrolment if enrolment and enrolment.state != Enrolment.State.WITHDRAWN else None,
            "lessons": [(lesson, lesson.pk in done) for lesson in lessons],
            "progress": state,
            "resume": next((lesson for lesson in lessons if lesson.pk == state.resume), None),
            "others": page.get_children().live().not_type(LessonPage).specific(),
            "paper": paper,
            "way": may_open(paper, request.user) if paper else None,
            "best": best_exam(request.user, page),
            "may_enrol": rules.may_enrol(request.user, page),
        },
    )


def lesson(request: HttpRequest, page: LessonPage) -> HttpResponse:
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    parent = page.course
    enrolment = _enrolment(request, parent)
    if not rules.may_read_lesson(request.user, parent, enrolment):
        messages.info(request, _("先加入课程，再学习课时。"))
        return redirect(parent.get_url(request))
    row = see_lesson(enrolment=enrolment, lesson=page) if enrolment else None
    lessons = list(parent.lessons())
    rows = standing(enrolment, lessons)
    here = next((place for place, one in enumerate(lessons) if one.pk == page.pk), 0)
    return render(
        request,
        page.get_template(request),
        {
            **page.get_context(request),
            "course": parent,
            "enrolment": enrolment,
            "parts": _parts(page, row),
            "row": row,
            "progress": progress.progress(rows),
            "number": here + 1,
            "previous": lessons[here - 1] if here > 0 else None,
            "next": lessons[here + 1] if here + 1 < len(lessons) else None,
            "done": row is not None and row.done_at is not None,
        },
    )


def _parts(page: LessonPage, row: Any) -> list[Part]:
    answers = {answer.block: answer for answer in row.answers.select_related("version")} if row else {}
    parts = []
    number = 0
    questions = {child.id for child in page.question_blocks()}
    for block in page.body:
        if block.id in questions:
            number += 1
            parts.append(_question_part(block, answers.get(str(block.id)), number))
        elif block.block_type != "question":
            parts.append(Part(block))
    return parts


def _question_part(block: Any, kept: InlineAnswer | None, number: int) -> Part:
    """An answer to an older version of the question is not shown with the new one."""
    version = block.value.current
    current = kept is not None and kept.version_id == version.pk
    question = presenting.present(
        kind=version.kind,
        stem=version.stem,
        content=version.content,
        seed=inline_seed(version),
        question=str(version.pk),
        shuffle=False,
        answer=kept.answer if kept is not None and current else None,
    )
    return Part(block, question, feedback_on(kept) if kept is not None and current else None, number)


def _own(request: HttpRequest, pk: int) -> tuple[LessonPage, Enrolment]:
    page = get_object_or_404(LessonPage.objects.live(), pk=pk)
    return page, get_object_or_404(Enrolment.objects.standing(), user=request.user, course=page.course)


@login_required
@require_POST
def answer(request: HttpRequest, pk: int, block: str) -> HttpResponse:
    """An inline answer: htmx swaps the question with its feedback; a plain form comes back to it."""
    page, enrolment = _own(request, pk)
    found = next((child for child in page.question_blocks() if str(child.id) == block), None)
    fault = None
    try:
        if found is None or found.value.current is None:
            raise Refused("no_such_question", _("这道题已被修改或删除。"), _("请刷新页面后再答。"))
        answer_inline(
            enrolment=enrolment,
            lesson=page,
            block=block,
            answer=answer_from_form(found.value.current.kind, request.POST, "q"),
        )
    except Refused as refused:
        fault = refused
        if not request.htmx or found is None:
            messages.error(request, f"{refused.what}{refused.remedy}")
    if not request.htmx:
        return redirect(f"{page.get_url(request)}#q-{block}")
    if found is None:
        return HttpResponse(headers={"HX-Refresh": "true"})
    row = see_lesson(enrolment=enrolment, lesson=page)
    kept = row.answers.select_related("version").filter(block=block).first()
    number = [str(child.id) for child in page.question_blocks()].index(block) + 1
    return render(
        request,
        "courses/_inline.html",
        {"part": _question_part(found, kept, number), "page": page, "enrolment": enrolment, "fault": fault},
    )


@login_required
@require_POST
def complete(request: HttpRequest, pk: int) -> HttpResponse:
    """Ends the lesson and goes to the next one, or back to the course when it was the last."""
    page, enrolment = _own(request, pk)
    try:
        complete_lesson(enrolment=enrolment, lesson=page, by=request.user)
    except Refused as refused:
        messages.error(request, f"{refused.what}{refused.remedy}")
        return redirect(page.get_url(request))
    enrolment.refresh_from_db()
    if enrolment.state == Enrolment.State.COMPLETED:
        messages.success(request, _("恭喜，全部课时已学完。"))
        return redirect(page.course.get_url(request))
    lessons = list(page.course.lessons())
    state = progress.progress(standing(Enrolment.objects.prefetch_related("lessons").get(pk=enrolment.pk), lessons))
    upcoming = next((one for one in lessons if one.pk == state.resume), None)
    messages.success(request, _("已学完“%(title)s”。") % {"title": page.title})
    return redirect(upcoming.get_url(request) if upcoming else page.course.get_url(request))


@login_required
@require_POST
def position(request: HttpRequest, pk: int) -> HttpResponse:
    """Where the reader is; sent by script now and then, worth nothing to anyone else."""
    page, enrolment = _own(request, pk)
    scroll = request.POST.get("scroll", "")
    video, second = request.POST.get("video", "")[:40], request.POST.get("second", "")
    save_position(
        enrolment=enrolment,
        lesson=page,
        scroll=int(scroll) if scroll.isdigit() else None,
        video=(video, int(second)) if video and second.isdigit() else None,
    )
    return HttpResponse(status=204)
