"""Scenarios written in a browser, kept by their hash: what `launch(scenario=<digest>)` finds.

State folder `scenarios/<digest>.json`, 0600 in a 0700 folder. A file is what was sent, byte for byte in its canonical form,
so its name proves it each time it is read. Nothing of it is believed before: rules and loader run here too. Oldest ones
are let go when there are many; whoever launches asks first and sends again what is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cyber_range.engine.errors import Refused, ScenarioError
from cyber_range.engine.host.wire import BadRequest
from cyber_range.engine.lab.written import ALL_BYTES, DIGEST, canonical, digest_of, read
from cyber_range.engine.scenario.load import digest as form_digest
from cyber_range.engine.scenario.model import Scenario

KEPT = 400  # with 1.5 MiB each at most, 600 MiB
SEEDS = ("1", "2", "3")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def is_digest(name: str) -> bool:
    """No packaged scenario has a name of 64 characters."""
    return DIGEST.fullmatch(name) is not None


class Store:
    """The written scenarios of one host."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "scenarios"

    def has(self, digest: str) -> bool:
        return self._path(digest).is_file()

    def put(self, digest: str, files: dict[str, str]) -> Scenario:
        """Checks, then keeps. Twice is once."""
        if digest_of(files) != digest:
            raise BadRequest("scenario_put: the files do not have this digest", remedy="Send them unchanged")
        scenario = read(files, seeds=SEEDS)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".put-")  # 0600 by nature
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(canonical(files))
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path(digest))
        except OSError as exc:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise Refused(
                f"the scenario cannot be kept: {exc.strerror}", remedy="Make room in the state folder"
            ) from exc
        self._let_go(digest)
        return scenario

    def get(self, digest: str) -> Scenario:
        """The scenario; ScenarioError when it is not here or not what its name says."""
        path = self._path(digest)
        try:
            if path.stat().st_size > 2 * ALL_BYTES:
                raise ScenarioError(f"{path.name} is larger than a scenario can be", remedy="Send it again")
            raw = path.read_bytes()
        except FileNotFoundError:
            raise ScenarioError(
                f"this host does not have scenario {digest[:12]}…", remedy="Send it by scenario_put first"
            ) from None
        if hashlib.sha256(raw).hexdigest() != digest:
            path.unlink(missing_ok=True)
            raise ScenarioError(
                f"scenario {digest[:12]}… is damaged on this host", remedy="Send it by scenario_put again"
            )
        os.utime(path)
        return read(json.loads(raw)["files"])

    def _path(self, digest: str) -> Path:
        if not is_digest(digest):
            raise BadRequest(f"{digest[:20]!r} is no SHA-256", remedy="64 lower-case hexadecimal digits")
        return self._folder / f"{digest}.json"

    def _let_go(self, keep: str) -> None:
        """The longest unused ones above KEPT. A range that runs has its own copy."""
        there = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in [path for path in there if path.stem != keep][KEPT - 1 :]:
            path.unlink(missing_ok=True)


async def scenario_put(self: Any, digest: Digest, files: dict[str, str] | None = None) -> dict[str, Any]:
    """The verb. Without `files` it only asks whether this host has the version."""
    store: Store = self._daemon.written
    if files is None:
        return {"digest": digest, "known": await asyncio.to_thread(store.has, digest)}
    scenario = await asyncio.to_thread(store.put, digest, files)
    return {
        "digest": digest, "known": True, "id": scenario.id, "version": scenario.version, "form": form_digest(scenario),
    }  # fmt: skip
