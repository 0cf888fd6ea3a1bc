"""靶场 pages: who sees which range, and what the follower writes down about hosts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from cyber_range import catalogue, drawing, hosts, reports, services
from cyber_range.engine.errors import UnknownRange
from cyber_range.engine.host.wire import HostUnreachable
from cyber_range.models import Instance, RangeHost
from lms.accounts.models import User
from lms.jobs.models import Job
from tests.factories.cyber_range import InstanceFactory, RangeHostFactory

pytestmark = pytest.mark.django_db
Enter = Callable[[User], Client]


@pytest.fixture(autouse=True)
def small_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "FOLDER", Path(__file__).parents[1] / "drills" / "scenarios")


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A host that answers what the test put down; an exception is raised."""
    answers: dict[str, Any] = {"pool": {"pools": []}, "list": {"ranges": []}}

    class Client:
        def call(self, verb: str, **args: Any) -> Any:
            answer = answers[verb]
            if callable(answer):
                answer = answer(**args)
            if isinstance(answer, Exception):
                raise answer
            return answer

        def close(self) -> None: ...
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *exc: object) -> None: ...
        def file(self, verb: str, **args: Any) -> Any:
            yield b"pcap"

    monkeypatch.setattr(hosts, "client", lambda host: Client())
    return answers


def test_home_shows_own_ranges_at_equal_cost(member, signed_in: Enter) -> None:
    user = member("security")
    organisation = user.memberships.get().organisation
    client = signed_in(user)
    InstanceFactory(organisation=organisation, title="我们的一号", state="ready")
    InstanceFactory(title="别人的", state="ready")
    client.get(reverse("cyber_range:home"))
    with CaptureQueriesContext(connection) as one:
        page = client.get(reverse("cyber_range:home")).content.decode()
    InstanceFactory.create_batch(2, organisation=organisation, state="ready")

    with CaptureQueriesContext(connection) as three:
        client.get(reverse("cyber_range:home"))

    assert ("我们的一号" in page, "别人的" in page, "小灌装线" in page) == (True, False, True)
    assert len(three) == len(one)


def test_the_memory_driver_is_said(member, signed_in: Enter) -> None:
    client = signed_in(member("security"))
    RangeHostFactory(driver="netns")
    assert "内存模拟" not in client.get(reverse("cyber_range:home")).content.decode()

    RangeHost.objects.update(driver="memory")

    assert "内存模拟" in client.get(reverse("cyber_range:home")).content.decode()


@pytest.mark.parametrize("role", ["learner", "officer", "assessor"])
def test_others_are_told_whom_to_ask(member, signed_in: Enter, role: str) -> None:
    answer = signed_in(member(role)).get(reverse("cyber_range:home"))

    assert answer.status_code == 403
    assert "安全人员" in answer.content.decode()


def test_launching_writes_the_row_and_the_job_once(member, signed_in: Enter) -> None:
    user = member("security")
    organisation = user.memberships.get().organisation

    signed_in(user).post(reverse("cyber_range:launch", args=["mini"]), {"organisation": organisation.pk})

    instance, job = Instance.objects.get(), Job.objects.get()
    assert (instance.scenario, instance.organisation, instance.state) == ("mini", organisation, "waiting")
    assert (job.task, job.args) == ("cyber_range.launch", {"instance": instance.pk, "claim": True})


def test_the_fifth_practice_range_is_refused(member) -> None:
    user = member("security")
    organisation = user.memberships.get().organisation
    InstanceFactory.create_batch(4, organisation=organisation, state="ready")

    with pytest.raises(services.RangeRefused, match="先结束一个"):
        services.request_range(scenario="mini", organisation=organisation, by=user)


def test_ranges_of_others_do_not_exist_for_me(member, signed_in: Enter) -> None:
    instance = InstanceFactory(state="ready")

    client = signed_in(member("security"))

    assert client.get(reverse("cyber_range:instance", args=[instance.pk])).status_code == 404
    assert client.post(reverse("cyber_range:operate", args=[instance.pk, "destroy"])).status_code == 404


