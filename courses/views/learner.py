"""The learner's home and the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from courses import rules
from courses.domain import progress
from courses.domain.errors import Refused
from courses.models import CoursePage, Enrolment, ExamSession, Facet, LessonPage, Paper
from courses.models.pages import Tier
from courses.services import enrol, exam_ways, lessons_of, standing, withdraw
from lms.accounts.models import Organisation
from lms.accounts.rules import organisation_ids
from lms.maturity.services import plan_of

FACET_KINDS = (Facet.Kind.LAYER, Facet.Kind.ROLE, Facet.Kind.INDUSTRY, Facet.Kind.SCENE)


@dataclass(slots=True)
class Taken:
    """A course as the learner stands to it: what the cards of the home screen show."""

    course: CoursePage
    enrolment: Enrolment | None
    lessons: list[LessonPage]
    progress: progress.Progress
    paper: Paper | None = None
    best: ExamSession | None = None
    suggested: bool = False

    @property
    def resume(self) -> LessonPage | None:
        return next((lesson for lesson in self.lessons if lesson.pk == self.progress.resume), None)

    @property
    def place(self) -> int:
        """Which lesson comes next, counted from 1."""
        return next((n for n, lesson in enumerate(self.lessons, start=1) if lesson.pk == self.progress.resume), 0)

    @property
    def late(self) -> bool:
        return bool(
            self.enrolment
            and self.enrolment.due_at
            and not self.enrolment.completed_at
            and self.enrolment.due_at < timezone.now()
        )


@dataclass(slots=True)
class Rung:
    tier: str
    label: str
    courses: list[Taken]

    @property
    def done(self) -> bool:
        return bool(self.courses) and all(taken.enrolment and taken.enrolment.completed_at for taken in self.courses)


def _taken(request: HttpRequest, courses: list[CoursePage]) -> dict[int, Taken]:
    """A fixed number of queries for any number of courses."""
    lessons = lessons_of(courses)
    mine = {
        enrolment.course_id: enrolment
        for enrolment in Enrolment.objects.standing()
        .filter(user=request.user, course__in=courses)
        .prefetch_related("lessons")
    }
    papers: dict[int, Paper] = {}
    for paper in Paper.objects.on_offer().filter(course__in=courses).order_by("pk"):
        papers.setdefault(paper.course_id, paper)
    best: dict[int, ExamSession] = {}
    for session in (
        ExamSession.objects.marked()
        .filter(user=request.user, paper__course__in=courses)
        .select_related("paper")
        .order_by("score")
    ):
        best[session.paper.course_id] = session
    found = {}
    for course in courses:
        enrolment = mine.get(course.pk)
        found[course.pk] = Taken(
            course,
            enrolment,
            lessons[course.pk],
            progress.progress(standing(enrolment, lessons[course.pk])),
            papers.get(course.pk),
            best.get(course.pk),
        )
    return found


def _plan_tags(request: HttpRequest) -> list[str]:
    """Tags of open steps in the plans of the person's enterprises."""
    tags: list[str] = []
    for organisation in Organisation.objects.enterprises().filter(pk__in=organisation_ids(request.user)):
        for row in plan_of(organisation):
            if row.state not in ("done", "dropped"):
                tags += row.tags
    return tags


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """我的学习： what to go on with, the ladder by tier, exams, and what other apps add."""
    mine = [enrolment.course_id for enrolment in Enrolment.objects.standing().filter(user=request.user)]
    tags = _plan_tags(request)
    suggested = (
        set(CoursePage.objects.open_to(request.user).answering(tags).values_list("pk", flat=True)) if tags else set()
    )
    courses = list(CoursePage.objects.live().filter(Q(pk__in=mine) | Q(pk__in=suggested)).defer("search_text", "intro"))
    taken = _taken(request, courses)
    for pk in suggested & taken.keys():
        taken[pk].suggested = True
    active = [t for t in taken.values() if t.enrolment and not t.enrolment.completed_at and t.resume]
    active.sort(
        key=lambda t: max((row.seen_at for row in t.enrolment.lessons.all()), default=t.enrolment.enrolled_at),
        reverse=True,
    )
    ladder = [
        Rung(
            tier, str(label), sorted((t for t in taken.values() if t.course.tier == tier), key=lambda t: t.course.title)
        )
        for tier, label in Tier.choices
    ]
    papers = [t.paper for t in taken.values() if t.paper and t.enrolment]
    ways = exam_ways(papers, request.user) if papers else {}
    exams = [(t, ways[t.paper.pk]) for t in taken.values() if t.paper and t.enrolment and t.paper.pk in ways]
    return render(
        request,
        "courses/home.html",
        {
            "next": active[0] if active else None,
            "others": active[1:],
            "ladder": ladder,
            "taken": taken,
            "exams": exams,
            "to_pass": any(not (t.best and t.best.passed) for t, _way in exams),
        },
    )


@login_required
def catalogue(request: HttpRequest) -> HttpResponse:
    """Every published course, by words and facets. htmx asks for the list alone; without it the form does the same."""
    chosen = [int(value) for value in request.GET.getlist("f") if value.isdigit()]
    tier = request.GET.get("tier", "")
    query = request.GET.get("q", "").strip()[:60]
    everything = CoursePage.objects.open_to(request.user)
    courses = everything.with_facets(chosen)
    if tier in Tier.values:
        courses = courses.filter(tier=tier)
    lessons: list[LessonPage] = []
    if query:
        lessons = list(LessonPage.objects.live().public().found(query).defer("body", "search_text")[:8])
        courses = courses.found(query)
    else:
        courses = courses.order_by("tier", "-first_published_at", "pk")
    page = Paginator(courses.prefetch_related("facets"), 12).get_page(request.GET.get("page"))
    facets = (
        Facet.objects.filter(kind__in=FACET_KINDS, courses__in=everything)
        .annotate(count=Count("courses", distinct=True))
        .order_by("kind", "-count", "code")
    )
    groups: dict[str, list[Facet]] = {kind: [] for kind in FACET_KINDS}
    for facet in facets:
        groups[facet.kind].append(facet)
    taken = _taken(request, list(page.object_list))
    context = {
        "page": page,
        "cards": list(taken.values()),
        "lessons": lessons,
        "groups": [(Facet.Kind(kind).label, values) for kind, values in groups.items() if values],
        "tiers": Tier.choices,
        "tier": tier,
        "chosen": chosen,
        "query": query,
        "filtered": bool(chosen or tier or query),
    }
    return render(request, "courses/_catalogue.html" if request.htmx else "courses/catalogue.html", context)


@login_required
@require_POST
def join(request: HttpRequest, pk: int) -> HttpResponse:
    course = get_object_or_404(CoursePage.objects.open_to(request.user), pk=pk)
    if not rules.may_enrol(request.user, course):
        raise PermissionDenied(_("主管部门账号不参加课程学习。"))
    try:
        enrol(user=request.user, course=course, by=request.user)
    except Refused as refused:
        messages.error(request, f"{refused.what}{refused.remedy}")
    return redirect(course.get_url(request))


@login_required
@require_POST
def leave(request: HttpRequest, pk: int) -> HttpResponse:
    enrolment = get_object_or_404(Enrolment, user=request.user, course=pk)
    withdraw(enrolment=enrolment, by=request.user)
    messages.success(request, _("已退出课程，进度保留，随时可以重新加入。"))
    return redirect("courses:home")
