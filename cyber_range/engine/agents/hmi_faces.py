"""How an operator station reads and writes one controller, per protocol. All connect anew after any failure.

modbus  `unit` (1), `blocks` [{table, address, count}], `tags` [{name, table, address, scale?, unit?}]
s7      `slot` (2), `password`, `tags` [{name, address, type?, scale? (of whole numbers), unit?}] (s7_memory)
enip    `tags` [{name, tag? (name in the controller), unit?}]
opcua   `user`, `password`, `tags` [{name, node (like "ns=2;s=Line1.level"), unit?}]; imports asyncua (30 MiB)
"""

from __future__ import annotations

import asyncio
import importlib
import struct
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cyber_range.engine.agents import s7_memory
from cyber_range.engine.agents.context import Net
from cyber_range.engine.agents.enip_link import READS_AT_ONCE, EnipLink
from cyber_range.engine.agents.enip_wire import PORT as ENIP_PORT
from cyber_range.engine.agents.enip_wire import CipError, Malformed
from cyber_range.engine.agents.modbus_link import ModbusError, ModbusLink
from cyber_range.engine.agents.s7_link import S7Error, S7Link, item_of
from cyber_range.engine.agents.s7_wire import Malformed as S7Malformed

TROUBLE = (OSError, TimeoutError, ModbusError, S7Error, CipError, Malformed, S7Malformed, struct.error)
ITEMS_AT_ONCE = 18  # S7 variables of one request: 12 bytes each in a PDU of 240


class Face(Protocol):
    """`requests` make one cycle; `poll` does one of them and raises one of TROUBLE when it fails."""

    requests: int

    async def poll(self, number: int) -> None: ...
    async def operate(self, tag: str, value: float) -> float:
        """Writes an engineering value; what stood on the wire. LookupError for a tag that is not shown."""
        ...

    def values(self) -> dict[str, float | None]:
        """Engineering values by tag; None for what was never read."""
        ...

    def close(self) -> None: ...


