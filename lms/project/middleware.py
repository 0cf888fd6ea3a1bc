"""What every answer of ours carries, and the two addresses a load balancer asks."""

from __future__ import annotations

from collections.abc import Callable

from csp.constants import SELF, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponse]
_migrated = False


def health(get_response: GetResponse) -> GetResponse:
    """/healthz: this process answers. /readyz: it can do its work (database there and migrated). Before sessions."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path == "/healthz":
            return JsonResponse({"status": "ok"})
        if request.path == "/readyz":
            return _ready()
        return get_response(request)

    return middleware


def _ready() -> JsonResponse:
    global _migrated
    try:
        connection.ensure_connection()
        if not _migrated:
            executor = MigrationExecutor(connection)
            if executor.migration_plan(executor.loader.graph.leaf_nodes()):
                return JsonResponse({"status": "migrations pending"}, status=503)
            _migrated = True
    except Exception:  # a health check tells of any fault and never fails itself
        return JsonResponse({"status": "database unreachable"}, status=503)
    return JsonResponse({"status": "ready"})


class ContentSecurityPolicy(CSPMiddleware):
    """Our strict policy on our pages; under /cms/ the same for scripts, and two exceptions that Wagtail's editor forces.

    Draftail, the comment margin and jQuery UI write style attributes (style-src); its previews are frames, and images
    just chosen are shown from blob: addresses. Wagtail's own inline scripts are gone: lms/design/editor.py.
    """

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.path_info.startswith("/cms/") and not report_only:
            parts.replace = {
                "style-src": [SELF, UNSAFE_INLINE],
                "img-src": [SELF, "data:", "blob:"],
                "frame-src": [SELF],
            }
        return parts
