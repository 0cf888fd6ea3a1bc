"""The network sensor on the bridges: decodes, judges, counts, captures.

Spec: `taps` {zone: bridge device}, `policy` (see sensor.rules.Policy.of), `capture` (true). Emits once a second `polls`,
`flows`, `counters`, and as they come `alert`, `asset`, `pcap`.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

from cyber_range.engine.agents.context import NodeContext, answer
from cyber_range.engine.sensor import pcapng
from cyber_range.engine.sensor.monitor import Monitor
from cyber_range.engine.sensor.rules import Policy

REPORT_EVERY = 1.0  # s
ALERTS_EVERY = 0.2  # s
CHUNK = 192 * 1024  # bytes of one pcap message before base64
CAPTURE_RATE = 4 * 1024 * 1024  # bytes a second over all zones; above, frames are counted but not kept


async def run(node: NodeContext) -> None:
    monitor = Monitor(Policy.of(node.spec.get("policy") or {}))
    capture = bool(node.spec.get("capture", True))
    pending: dict[str, list[tuple[int, bytes]]] = {zone: [] for zone in node.spec["taps"]}
    sizes = dict.fromkeys(pending, 0)
    budget = CAPTURE_RATE
    lost = 0

    def flush(zone: str) -> None:
        if pending[zone]:
            data = base64.b64encode(pcapng.packets(pending[zone])).decode()
            node.emit("pcap", zone=zone, data=data)
            pending[zone], sizes[zone] = [], 0

    def listener(zone: str) -> Callable[[list[tuple[int, bytes]]], None]:
        def on_frames(frames: list[tuple[int, bytes]]) -> None:
            nonlocal budget, lost
            monitor.feed(zone, frames)
            if not capture:
                return
            size = sum(len(frame) for _, frame in frames)
            if size > budget:
                lost += len(frames)
                return
            budget -= size
            pending[zone] += frames
            sizes[zone] += size
            if sizes[zone] >= CHUNK:
                flush(zone)

        return on_frames

    async def report() -> None:
        nonlocal budget
        due = time.monotonic()
        while True:
            due += REPORT_EVERY
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            budget = CAPTURE_RATE
            facts = monitor.report(time.time())
            tell(facts)
            node.emit("polls", polls=facts["polls"])
            node.emit("flows", flows=facts["flows"])
            node.emit("counters", values={**facts["counters"], "capture_lost": lost})
            for zone in pending:
                flush(zone)

    def tell(facts: dict[str, Any]) -> None:
        for asset in facts["assets"]:
            node.emit("asset", **asset)
        for alert in facts["alerts"]:
            node.emit("alert", **alert)

    async def alarm() -> None:
        while True:
            await asyncio.sleep(ALERTS_EVERY)
            for alert in monitor.rules.drain():
                node.emit("alert", **alert.as_dict())

    async def counters(_: dict[str, Any]) -> dict[str, Any]:
        return {"values": {**monitor.rules.counters, "frames": monitor.frames, "capture_lost": lost}}

    taps = [await node.net.tap(zone, listener(zone)) for zone in pending]
    work = [asyncio.ensure_future(report()), asyncio.ensure_future(alarm())]
    node.emit("ready")
    try:
        await answer(node, {"counters": counters})
    finally:
        for task in work:
            task.cancel()
        for tap in taps:
            tap.close()
        for zone in pending:
            flush(zone)
