"""A programmable controller: pymodbus server on port 502, a scan of its logic, I/O with the plant.

Spec: `logic` (name in process.controllers), `tags` {tag: {address, start?}} (addresses per tag; the table is the
tag's own), `plant` (address on the fieldbus), `controller` (name the plant knows it by), `identity` {vendor, code,
revision, url?, product?, model?}, `port` (502), `size` (registers per table that answer, 512).

Every table reads as one dense memory from 0 to `size`, as such controllers do; what carries no tag reads 0 and holds
what is written to it. Writes to inputs are impossible in Modbus; writes to tags are clipped to 16 bits by nature.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.mei_message import ReadDeviceInformationResponse
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from cyber_range.engine.agents.context import NodeContext, Peer, answer
from cyber_range.engine.agents.fieldbus import CONTROLLER_PORT, PLANT_PORT, pack, unpack
from cyber_range.engine.process.controllers import LOGICS, Tag

SCAN_AT_LEAST = 0.1  # s without a plant datagram before a scan runs by itself
TABLE_OF_FUNCTION = {1: "coil", 5: "coil", 15: "coil", 2: "discrete", 4: "input"}  # all others: holding


class Memory:
    """The controller's four tables and the tags that lie in them, in engineering units."""

    def __init__(self, tags: tuple[Tag, ...], placed: Mapping[str, Mapping[str, Any]], size: int) -> None:
        self.size = size
        self.tags: dict[str, float] = {}
        self._tag_at: dict[tuple[str, int], Tag] = {}
        self._plain: dict[tuple[str, int], int] = {}
        for tag in tags:
            if tag.name not in placed:
                raise ValueError(f"tag {tag.name!r} has no address in this controller's spec")
            address = int(placed[tag.name]["address"])
            other = self._tag_at.get((tag.table, address))
            if other is not None or not 0 <= address < size:
                why = f"is taken by {other.name!r}" if other else f"is outside 0..{size - 1}"
                raise ValueError(f"{tag.table} {address} of tag {tag.name!r} {why}")
            self._tag_at[tag.table, address] = tag
            self.tags[tag.name] = float(placed[tag.name].get("start", tag.start))
        if unknown := sorted(set(placed) - set(self.tags)):
            raise ValueError(f"this controller has no tag {unknown[0]!r}; there are: {', '.join(sorted(self.tags))}")

    def raw(self, table: str, address: int) -> int:
        """What a master reads there: 16 bits, or 0/1."""
        tag = self._tag_at.get((table, address))
        if tag is None:
            return self._plain.get((table, address), 0)
        if table in ("coil", "discrete"):
            return int(bool(self.tags[tag.name]))
        return round(self.tags[tag.name] * tag.scale) & 0xFFFF

    def write(self, table: str, address: int, value: int) -> None:
        tag = self._tag_at.get((table, address))
        if tag is None:
            self._plain[table, address] = int(value)
        else:
            self.tags[tag.name] = value / tag.scale

    def tag_at(self, table: str, address: int) -> str:
        tag = self._tag_at.get((table, address))
        return tag.name if tag else ""


async def run(node: NodeContext) -> None:
    spec = node.spec
    logic = LOGICS[str(spec["logic"])]()
    memory = Memory(logic.tags, spec["tags"], int(spec.get("size", 512)))
    plant, name = str(spec["plant"]), str(spec["controller"])
    inputs: dict[str, float] = {}
    heard = time.monotonic()
    changes: list[tuple[str, int, int]] = []

    def scan() -> None:
        bus.send(pack({"c": name, "o": logic.scan(memory.tags, inputs)}), plant, PLANT_PORT)

    def on_datagram(data: bytes, peer: Peer) -> None:
        nonlocal heard
        message = unpack(data)
        if peer[0] == plant and isinstance(message.get("i"), dict):
            inputs.update(message["i"])
            heard = time.monotonic()
            scan()

    bus = await node.net.udp(CONTROLLER_PORT, on_datagram)
    logic.scan(memory.tags, inputs)  # a controller has gone through its program once before it speaks
    server = modbus_server(memory, spec.get("identity") or {}, changes)
    listener = await node.net.create_server(server.handle_new_connection, int(spec.get("port", 502)))

    async def read(command: dict[str, Any]) -> dict[str, Any]:
        first, count = int(command["address"]), int(command.get("count", 1))
        if first < 0 or count < 1 or first + count > memory.size:
            raise ValueError(f"addresses {first}..{first + count - 1} are outside this controller's memory")
        return {"values": [memory.raw(str(command["table"]), address) for address in range(first, first + count)]}

    async def keep_scanning() -> None:
        told = 0.0
        while True:
            await asyncio.sleep(SCAN_AT_LEAST)
            if time.monotonic() - heard > SCAN_AT_LEAST:
                scan()
            if changes and time.monotonic() - told > 0.2:
                told = time.monotonic()
                written = [
                    {"table": table, "address": address, "value": value, "tag": memory.tag_at(table, address)}
                    for table, address, value in changes[:50]
                ]
                changes.clear()
                node.emit("written", writes=written)

    node.emit("ready")
    scanning = asyncio.ensure_future(keep_scanning())
    try:
        await answer(node, {"read": read})
    finally:
        scanning.cancel()
        listener.close()
        for connection in list(server.active_connections.values()):
            connection.close()
        bus.close()


def modbus_server(memory: Memory, identity: Mapping[str, str], changes: list[tuple[str, int, int]]) -> ModbusTcpServer:
    """A pymodbus server over `memory`. It is never asked to listen: the node's network accepts for it."""

    async def access(
        function: int, start: int, address: int, count: int, registers: list[int], values: list[Any] | None
    ) -> ExcCodes | None:
        table = TABLE_OF_FUNCTION.get(function, "holding")
        if values is not None:
            for offset, value in enumerate(values):
                memory.write(table, address + offset, int(value))
                changes.append((table, address + offset, int(value)))
        # pymodbus asks per register; bit tables come packed 16 to a register and `count` counts registers there
        if table in ("coil", "discrete"):
            first = address // 16
            for register in range(first, first + count):
                bits = sum(memory.raw(table, register * 16 + bit) << bit for bit in range(16))
                registers[register - start] = bits
        else:
            for offset in range(count):
                registers[address - start + offset] = memory.raw(table, address + offset)
        return None

    bits = -(-memory.size // 16) * 16
    device = SimDevice(
        id=0,  # answers every unit number, as most controllers with a network port of their own do
        simdata=(
            [SimData(0, count=bits, values=False, datatype=DataType.BITS)],
            [SimData(0, count=bits, values=False, datatype=DataType.BITS)],
            [SimData(0, count=memory.size, values=0, datatype=DataType.REGISTERS)],
            [SimData(0, count=memory.size, values=0, datatype=DataType.REGISTERS)],
        ),
        action=access,
    )

    def own_identity(sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        # pymodbus keeps one identity per process; nodes of the memory driver share a process, so each answers itself
        if sending and isinstance(pdu, ReadDeviceInformationResponse):
            names = ("vendor", "code", "revision", "url", "product", "model")
            wanted = names[:3] if pdu.read_code == 1 else names
            pdu.information = {i: identity[k].encode() for i, k in enumerate(names) if k in wanted and identity.get(k)}
        return pdu

    return ModbusTcpServer(device, trace_pdu=own_identity)
