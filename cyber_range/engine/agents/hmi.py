"""The operator station: polls every controller, keeps the picture, sends the operator's commands.

Spec: `cycle` (s between polls of one device, 0.5), `jitter` (share of the cycle, 0.1), `devices` [{name, host, port?,
protocol? (modbus, s7, enip, opcua), …what that protocol wants (hmi_faces)}]; and that of every supervisor
(operator_view.py), with its messages and commands.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.hmi_faces import TROUBLE, Face, face
from cyber_range.engine.agents.operator_view import Heard, backoff, supervise


class Station:
    """One polled controller (`operator_view.Device`)."""

    def __init__(self, node: NodeContext, config: Mapping[str, Any], cycle: float, jitter: float) -> None:
        self.name = str(config["name"])
        self._node, self._cycle, self._jitter = node, cycle, jitter
        self.face: Face = face(node.net, config)
        self.heard = Heard([str(tag["name"]) for tag in config["tags"]])

    async def serve(self) -> None:
        """One request after the other on a fixed grid: jitter moves a request, never the rate."""
        chance = random.Random(f"{self._node.name}/{self.name}")  # noqa: S311 - jitter differs per device, repeats per run
        count, failures = self.face.requests, 0
        space = self._cycle / count
        begun, number = time.monotonic() + space * chance.random(), 0
        try:
            while True:
                due = begun + (number + self._jitter * chance.random()) * space
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                try:
                    for tag, value in (await self.face.poll(number % count)).items():
                        if math.isfinite(value):
                            self.heard.tell(tag, value)
                    self.heard.alive()
                    failures = 0
                except TROUBLE:
                    failures += 1
                    self.face.close()
                    await asyncio.sleep(backoff(failures, self._cycle))
                number += 1
                if time.monotonic() - begun - number * space > self._cycle:  # held up: go on from here, do not race
                    begun, number = time.monotonic() - (number % count) * space, number % count
        finally:
            self.face.close()

    async def operate(self, tag: str, value: float) -> Mapping[str, Any]:
        return {"written": await self.face.operate(tag, value)}


async def run(node: NodeContext) -> None:
    cycle, jitter = float(node.spec.get("cycle", 0.5)), float(node.spec.get("jitter", 0.1))
    await supervise(node, {str(d["name"]): Station(node, d, cycle, jitter) for d in node.spec["devices"]})
