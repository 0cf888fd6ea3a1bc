"""IEC 60870-5-104 stations: asked for everything, commanded, restarted, cut off from their control centre."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.speakers import Iec104Speaker
from cyber_range.engine.attack.speaking import reach_of, speaking
from cyber_range.engine.attack.ways import Blocked, Evidence

PORT = 2404
MOST_CONNECTIONS = 16
SOMEBODY_ELSE = 0.6  # s without the last connection: somebody else has it
COMMANDS = ("C_SC_NA_1", "C_DC_NA_1", "C_SE_NA_1", "C_SE_NB_1", "C_SE_NC_1")


async def connect(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> Iec104Speaker:
    host, port = intruder.fence.check(str(args["host"])), int(args.get("port", PORT))
    return await intruder.toolbox.iec104(reach_of(intruder, evidence), host, port, int(args.get("common", 1)))


@contextlib.asynccontextmanager
async def dialogue(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> AsyncIterator[Iec104Speaker]:
    """Args of every step: host, port (2404), common (address, 1)."""
    evidence.facts["target"] = str(args["host"])
    async with speaking(str(args["host"]), lambda: connect(intruder, args, evidence)) as station:
        yield station


@step("iec104_interrogate", "T0801", "T0861", "T0802", "T0848", needs=("session",), gains=("points",))
async def iec104_interrogate(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """A general interrogation as a second control centre sends it. Gains every object's type and value."""
    async with dialogue(intruder, args, evidence) as station:
        points = await station.interrogate(min(30.0, float(args.get("seconds", 5))))
    evidence.facts["points"] = {str(at): [kind, round(value, 6)] for at, (kind, value) in sorted(points.items())}


@step("iec104_command", "T0855", "T0836", "T0831", "T0835", needs=("session",))
async def iec104_command(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """One command: `ioa`, `value`, `type` (C_SC_NA_1), `select` (false). `before` is what `undo` commands."""
    kind, address, value = str(args.get("type", COMMANDS[0])), int(args["ioa"]), float(args["value"])
    if kind not in COMMANDS:
        raise ValueError(f"{kind!r} is no command; choose {', '.join(COMMANDS)}")
    select = bool(args.get("select", False))
    async with dialogue(intruder, args, evidence) as station:
        await station.command(kind, address, value, select=select)
    evidence.facts |= {"ioa": address, "type": kind, "value": value}
    if "before" not in args:
        return
    before, where = float(args["before"]), dict(args)

    async def put_back(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as station:
            await station.command(kind, address, before, select=select)
        return {"target": str(where["host"]), "ioa": address, "value": before}

    intruder.undo_with((args["host"], "iec104", address), put_back)


@step("iec104_restart", "T0816", needs=("session",))
async def iec104_restart(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Reset process command: the station restarts and all its connections end."""
    async with dialogue(intruder, args, evidence) as station:
        await station.reset()


@step("iec104_block", "T0804", "T0803", "T0815", "T0813", "T0814", needs=("session",))
async def iec104_block(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Restarts the station and takes every connection it has before its control centre is back. Holds them `seconds`."""
    wanted = min(MOST_CONNECTIONS, int(args.get("connections", 8)))
    seconds, patience = float(args.get("seconds", 120)), float(args.get("patience", 12))
    held: list[Iec104Speaker] = []
    async with dialogue(intruder, args, evidence) as station:
        await station.reset()
    until = time.monotonic() + patience
    came = 0.0  # when the first connection of this restart was ours
    while len(held) < wanted and time.monotonic() < until:
        tries = await asyncio.gather(
            *(connect(intruder, args, evidence) for _ in range(wanted - len(held))), return_exceptions=True
        )
        for one in tries:
            if not isinstance(one, BaseException):
                held.append(one)
            elif not isinstance(one, Blocked | OSError | TimeoutError):
                raise one
        held = [speaker for speaker in held if speaker.open]
        came = (came or time.monotonic()) if held else 0.0
        if held and len(held) < wanted and time.monotonic() - came > SOMEBODY_ELSE:
            with contextlib.suppress(OSError, TimeoutError):  # the control centre was faster: once more
                await held[0].reset()
            for speaker in held:
                speaker.close()
            held, came = [], 0.0
        await asyncio.sleep(0.03)
    evidence.facts["connections"] = len(held)
    if len(held) < wanted:
        for speaker in held:
            speaker.close()
        raise Blocked(f"{args['host']} gave {len(held)} of {wanted} connections")

    async def hold() -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            for speaker in held:
                speaker.close()
        intruder.tell("iec104_block_ended", {"target": str(args["host"]), "connections": len(held)})

    intruder.go_on(f"iec104_block {args['host']}", hold())

    async def let_go(_: Evidence) -> dict[str, Any]:
        for speaker in held:
            speaker.close()
        return {"target": str(args["host"]), "connections": len(held)}

    intruder.undo_with((args["host"], "iec104", "connections"), let_go)
