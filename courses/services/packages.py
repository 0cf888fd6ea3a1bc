"""Importing a course folder: whole or not at all, and the same folder twice changes nothing."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction

from courses.domain.packages import LessonForm, Package, QuestionForm, read_package
from courses.models import CoursePage, Facet, Figure, LessonPage, Paper, PaperCell, Question, QuestionBank
from courses.services.desk import catalogue
from courses.services.questions import revise_question
from lms.accounts import audit
from lms.accounts.models import Industry, Organisation, User

IDS = uuid.UUID("6f1f0f1e-3f0b-4a55-9b58-3c1f6c8a2d10")  # makes block ids that stay the same from import to import


@dataclass(slots=True)
class Imported:
    """What an import did. `changed` False: the very same content was there already."""

    course: CoursePage
    changed: bool
    lessons: int = 0
    questions: int = 0
    paper: Paper | None = None
    removed: list[str] = field(default_factory=list)


@transaction.atomic
def import_course(
    folder: Path, *, by: User | None, organisation: Organisation | None = None, publish: bool = True
) -> Imported:
    """Reads, checks and writes the folder. Lessons keep their page (and their learners' progress) by slug; a lesson that
    is gone from the folder is unpublished, never deleted. Raises PackageError before anything is written."""
    package = read_package(folder)
    index = catalogue()
    course = CoursePage.objects.child_of(index).filter(slug=package.course.slug).first()
    if course is not None and course.content_digest == package.digest and (course.live or not publish):
        return Imported(course, changed=False, paper=course.papers.first())
    course = _course(package, index, course, by)
    bank, _made = QuestionBank.objects.get_or_create(
        slug=package.course.slug,
        defaults={"title": f"{package.course.title}题库"[:120], "organisation": organisation},
    )
    figures = {name: _figure(name, drawing, by) for name, drawing in package.figures.items()}
    done = Imported(course, changed=True)
    pages = []
    for form in package.lessons:
        pages.append(_lesson(form, package, course, bank, figures, by))
    done.lessons = len(pages)
    _order(course, pages)
    if publish:
        for page in (course, *pages):
            _publish(page, by)
    kept = [page.pk for page in pages]
    for gone in LessonPage.objects.child_of(course).exclude(pk__in=kept).live():
        gone.unpublish(user=by)
        done.removed.append(gone.title)
    for question in package.questions:
        _question(question, bank, by)
    done.questions = len(package.questions)
    if package.paper is not None:
        done.paper = _paper(package, course, bank)
    course.refresh_from_db()
    done.course = course
    audit.record(
        "course.imported", course, by=by, organisation=organisation, digest=package.digest, lessons=done.lessons
    )
    return done


def _course(package: Package, index: Any, course: CoursePage | None, by: User | None) -> CoursePage:
    form = package.course
    if course is None:
        course = CoursePage(slug=form.slug, title=form.title, live=False, owner=by)
        _fill(course, package)
        index.add_child(instance=course)
    _fill(course, package)
    course.facets.set(_facets(package))
    course.save()
    return course


def _fill(course: CoursePage, package: Package) -> None:
    form = package.course
    course.title, course.subtitle, course.tier, course.hours = form.title, form.subtitle, form.tier, form.hours
    course.intro, course.audience = form.intro_text, form.audience.strip()
    course.objectives = "\n".join(form.objectives)
    course.content_digest = package.digest


def _facets(package: Package) -> list[Facet]:
    form = package.course
    industries = dict(Industry.objects.filter(code__in=form.industries).values_list("code", "name"))
    wanted = [
        *((Facet.Kind.LAYER, name, name) for name in form.layers),
        *((Facet.Kind.ROLE, name, name) for name in form.roles),
        *((Facet.Kind.INDUSTRY, code, industries.get(code, code)) for code in form.industries),
        *((Facet.Kind.SCENE, name, name) for name in form.scenes),
        *((Facet.Kind.REQUIREMENT, code, code) for code in form.requirement_codes),
        *((Facet.Kind.PLAN, code, code) for code in (*form.item_tags, *form.plan_tags)),
    ]
    return [
        Facet.objects.get_or_create(kind=kind, code=code, defaults={"name": name})[0] for kind, code, name in wanted
    ]


def _figure(name: str, drawing: Any, by: User | None) -> Figure:
    return Figure.objects.get_or_create(
        digest=drawing.digest,
        defaults={
            "title": (drawing.title or name)[:120],
            "alt": drawing.title,
            "svg": drawing.svg,
            "width": drawing.width,
            "height": drawing.height,
            "created_by": by,
        },
    )[0]


def _lesson(
    form: LessonForm,
    package: Package,
    course: CoursePage,
    bank: QuestionBank,
    figures: dict[str, Figure],
    by: User | None,
) -> LessonPage:
    page = LessonPage.objects.child_of(course).filter(slug=form.slug).first()
    asked = [q.function_code() for q in package.questions if q.lesson == form.slug]
    values = {
        "title": form.title,
        "summary": form.summary,
        "minutes": form.minutes,
        "functions": " ".join(dict.fromkeys([*form.function_codes(), *(code for code in asked if code)])),
        "body": json.dumps(_body(form, course.slug, bank, figures, by), ensure_ascii=False),
    }
    if page is None:
        page = LessonPage(slug=form.slug, live=False, owner=by, **values)
        course.add_child(instance=page)
    else:
        for name, value in values.items():
            setattr(page, name, value)
        page.save()
    return page


def _body(
    form: LessonForm, course: str, bank: QuestionBank, figures: dict[str, Figure], by: User | None
) -> list[dict[str, Any]]:
    body = []
    for place, block in enumerate(form.blocks):
        name = f"{course}/{form.slug}/{place}"
        match block.kind:
            case "heading":
                part: tuple[str, Any] = ("heading", block.value)
            case "text":
                part = ("markdown", block.value)
            case "figure":
                figure = figures[block.value.file]
                part = (
                    "figure",
                    {"drawing": figure.pk, "photo": None, "alt": block.value.alt, "caption": block.value.caption},
                )
            case "callout":
                part = ("callout", block.value.model_dump())
            case "checklist":
                part = ("checklist", block.value.model_dump())
            case _:
                question = _inline(block.value, form.slug, bank, by)
                name = f"{course}/{form.slug}/{question.code}"
                part = ("question", question.pk)
        body.append({"type": part[0], "value": part[1], "id": str(uuid.uuid5(IDS, name))})
    return body


def _inline(form: QuestionForm, lesson: str, bank: QuestionBank, by: User | None) -> Question:
    """A lesson's question is known by its words: moved it stays the same, reworded it is a new one."""
    code = f"{lesson}-{hashlib.sha256(form.stem.encode()).hexdigest()[:8]}"
    return _ask(form, code, bank, by, Question.Use.LESSON)


def _question(form: QuestionForm, bank: QuestionBank, by: User | None) -> Question:
    return _ask(form, form.code, bank, by, Question.Use.EXAM)


def _ask(form: QuestionForm, code: str, bank: QuestionBank, by: User | None, use: str) -> Question:
    asked = form.asked()
    return revise_question(
        bank=bank,
        code=code,
        kind=form.kind.value,
        stem=form.stem,
        content=asked.content,
        key=asked.key,
        explanation=form.explanation,
        function=form.function_code(),
        requirements=form.requirement_list(),
        difficulty=form.difficulty,
        use=use,
        by=by,
    )


def _order(course: CoursePage, pages: list[LessonPage]) -> None:
    """Puts the lessons into the folder's order, moving only when they are not."""
    present = list(LessonPage.objects.child_of(course).order_by("path").values_list("pk", flat=True))
    wanted = [page.pk for page in pages]
    if [pk for pk in present if pk in wanted] == wanted:
        return
    for pk in wanted:
        LessonPage.objects.get(pk=pk).move(CoursePage.objects.get(pk=course.pk), pos="last-child")


def _publish(page: Any, by: User | None) -> None:
    fresh = type(page).objects.get(pk=page.pk)
    fresh.save_revision(user=by, log_action=True).publish(user=by, skip_permission_checks=True)


def _paper(package: Package, course: CoursePage, bank: QuestionBank) -> Paper:
    form = package.paper
    assert form is not None
    values = form.model_dump(
        include={
            "title",
            "intro",
            "minutes",
            "grace_seconds",
            "pass_mark",
            "max_attempts",
            "wait_hours",
            "after_course",
            "shuffle_options",
        }
    )
    paper, _made = Paper.objects.update_or_create(
        slug=form.slug, defaults={**values, "course": course, "bank": bank, "is_open": True}
    )
    paper.cells.all().delete()
    PaperCell.objects.bulk_create(
        PaperCell(
            paper=paper,
            function=cell.function,
            function_name=form.function_names.get(cell.function, ""),
            difficulty=cell.difficulty,
            count=cell.count,
            points=form.points_of(cell),
        )
        for cell in form.draw
    )
    return paper
