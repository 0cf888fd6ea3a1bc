"""What every control centre and supervisor of the range does besides its protocol: shows the picture, takes the
operator's commands, feeds the historian.

Spec: `view_every` (s, 1), `feed_port` (one JSON line per connection for the historian).
Emits `view` {t, devices: {name: {values, age, ages}}} (`ages`: seconds since each tag was last heard of) and `operated`.
Commands: `operate` {device, tag, value}, `view`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cyber_range.engine.agents.context import NodeContext, Peer, answer

LONGEST_BACKOFF = 5.0  # s between attempts to reach a silent device


class Device(Protocol):
    """One supervised device as its protocol's program keeps it."""

    heard: Heard

    async def serve(self) -> None:
        """Keeps in touch with the device until cancelled."""
        ...

    async def operate(self, tag: str, value: float) -> Mapping[str, Any]:
        """Writes one tag; an error names the tag or says what the device answered."""
        ...


class Heard:
    """Newest value of each tag and when it came; None for what was never heard of."""

    def __init__(self, tags: list[str]) -> None:
        self.values: dict[str, float | None] = dict.fromkeys(tags)
        self._at: dict[str, float] = {}
        self._last = 0.0

    def tell(self, tag: str, value: float) -> None:
        self.values[tag] = value
        self._at[tag] = self._last = time.monotonic()

    def alive(self) -> None:
        """The device answered something without a value."""
        self._last = time.monotonic()

    def picture(self) -> dict[str, Any]:
        now = time.monotonic()
        return {
            "values": dict(self.values),
            "age": round(now - self._last, 2) if self._last else None,
            "ages": {tag: round(now - self._at[tag], 2) if tag in self._at else None for tag in self.values},
        }


def backoff(failures: int, cycle: float) -> float:
    """s to wait after so many failures in a row."""
    return min(LONGEST_BACKOFF, max(0.2, min(cycle, 1.0)) * 2 ** min(max(failures - 1, 0), 5))


async def supervise(
    node: NodeContext, devices: Mapping[str, Device], more: Mapping[str, Callable[[dict[str, Any]], Any]] | None = None
) -> None:
    """Runs until the lab says stop."""

    def picture() -> dict[str, Any]:
        return {
            "t": round(node.clock.now(), 2),
            "devices": {name: device.heard.picture() for name, device in devices.items()},
        }

    async def operate(command: dict[str, Any]) -> dict[str, Any]:
        name, tag, value = str(command["device"]), str(command["tag"]), float(command["value"])
        if name not in devices:
            raise LookupError(f"there is no device {name!r}; there are: {', '.join(sorted(devices))}")
        result = dict(await devices[name].operate(tag, value))
        node.emit("operated", device=name, tag=tag, value=value)
        return result

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

    server = await node.net.serve_sockets(int(node.spec["feed_port"]), feed) if node.spec.get("feed_port") else None
    node.emit("ready")
    answering = asyncio.ensure_future(answer(node, {"operate": operate, "view": view, **(more or {})}))
    tasks = [answering, asyncio.ensure_future(show())]
    tasks += [asyncio.ensure_future(device.serve()) for device in devices.values()]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if server is not None:
            server.close()
