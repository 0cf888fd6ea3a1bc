"""Counting tries, in the cache that all page processes share.

`limit` tokens lie in the cache; a try takes one and it comes back after `seconds`. cache.add is atomic in every backend
(incr is not, and in Django's database cache it also forgets the time-out), so parallel tries cannot slip through.
"""

from __future__ import annotations

import hashlib

from django.core.cache import cache


def too_often(what: str, who: str, *, limit: int, seconds: int) -> bool:
    """Counts this try of `who`; True when `limit` tries within the last `seconds` are already used up."""
    return not any(cache.add(key, 1, timeout=seconds) for key in _free(what, who, limit))


def used_up(what: str, who: str, *, limit: int) -> bool:
    """Whether the next try would be too often, without counting one: for places where only failures count."""
    return not _free(what, who, limit)


def _free(what: str, who: str, limit: int) -> list[str]:
    name = hashlib.sha256(f"{what}:{who}".encode()).hexdigest()[:40]
    keys = [f"tries-{name}-{number}" for number in range(limit)]
    taken = cache.get_many(keys)
    return [key for key in keys if key not in taken]
