"""Quick passwords (what is tested is who may sign in, not how slowly a hash is made), and laws that are not failed by a
busy machine."""

from __future__ import annotations

import hypothesis
import pytest

hypothesis.settings.register_profile("lianbing", deadline=None)
hypothesis.settings.load_profile("lianbing")


@pytest.fixture(autouse=True)
def _quick_hashes(settings: object) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
