"""Markdown of lessons and questions to safe markup: HTML in the source is shown as text, links stay plain web links."""

from __future__ import annotations

import re
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt

_reader = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
TAGS = {
    "p",
    "br",
    "hr",
    "strong",
    "em",
    "s",
    "code",
    "pre",
    "blockquote",
    "ul",
    "ol",
    "li",
    "a",
    "h2",
    "h3",
    "h4",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "div",
}
ATTRIBUTES = {"a": {"href"}, "ol": {"start"}, "div": {"class", "tabindex"}, "table": {"class"}, "th": {"scope"}}


@lru_cache(maxsize=2048)
def markdown(source: str) -> str:
    """Safe HTML. Tables scroll inside themselves, so a phone never scrolls sideways."""
    html = _reader.render(source)
    html = html.replace("<h1>", "<h2>").replace("</h1>", "</h2>")
    html = re.sub(r"<th(?=[ >])", '<th scope="col"', html)
    html = html.replace("<table>", '<div class="table-responsive" tabindex="0"><table class="table">')
    html = html.replace("</table>", "</table></div>")
    return nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer",
    )


@lru_cache(maxsize=4096)
def inline(source: str) -> str:
    """One line (an option, a stem) with emphasis and code only."""
    return nh3.clean(_reader.renderInline(source), tags={"strong", "em", "code", "s", "br"}, attributes={})


def plain(source: str) -> str:
    """The words alone, for search."""
    return nh3.clean(_reader.render(source), tags=set(), attributes={})
