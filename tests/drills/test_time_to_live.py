"""The end of a drill's range is warned of in its log, once, ten minutes before."""

from __future__ import annotations

import time

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


def test_the_range_lives_as_long_as_its_extended_drill(running: Drill, people: dict[str, User]) -> None:
    """Whoever extends the drill has not to think of the machine behind it."""
    assert running.instance is not None

    def ends_in() -> float:
        return float(ranges.call(running.instance, "status")["expires"]) - time.time()

    before = ends_in()
    services.follow(drill=fresh(running))
    unmoved = ends_in()
    for _ in range(3):
        services.extend(drill=fresh(running), by=people["white"], minutes=240)
    services.follow(drill=fresh(running))
    services.follow(drill=fresh(running))
    row = fresh(running).instance

    assert before == pytest.approx(unmoved, abs=5)
    assert ends_in() == pytest.approx((30 + 3 * 240 + 60) * 60, abs=60)
    assert row.expires_at.timestamp() - time.time() == pytest.approx(ends_in(), abs=5)


def test_a_paused_drill_does_not_hold_its_machine_for_ever(running: Drill, people: dict[str, User]) -> None:
    services.extend(drill=running, by=people["white"], minutes=240)
    services.pause(drill=fresh(running), by=people["white"])

    services.follow(drill=fresh(running))

    assert float(ranges.call(running.instance, "status")["expires"]) - time.time() < (30 + 240) * 60
