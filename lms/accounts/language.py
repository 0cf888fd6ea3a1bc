"""The language a person chose, carried by the same cookie as the switch in the top bar."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse

ONE_YEAR = 31536000


def remember(response: HttpResponse, language: str) -> HttpResponse:
    """Sets the language cookie; nothing for a person who never chose."""
    if language in dict(settings.LANGUAGES):
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME,
            language,
            max_age=ONE_YEAR,
            samesite="Lax",
            secure=settings.SESSION_COOKIE_SECURE,
        )
    return response
