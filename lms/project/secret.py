"""A secret key of the installation's own, made once and readable by its owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def secret_from(path: Path) -> str:
    """The key kept at `path` (mode 0600), made at first use. Two processes starting at once agree on one key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")  # a start that was killed here leaves no name taken
    if not path.exists():
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_urlsafe(64))
        try:
            os.link(draft, path)  # fails when another process was first; then its key holds
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
