"""Words of lessons and questions as safe markup, and questions as learners see them."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString, mark_safe

from courses.domain import presenting, prose
from courses.models import Question, QuestionVersion

register = template.Library()


@register.filter
def markdown(source: str) -> SafeString:
    return mark_safe(prose.markdown(source or ""))  # noqa: S308  cleaned by nh3


@register.filter
def inline(source: str) -> SafeString:
    return mark_safe(prose.inline(source or ""))  # noqa: S308  cleaned by nh3


@register.filter
def kind_label(kind: str) -> str:
    return str(Question.Kind(kind).label)


@register.simple_tag
def as_learner_sees(version: QuestionVersion) -> presenting.Presented:
    """For previews: shuffled as in an exam, under a seed of its own."""
    return presenting.present(
        kind=version.kind,
        stem=version.stem,
        content=version.content,
        seed="preview",
        question=str(version.pk),
        shuffle=True,
    )
