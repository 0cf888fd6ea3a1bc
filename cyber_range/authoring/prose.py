"""The instructor's brief: Markdown to safe markup. HTML in the source is shown as text, links stay plain web links."""

from __future__ import annotations

import re

import nh3
from markdown_it import MarkdownIt

_READER = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
_TAGS = {
    "p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "h3", "h4", "h5", "table",
    "thead", "tbody", "tr", "th", "td", "div",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href"}, "ol": {"start"}, "div": {"class", "tabindex"}, "table": {"class"}, "th": {"scope"}}
_DEEPER = {"h1": "h3", "h2": "h4", "h3": "h5", "h4": "h5", "h5": "h5", "h6": "h5"}


def brief(source: str) -> str:
    """Markup for the page, on which the brief stands under a heading of level two. Tables scroll inside themselves."""
    html = re.sub(r"<(/?)(h[1-6])>", lambda found: f"<{found[1]}{_DEEPER[found[2]]}>", _READER.render(source))
    html = re.sub(r"<th(?=[ >])", '<th scope="col"', html)
    html = html.replace("<table>", '<div class="table-responsive" tabindex="0"><table class="table">')
    html = html.replace("</table>", "</table></div>")
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer",
    )
