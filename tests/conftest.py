"""What all tests share: who may sign in, and how a missing service is said."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator

import pytest
from django.test import Client
from pytest_django.plugin import DjangoDbBlocker

from lms.accounts.models import Organisation, User
from tests.factories.accounts import MembershipFactory, OrganisationFactory, UserFactory
from tests.migrated import Kept


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None, django_db_use_migrations: bool) -> Kept | None:
    """The last thing before the test database is made."""
    kept = Kept() if django_db_use_migrations else None
    if kept:
        kept.listen()
    return kept


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_modify_db_settings: Kept | None, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> None:
    if django_db_modify_db_settings:
        with django_db_blocker.unblock():
            django_db_modify_db_settings.keep()


@pytest.fixture
def member(db: None) -> Callable[..., User]:
    """A signed-up person holding `roles` in `organisation` (a new enterprise when none is given)."""

    def make(*roles: str, organisation: Organisation | None = None, **values: object) -> User:
        user = UserFactory(**values)
        place = organisation or OrganisationFactory()
        for role in roles or ("learner",):
            MembershipFactory(user=user, organisation=place, role=role)
        return user

    return make


@pytest.fixture
def signed_in() -> Callable[[User], Client]:
    """A test client with that person signed in."""

    def make(user: User) -> Client:
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return make


NEEDS = {
    "docker": "a Docker engine and the range image: start dockerd, then `lianbing range-image build`",
    "browser": "Chromium: apt-get install chromium",
}


def skip_or_fail(reason: str) -> None:
    """Where everything must be there (CI) a missing service is a failure; elsewhere a loud skip.

    LIANBING_MAY_LACK names what this machine's package mirror does not have at all.
    """
    allowed = os.environ.get("LIANBING_MAY_LACK", "")
    if os.environ.get("LIANBING_ALL_SERVICES") and not (allowed and reason.startswith(allowed)):
        pytest.fail(f"needs {reason}", pytrace=False)
    pytest.skip(f"SKIPPED FOR A MISSING SERVICE: needs {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI every service is there, so a skip is a failure; LIANBING_MAY_LACK names the one the mirror does not have."""
    report = yield
    allowed = os.environ.get("LIANBING_MAY_LACK", "")
    lacking = bool(allowed) and allowed.lower() in str(report.longrepr).lower()
    if report.skipped and os.environ.get("LIANBING_ALL_SERVICES") and not hasattr(report, "wasxfail") and not lacking:
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {report.longrepr}"
    return report
