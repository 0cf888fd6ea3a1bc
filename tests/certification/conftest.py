"""Evidence without a course and a range: what those say is tested where they live."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections

from certification import services
from certification.domain.criteria import Inputs
from certification.models import Application, AwardRule, Credential, Decision
from certification.services import awards
from lms.accounts.models import Organisation, User
from tests.factories.accounts import MembershipFactory, OrganisationFactory, UserFactory
from tests.factories.certification import AwardRuleFactory, full_inputs


@pytest.fixture(autouse=True)
def _media_of_its_own(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def real_file(tmp_path: Any) -> Iterator[Callable[..., list[Exception]]]:
    """`real_file(work, workers=8)` runs `work` in that many threads at once, each with a connection of its own, and gives
    the errors they met. The test database of SQLite lives in memory, where locks do not wait as they do in a file: it is
    copied to one first, with the settings (WAL, immediate transactions) of the product."""
    values = connections.databases["default"]
    name = values["NAME"]
    if connection.vendor == "sqlite":
        path = tmp_path / "copy.sqlite3"

    def run(work: Callable[[], None], workers: int = 1) -> list[Exception]:
        if connection.vendor == "sqlite" and not path.exists():
            connection.ensure_connection()
            with sqlite3.connect(path) as copy:
                connection.connection.backup(copy)
        start, faults = threading.Barrier(workers), []

        def one() -> None:
            try:
                start.wait(10)
                work()
            except Exception as fault:  # whatever a thread meets is what the test asks about
                faults.append(fault)
            finally:
                connection.close()

        if connection.vendor == "sqlite":
            values["NAME"] = str(path)
        try:
            threads = [threading.Thread(target=one) for _ in range(workers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        finally:
            values["NAME"] = name
        return faults

    return run


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`evidence(hours=...)` sets what courses and drills say from now on; without words, all that RULE asks for."""

    def say(**changes: Any) -> None:
        inputs: Inputs = full_inputs(**changes)
        monkeypatch.setattr(awards, "collect", lambda user, rule, since=None: inputs)

    say()
    return say


@pytest.fixture
def body(db: None) -> Organisation:
    """An assessment body."""
    return OrganisationFactory(kind=Organisation.Kind.ASSESSMENT, uscc=None)


@pytest.fixture
def assessor(body: Organisation, member: Callable[..., User]) -> User:
    return member("assessor", organisation=body)


@pytest.fixture
def award_rule(db: None, body: Organisation) -> AwardRule:
    return AwardRuleFactory(assessed_by=body)


@pytest.fixture
def learner(db: None) -> User:
    user = UserFactory(name="蒋䶮")
    MembershipFactory(user=user, organisation=OrganisationFactory())
    return user


@pytest.fixture
def application(learner: User, award_rule: AwardRule, evidence: Callable[..., None]) -> Application:
    return services.apply_for(user=learner, level=award_rule.level)


@pytest.fixture
def credential(application: Application) -> Credential:
    return Credential.objects.get(decision__application=application)


@pytest.fixture
def refused(learner: User, award_rule: AwardRule, evidence: Callable[..., None]) -> Iterator[Decision]:
    """A decision that went against the person: an hour is missing."""
    evidence(hours=full_inputs().hours - 1)
    application = services.apply_for(user=learner, level=award_rule.level)
    return application.decisions.get()
