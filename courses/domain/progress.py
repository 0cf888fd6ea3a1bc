"""When a course counts as completed, where a learner goes on, and how many standard hours were earned.

Rule "every-lesson-1": a lesson is done when its learner says so after answering every inline question in it; a course is
completed when every published lesson is done. Standard hours (学时) are credited lesson by lesson, in proportion to the
lesson's minutes, and in full on completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal

RULE = "every-lesson-1"


@dataclass(frozen=True, slots=True)
class Lesson:
    """One lesson of a course as its learner stands to it. `seen_at`: last opened."""

    id: int
    minutes: int
    done: bool = False
    seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    done: int
    total: int
    minutes_left: int
    resume: int | None

    @property
    def percent(self) -> int:
        return self.done * 100 // self.total if self.total else 0

    @property
    def complete(self) -> bool:
        return self.total > 0 and self.done == self.total


def resume(lessons: Sequence[Lesson]) -> int | None:
    """Where to go on: the undone lesson opened last; else the first undone one after the last one opened; else the first
    undone one; with all done, the first lesson (to read again). None for a course without lessons."""
    if not lessons:
        return None
    undone = [lesson for lesson in lessons if not lesson.done]
    if not undone:
        return lessons[0].id
    seen = [(lesson.seen_at, place) for place, lesson in enumerate(lessons) if lesson.seen_at is not None]
    if seen:
        latest = max(seen)[1]
        for lesson in lessons[latest:]:
            if not lesson.done:
                return lesson.id
    return undone[0].id


def progress(lessons: Sequence[Lesson]) -> Progress:
    return Progress(
        done=sum(lesson.done for lesson in lessons),
        total=len(lessons),
        minutes_left=sum(lesson.minutes for lesson in lessons if not lesson.done),
        resume=resume(lessons),
    )


def hours_earned(hours: Decimal, lessons: Sequence[Lesson]) -> Decimal:
    """Of the course's `hours`, what the done lessons make up; rounded down to a tenth so that parts never exceed it."""
    total = sum(lesson.minutes for lesson in lessons)
    if not total:
        return Decimal("0.0")
    done = sum(lesson.minutes for lesson in lessons if lesson.done)
    return (hours * done / total).quantize(Decimal("0.1"), rounding=ROUND_DOWN)


def unanswered(questions: Sequence[str], answered: set[str]) -> list[str]:
    """Inline questions that still keep a lesson from being done, in the order of the page."""
    return [question for question in questions if question not in answered]
