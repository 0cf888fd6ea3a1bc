"""The protocol clients an intruder's machine has, each loaded with the first step that needs it."""

from __future__ import annotations

import importlib
from typing import Any

from cyber_range.engine.agents.clients.stream_net import StreamNet
from cyber_range.engine.agents.context import Net
from cyber_range.engine.attack.speakers import (
    BacnetSpeaker,
    Dnp3Speaker,
    EnipSpeaker,
    Iec104Speaker,
    MqttSpeaker,
    OpcUaSpeaker,
    S7Speaker,
)
from cyber_range.engine.attack.ways import Reach


def client(module: str) -> Any:
    return importlib.import_module(f"cyber_range.engine.agents.clients.{module}")


class Speakers:
    """The speaking half of `attack.ways.Toolbox`."""

    def __init__(self, net: Net) -> None:
        self._own = net

    async def s7(self, reach: Reach, host: str, port: int, slot: int) -> S7Speaker:
        opened: S7Speaker = await client("s7").S7Client.open(StreamNet(reach), host, port, slot=slot)
        return opened

    async def enip(self, reach: Reach, host: str, port: int) -> EnipSpeaker:
        opened: EnipSpeaker = await client("enip").EnipClient.open(StreamNet(reach), host, port)
        return opened

    async def opcua(self, reach: Reach, host: str, port: int, user: str, password: str) -> OpcUaSpeaker:
        opened: OpcUaSpeaker = await client("_opcua").OpcUaClient.open(StreamNet(reach), host, port, user, password)
        return opened

    async def iec104(self, reach: Reach, host: str, port: int, common: int) -> Iec104Speaker:
        opened: Iec104Speaker = await client("iec104").Iec104Client.connect(StreamNet(reach), host, port, common=common)
        return opened

    async def dnp3(self, reach: Reach, host: str, port: int, own: int, station: int) -> Dnp3Speaker:
        opened: Dnp3Speaker = await client("dnp3").Dnp3Client.open(
            StreamNet(reach), host, port, own=own, station=station
        )
        return opened

    async def mqtt(self, reach: Reach, host: str, port: int, name: str, user: str, password: str) -> MqttSpeaker:
        opened: MqttSpeaker = await client("mqtt").MqttClient.connect(
            StreamNet(reach), host, port, client=name, user=user, password=password
        )
        return opened

    async def bacnet(self, instance: int, bbmd: str | None = None) -> BacnetSpeaker:
        opened: BacnetSpeaker = await client("bacnet").BacnetClient.open(self._own, instance=instance, bbmd=bbmd)
        return opened
