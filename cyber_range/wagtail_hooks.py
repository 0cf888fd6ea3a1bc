from __future__ import annotations

from datetime import datetime

from wagtail import hooks

from cyber_range import services
from cyber_range.viewsets import RangeHostViewSet


@hooks.register("register_admin_viewset")
def range_hosts() -> RangeHostViewSet:
    return RangeHostViewSet("range_hosts", url_prefix="range-hosts")


@hooks.register("follower_tick")
def look_after_hosts(now: datetime) -> None:
    services.look_after_hosts(now)
