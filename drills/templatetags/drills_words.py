"""Seconds of drill time as people read them."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def clock(seconds: float | None) -> str:
    """75 → 01:15; 3700 → 1:01:40; nothing → —."""
    if seconds is None:
        return "—"
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes = f"{rest // 60:02}:{rest % 60:02}"
    return f"{hours}:{minutes}" if hours else minutes


@register.filter
def named(people: dict[str, dict[str, str]], who: str) -> str:
    """The name behind a pseudonym; someone who is erased has none."""
    return people.get(who, {}).get("name", "—")
