"""The one way into the audit log."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.http import HttpRequest

from lms.accounts.models import AuditEntry, Organisation, User


def record(
    action: str,
    target: Model,
    *,
    by: User | None,
    organisation: Organisation | None = None,
    ip: str | None = None,
    **detail: Any,
) -> AuditEntry:
    """Adds one row, inside the caller's transaction. `action` is `thing.verb` ("staff.invited"); `detail` is JSON-able
    and holds neither secrets nor more of a person than the decision needs."""
    return AuditEntry.objects.create(
        action=action,
        actor=by,
        organisation=organisation,
        target_type=target._meta.label_lower,
        target_id=str(target.pk),
        target_label=str(target)[:200],
        detail=detail,
        ip=ip,
    )


def client_ip(request: HttpRequest) -> str | None:
    """The address the request came from, as the front server reports it."""
    return request.META.get("REMOTE_ADDR") or None
