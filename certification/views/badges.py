"""What verifiers of badges and documents fetch: who issues, the public keys and certificates, the status lists."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET

from certification import services
from certification.models import StatusList
from certification.services.credentials import issuer_url
from certification.wording import ISSUER_NAME


@require_GET
@cache_control(public=True, max_age=3600)
def issuer(request: HttpRequest) -> JsonResponse:
    """The issuer's profile; badges name this address as their issuer."""
    return JsonResponse(
        {
            "@context": [
                "https://www.w3.org/ns/credentials/v2",
                "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json",
            ],
            "id": issuer_url(),
            "type": ["Profile"],
            "name": ISSUER_NAME,
            "url": f"{settings.PUBLIC_URL}/",
            "jwks_uri": f"{settings.PUBLIC_URL}{reverse('certification:keys')}",
        },
        json_dumps_params={"ensure_ascii": False},
    )


@require_GET
@cache_control(public=True, max_age=300)
def keys(request: HttpRequest) -> JsonResponse:
    return JsonResponse(services.public_keys())


@require_GET
@cache_control(public=True, max_age=300)
def document_certificates(request: HttpRequest) -> HttpResponse:
    """Every certificate that ever signed a PDF, the present one first, for whoever checks one with a program of his own."""
    pem = "".join(key.certificate for key in services.document_keys())
    response = HttpResponse(pem, content_type="application/x-pem-file")
    response["Content-Disposition"] = 'attachment; filename="lianbing-document-certificates.pem"'
    return response


@require_GET
@cache_control(public=True, max_age=60)
def status_list(request: HttpRequest, token: str) -> HttpResponse:
    """One bit per certificate, most of them of nobody: which bits are whose is known only to holders of a badge."""
    row = get_object_or_404(StatusList, token=token)
    return HttpResponse(services.status_list_token(status_list=row), content_type="application/vc+jwt")
