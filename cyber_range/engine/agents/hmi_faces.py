"""How an operator station reads and writes one controller, per protocol. All connect anew after any failure.

modbus  `unit` (1), `blocks` [{table, address, count}], `tags` [{name, table, address, scale?, signed?, unit?}]
s7      `slot` (2), `password`, `tags` [{name, address, type?, scale? (of whole numbers), unit?}] (s7_memory)
enip    `tags` [{name, tag? (name in the controller), unit?}]
opcua   `user`, `password`, `tags` [{name, node (like "ns=2;s=Line1.level"), unit?}]; imports asyncua (30 MiB)
"""

from __future__ import annotations

import asyncio
import importlib
import struct
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

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
    """`requests` make one cycle."""

    requests: int

    async def poll(self, number: int) -> Mapping[str, float]:
        """Does one request; the engineering values it brought, by tag. Raises one of TROUBLE when it fails."""
        ...

    async def operate(self, tag: str, value: float) -> float:
        """Writes an engineering value; what stood on the wire. LookupError for a tag that is not shown."""
        ...

    def close(self) -> None: ...


class Link(Protocol):
    @property
    def open(self) -> bool: ...
    def close(self) -> None: ...


L = TypeVar("L", bound=Link)


class Linked(Generic[L]):
    """What all faces do alike: one connection, made when first needed and anew after it was lost."""

    def __init__(self, net: Net, config: Mapping[str, Any]) -> None:
        self._net, self._config = net, config
        self._host = str(config["host"])
        self._tags: dict[str, Mapping[str, Any]] = {str(tag["name"]): tag for tag in config["tags"]}
        self._link: L | None = None
        self._connecting = asyncio.Lock()  # the operator may be quicker than the poll

    def _tag(self, name: str) -> Mapping[str, Any]:
        if name not in self._tags:
            raise LookupError(f"{self._config['name']} shows no tag {name!r}")
        return self._tags[name]

    def _grouped(self, most: int) -> list[list[str]]:
        names = list(self._tags)
        return [names[at : at + most] for at in range(0, len(names), most)]

    async def _connect(self) -> L:
        raise NotImplementedError

    async def _connected(self) -> L:
        async with self._connecting:
            if self._link is None or not self._link.open:
                self._link = await self._connect()
            return self._link

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


class ModbusFace(Linked[ModbusLink]):
    def __init__(self, net: Net, config: Mapping[str, Any]) -> None:
        super().__init__(net, config)
        self._unit = int(config.get("unit", 1))
        self._at: dict[tuple[str, int], list[Mapping[str, Any]]] = {}  # register: tags that show it
        for tag in self._tags.values():
            self._at.setdefault((str(tag["table"]), int(tag["address"])), []).append(tag)
        self.requests = len(config["blocks"])

    async def _connect(self) -> ModbusLink:
        return await ModbusLink.connect(self._net, self._host, int(self._config.get("port", 502)))

    async def poll(self, number: int) -> Mapping[str, float]:
        block = self._config["blocks"][number]
        table, first, count = str(block["table"]), int(block["address"]), int(block["count"])
        link = await self._connected()
        read = await link.read(table, first, count, unit=self._unit)
        return {
            str(tag["name"]): (raw - 0x10000 if tag.get("signed") and raw > 0x7FFF else raw)
            / float(tag.get("scale", 1))
            for offset, raw in enumerate(read)
            for tag in self._at.get((table, first + offset), ())
        }

    async def operate(self, tag: str, value: float) -> float:
        at = self._tag(tag)
        raw = round(value * float(at.get("scale", 1)))
        link = await self._connected()
        await link.write(str(at["table"]), int(at["address"]), [raw & 0xFFFF], unit=self._unit)
        return raw


class S7Face(Linked[S7Link]):
    def __init__(self, net: Net, config: Mapping[str, Any]) -> None:
        super().__init__(net, config)
        self._places = {
            name: (s7_memory.place(str(tag["address"]), str(tag.get("type", ""))), float(tag.get("scale", 1)))
            for name, tag in self._tags.items()
        }
        self._groups = self._grouped(ITEMS_AT_ONCE)
        self.requests = len(self._groups)

    async def _connect(self) -> S7Link:
        slot, port = int(self._config.get("slot", 2)), int(self._config.get("port", 102))
        link = await S7Link.connect(self._net, self._host, port, slot=slot)
        if self._config.get("password"):
            try:
                await link.password(str(self._config["password"]))
            except BaseException:
                link.close()
                raise
        return link

    async def poll(self, number: int) -> Mapping[str, float]:
        names = self._groups[number]
        link = await self._connected()
        answers = await link.read([item_of(self._places[name][0]) for name in names])
        return {name: self._decoded(name, data) for name, data in zip(names, answers, strict=True)}

    def _decoded(self, name: str, data: bytes) -> float:
        at, scale = self._places[name]
        if at.bit >= 0:
            return float(data[0] & 1)
        return s7_memory.decode(s7_memory.Place(at.area, 0, at.bit, at.type), data, scale)

    async def operate(self, tag: str, value: float) -> float:
        self._tag(tag)
        at, scale = self._places[tag]
        data = bytearray(at.size)
        moved = s7_memory.Place(at.area, 0, 0 if at.bit >= 0 else -1, at.type)
        s7_memory.encode(moved, data, value, scale)
        link = await self._connected()
        await link.write(item_of(at), bytes(data))
        return s7_memory.decode(moved, data, 1)


class EnipFace(Linked[EnipLink]):
    def __init__(self, net: Net, config: Mapping[str, Any]) -> None:
        super().__init__(net, config)
        self._names = {name: str(tag.get("tag", name)) for name, tag in self._tags.items()}
        self._groups = self._grouped(READS_AT_ONCE)
        self.requests = len(self._groups)

    async def _connect(self) -> EnipLink:
        return await EnipLink.connect(self._net, self._host, int(self._config.get("port", ENIP_PORT)))

    async def poll(self, number: int) -> Mapping[str, float]:
        names = self._groups[number]
        link = await self._connected()
        found = await link.read([self._names[name] for name in names])
        return dict(zip(names, found, strict=True))

    async def operate(self, tag: str, value: float) -> float:
        self._tag(tag)
        link = await self._connected()
        await link.write(self._names[tag], value)
        return value


class OpcUaFace(Linked[Any]):
    """One read of all nodes a cycle over one session."""

    requests = 1

    def __init__(self, net: Net, config: Mapping[str, Any]) -> None:
        super().__init__(net, config)
        self._nodes = {name: str(tag["node"]) for name, tag in self._tags.items()}

    async def _connect(self) -> Any:
        library = await asyncio.to_thread(importlib.import_module, "cyber_range.engine.agents._opcua_link")
        login = (str(self._config.get("user", "")), str(self._config.get("password", "")))
        return await library.OpcUaLink.connect(self._net, self._host, int(self._config.get("port", 4840)), *login)

    async def poll(self, number: int) -> Mapping[str, float]:
        link = await self._connected()
        found = await link.read(list(self._nodes.values()))
        return {name: value for name, value in zip(self._nodes, found, strict=True) if value is not None}

    async def operate(self, tag: str, value: float) -> float:
        self._tag(tag)
        link = await self._connected()
        await link.write(self._nodes[tag], value)
        return value


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
