"""The end of a drill's range is warned of in its log, once, ten minutes before."""

from __future__ import annotations

import pytest

from cyber_range import services as ranges
from drills import services
from drills.models import Drill, DrillEvent
from lms.accounts.models import User

from .conftest import Host, fresh, until

pytestmark = pytest.mark.django_db


def test_the_room_is_warned_once_before_the_range_ends(
    seated: Drill, people: dict[str, User], range_host: Host
) -> None:
    services.launch_range(drill=seated, by=people["white"])
    instance = fresh(seated).instance
    assert instance is not None
    instance.ttl = 300
    ranges.launch_now(instance)
    try:

        def warned() -> int:
            services.follow(drill=fresh(seated))
            return DrillEvent.objects.filter(drill=seated, kind="range.warning").count()

        assert until(warned, seconds=60) == 1
        services.follow(drill=fresh(seated))
        assert DrillEvent.objects.filter(drill=seated, kind="range.warning").count() == 1
    finally:
        ranges.call(instance, "destroy")
