"""Two words a drawn map needs in a template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.translation import get_language

register = template.Library()


@register.filter
def plus(value: float, add: float) -> float:
    return value + add


@register.filter
def in_words(text: Any) -> str:
    """A scenario's text in the reader's language; the Chinese source where no other is given."""
    if text is None:
        return ""
    if not isinstance(text, Mapping):
        text = {"zh": text.zh, "en": text.en}
    english = (get_language() or "").startswith("en")
    return str((text.get("en") if english else "") or text.get("zh") or "")
