"""What every answer carries, the two health addresses, the error pages, the secret key, the log."""

from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.cache import cache
from django.test import Client

from lms.accounts.models import User
from lms.project import middleware
from lms.project.logs import RedactSecrets
from lms.project.secret import secret_from
from tests.factories.accounts import UserFactory

Member = Callable[..., User]
SignedIn = Callable[[User], Client]
PASSWORD = "quiet-river-29"


def policy(response: object) -> dict[str, list[str]]:
    return {part.split()[0]: part.split()[1:] for part in response.headers["Content-Security-Policy"].split(";")}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "/", "/accounts/login/", "/accounts/password/reset/", "/people/join/", "/nowhere/", "/people/me/",
        "/people/staff/", "/maturity/", "/jobs/", "/accounts/2fa/", "/accounts/password/change/", "/accounts/logout/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("known", [True, False])
def test_every_kind_of_page_forbids_inline_code_and_foreign_sources(
    member: Member, signed_in: SignedIn, path: str, known: bool
) -> None:
    client = signed_in(member("admin")) if known else Client()

    response = client.get(path)

    rules = policy(response)
    words = {word for values in rules.values() for word in values}
    assert "'unsafe-inline'" not in words
    assert "'unsafe-eval'" not in words
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"][0] == "'self'"
    assert rules["style-src"] == ["'self'"]
    assert rules["frame-ancestors"] == ["'self'"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/", "/accounts/login/", "/people/me/", "/people/staff/", "/maturity/", "/jobs/", "/x/"]
)
def test_pages_hold_nothing_that_the_policy_forbids(member: Member, signed_in: SignedIn, path: str) -> None:
    page = signed_in(member("admin")).get(path, follow=True).content.decode()

    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page) == []
    assert re.findall(r"<style[\s>]", page) == []
    assert re.findall(r"<[^>]+\sstyle=", page) == []
    assert re.findall(r"<[^>]+\son[a-z]+=", page) == []
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//[^\"]*", page) == []


def test_healthz_answers_without_a_database() -> None:
    response = Client().get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_readyz_answers_when_the_database_is_there_and_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "_migrated", True)

    response = Client().get("/readyz")

    assert (response.status_code, response.json()) == (200, {"status": "ready"})


def test_readyz_tells_of_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        def ensure_connection(self) -> None:
            raise OSError("connection refused to secret-host:5432")

    monkeypatch.setattr(middleware, "connection", Away())

    response = Client().get("/readyz")

    assert (response.status_code, response.json()) == (503, {"status": "database unreachable"})


@pytest.mark.django_db
def test_readyz_tells_of_migrations_that_are_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "_migrated", False)
    monkeypatch.setattr(middleware.MigrationExecutor, "migration_plan", lambda *_: ["0002"])

    assert Client().get("/readyz").json() == {"status": "migrations pending"}


@pytest.mark.django_db
def test_unknown_address_gets_our_page_for_everyone(member: Member, signed_in: SignedIn) -> None:
    for client in (Client(), signed_in(member())):
        response = client.get("/nowhere/at/all/")
        assert response.status_code == 404
        assert "没有这个页面" in response.content.decode()


def broken_page(monkeypatch: pytest.MonkeyPatch, client: Client, fault: Exception) -> object:
    """The answer to a page that fails; the client hands faults on unless told not to."""
    client.raise_request_exception = False

    def fail(*args: object, **kwargs: object) -> None:
        raise fault

    monkeypatch.setattr("lms.project.views.roles_of", fail)
    return client.get("/")


@pytest.mark.django_db
def test_broken_page_gives_a_number_that_stands_in_the_log(
    member: Member, signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    response = broken_page(monkeypatch, signed_in(member()), ValueError("/srv/secret"))

    page = response.content.decode()
    (reference,) = re.findall(r"<code>([0-9a-f]{8})</code>", page)
    assert response.status_code == 500
    assert "/srv/secret" not in page
    assert f"reference {reference}" in caplog.text


@pytest.mark.django_db
def test_broken_page_comes_even_when_nobody_s_ways_can_be_read(
    member: Member, signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(member())
    monkeypatch.setattr("lms.accounts.context.roles_of", lambda user: 1 / 0)

    response = broken_page(monkeypatch, client, OSError("database is away"))

    assert response.status_code == 500
    assert "出错了，不是您的问题" in response.content.decode()


@pytest.mark.django_db
def test_forbidden_page_says_why_and_whom_to_ask(member: Member, signed_in: SignedIn) -> None:
    response = signed_in(member("learner")).get("/people/staff/")

    assert response.status_code == 403
    assert "员工和企业档案由本单位的企业管理员管理" in response.content.decode()


@pytest.mark.django_db
def test_form_without_its_token_is_refused_in_our_look(member: Member) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(member(), backend="django.contrib.auth.backends.ModelBackend")

    response = client.post("/people/me/", {"phone": ""})

    assert response.status_code == 403
    assert "lb-top" in response.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "to", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "https:evil.example"]
)
def test_no_address_leads_off_the_site(to: str) -> None:
    user = UserFactory(username="chen")
    user.set_password(PASSWORD)
    user.save()
    client = Client()

    switched = client.post("/language/", {"language": "en", "next": to})
    entered = client.post("/accounts/login/", {"login": "chen", "password": PASSWORD, "next": to})

    assert switched.url == "/"
    assert entered.url == "/"


