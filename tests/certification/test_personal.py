"""What a person is told of certificates and courses: the own, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from wagtail import hooks

from lms.accounts.models import User


@pytest.mark.django_db
def test_every_app_that_keeps_personal_data_tells_it(member: Callable[..., User], client: Client) -> None:
    client.force_login(member("learner"))

    data = json.loads(client.get(reverse("accounts:my_data")).content)

    assert sorted(data) == [
        "accounts", "certification", "courses", "cyber_range", "drills", "jobs", "maturity", "written_scenarios",
    ]  # fmt: skip
    assert len(hooks.get_hooks("personal_data")) == len(data) - 1
