"""S7 controllers: who they are, what they hold, what they run; stopping, overwriting, replacing their program."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.speakers import S7Speaker
from cyber_range.engine.attack.speaking import reach_of, speaking
from cyber_range.engine.attack.ways import Evidence

PORT = 102
MAIN = "OB1"


@contextlib.asynccontextmanager
async def dialogue(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> AsyncIterator[S7Speaker]:
    """Args of every step: host, port (102), slot (2), password (of a protected controller)."""
    host, port = intruder.fence.check(str(args["host"])), int(args.get("port", PORT))
    reach = reach_of(intruder, evidence)
    evidence.facts["target"] = host
    async with speaking(host, lambda: intruder.toolbox.s7(reach, host, port, int(args.get("slot", 2)))) as plc:
        if args.get("password"):
            await plc.password(str(args["password"]))
        yield plc


@step("s7_identify", "T0888", needs=("session",))
async def s7_identify(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Order code, firmware and names of a controller, from its system status lists."""
    async with dialogue(intruder, args, evidence) as plc:
        evidence.facts["identity"] = await plc.identity()


@step("s7_mode", "T0868", needs=("session",), gains=("mode",))
async def s7_mode(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Whether the controller is in RUN or STOP (status list 0424)."""
    async with dialogue(intruder, args, evidence) as plc:
        evidence.facts["mode"] = await plc.mode()


@step("s7_image", "T0877", "T0861", "T0802", needs=("session",), gains=("points",))
async def s7_image(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Reads the process images of inputs and outputs, and the flags."""
    async with dialogue(intruder, args, evidence) as plc:
        count = min(128, int(args.get("count", 128)))
        image = {area: await plc.image(area, count) for area in ("I", "Q", "M")}
    evidence.facts["image"] = {area: data.rstrip(b"\0").hex() for area, data in image.items()}


@step("s7_upload", "T0845", "T0882", "T0893", needs=("session",), gains=("program", "loot"))
async def s7_upload(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Takes blocks of the controller's program. Gains the program (loot under "program/HOST/OB1")."""
    blocks = [str(name) for name in args.get("blocks", [MAIN])]
    taken: dict[str, Any] = {}
    async with dialogue(intruder, args, evidence) as plc:
        for name in blocks:
            code = await plc.upload(name)
            intruder.loot[f"program/{args['host']}/{name}"] = code
            taken[name] = {"bytes": len(code), "sha256": hashlib.sha256(code).hexdigest()}
    evidence.facts["taken"] = taken


@step("s7_download", "T0843", "T0889", "T0821", "T0831", needs=("session",))
async def s7_download(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Replaces a block, or appends lines to it (`append`); what was there is kept for `undo`."""
    name = str(args.get("block", MAIN))
    async with dialogue(intruder, args, evidence) as plc:
        try:
            before: bytes | None = await plc.upload(name)
        except PermissionError:
            before = None  # a new block
        if "append" in args:
            after = (before or b"") + "\n".join(["", *map(str, lines_of(args["append"])), ""]).encode()
        else:
            after = str(args["code"]).encode()
        await plc.download(name, after)
    evidence.facts |= {
        "block": name, "before": before and hashlib.sha256(before).hexdigest(),
        "after": hashlib.sha256(after).hexdigest(),
    }  # fmt: skip
    where = dict(args)

    async def original(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as plc:
            if before is None:
                await plc.delete(name)
            else:
                await plc.download(name, before)
        return {"target": str(where["host"]), "block": name}

    intruder.undo_with((args["host"], "s7", name), original)


def lines_of(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else [str(line) for line in given]


@step("s7_stop", "T0858", "T0816", "T0881", "T0813", needs=("session",))
async def s7_stop(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Puts the controller into STOP: its outputs fall to their safe values."""
    async with dialogue(intruder, args, evidence) as plc:
        evidence.facts["before"] = await plc.mode()
        await plc.stop()
        evidence.facts["after"] = await plc.mode()
    where = dict(args)

    async def run_again(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as plc:
            await plc.start()
        return {"target": str(where["host"]), "mode": "run"}

    if evidence.facts["before"] == "run":
        intruder.undo_with((args["host"], "s7", "mode"), run_again)


@step("s7_start", "T0858", "T0816", needs=("session",))
async def s7_start(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Starts the controller; with `cold` it restarts and forgets what is not retentive."""
    async with dialogue(intruder, args, evidence) as plc:
        evidence.facts["before"] = await plc.mode()
        await plc.start(cold=bool(args.get("cold", False)))


@step("s7_write", "T0836", "T0855", "T0835", "T0838", "T0831", "T0837", "T0878", needs=("session",))
async def s7_write(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Overwrites one place (DB1.DBD0, M10.0, Q0.1 …) and reads it back. Leaves what was there for `undo`."""
    address, value = str(args["address"]), float(args["value"])
    async with dialogue(intruder, args, evidence) as plc:
        before = await plc.read(address)
        await plc.write(address, value)
        after = await plc.read(address)
    evidence.facts |= {"address": address, "value": value, "before": before, "after": after}
    where = dict(args)

    async def put_back(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as plc:
            await plc.write(address, before)
        return {"target": str(where["host"]), "address": address, "value": before}

    intruder.undo_with((args["host"], "s7", address), put_back)
