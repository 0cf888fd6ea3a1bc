"""靶场 in Wagtail's admin: who gets in, what it shows at equal cost, and what its buttons do."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from cyber_range.engine.host.wire import HostUnreachable
from cyber_range.models import Instance, Quota, RangeHost, WarmPool
from lms.jobs.models import Job
from tests.factories.accounts import OrganisationFactory, UserFactory
from tests.factories.cyber_range import InstanceFactory, RangeHostFactory

from .conftest import PaperHost, status

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_scenarios")]
SCREENS = [
    "range_admin_scenarios:index", "range_admin_hosts:index", "range_admin_instances:index", "range_admin_instances:rows",
    "range_admin_captures:index", "range_quotas:index", "range_pools:index", "range_hosts:index",
]  # fmt: skip


@pytest.fixture
def admin(signed_in: Any) -> Client:
    client: Client = signed_in(UserFactory(is_superuser=True, is_staff=True))
    return client


@pytest.fixture
def trainer(signed_in: Any, member: Any) -> Client:
    """Has Wagtail's editor, not the ranges' administration."""
    user = member("trainer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="access_admin"))
    client: Client = signed_in(user)
    return client


@pytest.mark.parametrize("screen", SCREENS)
def test_only_range_administrators_get_in(admin: Client, trainer: Client, screen: str) -> None:
    assert admin.get(reverse(screen)).status_code == 200
    assert trainer.get(reverse(screen)).status_code in (302, 403)


def test_a_trainer_s_menu_has_no_range_administration(admin: Client, trainer: Client) -> None:
    address = reverse("range_admin_hosts:index")

    assert address in admin.get(reverse("wagtailadmin_account")).content.decode()
    assert address not in trainer.get(reverse("wagtailadmin_account")).content.decode()


@pytest.mark.parametrize("verb", ["destroy", "extend", "reset"])
def test_wrong_people_change_nothing(trainer: Client, verb: str) -> None:
    one = InstanceFactory(state="ready")

    answers = [
        trainer.post(reverse("range_admin_instances:verb", args=[one.pk, verb])),
        trainer.post(reverse("range_admin_hosts:duty", args=[one.host.pk, "retired"])),
        trainer.post(reverse("range_admin_captures:slice", args=[one.pk])),
        trainer.post(reverse("range_quotas:add"), {"organisation": one.organisation.pk, "most": 99, "purpose": ""}),
    ]

    assert all(answer.status_code in (302, 403) for answer in answers)
    assert (Job.objects.count(), Quota.objects.count(), RangeHost.objects.get().duty) == (0, 0, "open")


def rows(n: int) -> None:
    for number in range(n):
        host = RangeHostFactory(
            name=f"h{RangeHost.objects.count()}", state="here", last_seen=timezone.now(), capacity=4
        )
        one = InstanceFactory(host=host, state="ill", requested_by=UserFactory())
        Instance.objects.filter(pk=one.pk).update(health={"plc": {"state": "ill", "reason": f"no answer {number}"}})
        Quota.objects.create(organisation=one.organisation, most=3)
        Quota.objects.create(host=host, most=3)
        WarmPool.objects.create(host=host, scenario="mini")


@pytest.mark.parametrize("screen", SCREENS)
def test_one_row_and_three_cost_the_same(admin: Client, screen: str) -> None:
    rows(1)
    admin.get(reverse(screen))
    with CaptureQueriesContext(connection) as one:
        admin.get(reverse(screen))
    rows(2)

    with CaptureQueriesContext(connection) as three:
        answer = admin.get(reverse(screen))

    assert answer.status_code == 200
    assert len(three) == len(one)


def test_scenarios_show_map_digest_and_requirements_and_are_narrowed(admin: Client) -> None:
    page = admin.get(reverse("range_admin_scenarios:index")).content.decode()
    none = admin.get(reverse("range_admin_scenarios:index"), {"difficulty": "nobody's"}).content.decode()

    assert ('<svg class="cr-map"' in page, "小灌装线" in page, "摘要" in page) == (True, True, True)
    assert ("小灌装线" in none, "没有符合条件的场景" in none) == (False, True)


def test_hosts_say_what_is_missing_and_the_remedy(admin: Client) -> None:
    RangeHostFactory(
        name="east", state="away", trouble="range-host does not answer", queue="range.east", capacity=4,
        drivers=[{"name": "docker", "usable": False, "reason": "no engine", "remedy": "start dockerd", "unbounded": []}],
    )  # fmt: skip

    page = admin.get(reverse("range_admin_hosts:index")).content.decode()

    for word in (
        "east",
        "失联",
        "range-host does not answer",
        "队列无人处理",
        "range-worker",
        "no engine",
        "start dockerd",
    ):
        assert word in page


def test_draining_is_one_button(admin: Client) -> None:
    host = RangeHostFactory(state="here")

    admin.post(reverse("range_admin_hosts:duty", args=[host.pk, "draining"]))

    host.refresh_from_db()
    assert host.duty == "draining"
    assert admin.post(reverse("range_admin_hosts:duty", args=[host.pk, "gone"])).status_code == 404


def test_a_host_that_held_ranges_is_kept(admin: Client) -> None:
    used, unused = InstanceFactory(state="gone").host, RangeHostFactory(name="unused")

    said = admin.post(reverse("range_hosts:delete", args=[used.pk]), follow=True).content.decode()
    admin.post(reverse("range_hosts:delete", args=[unused.pk]))

    assert "请停用它" in said
    assert list(RangeHost.objects.all()) == [used]


def test_the_fragment_says_which_node_is_ill_and_why(admin: Client) -> None:
    InstanceFactory(state="ill", health={"plc": {"state": "ill", "reason": "502 refused"}, "hmi": {"state": "ok"}})
    InstanceFactory(state="gone", title="早已结束")

    fragment = admin.get(reverse("range_admin_instances:rows")).content.decode()

    assert ("plc" in fragment, "502 refused" in fragment, "<html" in fragment, "早已结束" in fragment) == (
        True, True, False, False,
    )  # fmt: skip
    assert "早已结束" in admin.get(reverse("range_admin_instances:rows"), {"all": "1"}).content.decode()


def test_the_administrator_ends_resets_and_extends(admin: Client, paper_host: PaperHost) -> None:
    paper_host["extend"] = status()
    one = InstanceFactory(state="ready")
    drill = InstanceFactory(state="ready", purpose="drill")

    for verb in ("extend", "reset", "destroy"):
        admin.post(reverse("range_admin_instances:verb", args=[one.pk, verb]))

    assert sorted(Job.objects.values_list("task", flat=True)) == ["cyber_range.destroy", "cyber_range.reset"]
    assert Instance.objects.get(pk=one.pk).ttl == 5 * 3600
    assert admin.post(reverse("range_admin_instances:verb", args=[drill.pk, "reset"])).status_code in (302, 403)
    assert not Job.objects.filter(args__instance=drill.pk).exists()


def test_captures_are_listed_by_zone_and_sent(admin: Client, paper_host: PaperHost) -> None:
    one = InstanceFactory(state="ready")
    paper_host["status"] = status()
    paper_host["captures"] = {
        "captures": [{"name": "office-000001.pcapng", "zone": "office", "bytes": 2048, "packets": 7}]
    }
    paper_host["slice"] = {"name": "slice-office-0123456789ab.pcapng", "packets": 1}

    page = admin.get(reverse("range_admin_captures:files", args=[one.pk])).content.decode()
    file = admin.get(reverse("range_admin_captures:file", args=[one.pk, "office-000001.pcapng"]))
    piece = admin.post(reverse("range_admin_captures:slice", args=[one.pk]), {"zone": "office"})

    assert all(word in page for word in ("office-000001.pcapng", "2.0", "7", "按时间截取"))
    assert (b"".join(file.streaming_content), b"".join(piece.streaming_content)) == (b"pcap", b"pcap")
    assert admin.get(reverse("range_admin_captures:file", args=[one.pk, "other.pcapng"])).status_code == 404


def test_a_silent_host_s_captures_say_so(admin: Client, paper_host: PaperHost) -> None:
    one = InstanceFactory(state="ready")
    paper_host["status"] = HostUnreachable("nobody there", remedy="start it")

    page = admin.get(reverse("range_admin_captures:files", args=[one.pk])).content.decode()

    assert "nobody there" in page
    assert "start it" in page


def test_quotas_are_written_by_form_and_wrong_ones_explained(admin: Client) -> None:
    organisation, host = OrganisationFactory(), RangeHostFactory()
    good = {"organisation": organisation.pk, "host": "", "purpose": "practice", "most": 2, "note": ""}

    admin.post(reverse("range_quotas:add"), good)
    both = admin.post(reverse("range_quotas:add"), good | {"host": host.pk})
    twice = admin.post(reverse("range_quotas:add"), good)

    assert [(q.organisation, q.purpose, q.most) for q in Quota.objects.all()] == [(organisation, "practice", 2)]
    assert "不能两者都选或都不选" in both.content.decode()
    assert "已有同一用途的额度" in twice.content.decode()


def test_a_pool_that_leaves_no_room_is_refused(admin: Client) -> None:
    host = RangeHostFactory(capacity=3)

    wrong = admin.post(reverse("range_pools:add"), {"host": host.pk, "scenario": "mini", "minimum": 3, "maximum": 3})
    admin.post(reverse("range_pools:add"), {"host": host.pk, "scenario": "mini", "minimum": 1, "maximum": 2})

    assert "总共容纳 3 个靶场" in wrong.content.decode()
    assert [(p.minimum, p.maximum) for p in WarmPool.objects.all()] == [(1, 2)]
