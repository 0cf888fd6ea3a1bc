"""A range's life as its page shows it: warm or cold, warned and extended, paused, reset, sliced, ended with a reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from cyber_range import hosts, reports, services
from cyber_range.engine.errors import UnknownRange
from cyber_range.models import Instance, WarmPool
from cyber_range.tasks import launch, operate, snapshot
from lms.accounts.models import AuditEntry, User
from lms.jobs.models import Job
from tests.factories.cyber_range import InstanceFactory, RangeHostFactory

from .conftest import PaperHost, status

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_scenarios")]
Enter = Callable[[User], Client]


@pytest.fixture
def person(member: Any) -> User:
    user: User = member("security")
    return user


@pytest.fixture
def mine(person: User) -> Instance:
    return InstanceFactory(organisation=person.memberships.get().organisation, state="ready")


def unix(moment: datetime) -> float:
    return moment.timestamp()


# ---------------------------------------------------------------- warm pools


def test_a_launch_claims_a_warm_range_and_takes_its_id(person: User, paper_host: PaperHost) -> None:
    instance, job = services.request_range(
        scenario="mini", organisation=person.memberships.get().organisation, by=person
    )
    paper_host["pool"] = {"pools": [{"scenario": "mini", "ready": 1}]}
    paper_host["launch"] = status(range_id="abcdefabcdef")

    launch(job.pk)

    instance.refresh_from_db()
    [(_host, _verb, asked)] = [one for one in paper_host.asked if one[1] == "launch"]
    assert (asked["claim"], "range_id" in asked, asked["labels"]["instance"]) == (True, False, str(instance.pk))
    assert (instance.range_id, instance.claimed, instance.seed, instance.state) == ("abcdefabcdef", True, "", "ready")


def test_a_claim_broken_off_is_found_again_and_not_repeated(person: User, paper_host: PaperHost) -> None:
    instance, job = services.request_range(
        scenario="mini", organisation=person.memberships.get().organisation, by=person
    )
    paper_host["pool"] = {"pools": [{"scenario": "mini", "ready": 1}]}
    label = {"instance": str(instance.pk)}
    paper_host["list"] = {"ranges": [{"range_id": "abcdefabcdef", "state": "ready", "labels": label}]}
    paper_host["status"] = status(range_id="abcdefabcdef")

    launch(job.pk)

    instance.refresh_from_db()
    assert (instance.range_id, instance.claimed, "launch" in paper_host.verbs()) == ("abcdefabcdef", True, False)


def test_a_claim_that_was_lost_is_launched_cold_from_a_new_seed(person: User, paper_host: PaperHost) -> None:
    instance, job = services.request_range(
        scenario="mini", organisation=person.memberships.get().organisation, by=person
    )
    Instance.objects.update(seed="", range_id="abcdefabcdef", state="launching")
    paper_host["launch"] = status()

    launch(job.pk)

    instance.refresh_from_db()
    [asked] = [args for _host, verb, args in paper_host.asked if verb == "launch"]
    assert (instance.claimed, asked["range_id"], asked["seed"]) == (False, instance.range_id, instance.seed)
    assert instance.seed
    assert instance.range_id != "abcdefabcdef"


def test_a_range_claimed_for_an_instance_that_moved_away_is_given_back(person: User, paper_host: PaperHost) -> None:
    instance, job = services.request_range(
        scenario="mini", organisation=person.memberships.get().organisation, by=person
    )
    other = RangeHostFactory(name="other")
    paper_host["pool"] = {"pools": [{"scenario": "mini", "ready": 1}]}

    def claim(**_args: Any) -> dict[str, Any]:
        Instance.objects.update(host=other, state="waiting")  # the follower took this host for lost meanwhile
        return status(range_id="abcdefabcdef")

    paper_host["launch"], paper_host["destroy"] = claim, {"destroyed": True}

    launch(job.pk)

    before = instance.range_id
    instance.refresh_from_db()
    assert (instance.host, instance.range_id, instance.state) == (other, before, "waiting")
    assert ("destroy", "abcdefabcdef") in [(verb, args.get("range_id")) for _host, verb, args in paper_host.asked]


def test_without_a_warm_range_the_launch_is_cold(person: User, paper_host: PaperHost) -> None:
    instance, job = services.request_range(
        scenario="mini", organisation=person.memberships.get().organisation, by=person
    )
    paper_host["launch"] = status(range_id=instance.range_id)

    launch(job.pk)

    instance.refresh_from_db()
    assert (instance.claimed, instance.seed != "") == (False, True)


def test_a_drill_s_seed_is_its_own_so_it_is_launched_cold(person: User) -> None:
    _instance, job = services.request_range(
        scenario="mini", organisation=person.memberships.get().organisation, by=person, purpose="drill", seed="s"
    )

    assert "claim" not in job.args


def test_pools_are_brought_to_what_the_rows_wish(paper_host: PaperHost) -> None:
    host = RangeHostFactory(state="here")
    row = WarmPool.objects.create(host=host, scenario="mini", minimum=1, maximum=2)
    there = {
        "mini": {"scenario": "mini", "minimum": 0, "maximum": 0},
        "old": {"scenario": "old", "minimum": 3, "maximum": 3},
    }

    def pool(scenario: str = "", minimum: int = 0, maximum: int = 0) -> dict[str, Any]:
        if scenario:
            there[scenario] = {
                "scenario": scenario, "minimum": minimum, "maximum": maximum, "ready": minimum, "making": 0,
                "claimed": 0, "missed": 0, "trouble": "",
            }  # fmt: skip
        return {"pools": list(there.values())}

    paper_host["pool"] = pool

    reports.look_after(host, timezone.now())
    first = list(paper_host.asked)
    reports.look_after(host, timezone.now())

    row.refresh_from_db()
    assert ((there["mini"]["minimum"], there["mini"]["maximum"]), there["old"]["maximum"], row.ready) == ((1, 2), 0, 1)
    again = paper_host.asked[len(first) :]
    assert [args for _h, verb, args in again if verb == "pool"] == [{}]


# ---------------------------------------------------------------- time to live


def test_the_end_is_warned_of_once_and_again_after_an_extension(mine: Instance, paper_host: PaperHost) -> None:
    soon, later = timezone.now() + timedelta(minutes=5), timezone.now() + timedelta(minutes=65)
    for expires in (soon, soon, later, soon):
        services.take_status(mine, status(expires=unix(expires)))

    assert AuditEntry.objects.filter(action="range.ends_soon").count() == 2
    mine.refresh_from_db()
    assert mine.warned_at is not None


def test_the_page_warns_ten_minutes_before(
    person: User, mine: Instance, signed_in: Enter, paper_host: PaperHost
) -> None:
    paper_host["status"], paper_host["captures"] = status(), {"captures": []}
    client = signed_in(person)
    page = reverse("cyber_range:instance", args=[mine.pk])
    assert "即将到期" not in client.get(page).content.decode()

    Instance.objects.update(expires_at=timezone.now() + timedelta(minutes=9))

    assert "即将到期" in client.get(page).content.decode()


def test_an_extension_has_a_limit_and_says_it(
    person: User, mine: Instance, signed_in: Enter, paper_host: PaperHost, settings: Any
) -> None:
    settings.PRACTICE_HOURS = 5
    paper_host["extend"] = paper_host["status"] = status()
    paper_host["captures"] = {"captures": []}
    client = signed_in(person)
    extend = reverse("cyber_range:operate", args=[mine.pk, "extend"])

    client.post(extend)
    answer = client.post(extend, follow=True)

    mine.refresh_from_db()
    assert mine.ttl == 5 * 3600
    assert "练习靶场最长运行 5 小时" in answer.content.decode()
    assert paper_host.verbs().count("extend") == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(state="gone", reason="its time to live is over"), "时限已到，靶场已自动结束。"),
        (UnknownRange("gone"), "主机重启或到期后已没有这个靶场。"),
    ],
)
def test_the_end_is_said_with_its_reason(mine: Instance, paper_host: PaperHost, answer: Any, reason: str) -> None:
    paper_host["status"] = answer

    reports.look_after(mine.host, timezone.now())

    mine.refresh_from_db()
    assert (mine.state, mine.reason, mine.ended_at is not None) == ("gone", reason, True)


# ---------------------------------------------------------------- verbs


@pytest.mark.parametrize(("verb", "state"), [("pause", "paused"), ("resume", "ready")])
def test_pause_and_resume(
    person: User, mine: Instance, signed_in: Enter, paper_host: PaperHost, verb: str, state: str
) -> None:
    paper_host[verb] = status(state=state)

    signed_in(person).post(reverse("cyber_range:operate", args=[mine.pk, verb]))

    mine.refresh_from_db()
    assert (mine.state, AuditEntry.objects.filter(action=f"range.{verb}").exists()) == (state, True)


def test_a_host_out_of_reach_is_operated_by_its_own_worker(
    person: User, mine: Instance, signed_in: Enter, paper_host: PaperHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "within_reach", lambda host: False)
    mine.host.queue = "range.far"
    mine.host.save()
    client = signed_in(person)

    client.post(reverse("cyber_range:operate", args=[mine.pk, "pause"]))
    job = Job.objects.get()
    page = client.get(reverse("cyber_range:instance", args=[mine.pk])).content.decode()

    assert (job.task, job.queue, paper_host.asked) == ("cyber_range.operate", "range.far", [])
    assert "这台机器连不到它的套接字" in page
    paper_host["pause"] = status(state="paused")
    operate(job.pk)
    mine.refresh_from_db()
    assert mine.state == "paused"


def test_snapshots_are_listed_taken_put_back_and_deleted(
    person: User, mine: Instance, signed_in: Enter, paper_host: PaperHost
) -> None:
    one = {"name": "发现前", "taken": 1_900_000_000, "at": 60.0, "bytes": 2048, "version": 1}
    paper_host["status"], paper_host["captures"] = status(), {"captures": []}
    paper_host["snapshots"] = {"snapshots": [one]}
    paper_host["snapshot"] = paper_host["delete_snapshot"] = {"snapshots": [one]}
    paper_host["restore"] = status(state="paused", reason="restored")
    client = signed_in(person)

    page = client.get(reverse("cyber_range:instance", args=[mine.pk])).content.decode()
    for verb, name in (("snapshot", "发现后"), ("restore", "发现前"), ("delete_snapshot", "发现前")):
        client.post(reverse("cyber_range:operate", args=[mine.pk, verb]), {"name": name})
        snapshot(Job.objects.get(state="waiting").pk)
    twice = client.post(reverse("cyber_range:operate", args=[mine.pk, "snapshot"]), {"name": "发现前"}, follow=True)

    asked = [(verb, args["name"]) for _host, verb, args in paper_host.asked if "name" in args]
    assert asked == [("snapshot", "发现后"), ("restore", "发现前"), ("delete_snapshot", "发现前")]
    mine.refresh_from_db()
    assert ("发现前" in page, mine.state, "已有名为" in twice.content.decode()) == (True, "paused", True)
    assert set(Job.objects.values_list("state", flat=True)) == {"done"}


@pytest.mark.parametrize("verb", ["pause", "resume", "reset", "snapshot", "extend", "relaunch", "destroy"])
def test_nobody_operates_the_range_of_others(member: Any, mine: Instance, signed_in: Enter, verb: str) -> None:
    client = signed_in(member("security"))

    assert client.post(reverse("cyber_range:operate", args=[mine.pk, verb])).status_code == 404
    assert client.post(reverse("cyber_range:slice", args=[mine.pk])).status_code == 404


# ---------------------------------------------------------------- captures


@pytest.fixture
def captured(paper_host: PaperHost) -> PaperHost:
    paper_host["status"] = status()
    paper_host["captures"] = {
        "captures": [{"name": "office-000001.pcapng", "zone": "office", "bytes": 9, "packets": 2}]
    }
    paper_host["slice"] = {"name": "slice-office-0123456789ab.pcapng", "packets": 1}
    return paper_host


def test_a_slice_of_time_is_downloaded(person: User, mine: Instance, signed_in: Enter, captured: PaperHost) -> None:
    answer = signed_in(person).post(
        reverse("cyber_range:slice", args=[mine.pk]),
        {"zone": "office", "begin": "2030-01-02T08:00:00", "finish": "2030-01-02T08:05:00"},
    )

    assert b"".join(answer.streaming_content) == b"pcap"
    assert answer["Content-Disposition"].endswith('slice-office-0123456789ab.pcapng"')
    [asked] = [args for _host, verb, args in captured.asked if verb == "slice"]
    start = datetime(
        2030, 1, 2, 8, tzinfo=timezone.get_default_timezone()
    ).timestamp()  # the reader's clock, not the server's
    assert (asked["zone"], asked["from"], asked["to"]) == ("office", start, start + 300)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"zone": "fieldbus"}, "fieldbus"),
        ({"zone": "office", "begin": "2030-01-02T08:05", "finish": "2030-01-02T08:00"}, "要早于"),
    ],
)
def test_a_wrong_slice_is_refused_in_words(
    person: User, mine: Instance, signed_in: Enter, captured: PaperHost, asked: dict[str, str], said: str
) -> None:
    answer = signed_in(person).post(reverse("cyber_range:slice", args=[mine.pk]), asked, follow=True)

    assert said in answer.content.decode()
    assert "slice" not in captured.verbs()
