"""DNP3 outstations: polled as a second master, controlled, restarted, silenced."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.speakers import Dnp3Speaker
from cyber_range.engine.attack.speaking import reach_of, speaking
from cyber_range.engine.attack.ways import Evidence

PORT = 20000


@contextlib.asynccontextmanager
async def dialogue(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> AsyncIterator[Dnp3Speaker]:
    """Args of every step: host, port (20000), own (link address to come from, 1), station (10)."""
    host, port = intruder.fence.check(str(args["host"])), int(args.get("port", PORT))
    own, station = int(args.get("own", 1)), int(args.get("station", 10))
    reach = reach_of(intruder, evidence)
    evidence.facts["target"] = host
    async with speaking(host, lambda: intruder.toolbox.dnp3(reach, host, port, own, station)) as outstation:
        yield outstation


@step("dnp3_poll", "T0801", "T0861", "T0802", "T0848", needs=("session",), gains=("points",))
async def dnp3_poll(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """An integrity poll as another master sends it: every point's value. Gains the points."""
    async with dialogue(intruder, args, evidence) as station:
        evidence.facts["points"] = await station.integrity()


@step("dnp3_control", "T0855", "T0836", "T0831", "T0835", needs=("session",))
async def dnp3_control(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """A control (`kind`: output or setpoint, `index`, `value`, `select`: true). What was there is kept for `undo`."""
    kind, index, value = str(args.get("kind", "output")), int(args["index"]), float(args["value"])
    select = bool(args.get("select", True))
    async with dialogue(intruder, args, evidence) as station:
        before = (await station.integrity()).get(f"{kind}/{index}")
        await station.operate(kind, index, value, select=select)
    evidence.facts |= {"point": kind, "index": index, "value": value, "before": before}
    if before is None:
        return
    first, where = before, dict(args)

    async def put_back(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as station:
            await station.operate(kind, index, first, select=select)
        return {"target": str(where["host"]), "kind": kind, "index": index, "value": first}

    intruder.undo_with((args["host"], "dnp3", kind, index), put_back)


@step("dnp3_restart", "T0816", "T0814", needs=("session",))
async def dnp3_restart(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Cold (or with `cold: false` warm) restart of the outstation."""
    async with dialogue(intruder, args, evidence) as station:
        await station.restart(cold=bool(args.get("cold", True)))


@step("dnp3_silence", "T0804", "T0815", needs=("session",))
async def dnp3_silence(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Disables unsolicited responses: events are no longer reported by themselves. `undo` enables them."""
    async with dialogue(intruder, args, evidence) as station:
        await station.unsolicited(False)
    where = dict(args)

    async def speak(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as station:
            await station.unsolicited(True)
        return {"target": str(where["host"]), "unsolicited": True}

    intruder.undo_with((args["host"], "dnp3", "unsolicited"), speak)
