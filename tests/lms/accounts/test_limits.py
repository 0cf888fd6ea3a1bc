"""Counting tries, and whose they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import cache
from django.test import RequestFactory

from lms.accounts.audit import client_ip
from lms.accounts.limits import too_often, used_up


@pytest.fixture(autouse=True)
def _no_tries() -> None:
    cache.clear()


def test_tries_beyond_the_limit_are_too_often_each_for_his_own() -> None:
    told = [too_often("door", "a", limit=3, seconds=60) for _ in range(5)]

    assert told == [False, False, False, True, True]
    assert not too_often("door", "b", limit=3, seconds=60)
    assert not too_often("gate", "a", limit=3, seconds=60)


def test_looking_does_not_count() -> None:
    looks = [used_up("door", "a", limit=1) for _ in range(3)]
    too_often("door", "a", limit=1, seconds=60)

    assert looks == [False, False, False]
    assert used_up("door", "a", limit=1)


def test_tries_come_back_after_their_time() -> None:
    too_often("door", "a", limit=1, seconds=0)

    assert not too_often("door", "a", limit=1, seconds=60)


def test_tries_at_once_do_not_slip_through() -> None:
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda _: too_often("door", "a", limit=5, seconds=60), range(64)))

    assert told.count(False) == 5


@pytest.mark.parametrize(
    ("proxies", "forwarded", "remote", "expected"),
    [
        (0, "6.6.6.6", "10.0.0.1", "10.0.0.1"),
        (1, "6.6.6.6, 1.2.3.4", "10.0.0.1", "1.2.3.4"),
        (2, "6.6.6.6, 1.2.3.4, 10.0.0.2", "10.0.0.1", "1.2.3.4"),
        (2, "1.2.3.4", "10.0.0.1", "10.0.0.1"),
        (1, "rubbish", "10.0.0.1", None),
        (0, "", "", None),
        (1, "2001:DB8::1", "10.0.0.1", "2001:db8::1"),
    ],
)
def test_client_ip_believes_only_the_trusted_proxies(
    settings: object, proxies: int, forwarded: str, remote: str, expected: str | None
) -> None:
    settings.TRUSTED_PROXIES = proxies
    request = RequestFactory().get("/", REMOTE_ADDR=remote, headers={"x-forwarded-for": forwarded})

    assert client_ip(request) == expected
