"""Where a room's page finds its WebSocket when pages and sockets answer on different ports."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest


def sockets_url(request: HttpRequest) -> str:
    """The one under the name the page itself was reached by: another name would not get the session's cookie.

    "" = same origin.
    """
    here = urlsplit(f"//{request.get_host()}").hostname
    urls: list[str] = settings.SOCKETS_URL
    return next((url for url in urls if urlsplit(url).hostname == here), urls[0] if urls else "")
