"""A machine that reports by MQTT: a controller whose tags go to a broker and that takes commands on a topic.

Spec: that of every controller (controller.py), where each tag under `tags` is published and, if the logic lets an operator
write it, commanded (`command: false` forbids that); `broker` (address), `port` (1883), `topic` ("factory/<controller>"),
`client` (the node's name), `user`, `password`, `every` (s between telemetry, 1), `keep_alive` (s, 15), `qos` (1).

    <topic>/telemetry     {"t": unix s, "values": {tag: value}} every `every` s, QoS 0
    <topic>/tags/<tag>    the value whenever it changes, `qos`, retained
    <topic>/status        online / offline (its will), retained
    <topic>/set/<tag>     subscribed: a number (or {"value": number}) is written to the tag
    <topic>/command       subscribed: restart, stop, run
    <topic>/ack           {"tag" or "command", "value", "ok", "error"?} for each of the two above
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.agents.mqtt_link import MqttLink
from cyber_range.engine.agents.mqtt_packets import Connect, Publish, Will
from cyber_range.engine.agents.operator_view import backoff

LOOK_EVERY = 0.1  # s between looks for changes


class Device:
    def __init__(self, node: NodeContext, controller: Controller) -> None:
        spec = node.spec
        self._node, self._controller = node, controller
        placed: dict[str, Any] = {name: where or {} for name, where in (spec.get("tags") or {}).items()}
        self._tags = [tag for tag in controller.tag_list if tag.name in placed]
        self._writable = {t.name for t in self._tags if t.operator and placed[t.name].get("command", True)}
        self.topic = str(spec.get("topic") or f"factory/{spec['controller']}")
        self._every, self._qos = float(spec.get("every", 1)), int(spec.get("qos", 1))
        self._connect = Connect(
            str(spec.get("client") or node.name),
            keep_alive=int(spec.get("keep_alive", 15)),
            will=Will(f"{self.topic}/status", b"offline", 1, True),
            user=spec.get("user"),
            password=str(spec["password"]).encode() if "password" in spec else None,
        )
        self.link: MqttLink | None = None
        self._acks: deque[dict[str, Any]] = deque(maxlen=100)  # kept until the broker has them

    async def serve(self) -> None:
        """Keeps connected until cancelled; a broker that is away costs nothing but the reports."""
        failures = 0
        while True:
            begun = time.monotonic()
            try:
                await self._session()
            except (OSError, TimeoutError) as exc:
                self._node.emit("broker", connected=False, reason=str(exc) or type(exc).__name__)
            finally:
                if self.link is not None:
                    self.link.close()
            failures = 1 if time.monotonic() - begun > 10 else failures + 1
            await asyncio.sleep(backoff(failures, 0.5))

    async def _session(self) -> None:
        spec = self._node.spec
        self.link = link = await MqttLink.open(
            self._node.net, str(spec["broker"]), int(spec.get("port", 1883)), self._connect, self._on_message
        )
        self._node.emit("broker", connected=True, reason="")
        await link.subscribe((f"{self.topic}/set/+", 1), (f"{self.topic}/command", 1))
        await link.publish(f"{self.topic}/status", b"online", qos=1, retain=True)
        told: dict[str, float] = {}
        due = time.monotonic()
        while link.connected:
            values = {tag.name: round(self._controller.tags[tag.name], 6) for tag in self._tags}
            if time.monotonic() >= due:
                due = max(due + self._every, time.monotonic())
                body = json.dumps({"t": round(time.time(), 3), "values": values}, separators=(",", ":"))
                await link.publish(f"{self.topic}/telemetry", body.encode())
            for tag in self._tags:
                value = values[tag.name]
                if told.get(tag.name) is None or abs(value - told[tag.name]) >= 1 / tag.scale * (1 - 1e-9):
                    told[tag.name] = value
                    await link.publish(
                        f"{self.topic}/tags/{tag.name}", f"{value:g}".encode(), qos=self._qos, retain=True
                    )
            while self._acks:
                ack = self._acks[0]
                body = json.dumps(ack, separators=(",", ":"))
                await link.publish(f"{self.topic}/ack", body.encode(), qos=max(1, self._qos))
                if self._acks and self._acks[0] is ack:
                    self._acks.popleft()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(link.over.wait(), LOOK_EVERY)

    def _on_message(self, message: Publish) -> None:
        payload = message.payload.decode(errors="replace").strip()
        rest = message.topic.removeprefix(self.topic + "/")
        ack: dict[str, Any]
        if rest.startswith("set/"):
            ack = self._set(rest.removeprefix("set/"), payload)
        elif payload in ("restart", "stop", "run"):
            if payload == "restart":
                self._controller.restart("mqtt")
            else:
                self._controller.set_mode("stop" if payload == "stop" else "run", "mqtt")
            ack = {"command": payload, "ok": True}
        else:
            ack = {"command": payload[:100], "ok": False, "error": "commands are: restart, stop, run"}
        self._acks.append(ack)

    def _set(self, tag: str, payload: str) -> dict[str, Any]:
        if tag not in self._writable:
            return {"tag": tag, "ok": False, "error": f"tags are: {', '.join(sorted(self._writable))}"}
        try:
            said = json.loads(payload)
            value = float(said["value"] if isinstance(said, dict) else said)
            if abs(value) == float("inf") or value != value:
                raise ValueError("not a number")
        except (ValueError, KeyError, TypeError):
            return {"tag": tag, "ok": False, "error": 'send a number or {"value": number}'}
        self._controller.write(tag, value)
        self._controller.told({"tag": tag, "value": value, "topic": f"{self.topic}/set/{tag}"})
        return {"tag": tag, "value": value, "ok": True}


async def run(node: NodeContext) -> None:
    controller = Controller(node)
    device = Device(node, controller)

    async def open_door() -> Callable[[], None]:
        serving = asyncio.ensure_future(device.serve())

        def close() -> None:
            serving.cancel()
            if device.link is not None:
                device.link.close()

        return close

    await controller.run(open_door)
