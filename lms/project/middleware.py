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
    """Our strict policy on our pages; under /cms/ the exceptions that Wagtail's editor forces.

    Wagtail 8 renders inline scripts without a nonce (date choosers, inline panels, modal workflows) and Draftail writes
    style attributes. Those pages are for signed-in staff only and show no one else's markup unescaped.
    """

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.path_info.startswith("/cms/") and not report_only:
            parts.replace = {
                "script-src": [SELF, UNSAFE_INLINE],
                "style-src": [SELF, UNSAFE_INLINE],
                "img-src": [SELF, "data:", "blob:"],
                "frame-src": [SELF],
            }
        return parts
