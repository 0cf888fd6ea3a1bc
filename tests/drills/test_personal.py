"""A person's words and recordings: told to the person alone, erased with the consent, deleted when their time is over."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from drills import services
from drills.files import path_of
from drills.management.commands.run_drills import Follower
from drills.models import Drill, DrillEvent, EventText, TerminalRecording
from drills.services import personal
from lms.accounts import services as accounts
from lms.accounts.models import Consent, User
from tests.factories.cyber_range import InstanceFactory

from .conftest import seat

pytestmark = pytest.mark.django_db


@pytest.fixture
def record(seated: Drill, settings: Any, tmp_path: Any) -> Callable[..., str]:
    """record(user, name, days) -> path: a recording that is to be kept for that many more days."""
    settings.MEDIA_ROOT = str(tmp_path)
    instance = InstanceFactory(state="gone", organisation=seated.organisation, purpose="drill")

    def make(user: User, name: str, days: int = 30) -> str:
        TerminalRecording.objects.create(
            drill=seated, instance=instance, name=name, actor=str(user.pseudonym), seat="blue", node="ws",
            keep_until=timezone.now() + timedelta(days=days),
        )  # fmt: skip
        return str(
            default_storage.save(
                path_of(seated, instance.range_id, name, "recordings"), ContentFile(b'{"version": 2}\n')
            )
        )

    return make


def test_recordings_past_their_time_go_with_their_files_and_no_others(
    people: dict[str, User], record: Callable[..., str]
) -> None:
    old, new = record(people["blue"], "old.cast", -1), record(people["blue"], "new.cast", 1)

    deleted = [personal.delete_old_recordings(), personal.delete_old_recordings()]

    assert deleted == [1, 0]
    assert [row.name for row in TerminalRecording.objects.all()] == ["new.cast"]
    assert (default_storage.exists(old), default_storage.exists(new)) == (False, True)


def test_a_recording_whose_file_has_gone_is_no_trouble(people: dict[str, User], record: Callable[..., str]) -> None:
    default_storage.delete(record(people["blue"], "old.cast", -1))

    assert (personal.delete_old_recordings(), TerminalRecording.objects.count()) == (1, 0)


@pytest.mark.django_db(transaction=True)
def test_the_follower_deletes_what_is_due(people: dict[str, User], record: Callable[..., str]) -> None:
    record(people["blue"], "old.cast", -1)

    Follower("me").look()

    assert TerminalRecording.objects.count() == 0


def test_a_person_is_told_the_own_words_and_recordings_and_nobody_elses(
    seated: Drill, people: dict[str, User], record: Callable[..., str], client: Client
) -> None:
    services.note(drill=seated, seat=seat(seated, people["blue"]), text="我看到阀门异常")
    record(people["blue"], "mine.cast")

    told = {}
    for name in ("blue", "observer"):
        client.force_login(people[name])
        told[name] = json.loads(client.get(reverse("accounts:my_data")).content)["drills"]

    assert [words["text"] for words in told["blue"]["words"]] == ["我看到阀门异常"]
    assert [row["node"] for row in told["blue"]["recordings"]] == ["ws"]
    assert [one["cell"] for one in told["observer"]["seats"]] == ["observer"]
    assert (told["observer"]["words"], told["observer"]["recordings"]) == ([], [])
    assert told["observer"]["pseudonym"] == str(people["observer"].pseudonym)


def test_withdrawn_consent_erases_the_own_words_and_recordings_and_leaves_the_log(
    seated: Drill, people: dict[str, User], record: Callable[..., str]
) -> None:
    for name in ("blue", "observer"):
        services.note(drill=seated, seat=seat(seated, people[name]), text=f"{name} 的话")
    mine, theirs = record(people["blue"], "mine.cast"), record(people["observer"], "theirs.cast")
    consent = Consent.objects.create(user=people["blue"], purpose="service", version="1")
    events = DrillEvent.objects.filter(drill=seated).count()

    accounts.withdraw_consent(consent, by=people["blue"])

    words = sorted((text.text, text.erased_at is None) for text in EventText.objects.all())
    assert words == [("", False), ("observer 的话", True)]
    assert (default_storage.exists(mine), default_storage.exists(theirs)) == (False, True)
    assert [row.name for row in TerminalRecording.objects.all()] == ["theirs.cast"]
    assert DrillEvent.objects.filter(drill=seated).count() == events
