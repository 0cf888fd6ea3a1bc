"""The screen 任务."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from lms.accounts.models import User
from lms.jobs.models import Job

pytestmark = pytest.mark.django_db
Member = Callable[..., User]
SignedIn = Callable[[User], Client]


def job(by: User, **values: object) -> Job:
    return Job.objects.create(task="t", requested_by=by, **{"title": "生成报告", **values})


def text(response: object) -> str:
    return response.content.decode()


def test_list_shows_the_own_jobs_alone(member: Member, signed_in: SignedIn) -> None:
    person = member()
    job(person, title="我的导入")
    job(member(), title="别人的导入")

    page = text(signed_in(person).get(reverse("jobs:list")))

    assert "我的导入" in page
    assert "别人的导入" not in page


def test_list_says_why_it_is_empty(member: Member, signed_in: SignedIn) -> None:
    assert "还没有任务" in text(signed_in(member()).get(reverse("jobs:list")))


def test_list_costs_the_same_for_one_and_three(member: Member, signed_in: SignedIn) -> None:
    person = member()
    client = signed_in(person)

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            client.get(reverse("jobs:list"))
        return len(seen)

    job(person)
    queries()
    one = queries()
    job(person)
    job(person)

    assert queries() == one


@pytest.mark.parametrize(
    ("values", "shown", "hidden"),
    [
        ({"state": "running", "progress": 40, "step": "搭建网络"}, ["搭建网络", 'value="40"', "hx-get"], ["打开结果"]),
        ({"state": "waiting"}, ["排队中", "hx-get"], ["打开结果"]),
        ({"state": "done", "link": "/x/"}, ["打开结果", "已完成"], ["hx-get", "data-follow"]),
        ({"state": "failed", "error": {"what": "主机断开", "remedy": "换一台"}}, ["主机断开", "换一台"], ["hx-get"]),
        ({"state": "failed", "error": {"code": "attempts"}}, ["多次中断"], ["hx-get"]),
    ],
)
def test_card_shows_where_the_work_is(
    member: Member, signed_in: SignedIn, values: dict, shown: list[str], hidden: list[str]
) -> None:
    person = member()
    one = job(person, **values)

    page = text(signed_in(person).get(reverse("jobs:card", args=[one.pk])))

    assert [word for word in shown if word not in page] == []
    assert [word for word in hidden if word in page] == []


def test_card_followed_leads_on_when_the_work_is_done(member: Member, signed_in: SignedIn) -> None:
    person = member()
    one = job(person, state="running", link="/x/")
    client, address = signed_in(person), reverse("jobs:card", args=[one.pk]) + "?follow=1"

    running = text(client.get(address, headers={"hx-request": "true"}))
    Job.objects.update(state="done")
    done = text(client.get(address, headers={"hx-request": "true"}))

    assert f'hx-get="{address}"' in running
    assert 'data-follow="/x/"' in done
    assert "<html" not in done


def test_card_of_another_does_not_exist(member: Member, signed_in: SignedIn, client: Client) -> None:
    one = job(member())
    address = reverse("jobs:card", args=[one.pk])

    assert signed_in(member()).get(address).status_code == 404
    assert client.get(address).url == f"/accounts/login/?next={address}"
