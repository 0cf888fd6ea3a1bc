"""The design system's own tags: icons, slots, empty states, status marks, fields."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from django import template
from django.forms import BaseForm, BoundField
from django.template.base import Parser, Token
from django.template.context import Context, RequestContext
from django.template.loader_tags import BlockNode
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext

from lms.design import slots
from lms.design.icons import ICONS

register = template.Library()


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """An outline icon, hidden from screen readers: the word beside it speaks. Unknown names fail loudly."""
    return format_html(
        '<svg class="lb-icon {}" viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" '
        'stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">{}</svg>',
        css,
        mark_safe(ICONS[name]),  # noqa: S308  our own constant markup
    )


@register.simple_tag(takes_context=True)
def slot(context: RequestContext, name: str, **extra: Any) -> SafeString:
    """Everything the apps have for this place."""
    request = context.get("request")
    return mark_safe("".join(slots.fill(name, request, {**context.flatten(), **extra})))  # noqa: S308  parts are safe


@register.inclusion_tag("design/_empty.html")
def empty_state(icon: str, title: str, why: str = "", url: str = "", action: str = "") -> dict[str, str]:
    """Why there is nothing here, and the one thing to do about it."""
    return {"icon": icon, "title": title, "why": why, "url": url, "action": action}


STATUS_ICONS = {
    "progress": "loader",
    "done": "circle-check",
    "warning": "alert-circle",
    "danger": "alert-triangle",
    "none": "circle",
}


@register.inclusion_tag("design/_status.html")
def status(kind: str, word: str) -> dict[str, str]:
    """A status in colour, icon and word. `kind`: progress, done, warning, danger, none."""
    return {"kind": kind, "icon": STATUS_ICONS[kind], "word": word}


@register.inclusion_tag("design/_form_errors.html")
def form_errors(form: BaseForm) -> dict[str, Any]:
    """What is wrong with the form as a whole, and how many fields below need another look."""
    return {"whole": form.non_field_errors(), "count": len([name for name in form.errors if name != "__all__"])}


@register.inclusion_tag("design/_field.html")
def field(bound: BoundField, label: str = "") -> dict[str, Any]:
    """One form field with label (another one where the form's does not fit), help and its errors tied to it."""
    widget = bound.field.widget
    kind = getattr(widget, "input_type", widget.__class__.__name__.lower())
    css = {"checkbox": "form-check-input", "select": "form-select", "radio": "", "file": "form-control"}.get(
        kind, "form-control"
    )
    attrs: dict[str, Any] = {"class": f"{css}{' is-invalid' if bound.errors else ''}"}
    described = [f"{bound.id_for_label}-help"] if bound.help_text else []
    if bound.errors:
        attrs["aria-invalid"] = "true"
        described.append(f"{bound.id_for_label}-errors")
    if described:
        attrs["aria-describedby"] = " ".join(described)
    return {
        "field": bound,
        "label": label or bound.label,
        "widget": bound.as_widget(attrs=attrs),
        "check": kind == "checkbox",
    }


class RepeatedBlock(template.Node):
    """Renders a block of the page once more. Django allows each {% block %} once, and a page should not have to say its
    title twice, in <title> and in <h1>."""

    def __init__(self, name: str) -> None:
        self.block = BlockNode(name, template.NodeList())

    def render(self, context: Context) -> str:
        return self.block.render(context)


@register.tag
def repeat_block(parser: Parser, token: Token) -> RepeatedBlock:
    """{% repeat_block title %}: what the page put into its block "title"."""
    _tag, name = token.split_contents()
    return RepeatedBlock(name)


@register.filter
def days_left(day: date | datetime) -> str:
    """A deadline's remaining time in whole days, in words: 还有 45 天, 今天到期, 已过期 3 天."""
    last = timezone.localtime(day).date() if isinstance(day, datetime) else day
    left = (last - timezone.localdate()).days
    if left < 0:
        return ngettext("已过期 %(n)s 天", "已过期 %(n)s 天", -left) % {"n": -left}
    if left == 0:
        return gettext("今天到期")
    return ngettext("还有 %(n)s 天", "还有 %(n)s 天", left) % {"n": left}


@register.filter
def masked(name: str) -> str:
    """张三丰 → 张**; 欧阳锋 → 欧阳*. Two-character surnames keep both characters."""
    if not name:
        return ""
    keep = 2 if name[:2] in DOUBLE_SURNAMES and len(name) > 2 else 1
    return name[:keep] + "*" * max(1, len(name) - keep)


DOUBLE_SURNAMES = frozenset(
    [
        "欧阳",
        "司马",
        "上官",
        "诸葛",
        "东方",
        "皇甫",
        "尉迟",
        "公孙",
        "令狐",
        "慕容",
        "司徒",
        "夏侯",
        "宇文",
        "长孙",
        "万俟",
        "闻人",
        "南宫",
        "端木",
        "百里",
        "轩辕",
        "独孤",
    ]
)
