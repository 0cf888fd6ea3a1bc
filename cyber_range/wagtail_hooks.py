from __future__ import annotations

from datetime import datetime
from typing import Any

from wagtail import hooks
from wagtail.admin.viewsets.base import ViewSet, ViewSetGroup

from cyber_range import reports
from cyber_range.administration import RangeGroup, RangeHostViewSet
from cyber_range.authoring import hooks as authoring_hooks  # noqa: F401 - registers its own
from cyber_range.models import Instance
from lms.accounts.models import User


@hooks.register("register_admin_viewset")
def administration() -> list[ViewSet | ViewSetGroup]:
    return [RangeGroup(), RangeHostViewSet()]


@hooks.register("follower_tick")
def look_after_hosts(now: datetime) -> None:
    reports.look_after_hosts(now)


@hooks.register("personal_data")
def personal_data(user: User) -> dict[str, Any]:
    """For "download my data": ranges the person asked for."""
    rows = Instance.objects.filter(requested_by=user)
    return {
        "cyber_range": [
            {"range": one.title, "purpose": one.purpose, "state": one.state, "requested": one.created_at.isoformat()}
            for one in rows
        ]
    }
