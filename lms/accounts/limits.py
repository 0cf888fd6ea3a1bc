"""Counting tries, in the cache that all page processes share."""

from __future__ import annotations

import hashlib

from django.core.cache import cache


def too_often(what: str, who: str, *, limit: int, seconds: int) -> bool:
    """Counts this try of `who`; True when it is beyond `limit` tries within `seconds` of the first."""
    key = "tries-" + hashlib.sha256(f"{what}:{who}".encode()).hexdigest()[:40]
    if cache.add(key, 1, timeout=seconds):
        return False
    try:
        return cache.incr(key) > limit
    except ValueError:  # it ran out between the two calls
        return False
