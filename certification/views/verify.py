"""Anyone checks a certificate. The check code travels in the body of a POST or behind the # of an address, never in a
path or query, so that no server log can hold it; unknown and wrong get one answer."""

from __future__ import annotations

import hashlib

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from certification import services
from certification.domain.credential import read_number
from certification.models import Credential
from certification.signing import fingerprint
from certification.wording import ISSUER_NAME, proven
from lms.accounts.audit import client_ip

TRIES, WINDOW = 20, 600  # per address and ten minutes: a person checking a stack of papers stays below it


@csrf_exempt  # under no-referrer browsers send "Origin: null"; the answer depends on nothing but what was typed
@sensitive_post_parameters("code")
@require_http_methods(["GET", "POST"])
@never_cache
def verify(request: HttpRequest) -> HttpResponse:
    if request.method == "GET":
        return _answer(request, {"number": ""})
    typed = request.POST.get("number", "")[:60]
    if _too_many(request):
        return _answer(request, {"number": typed, "slow_down": True}, status=429)
    credential = services.verify(number=typed, code=request.POST.get("code", "")[:60])
    if credential is None:
        return _answer(request, {"number": typed, "not_found": True}, status=200)
    return _answer(request, {"number": credential.number, "credential": credential, **_told(credential)})


@require_GET
@never_cache
def verify_number(request: HttpRequest, number: str) -> HttpResponse:
    """Where the QR leads: the number is filled in, the code is read from behind # by the page itself. Says nothing about
    whether such a number exists."""
    return _answer(request, {"number": read_number(number) or ""})


def _told(credential: Credential) -> dict[str, object]:
    replaced_by = getattr(credential, "replaced_by", None)
    ended = credential.events.filter(kind__in=["revoked", "reissued"]).order_by("at").last()
    return {
        "status": credential.status_on(timezone.localdate()).value,
        "proven": proven(credential),
        "issuer": ISSUER_NAME,
        "ended": ended,
        "replaced": replaced_by is not None,
        "checked_at": timezone.localtime(),
    }


def _answer(request: HttpRequest, context: dict[str, object], status: int = 200) -> HttpResponse:
    template = "certification/_verdict.html" if request.htmx else "certification/verify.html"
    if not request.htmx:
        context["signers"] = [(key, fingerprint(key.certificate)) for key in services.document_keys()]
    response = render(request, template, context, status=status)
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow"
    response["Cache-Control"] = "no-store"
    return response


def _too_many(request: HttpRequest) -> bool:
    """Counts tries of one address in the shared cache, by a hash of it."""
    who = hashlib.sha256(f"verify:{client_ip(request)}".encode()).hexdigest()[:32]
    key = f"certification.verify:{who}"
    if cache.add(key, 1, WINDOW):
        return False
    try:
        return cache.incr(key) > TRIES
    except ValueError:  # ran out between the two calls
        cache.set(key, 1, WINDOW)
        return False
