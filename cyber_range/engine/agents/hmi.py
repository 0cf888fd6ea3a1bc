"""The operator station: polls every controller, keeps the picture, sends the operator's commands.

Spec: `cycle` (s between polls of one device, 0.5), `jitter` (share of the cycle, 0.1), `devices` [{name, host, port?,
protocol? (modbus, s7, enip, opcua), …what that protocol wants (hmi_faces)}], `view_every` (s, 1), `feed_port`.
Emits `view` (the values as the operator sees them, with the age of each device's answer) and `operated`.
Command `operate` {device, tag, value} writes one tag. `snapshot` is served to the historian on `feed_port` as one JSON
line per connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import time
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.agents.context import NodeContext, Peer, answer
from cyber_range.engine.agents.hmi_faces import TROUBLE, Face, face

LONGEST_BACKOFF = 5.0  # s between attempts to reach a silent device


class Device:
    """One polled controller and what was last read from it."""

    def __init__(self, node: NodeContext, config: Mapping[str, Any], cycle: float, jitter: float) -> None:
        self.name = str(config["name"])
        self._node, self._cycle, self._jitter = node, cycle, jitter
        self.face: Face = face(node.net, config)
        self.read_at = 0.0  # monotonic; 0: never
        self.failures = 0

    async def poll_for_ever(self) -> None:
        """One request after the other on a fixed grid: jitter moves a request, never the rate."""
        chance = random.Random(f"{self._node.name}/{self.name}")  # noqa: S311 - jitter differs per device, repeats per run
        count = self.face.requests
        space = self._cycle / count
        begun, number = time.monotonic() + space * chance.random(), 0
        while True:
            due = begun + (number + self._jitter * chance.random()) * space
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            try:
                await self.face.poll(number % count)
                self.read_at, self.failures = time.monotonic(), 0
            except TROUBLE:
                self.failures += 1
                self.face.close()
                await asyncio.sleep(min(LONGEST_BACKOFF, self._cycle * 2 ** min(self.failures - 1, 5)))
            number += 1
            if time.monotonic() - begun - number * space > self._cycle:  # held up: go on from here, do not race
                begun, number = time.monotonic() - (number % count) * space, number % count

    def age(self) -> float | None:
        """Seconds since the last answer; None before the first."""
        return round(time.monotonic() - self.read_at, 2) if self.read_at else None


async def run(node: NodeContext) -> None:
    cycle, jitter = float(node.spec.get("cycle", 0.5)), float(node.spec.get("jitter", 0.1))
    devices = {d["name"]: Device(node, d, cycle, jitter) for d in node.spec["devices"]}

    def picture() -> dict[str, Any]:
        return {
            "t": round(node.clock.now(), 2),
            "devices": {name: {"values": d.face.values(), "age": d.age()} for name, d in devices.items()},
        }

    async def operate(command: dict[str, Any]) -> dict[str, Any]:
        device = devices[str(command["device"])]
        written = await device.face.operate(str(command["tag"]), float(command["value"]))
        node.emit("operated", device=device.name, tag=command["tag"], value=command["value"])
        return {"written": written}

    async def view(_: dict[str, Any]) -> dict[str, Any]:
        return picture()

    async def feed(sock: socket.socket, peer: Peer) -> None:
        with sock:
            line = json.dumps(picture(), separators=(",", ":")).encode() + b"\n"
            await asyncio.get_running_loop().sock_sendall(sock, line)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)

    async def show() -> None:
        while True:
            await asyncio.sleep(float(node.spec.get("view_every", 1.0)))
            node.emit("view", **picture())

    polling = [asyncio.ensure_future(device.poll_for_ever()) for device in devices.values()]
    polling.append(asyncio.ensure_future(show()))
    server = await node.net.serve_sockets(int(node.spec["feed_port"]), feed) if node.spec.get("feed_port") else None
    node.emit("ready")
    try:
        await answer(node, {"operate": operate, "view": view})
    finally:
        for task in polling:
            task.cancel()
        for device in devices.values():
            device.face.close()
        if server is not None:
            server.close()
