"""Where captures and recordings of ended drills lie: in storage that no address serves, handed out by views that check."""

from __future__ import annotations

import re

from drills.models import Drill

SAFE = re.compile(r"^[A-Za-z0-9._-]{1,120}$")


def path_of(drill: Drill, range_id: str, name: str, what: str = "captures") -> str:
    """The storage path. A name that is not plain is refused: it came over a socket."""
    if not SAFE.match(name) or not SAFE.match(range_id) or name.startswith("."):
        raise ValueError(f"not a file name of a range: {name!r}")
    return f"drills/{drill.pk}/{range_id}/{what}/{name}"