def test_a_drills_range_is_run_from_its_room(member, signed_in: Enter, paper: dict[str, Any]) -> None:
    user = member("security")
    instance = InstanceFactory(organisation=user.memberships.get().organisation, state="ready", purpose="drill")
    paper["status"] = {}

    client = signed_in(user)

    assert client.post(reverse("cyber_range:operate", args=[instance.pk, "destroy"])).status_code == 403
    assert client.get(reverse("cyber_range:capture", args=[instance.pk, "a.pcapng"])).status_code == 403


def test_a_capture_is_an_attachment_and_only_what_the_host_lists(
    member, signed_in: Enter, paper: dict[str, Any]
) -> None:
    user = member("security")
    instance = InstanceFactory(organisation=user.memberships.get().organisation, state="ready")
    paper["captures"] = {"captures": [{"name": "office.pcapng"}]}
    client = signed_in(user)

    good = client.get(reverse("cyber_range:capture", args=[instance.pk, "office.pcapng"]))

    assert b"".join(good.streaming_content) == b"pcap"
    assert good["Content-Disposition"].startswith("attachment")
    assert client.get(reverse("cyber_range:capture", args=[instance.pk, "other.pcapng"])).status_code == 404


STATUS = {
    "state": "ready", "reason": "", "driver": "memory", "health": {"plc": {"state": "ill", "reason": "x"}},
    "production": {"alive": True}, "scenario": {"digest": "d" * 12, "version": "1.0.1"}, "expires": 2_000_000_000,
}  # fmt: skip


def test_the_follower_writes_down_what_the_host_says(paper: dict[str, Any]) -> None:
    host = RangeHostFactory()
    here = InstanceFactory(host=host, state="launching")
    gone = InstanceFactory(host=host, state="ready")
    paper |= {
        "ping": {"driver": "memory"}, "capacity": {"max_ranges": 8, "free": 7}, "probe": {"drivers": []},
        "list": {"ranges": [{"range_id": here.range_id}]}, "status": STATUS,
    }  # fmt: skip

    reports.look_after_hosts(timezone.now())

    here.refresh_from_db(), gone.refresh_from_db(), host.refresh_from_db()
    assert (here.state, here.driver, here.production, here.sick_nodes) == ("ready", "memory", True, ["plc"])
    assert gone.state == "gone"
    assert (host.state, host.free, host.here) == ("here", 7, True)


def test_a_silent_host_is_marked_and_its_ranges_too(paper: dict[str, Any]) -> None:
    host = RangeHostFactory(state="here")
    instance = InstanceFactory(host=host, state="ready")
    paper["ping"] = HostUnreachable("nobody there")

    reports.look_after_hosts(timezone.now())

    host.refresh_from_db(), instance.refresh_from_db()
    assert (host.state, instance.state, instance.silent_since is not None) == ("away", "ready", True)


def test_a_launch_that_cannot_be_is_told_on_the_instance(member, paper: dict[str, Any]) -> None:
    from cyber_range.tasks import launch

    user = member("security")
    instance, job = services.request_range(scenario="mini", organisation=user.memberships.get().organisation, by=user)
    paper["launch"] = UnknownRange("no room", remedy="End a range")

    launch(job.pk)

    job.refresh_from_db(), instance.refresh_from_db()
    assert (job.state, job.error["code"], instance.state) == ("failed", "unknown_range", "failed")
    assert "no room" in instance.reason


def test_hidden_zones_are_drawn_for_the_white_cell_alone() -> None:
    scenario = catalogue.entry("mini").scenario

    assert [lane.name for lane in drawing.draw(scenario).lanes] == ["office", "workshop"]
    assert [lane.name for lane in drawing.draw(scenario, everything=True).lanes] == ["office", "workshop", "fieldbus"]
    one = drawing.draw(scenario, sees=("office",))
    assert {node.name for node in one.nodes} == {"fw", "ws", "intruder"}
    assert all(0 <= n.x <= one.width and 0 <= n.y <= one.height for n in one.nodes)
