"""Benign background of one node's segment: compiled templates sent now and then, each a little different.

Spec: `mix` {template: seconds between two}, `host` (name the packets claim), `syslog`, `time` (addresses, optional).
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from typing import Any

from cyber_range.engine.agents.context import NodeContext, answer
from cyber_range.engine.traffic.compiled import compiled
from cyber_range.engine.traffic.patch import renumbered

MODULE = "cyber_range.engine.traffic.declared"
FIXED_PORTS = frozenset({"name_query", "lease_inform", "time_query"})  # their source port is part of the protocol


async def run(node: NodeContext) -> None:
    leg = node.net.interfaces()[0]
    network = ipaddress.IPv4Network(f"{leg.ip}/{leg.prefix}", strict=False)
    chance = random.Random(node.name)  # noqa: S311 - which second a PC chatters is noise, not a secret
    sent: dict[str, int] = {}

    async def chatter(name: str, every: float, frame: bytes) -> None:
        await asyncio.sleep(chance.uniform(0, min(every, 5.0)))
        while True:
            sport = None if name in FIXED_PORTS else chance.randrange(49152, 65535)
            varied = renumbered(frame, chance.randrange(1, 65535), sport)
            sent[name] = sent.get(name, 0) + node.net.send_frames(leg.name, [varied])
            await asyncio.sleep(every * chance.uniform(0.7, 1.3))

    async def begin() -> None:
        spec = node.spec
        frames = await compiled(MODULE, {
            "mac": leg.mac, "ip": leg.ip, "broadcast": str(network.broadcast_address),
            "host": str(spec.get("host", node.name)), "syslog": spec.get("syslog", ""), "time": spec.get("time", ""),
        })  # fmt: skip
        unknown = sorted(set(spec["mix"]) - set(frames))
        if unknown:
            raise ValueError(f"no template {unknown[0]!r} for this node; there are: {', '.join(sorted(frames))}")
        await asyncio.gather(*(chatter(name, float(every), frames[name]) for name, every in spec["mix"].items()))

    async def counters(_: dict[str, Any]) -> dict[str, Any]:
        return {"values": dict(sent)}

    node.emit("ready")
    beginning = asyncio.ensure_future(begin())
    commands = asyncio.ensure_future(answer(node, {"counters": counters}))
    try:
        await asyncio.wait({beginning, commands}, return_when=asyncio.FIRST_COMPLETED)
        if beginning.done():
            beginning.result()
    finally:
        for task in (beginning, commands):
            task.cancel()
        await asyncio.gather(beginning, commands, return_exceptions=True)