@pytest.mark.django_db
def test_editor_s_door_is_the_one_with_the_second_step() -> None:
    client = Client()

    assert client.get("/cms/login/?next=/cms/").url == "/accounts/login/?next=/cms/"
    assert client.get("/cms/").url == "/accounts/login/?next=/cms/"
    assert client.get("/cms/password_reset/").status_code == 404


@pytest.mark.django_db
def test_nobody_signs_himself_up() -> None:
    response = Client().post(
        "/accounts/signup/", {"username": "intruder", "password1": PASSWORD, "password2": PASSWORD}
    )

    assert not User.objects.exists()
    assert response.status_code == 200


@pytest.mark.django_db
def test_sign_in_tells_nobody_which_names_exist_and_locks_after_too_many_tries(settings: object) -> None:
    settings.AXES_ENABLED = True
    cache.clear()
    known = UserFactory(username="chen")
    known.set_password(PASSWORD)
    known.save()

    def refusal(name: str) -> str:
        page = Client().post("/accounts/login/", {"login": name, "password": "wrong-password"}).content.decode()
        return re.search(r'role="alert">.*?</div>', page, re.S)[0]

    assert refusal("chen") == refusal("nobody")
    for _ in range(9):
        last = Client().post("/accounts/login/", {"login": "chen", "password": "wrong-password"})
    right = Client().post("/accounts/login/", {"login": "chen", "password": PASSWORD})
    assert last.status_code in (200, 429)
    assert "sessionid" not in right.cookies


@pytest.mark.parametrize("workers", [8])
def test_secret_key_is_one_for_all_who_start_at_once(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "state" / "secret_key"

    with ThreadPoolExecutor(workers) as pool:
        keys = set(pool.map(lambda _: secret_from(path), range(workers * 4)))

    assert len(keys) == 1
    assert len(keys.pop()) > 60
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_secret_key_is_one_for_processes_that_start_at_once(tmp_path: Path) -> None:
    source = Path(sys.modules[secret_from.__module__].__file__).read_text()
    program = f"{source}\nimport sys\nprint(secret_from(Path(sys.argv[1])))"
    command = [sys.executable, "-S", "-c", program, str(tmp_path / "secret_key")]

    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    keys = {process.communicate(timeout=60)[0].strip() for process in running}

    assert len(keys) == 1
    assert "" not in keys


def test_secret_key_is_read_again(tmp_path: Path) -> None:
    (tmp_path / f"secret_key.{os.getpid()}").write_text("left behind by a start that was killed")

    assert secret_from(tmp_path / "secret_key") == secret_from(tmp_path / "secret_key")


@pytest.mark.parametrize(
    ("line", "kept", "cut"),
    [
        ("POST /verify?code=ABCD-1234&n=7", "n=7", "ABCD"),
        ("login password='hunter2' failed", "failed", "hunter2"),
        ('{"token": "eyJhbGciOi", "n": 1}', '"n": 1', "eyJ"),
        ("Authorization: Bearer eyJhbGciOi", "Authorization", "eyJ"),
        ("check_code: 7XQ2", "check_code", "7XQ2"),
        ("GET /people/join/?secret=s3cr3t HTTP/1.1", "HTTP/1.1", "s3cr3t"),
    ],
)
def test_log_keeps_the_line_and_cuts_the_secret(line: str, kept: str, cut: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "said: %s", (line,), None)

    assert RedactSecrets().filter(record)
    assert kept in record.getMessage()
    assert cut not in record.getMessage()


def test_log_leaves_innocent_lines_alone() -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "job %s of %s done in %.1f s", (7, "陈晓燕", 1.25), None)

    RedactSecrets().filter(record)

    assert (record.msg, record.args) == ("job %s of %s done in %.1f s", (7, "陈晓燕", 1.25))
