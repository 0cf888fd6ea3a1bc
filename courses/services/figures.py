"""Keeping drawings: cleaned first, stored once per content."""

from __future__ import annotations

from courses.domain.figures import clean_svg
from courses.models import Figure
from lms.accounts.models import User


def keep_figure(source: str | bytes, *, title: str, alt: str, by: User | None) -> tuple[Figure, tuple[str, ...]]:
    """The stored drawing, and what had to be taken out of it. Raises FigureError for what is no drawing."""
    drawing = clean_svg(source)
    figure, _made = Figure.objects.get_or_create(
        digest=drawing.digest,
        defaults={
            "title": title[:120],
            "alt": alt,
            "svg": drawing.svg,
            "width": drawing.width,
            "height": drawing.height,
            "created_by": by,
        },
    )
    return figure, drawing.removed
