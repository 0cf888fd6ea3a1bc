"""Queries as words: what a person may find, and what was learned, asked and sat."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Case, IntegerField, Q, Value, When
from django.utils import timezone
from wagtail.models import PageQuerySet

from courses.domain import search
from lms.accounts.rules import Role, organisation_ids

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from lms.accounts.models import User


class FoundQuerySet(PageQuerySet):
    """Pages that carry `search_text`."""

    def found(self, query: str) -> FoundQuerySet:
        """Pages with every piece of every word; those with the words in the title come first."""
        needles, words = search.query_needles(query), search.query_words(query)
        pages = self
        for needle in needles:
            pages = pages.filter(search_text__contains=needle)
        if not needles:
            return self.none() if query.strip() else self
        in_title = Value(0)
        for word in words:
            in_title = in_title + Case(
                When(title__icontains=word, then=Value(1)), default=Value(0), output_field=IntegerField()
            )
        return pages.annotate(in_title=in_title).order_by("-in_title", "-first_published_at", "pk")


class CourseQuerySet(FoundQuerySet):
    def open_to(self, user: User | AnonymousUser) -> CourseQuerySet:
        """The catalogue: everything published and public, for everyone who is signed in."""
        return self.live().public() if user.is_authenticated else self.none()

    def with_facets(self, facets: Iterable[int]) -> CourseQuerySet:
        """Courses that have every one of these facet values."""
        courses = self
        for facet in facets:
            courses = courses.filter(facets=facet)
        return courses

    def answering(self, tags: Iterable[str]) -> CourseQuerySet:
        """Courses that help with one of these improvements of the self-assessment ("item:network:ics_network")."""
        return self.filter(facets__kind="plan", facets__code__in=list(tags)).distinct()

    def teachable_by(self, user: User) -> CourseQuerySet:
        """What the person wrote himself."""
        return self.filter(owner=user)


class EnrolmentQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> EnrolmentQuerySet:
        """One's own; an enterprise admin sees those of the own people."""
        return self.filter(
            Q(user=user)
            | Q(
                user__memberships__organisation__in=organisation_ids(user, Role.ADMIN),
                user__memberships__ended_at=None,
            )
        ).distinct()

    def standing(self) -> EnrolmentQuerySet:
        return self.exclude(state="withdrawn")


class BankQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> BankQuerySet:
        """The banks of organisations one trains for, and the platform's own for every trainer."""
        places = organisation_ids(user, Role.TRAINER)
        if not places:
            return self.none()
        return self.filter(Q(organisation__in=places) | Q(organisation=None))


class QuestionQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> QuestionQuerySet:
        places = organisation_ids(user, Role.TRAINER)
        if not places:
            return self.none()
        return self.filter(Q(bank__organisation__in=places) | Q(bank__organisation=None))

    def drawable(self) -> QuestionQuerySet:
        """Live questions for exams, not those whose answers lessons give away."""
        return self.filter(state="live", use="exam", current__isnull=False)


class PaperQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> PaperQuerySet:
        places = organisation_ids(user, Role.TRAINER)
        if not places:
            return self.none()
        return self.filter(Q(bank__organisation__in=places) | Q(bank__organisation=None))

    def on_offer(self, now: datetime | None = None) -> PaperQuerySet:
        now = now or timezone.now()
        return self.filter(is_open=True, course__live=True).filter(Q(open_until=None) | Q(open_until__gt=now))


class SessionQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> SessionQuerySet:
        """One's own sittings only: trainers see figures, not people's papers."""
        return self.filter(user=user)

    def running(self) -> SessionQuerySet:
        return self.filter(state="running")

    def marked(self) -> SessionQuerySet:
        return self.filter(state="submitted")

    def overdue(self, now: datetime) -> SessionQuerySet:
        """Running past their last moment: the clock hands them in."""
        return self.running().filter(closes_at__lt=now)
