"""An MQTT client that listens for a while or publishes something."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from cyber_range.engine.agents.context import Connecting
from cyber_range.engine.agents.mqtt_link import MqttLink, NotAccepted
from cyber_range.engine.agents.mqtt_packets import Connect, Publish

MOST = 5000  # messages kept


class MqttClient:
    def __init__(self) -> None:
        self._heard: list[tuple[str, bytes]] = []
        self._link: MqttLink | None = None

    @classmethod
    async def connect(
        cls, net: Connecting, host: str, port: int = 1883, *, client: str = "", user: str = "", password: str = ""
    ) -> MqttClient:
        one = cls()
        wanted = Connect(client, user=user or None, password=password.encode() if user else None)
        with refusals():
            one._link = await MqttLink.open(net, host, port, wanted, one._on_message)
        return one

    def _on_message(self, message: Publish) -> None:
        if len(self._heard) < MOST:
            self._heard.append((message.topic, message.payload))

    @property
    def link(self) -> MqttLink:
        if self._link is None:
            raise ConnectionResetError("not connected")
        return self._link

    @property
    def open(self) -> bool:
        return self._link is not None and self._link.connected

    def close(self) -> None:
        if self._link is not None:
            self._link.leave()

    async def listen(self, topics: Sequence[str], seconds: float) -> list[tuple[str, bytes]]:
        with refusals():
            await self.link.subscribe(*((topic, 0) for topic in topics))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.link.over.wait(), seconds)
        heard, self._heard = self._heard, []
        return heard

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        await self.link.publish(topic, payload, retain=retain, qos=qos)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except NotAccepted as exc:
        raise PermissionError(str(exc)) from exc
