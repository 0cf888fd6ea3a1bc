"""One word the scenario pages need in a template."""

from __future__ import annotations

from collections.abc import Mapping

from django import template

register = template.Library()


@register.filter
def of(table: Mapping[str, str], key: str) -> str:
    """The word for a key; the key itself where there is none."""
    return table.get(key, key)
