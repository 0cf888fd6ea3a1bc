"""The demo's loader: once, idempotent, and never into somebody's real database."""

from __future__ import annotations

import json
import socket
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from lms.accounts.models import Organisation, User
from lms.project.management.commands.load_demo import Command
from lms.project.showroom import free_port
from tests.factories.accounts import OrganisationFactory, UserFactory


@pytest.fixture
def only_accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The accounts' part alone, with a state folder of the test's own."""
    own = Command.loaders
    monkeypatch.setattr(Command, "loaders", lambda self: [m for m in own(self) if m.__name__ == "lms.accounts.demo"])
    monkeypatch.setattr(settings, "STATE_DIR", tmp_path)
    return tmp_path


@pytest.mark.django_db
def test_a_second_load_changes_nothing(only_accounts: Path) -> None:
    call_command("load_demo", stdout=StringIO())
    first = (User.objects.count(), Organisation.objects.count(), (only_accounts / "accounts.json").read_text())

    call_command("load_demo", stdout=StringIO())

    assert (User.objects.count(), Organisation.objects.count(), (only_accounts / "accounts.json").read_text()) == first
    assert oct((only_accounts / "accounts.json").stat().st_mode & 0o777) == "0o600"


@pytest.mark.django_db
def test_passwords_are_fresh_and_open_the_account(only_accounts: Path) -> None:
    call_command("load_demo", stdout=StringIO())

    passwords = json.loads((only_accounts / "accounts.json").read_text())

    assert sorted(passwords) == ["admin", "assessor", "learner", "officer", "security", "trainer"]
    assert len(set(passwords.values())) == 6
    assert User.objects.get(username="learner").check_password(passwords["learner"])


@pytest.mark.django_db
@pytest.mark.parametrize("make", [UserFactory, OrganisationFactory])
def test_a_database_with_others_in_it_is_refused(only_accounts: Path, make: type) -> None:
    make()

    with pytest.raises(CommandError, match="不属于演示"):
        call_command("load_demo", stdout=StringIO())

    assert User.objects.filter(is_demo=True).count() == 0


def test_free_port_goes_on_when_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        found = free_port(port)

    assert found != port
    assert f"端口 {port} 已被占用" in capsys.readouterr().out
