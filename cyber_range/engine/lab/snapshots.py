"""Snapshots of a range on disk: `snapshots/<name>.snap` in its folder, one line of JSON about it, then its content.

What one holds and what not stands in README.md beside this file.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cyber_range.engine.drivers.base import Driver
from cyber_range.engine.errors import RangeError, Refused
from cyber_range.engine.plan import RangePlan

MOST = 8  # of one range
LARGEST = 64 * 1024 * 1024  # bytes of one, compressed
NAME = re.compile(r"\w[\w .()（）-]{0,49}")
PATIENCE = 20.0  # s for a program to tell or take its state
VERSION = 1
# Programs that answer `keep` and take `take_back`: the plant and everything that is a Controller.
STATEFUL = frozenset({
    "plant", "modbus_plc", "s7_plc", "enip_plc", "opcua_server", "iec104_rtu", "dnp3_outstation", "bacnet_device", "mqtt_device",
})  # fmt: skip
FIREWALL = "firewall"


@dataclass(frozen=True, slots=True)
class About:
    """What a list says of a snapshot. `at` is scenario seconds, `taken` unix seconds."""

    name: str
    taken: float
    at: float
    bytes: int
    version: int = VERSION


class Snapshots:
    """Those of one range."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name) or len(name.encode()) > 200:
            raise RangeError(
                f"{name!r} is no name for a snapshot",
                remedy="Use up to 50 letters, digits, blanks, dots and dashes, a letter or digit first",
            )
        return self._folder / f"{name}.snap"

    def list(self) -> list[About]:
        """Oldest first."""
        found = []
        for path in self._folder.glob("*.snap"):
            try:
                with path.open("rb") as file:
                    found.append(About(**{**json.loads(file.readline()), "bytes": path.stat().st_size}))
            except (OSError, ValueError, TypeError):
                continue  # deleted this moment, or not ours
        return sorted(found, key=lambda about: about.taken)

    def refuse_new(self, name: str) -> None:
        """Before anything is stopped for it."""
        if self._path(name).exists():
            raise Refused(f"there is a snapshot {name!r} already", remedy="Choose another name, or delete that one")
        if len(self.list()) >= MOST:
            raise Refused(f"a range keeps {MOST} snapshots", remedy="Delete one first")

    def write(self, about: About, content: Mapping[str, Any]) -> About:
        """Whole or not at all."""
        packed = zlib.compress(json.dumps(content).encode(), 1)
        if len(packed) > LARGEST:
            raise RangeError(
                f"snapshot {about.name!r} would take {len(packed) >> 20} MiB, more than {LARGEST >> 20}",
                remedy="Delete large files on the nodes (captures, downloads), then try again",
            )
        path, aside = self._path(about.name), self._folder / ".new"
        try:
            self._folder.mkdir(exist_ok=True, mode=0o700)
            with aside.open("wb") as file:
                file.write(json.dumps(asdict(about)).encode() + b"\n" + packed)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except OSError as exc:
            aside.unlink(missing_ok=True)
            raise RangeError(
                f"snapshot {about.name!r} cannot be written to {self._folder}: {exc.strerror}",
                remedy="Make room on the disk of the state folder",
            ) from exc
        return About(**{**asdict(about), "bytes": path.stat().st_size})

    def read(self, name: str) -> tuple[About, dict[str, Any]]:
        path = self._path(name)
        try:
            first, _, packed = path.read_bytes().partition(b"\n")
            about = About(**json.loads(first))
            content: dict[str, Any] = json.loads(zlib.decompress(packed))
        except FileNotFoundError:
            there = ", ".join(repr(about.name) for about in self.list()) or "none"
            raise RangeError(f"there is no snapshot {name!r}", remedy=f"There is: {there}") from None
        except (OSError, ValueError, TypeError, zlib.error) as exc:
            raise RangeError(f"snapshot {name!r} is damaged: {exc}", remedy="Delete it") from exc
        if about.version != VERSION:
            raise RangeError(f"snapshot {name!r} is of another version", remedy="Delete it")
        return about, content

    def delete(self, name: str) -> None:
        """Deleting what is not there is fine."""
        self._path(name).unlink(missing_ok=True)

    def delete_all(self) -> None:
        for path in [*self._folder.glob("*.snap"), self._folder / ".new"]:
            path.unlink(missing_ok=True)


class Nodes:
    """The part of a snapshot that lies in the nodes: asked for and put back while the scenario's clock stands."""

    def __init__(self, plan: RangePlan, driver: Driver, ask: Any) -> None:
        self._plan, self._driver, self._ask = plan, driver, ask

    def _programs(self, *uses: str) -> list[tuple[str, str]]:
        return [(node.name, one.name) for node in self._plan.nodes for one in node.programs if one.use in uses]

    async def _of(self, node: str, program: str, command: dict[str, Any]) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = await self._ask(node, program, command, PATIENCE)
        except TimeoutError:
            raise RangeError(
                f"program {program} of node {node} did not answer within {PATIENCE:.0f} s",
                remedy="See the range's health, then try again", node=node,
            ) from None  # fmt: skip
        if reply.get("error"):
            raise RangeError(
                f"program {program} of node {node} cannot {command['kind'].replace('_', ' ')}: {reply['error']}",
                remedy="Report it with the scenario's version", node=node,
            )  # fmt: skip
        return reply

    async def take(self) -> dict[str, Any]:
        """JSON: states by [node, program], rules by [node, program] (null: flushed), archives by node."""
        states = [[*key, (await self._of(*key, {"kind": "keep"}))["kept"]] for key in self._programs(*STATEFUL)]
        walls = []
        for node, program in self._programs(FIREWALL):
            reply = await self._ask(node, program, {"kind": "rules"}, PATIENCE)
            walls.append([node, program, None if reply.get("error") else reply["rules"]])
        names = [node.name for node in self._plan.nodes if node.placement != "hub"]
        archives = await asyncio.gather(*(self._driver.take_files(self._plan.range_id, name) for name in names))
        files = [[name, base64.b64encode(data).decode()] for name, data in zip(names, archives, strict=True)]
        return {"states": states, "walls": walls, "files": files}

    async def put(self, content: Mapping[str, Any]) -> list[str]:
        """Puts everything back; the nodes of firewalls whose rules had been flushed, which keep the scenario's."""
        await asyncio.gather(
            *(
                self._driver.put_files(self._plan.range_id, name, base64.b64decode(data))
                for name, data in content["files"]
            )
        )
        plants = set(self._programs("plant"))
        # The plant first: a controller's next scan then reads the inputs that belong to its tags.
        for node, program, kept in sorted(content["states"], key=lambda one: (one[0], one[1]) not in plants):
            await self._of(node, program, {"kind": "take_back", "kept": kept})
        for node, program, rules in content["walls"]:
            if rules is not None:
                await self._of(node, program, {"kind": "take_back", "rules": rules})
        return [node for node, _, rules in content["walls"] if rules is None]
