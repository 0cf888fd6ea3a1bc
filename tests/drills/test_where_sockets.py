"""The page asks for its socket under the name it was itself reached by, or the session's cookie would not come along."""

from __future__ import annotations

import pytest
from django.test import RequestFactory, override_settings

from drills.sockets import sockets_url

THREE = ["ws://192.0.2.7:8001", "ws://127.0.0.1:8001", "ws://localhost:8001"]


@pytest.mark.parametrize(
    ("urls", "host", "wanted"),
    [
        (THREE, "192.0.2.7:8000", "ws://192.0.2.7:8001"),
        (THREE, "localhost:8000", "ws://localhost:8001"),
        (THREE, "127.0.0.1:8000", "ws://127.0.0.1:8001"),
        (["wss://sockets.example"], "pages.example", "wss://sockets.example"),
        ([], "localhost", ""),
    ],
)
def test_sockets_are_asked_for_by_the_pages_own_name(
    rf: RequestFactory, urls: list[str], host: str, wanted: str
) -> None:
    with override_settings(SOCKETS_URL=urls, ALLOWED_HOSTS=["*"]):
        assert sockets_url(rf.get("/", headers={"host": host})) == wanted
