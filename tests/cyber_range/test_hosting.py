"""Machines: placing, draining, losing and replacing, and the queue a verb goes to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from cyber_range import hosting, hosts, reports, services
from cyber_range.engine.errors import Refused
from cyber_range.engine.host.wire import HostUnreachable
from cyber_range.models import Instance, RangeHost
from cyber_range.tasks import launch
from lms.accounts.models import AuditEntry
from lms.jobs.models import Job
from tests.factories.cyber_range import InstanceFactory, RangeHostFactory

from .conftest import PaperHost, status

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_scenarios")]


def machine(name: str, *, seconds: float = 0, served: bool = True, **values: Any) -> RangeHost:
    """A machine heard of so many seconds ago."""
    seen = timezone.now() - timedelta(seconds=seconds)
    values = {"capacity": 4, "free": 4, "state": "here", "queue": f"range.{name}", **values}
    return RangeHostFactory(name=name, last_seen=seen, worker_seen=seen if served else None, **values)


@pytest.fixture
def ask(member: Any) -> Any:
    user = member("security")

    def go(**values: Any) -> tuple[Instance, Job]:
        return services.request_range(
            scenario="mini", organisation=user.memberships.get().organisation, by=user, **values
        )

    return go


def test_launches_go_where_room_is_and_onto_that_queue(ask: Any) -> None:
    machine("a", capacity=1)
    machine("b", capacity=2)

    placed = [ask()[0].host.name for _ in range(3)]

    assert sorted(placed) == ["a", "b", "b"]
    assert {job.queue for job in Job.objects.all()} == {"range.a", "range.b"}


def test_full_machines_are_named_with_their_numbers(ask: Any) -> None:
    machine("a", capacity=1, foreign=1)
    machine("b", duty="draining")
    machine("c", state="away", seconds=100, trouble="range-host does not answer")

    with pytest.raises(services.RangeRefused) as refused:
        ask()

    said = str(refused.value)
    assert "a：最多 1 个，运行中 0 个（其中贵单位 0 个），预热及其他 1 个" in said
    assert "b：腾空中" in said
    assert "c：没有应答（range-host does not answer）" in said
    assert not Instance.objects.exists()


def test_the_first_machine_is_this_one(ask: Any) -> None:
    instance, job = ask()

    assert (instance.host.name, job.queue) == ("local", "")


def test_a_verb_goes_to_the_host_s_queue_only_while_somebody_serves_it(settings: Any) -> None:
    settings.RANGE_HOST_NAME = "a"

    assert hosts.queue_of(machine("a")) == "range.a"
    assert hosts.queue_of(machine("a2", served=False)) == "range.a2"  # nobody here reaches it
    RangeHost.objects.filter(name="a").update(worker_seen=None)
    assert hosts.queue_of(RangeHost.objects.get(name="a")) == ""


def test_a_machine_out_of_reach_says_so_and_what_to_do() -> None:
    far = machine("far")

    with pytest.raises(HostUnreachable) as refused:
        hosts.client(far).call("ping")

    assert "far" in str(refused.value)
    assert "套接字" in refused.value.remedy


def test_a_launch_that_waits_for_a_lost_machine_is_moved_with_its_id_and_seed(ask: Any) -> None:
    dead = machine("dead", capacity=9)
    instance, job = ask()
    before = (instance.range_id, instance.seed)
    Job.objects.filter(pk=job.pk).update(
        state="running", attempts=4, lease_token="t", lease_until=timezone.now() + timedelta(seconds=90)
    )
    RangeHost.objects.filter(pk=dead.pk).update(last_seen=timezone.now() - timedelta(seconds=60), worker_seen=None)
    machine("next")

    assert hosting.mend_queues(timezone.now()) == 1
    assert hosting.mend_queues(timezone.now()) == 0

    instance.refresh_from_db(), job.refresh_from_db()
    assert (instance.host.name, instance.state, instance.range_id, instance.seed) == ("next", "waiting", *before)
    assert (job.queue, job.state, job.attempts, job.lease_token) == ("range.next", "waiting", 0, "")
    assert AuditEntry.objects.filter(action="range.moved").count() == 1


def test_a_launch_a_full_machine_refuses_goes_to_the_next(ask: Any, paper_host: PaperHost) -> None:
    machine("a", capacity=9)
    instance, job = ask()
    machine("b")
    paper_host["a", "launch"] = Refused("this host carries 9 ranges already")
    paper_host["b", "launch"] = status(range_id=instance.range_id)

    launch(job.pk)
    job.refresh_from_db()
    assert (job.state, job.queue) == ("waiting", "range.b")
    launch(job.pk)

    job.refresh_from_db(), instance.refresh_from_db()
    assert (job.state, instance.state, instance.host.name) == ("done", "ready", "b")
    assert [(host, args["range_id"]) for host, verb, args in paper_host.asked if verb == "launch"] == [
        ("a", instance.range_id), ("b", instance.range_id),
    ]  # fmt: skip


def test_a_draining_machine_finishes_what_lives(ask: Any, member: Any) -> None:
    a = machine("a", capacity=9)
    living = InstanceFactory(host=a, state="ready")
    machine("b", capacity=1)

    hosting.set_duty(host=a, duty="draining", by=member("security"))
    instance, _job = ask()

    living.refresh_from_db()
    assert (instance.host.name, living.state) == ("b", "ready")


def test_a_machine_with_ranges_is_not_retired_unless_it_is_lost(member: Any) -> None:
    admin = member("security")
    a = machine("a")
    living = InstanceFactory(host=a, state="ready")

    with pytest.raises(services.RangeRefused, match="还有 1 个靶场"):
        hosting.set_duty(host=a, duty="retired", by=admin)
    RangeHost.objects.filter(pk=a.pk).update(last_seen=timezone.now() - timedelta(seconds=90), state="away")
    hosting.set_duty(host=a, duty="retired", by=admin)

    living.refresh_from_db()
    assert (living.state, "停用" in living.reason, RangeHost.objects.get().duty) == ("gone", True, "retired")


def test_work_that_nobody_serves_says_what_it_waits_for(ask: Any) -> None:
    only = machine("only")
    instance, _job = ask()
    Instance.objects.update(state="ready")
    Job.objects.all().delete()
    job = services.request_destroy(instance=instance, by=None)
    RangeHost.objects.filter(pk=only.pk).update(worker_seen=timezone.now() - timedelta(seconds=60))

    hosting.mend_queues(timezone.now())

    job.refresh_from_db()
    assert (job.state, job.queue) == ("waiting", "range.only")
    assert "only" in job.what_failed
    assert "range-worker" in job.remedy


def test_silence_is_said_on_the_ranges_and_taken_back(paper_host: PaperHost) -> None:
    host = machine("a", seconds=40)
    instance = InstanceFactory(host=host, state="ready")
    paper_host["ping"] = HostUnreachable("nobody there")

    reports.look_after_hosts(timezone.now())
    instance.refresh_from_db(), host.refresh_from_db()
    assert (instance.lost, host.state, host.trouble) == (True, "away", "nobody there")
    assert "起没有应答" in instance.reason

    paper_host["ping"] = {"driver": "memory"}
    paper_host["list"] = {"ranges": [{"range_id": instance.range_id, "state": "ready"}]}
    paper_host["status"] = status()
    reports.look_after_hosts(timezone.now())

    instance.refresh_from_db(), host.refresh_from_db()
    assert (instance.lost, instance.reason, host.state, host.trouble) == (False, "", "here", "")


def test_a_practice_range_of_a_lost_machine_is_started_anew_once(ask: Any, member: Any) -> None:
    machine("a", capacity=9)
    instance, _job = ask()
    Instance.objects.update(state="ready")
    with pytest.raises(services.RangeRefused, match="还在运行"):
        services.relaunch(instance=instance, by=None)
    Instance.objects.update(silent_since=timezone.now())

    anew, job = services.relaunch(instance=instance, by=instance.requested_by)
    again, none = services.relaunch(instance=instance, by=instance.requested_by)

    instance.refresh_from_db()
    assert (instance.state, anew.seed, anew.replaces, again.pk, none) == (
        "gone",
        instance.seed,
        instance,
        anew.pk,
        None,
    )
    assert job is not None


def test_a_machine_that_comes_back_ends_what_was_moved_or_ended_meanwhile(paper_host: PaperHost) -> None:
    a, b = machine("a"), machine("b")
    moved, over = InstanceFactory(host=b, state="ready"), InstanceFactory(host=a, state="gone")
    mine = InstanceFactory(host=a, state="ready")
    ranges = [{"range_id": one.range_id, "state": "ready"} for one in (moved, over, mine)]
    paper_host["a", "list"] = {"ranges": [*ranges, {"range_id": "0" * 12, "state": "ready"}]}
    paper_host["status"], paper_host["destroy"] = status(), {"destroyed": True}

    assert reports.look_after(a, timezone.now())

    ended = {args["range_id"] for host, verb, args in paper_host.asked if verb == "destroy" and host == "a"}
    assert ended == {moved.range_id, over.range_id}


def test_what_a_former_host_says_of_a_moved_range_changes_nothing() -> None:
    a, b = machine("a"), machine("b")
    stale = InstanceFactory(host=a, state="launching")
    Instance.objects.update(host=b, state="waiting")

    services.take_status(stale, status(state="ready"))

    assert (stale.state, stale.host) == ("waiting", b)


def test_a_worker_registers_its_machine_and_tells_what_the_follower_cannot_ask(
    paper_host: PaperHost, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RANGE_HOST_NAME = "east"
    told: list[str] = []
    monkeypatch.setattr("wagtail.hooks.get_hooks", lambda name: [lambda host, now: told.append(host.name)])

    reports.report("range.east", timezone.now())
    host = RangeHost.objects.get()
    assert (host.name, host.queue, host.driver, host.capacity, host.served, told) == (
        "east", "range.east", "memory", 8, True, [],
    )  # fmt: skip

    asked = len(paper_host.asked)
    reports.report("range.east", timezone.now())
    assert len(paper_host.asked) == asked  # the follower asks

    reports.report("range.east", timezone.now() + timedelta(seconds=8))
    assert (len(paper_host.asked) > asked, told) == (True, [])  # no follower has asked for a while

    RangeHost.objects.update(followed=False)
    reports.report("range.east", timezone.now())
    assert told == ["east"]


def test_room_counts_what_is_nobody_s_row(paper_host: PaperHost) -> None:
    host = machine("a", capacity=0)
    InstanceFactory(host=host, state="ready")
    paper_host["capacity"] = {"max_ranges": 8, "free": 4}
    paper_host["list"] = {"ranges": [{"range_id": Instance.objects.get().range_id, "state": "ready"}]}
    paper_host["status"] = status()

    reports.look_after(host, timezone.now())

    host.refresh_from_db()
    assert (host.capacity, host.foreign) == (8, 3)
    assert hosting.places("mini")[0].room == 4
