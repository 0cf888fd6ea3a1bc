"""Where Wagtail and the follower meet courses: pages with their reader's standing, guarded files, menus, the clock."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _g
from django.utils.translation import gettext_lazy as _
from wagtail import hooks
from wagtail.admin.menu import MenuItem
from wagtail.models import Page
from wagtail.snippets.models import register_snippet

from courses.models import CatalogueIndexPage, CoursePage, Facet, LessonPage, LessonProgress
from courses.services import align_groups, close_overdue, personal, staff_learning
from courses.views import reading
from courses.viewsets import BankViewSet, FigureViewSet, PaperViewSet, QuestionViewSet
from lms.accounts.models import User
from lms.accounts.rules import Role, has_role

logger = logging.getLogger(__name__)

for viewset in (BankViewSet, QuestionViewSet, PaperViewSet, FigureViewSet):
    register_snippet(viewset)


@hooks.register("before_serve_page", order=50)
def serve_with_standing(page: Page, request: HttpRequest, args: Any, kwargs: Any) -> HttpResponse | None:
    """Courses and lessons are shown with what this reader has done (after Wagtail's own view restrictions)."""
    if isinstance(page, CoursePage):
        return reading.course(request, page)
    if isinstance(page, LessonPage):
        return reading.lesson(request, page)
    if isinstance(page, CatalogueIndexPage):
        return redirect("courses:catalogue")
    return None


@hooks.register("before_serve_document")
def documents_for_signed_in(document: Any, request: HttpRequest) -> HttpResponse | None:
    """Lesson files are for people who signed in."""
    return None if request.user.is_authenticated else redirect_to_login(request.get_full_path())


@hooks.register("before_delete_page")
def keep_what_was_learned(request: HttpRequest, page: Page) -> HttpResponse | None:
    """A course that people took is evidence: it can be taken offline, not deleted."""
    taken = (
        LessonProgress.objects.filter(lesson__path__startswith=page.path).exists()
        or CoursePage.objects.filter(path__startswith=page.path, enrolments__isnull=False).exists()
    )
    if not taken:
        return None
    messages.error(request, _g("“%(title)s”已有学习记录，不能删除。请改用“取消发布”。") % {"title": page.title})
    return redirect("wagtailadmin_pages:edit", page.pk)


@hooks.register("courses_for_tags")
def courses_for_tags(request: HttpRequest, tags: set[str]) -> dict[str, list[tuple[str, str]]]:
    """Which published courses help with which step of a self-assessment's plan."""
    found: dict[str, list[tuple[str, str]]] = {}
    courses = CoursePage.objects.open_to(request.user).answering(tags).prefetch_related("facets")
    for course in courses:
        link = (course.title, course.get_url(request))
        for facet in course.facets_of(Facet.Kind.PLAN):
            if facet.code in tags:
                found.setdefault(facet.code, []).append(link)
    return found


@hooks.register("slot:dossier", order=30)
def learning_of_staff(request: HttpRequest, context: dict[str, Any]) -> str:
    """How far the enterprise's people are, and who is late: for its admin only."""
    organisation = context.get("organisation")
    if organisation is None or not has_role(request.user, Role.ADMIN, organisation.pk):
        return ""
    return render_to_string("courses/_dossier.html", staff_learning(organisation), request=request)


class CoursesMenuItem(MenuItem):
    def is_shown(self, request: HttpRequest) -> bool:
        return CatalogueIndexPage.objects.exists()


@hooks.register("register_admin_menu_item")
def courses_menu() -> MenuItem:
    index = CatalogueIndexPage.objects.first()
    url = reverse("wagtailadmin_explore", args=[index.pk]) if index else reverse("wagtailadmin_explore_root")
    return CoursesMenuItem(_("课程"), url, name="courses", icon_name="doc-full-inverse", order=200)


@hooks.register("register_admin_menu_item")
def review_menu() -> MenuItem:
    return MenuItem(
        _("审核"), reverse("wagtailadmin_reports:workflow_tasks"), name="review", icon_name="tick-inverse", order=220
    )


@hooks.register("follower_tick")
def hand_in_overdue(now: datetime) -> None:
    """Exams past their deadline are handed in; and now and then trainers' groups follow their roles."""
    closed = close_overdue(now)
    if closed:
        logger.info("handed in %d overdue exams", closed)
    if now.second % 15 == 0:
        align_groups()


@hooks.register("personal_data")
def personal_data(user: User) -> dict[str, Any]:
    """For "download my data"."""
    return {"courses": personal.personal_data(user)}