class Shown:
    """The tags of a device's configuration, by name."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.device = str(config["name"])
        self.tags: dict[str, Mapping[str, Any]] = {str(tag["name"]): tag for tag in config["tags"]}

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        if name not in self.tags:
            raise LookupError(f"{self.device} shows no tag {name!r}")
        return self.tags[name]


class ModbusFace:
    def __init__(self, net: Net, config: Mapping[str, Any]) -> None:
        self._net, self._config, self._shown = net, config, Shown(config)
        self._unit = int(config.get("unit", 1))
        self._link: ModbusLink | None = None
        self._raw: dict[tuple[str, int], int] = {}
        self.requests = len(config["blocks"])

    async def _connected(self) -> ModbusLink:
        if self._link is None or not self._link.open:
            host, port = str(self._config["host"]), int(self._config.get("port", 502))
            self._link = await ModbusLink.connect(self._net, host, port)
        return self._link

    async def poll(self, number: int) -> None:
        block = self._config["blocks"][number]
        table, first, count = str(block["table"]), int(block["address"]), int(block["count"])
        link = await self._connected()
        for offset, value in enumerate(await link.read(table, first, count, unit=self._unit)):
            self._raw[table, first + offset] = value

    async def operate(self, tag: str, value: float) -> float:
        at = self._shown[tag]
        raw = round(value * float(at.get("scale", 1)))
        link = await self._connected()
        await link.write(str(at["table"]), int(at["address"]), [raw], unit=self._unit)
        return raw

    def values(self) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for name, tag in self._shown.tags.items():
            raw = self._raw.get((str(tag["table"]), int(tag["address"])))
            found[name] = None if raw is None else raw / float(tag.get("scale", 1))
        return found

    def close(self) -> None:
        if self._link is not None:
            self._link.close()


class S7Face:
    def __init__(self, net: Net, config: Mapping[str, Any]) -> None:
        self._net, self._config, self._shown = net, config, Shown(config)
        self._places = {
            name: (s7_memory.place(str(tag["address"]), str(tag.get("type", ""))), float(tag.get("scale", 1)))
            for name, tag in self._shown.tags.items()
        }
        self._link: S7Link | None = None
        self._values: dict[str, float | None] = dict.fromkeys(self._places)
        names = list(self._places)
        self._groups = [names[at : at + ITEMS_AT_ONCE] for at in range(0, len(names), ITEMS_AT_ONCE)]
        self.requests = len(self._groups)

    async def _connected(self) -> S7Link:
        if self._link is None or not self._link.open:
            host, port = str(self._config["host"]), int(self._config.get("port", 102))
            self._link = await S7Link.connect(self._net, host, port, slot=int(self._config.get("slot", 2)))
            if self._config.get("password"):
                await self._link.password(str(self._config["password"]))
        return self._link

    async def poll(self, number: int) -> None:
        names = self._groups[number]
        link = await self._connected()
        answers = await link.read([item_of(self._places[name][0]) for name in names])
        for name, data in zip(names, answers, strict=True):
            at, scale = self._places[name]
            if at.bit >= 0:
                self._values[name] = float(data[0] & 1)
            else:
                self._values[name] = s7_memory.decode(s7_memory.Place(at.area, 0, at.bit, at.type), data, scale)

    async def operate(self, tag: str, value: float) -> float:
        self._shown[tag]
        at, scale = self._places[tag]
        data = bytearray(at.size)
        moved = s7_memory.Place(at.area, 0, 0 if at.bit >= 0 else -1, at.type)
        s7_memory.encode(moved, data, value, scale)
        link = await self._connected()
        await link.write(item_of(at), bytes(data))
        return s7_memory.decode(moved, data, 1)

    def values(self) -> dict[str, float | None]:
        return dict(self._values)

    def close(self) -> None:
        if self._link is not None:
            self._link.close()


class EnipFace:
    def __init__(self, net: Net, config: Mapping[str, Any]) -> None:
        self._net, self._config, self._shown = net, config, Shown(config)
        self._names = {name: str(tag.get("tag", name)) for name, tag in self._shown.tags.items()}
        self._link: EnipLink | None = None
        self._values: dict[str, float | None] = dict.fromkeys(self._names)
        names = list(self._names)
        self._groups = [names[at : at + READS_AT_ONCE] for at in range(0, len(names), READS_AT_ONCE)]
        self.requests = len(self._groups)

    async def _connected(self) -> EnipLink:
        if self._link is None or not self._link.open:
            host, port = str(self._config["host"]), int(self._config.get("port", ENIP_PORT))
            self._link = await EnipLink.connect(self._net, host, port)
        return self._link

    async def poll(self, number: int) -> None:
        names = self._groups[number]
        link = await self._connected()
        found = await link.read([self._names[name] for name in names])
        self._values.update(zip(names, found, strict=True))

    async def operate(self, tag: str, value: float) -> float:
        self._shown[tag]
        link = await self._connected()
        await link.write(self._names[tag], value)
        return value

    def values(self) -> dict[str, float | None]:
        return dict(self._values)

    def close(self) -> None:
        if self._link is not None:
            self._link.close()


class OpcUaFace:
    """One read of all nodes a cycle over one session."""

    requests = 1

    def __init__(self, net: Net, config: Mapping[str, Any]) -> None:
        self._net, self._config, self._shown = net, config, Shown(config)
        self._nodes = {name: str(tag["node"]) for name, tag in self._shown.tags.items()}
        self._values: dict[str, float | None] = dict.fromkeys(self._nodes)
        self._link: Any = None
        self._connecting = asyncio.Lock()

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._link is None or not self._link.open:
                library = importlib.import_module("cyber_range.engine.agents._opcua_link")
                host, port = str(self._config["host"]), int(self._config.get("port", 4840))
                login = (str(self._config.get("user", "")), str(self._config.get("password", "")))
                self._link = await library.OpcUaLink.connect(self._net, host, port, *login)
            return self._link

    async def poll(self, number: int) -> None:
        link = await self._connected()
        found = await link.read(list(self._nodes.values()))
        self._values.update(zip(self._nodes, found, strict=True))

    async def operate(self, tag: str, value: float) -> float:
        self._shown[tag]
        link = await self._connected()
        await link.write(self._nodes[tag], value)
        return value

    def values(self) -> dict[str, float | None]:
        return dict(self._values)

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


FACES: Mapping[str, Callable[[Net, Mapping[str, Any]], Face]] = {
    "modbus": ModbusFace,
    "s7": S7Face,
    "enip": EnipFace,
    "opcua": OpcUaFace,
}


def face(net: Net, config: Mapping[str, Any]) -> Face:
    protocol = str(config.get("protocol", "modbus"))
    if protocol not in FACES:
        raise ValueError(f"device {config['name']!r} speaks {protocol!r}; there are: {', '.join(FACES)}")
    return FACES[protocol](net, config)
