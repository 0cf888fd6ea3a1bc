"""A panel (or a small MES) that shows what machines report by MQTT and sends the operator's commands.

Spec: `broker`, `port` (1883), `user`, `password`, `client` (the node's name), `devices` [{name, topic, tags: [names]}]
(topics of mqtt_device.py); and that of every supervisor (operator_view.py).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.mqtt_link import MqttLink
from cyber_range.engine.agents.mqtt_packets import Connect, Publish
from cyber_range.engine.agents.operator_view import Heard, backoff, supervise


class Machine:
    """One machine's topics (`operator_view.Device`). The first of them keeps the connection for all."""

    def __init__(self, panel: Panel, config: Mapping[str, Any]) -> None:
        self.name, self.topic = str(config["name"]), str(config["topic"])
        self.heard = Heard([str(tag) for tag in config["tags"]])
        self._panel = panel

    async def serve(self) -> None:
        if self is self._panel.machines[0]:
            await self._panel.serve()
        await asyncio.Event().wait()

    async def operate(self, tag: str, value: float) -> Mapping[str, Any]:
        if tag not in self.heard.values:
            raise LookupError(f"{self.name} shows no tag {tag!r}; it shows: {', '.join(sorted(self.heard.values))}")
        await self._panel.publish(f"{self.topic}/set/{tag}", f"{value:g}".encode())
        return {"published": True}

    def take(self, rest: str, payload: bytes) -> None:
        """A message below this machine's topic; what cannot be read is nobody's value."""
        try:
            if rest == "telemetry":
                for tag, value in json.loads(payload)["values"].items():
                    if tag in self.heard.values:
                        self.heard.tell(tag, float(value))
            elif rest.startswith("tags/") and rest[5:] in self.heard.values:
                self.heard.tell(rest[5:], float(payload))
        except (ValueError, KeyError, TypeError, AttributeError):
            return


class Panel:
    def __init__(self, node: NodeContext) -> None:
        spec = node.spec
        self._node = node
        self._link: MqttLink | None = None
        self._connect = Connect(
            str(spec.get("client") or node.name),
            keep_alive=15,
            user=spec.get("user"),
            password=str(spec["password"]).encode() if "password" in spec else None,
        )
        self.machines = [Machine(self, config) for config in spec["devices"]]

    async def serve(self) -> None:
        spec = self._node.spec
        failures = 0
        while True:
            begun = time.monotonic()
            try:
                self._link = link = await MqttLink.open(
                    self._node.net, str(spec["broker"]), int(spec.get("port", 1883)), self._connect, self._on_message
                )
                for machine in self.machines:
                    await link.subscribe((f"{machine.topic}/telemetry", 0), (f"{machine.topic}/tags/+", 1))
                await link.over.wait()
            except (OSError, TimeoutError) as exc:
                self._node.emit("broker", connected=False, reason=str(exc) or type(exc).__name__)
            finally:
                if self._link is not None:
                    self._link.close()
            failures = 1 if time.monotonic() - begun > 10 else failures + 1
            await asyncio.sleep(backoff(failures, 0.5))

    async def publish(self, topic: str, payload: bytes) -> None:
        if self._link is None or not self._link.connected:
            raise ConnectionResetError("the broker is not connected")
        await self._link.publish(topic, payload, qos=1)

    def _on_message(self, message: Publish) -> None:
        for machine in self.machines:
            if message.topic.startswith(machine.topic + "/"):
                machine.take(message.topic[len(machine.topic) + 1 :], message.payload)


async def run(node: NodeContext) -> None:
    panel = Panel(node)
    await supervise(node, {machine.name: machine for machine in panel.machines})
