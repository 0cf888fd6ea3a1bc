"""What certification holds of a person, for "download my data" (PIPL art. 45).

Nothing here is erased with a consent: decisions and certificates are records that others rely on, kept on a legal basis of
their own; the verification page shows a masked name.
"""

from __future__ import annotations

from typing import Any

from certification.models import Appeal, Application, Credential
from lms.accounts.models import User


def personal_data(user: User) -> dict[str, Any]:
    applications = Application.objects.filter(user=user).select_related("level__standard").prefetch_related("decisions")
    return {
        "applications": [
            {
                "level": str(one.level),
                "state": one.state,
                "applied": one.applied_at.isoformat(),
                "inputs": one.inputs,
                "decisions": [
                    {"number": made.number, "kind": made.kind, "met": made.met, "decided": made.decided_at.isoformat()}
                    for made in one.decisions.all()
                ],
            }
            for one in applications
        ],
        "appeals": [
            {"raised": one.raised_at.isoformat(), "reason": one.reason, "state": one.state, "answer": one.answer}
            for one in Appeal.objects.filter(raised_by=user)
        ],
        "credentials": [
            {
                "number": one.number,
                "title": one.title,
                "name": one.holder_name,
                "state": one.state,
                "issued": one.issued_on.isoformat(),
                "expires": one.expires_on and one.expires_on.isoformat(),
            }
            for one in Credential.objects.filter(user=user)
        ],
    }
