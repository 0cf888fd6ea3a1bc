"""The front door and the four error pages. Where a person lands depends on what he came to do."""

from __future__ import annotations

import logging
import secrets

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.views.decorators.csrf import csrf_exempt, requires_csrf_token
from django.views.i18n import set_language as set_language_by_django

from lms.accounts.rules import Role, roles_of

__all__ = ["bad_request", "broken", "home", "no_permission", "not_found", "set_language"]

# Keeps a choice of language and nothing else. From pages with no-referrer browsers send "Origin: null", which the CSRF
# check refuses.
set_language = csrf_exempt(set_language_by_django)

logger = logging.getLogger(__name__)

# First match wins: whoever steers others lands at his desk, everyone else at his own learning.
DESKS = [
    (Role.OFFICER, "certification:bureau"),
    (Role.ASSESSOR, "certification:desk"),
    (Role.ADMIN, "accounts:dossier"),
    (Role.TRAINER, "courses:teaching"),
    (Role.SECURITY, "drills:home"),
    (Role.LEARNER, "courses:home"),
]


def home(request: HttpRequest) -> HttpResponse:
    """The signed-in person's desk, or the public front page."""
    if not request.user.is_authenticated:
        return render(request, "design/front.html")
    held = roles_of(request.user)
    for role, name in DESKS:
        if any(role == held_role for _, held_role in held):
            return redirect(name)
    return redirect("courses:home")


@requires_csrf_token
def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "design/error.html", {"code": 400}, status=400)


@requires_csrf_token
def no_permission(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "design/error.html", {"code": 403, "reason": str(exception or "")}, status=403)


@requires_csrf_token
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "design/error.html", {"code": 404}, status=404)


@requires_csrf_token
def broken(request: HttpRequest) -> HttpResponse:
    """The number on the page stands in the log beside the traceback. A page without the person's ways where even those
    cannot be read (the database is away)."""
    reference = secrets.token_hex(4)
    logger.error("reference %s: %s %s", reference, request.method, request.path)
    context = {"code": 500, "reference": reference}
    try:
        return render(request, "design/error.html", context, status=500)
    except Exception:
        logger.exception("reference %s: the error page itself", reference)
        return HttpResponse(render_to_string("design/error.html", context), status=500)
