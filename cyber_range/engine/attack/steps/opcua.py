"""OPC UA servers: browsed, written, their methods called."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.speakers import OpcUaSpeaker
from cyber_range.engine.attack.speaking import reach_of, speaking
from cyber_range.engine.attack.ways import Evidence

PORT = 4840


@contextlib.asynccontextmanager
async def dialogue(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> AsyncIterator[OpcUaSpeaker]:
    """Args of every step: host, port (4840), user, password (anonymous without)."""
    host, port = intruder.fence.check(str(args["host"])), int(args.get("port", PORT))
    reach, user, password = reach_of(intruder, evidence), str(args.get("user", "")), str(args.get("password", ""))
    evidence.facts["target"] = host
    async with speaking(host, lambda: intruder.toolbox.opcua(reach, host, port, user, password)) as server:
        yield server


@step("opcua_browse", "T0861", "T0888", "T0802", "T0868", needs=("session",), gains=("points",))
async def opcua_browse(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Walks the server's own objects; every variable with its value. Gains the points."""
    async with dialogue(intruder, args, evidence) as server:
        evidence.facts["variables"] = await server.browse(min(500, int(args.get("most", 200))))


@step("opcua_write", "T0836", "T0855", "T0831", "T0838", "T0837", "T0878", needs=("session",))
async def opcua_write(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Overwrites a variable (`node`: "ns=2;s=Line1.speed") and reads it back. Leaves what was there for `undo`."""
    node, value = str(args["node"]), float(args["value"])
    async with dialogue(intruder, args, evidence) as server:
        before = await server.read(node)
        await server.write(node, value)
        after = await server.read(node)
    evidence.facts |= {"node": node, "value": value, "before": before, "after": after}
    if before is None:
        return
    first, where = before, dict(args)

    async def put_back(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as server:
            await server.write(node, first)
        return {"target": str(where["host"]), "node": node, "value": first}

    intruder.undo_with((args["host"], "opcua", node), put_back)


@step("opcua_call", "T0871", "T0858", "T0816", "T0881", needs=("session",))
async def opcua_call(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Calls a method without arguments (`node`: "ns=2;s=Line1.Control.Stop"); `undo` calls `back`, when it is given."""
    node = str(args["node"])
    async with dialogue(intruder, args, evidence) as server:
        await server.call(node)
    evidence.facts["method"] = node
    if not args.get("back"):
        return
    back, where = str(args["back"]), dict(args)

    async def call_back(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as server:
            await server.call(back)
        return {"target": str(where["host"]), "method": back}

    intruder.undo_with((args["host"], "opcua", "call", back), call_back)
