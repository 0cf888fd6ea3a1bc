"""Quick passwords: what is tested is who may sign in, not how slowly a hash is made."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _quick_hashes(settings: object) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
