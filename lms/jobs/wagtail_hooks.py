"""What jobs tell of a person."""

from __future__ import annotations

from typing import Any

from wagtail import hooks

from lms.accounts.models import User
from lms.jobs.models import Job


@hooks.register("personal_data")
def personal_data(user: User) -> dict[str, Any]:
    """For "download my data"."""
    rows = Job.objects.filter(requested_by=user)
    return {"jobs": [{"title": one.title, "state": one.state, "asked": one.created_at.isoformat()} for one in rows]}
