"""A programmable controller: pymodbus server on port 502, a scan of its logic, I/O with the plant.

Spec: that of every controller (controller.py); each tag has an `address`, its table is the tag's own; `identity`
{vendor, code, revision, url?, product?, model?}, `port` (502), `size` (registers per table that answer, 512).

Every table reads as one dense memory from 0 to `size`, as such controllers do; what carries no tag reads 0 and holds
what is written to it. Writes to inputs are impossible in Modbus; writes to tags are clipped to 16 bits by nature.
Function 8 sub-function 1 (restart communications option) restarts the controller; function 17 tells its identity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.diag_message import RestartCommunicationsOptionRequest
from pymodbus.pdu.mei_message import ReadDeviceInformationResponse
from pymodbus.pdu.other_message import ReportDeviceIdResponse
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.process.controllers import Tag

TABLE_OF_FUNCTION = {1: "coil", 5: "coil", 15: "coil", 2: "discrete", 4: "input"}  # all others: holding


class Memory:
    """The controller's four tables and the tags that lie in them, in engineering units."""

    def __init__(self, controller: Controller, placed: Mapping[str, Mapping[str, Any]], size: int) -> None:
        self.size = size
        self._controller = controller
        self._tag_at: dict[tuple[str, int], Tag] = {}
        self._plain: dict[tuple[str, int], int] = {}
        for tag in controller.tag_list:
            if tag.name not in placed:
                raise ValueError(f"tag {tag.name!r} has no address in this controller's spec")
            address = int(placed[tag.name]["address"])
            other = self._tag_at.get((tag.table, address))
            if other is not None or not 0 <= address < size:
                why = f"is taken by {other.name!r}" if other else f"is outside 0..{size - 1}"
                raise ValueError(f"{tag.table} {address} of tag {tag.name!r} {why}")
            self._tag_at[tag.table, address] = tag

    def raw(self, table: str, address: int) -> int:
        """What a master reads there: 16 bits, or 0/1."""
        tag = self._tag_at.get((table, address))
        if tag is None:
            return self._plain.get((table, address), 0)
        if table in ("coil", "discrete"):
            return int(bool(self._controller.tags[tag.name]))
        return round(self._controller.tags[tag.name] * tag.scale) & 0xFFFF

    def write(self, table: str, address: int, value: int) -> None:
        tag = self._tag_at.get((table, address))
        if tag is None:
            self._plain[table, address] = int(value)
        else:
            self._controller.write(tag.name, value / tag.scale)

    def tag_at(self, table: str, address: int) -> str:
        tag = self._tag_at.get((table, address))
        return tag.name if tag else ""


async def run(node: NodeContext) -> None:
    controller = Controller(node)
    memory = Memory(controller, node.spec["tags"], int(node.spec.get("size", 512)))
    identity = node.spec.get("identity") or {}

    async def door() -> Callable[[], None]:
        server = modbus_server(memory, identity, controller)
        listener = await node.net.create_server(server.handle_new_connection, int(node.spec.get("port", 502)))

        def close() -> None:
            listener.close()
            for connection in list(server.active_connections.values()):
                connection.close()

        return close

    async def read(command: dict[str, Any]) -> dict[str, Any]:
        if "address" not in command:
            return await controller.read(command)
        first, count = int(command["address"]), int(command.get("count", 1))
        if first < 0 or count < 1 or first + count > memory.size:
            raise ValueError(f"addresses {first}..{first + count - 1} are outside this controller's memory")
        return {"values": [memory.raw(str(command["table"]), address) for address in range(first, first + count)]}

    await controller.run(door, {"read": read})


def modbus_server(memory: Memory, identity: Mapping[str, str], controller: Controller) -> ModbusTcpServer:
    """A pymodbus server over `memory`. It is never asked to listen: the node's network accepts for it."""

    async def access(
        function: int, start: int, address: int, count: int, registers: list[int], values: list[Any] | None
    ) -> ExcCodes | None:
        table = TABLE_OF_FUNCTION.get(function, "holding")
        if values is not None:
            for offset, value in enumerate(values):
                at = address + offset
                memory.write(table, at, int(value))
                controller.told({"table": table, "address": at, "value": int(value), "tag": memory.tag_at(table, at)})
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
    # Lists, because pymodbus 3.16 applies a count twice (512 registers became 262144); words as bits, because it takes
    # those as they are and packs and unpacks every register of another type three times. The values come from `access`.
    device = SimDevice(
        id=0,  # answers every unit number, as most controllers with a network port of their own do
        simdata=(
            [SimData(0, values=[False] * bits, datatype=DataType.BITS)],
            [SimData(0, values=[False] * bits, datatype=DataType.BITS)],
            [SimData(0, values=[0] * memory.size, datatype=DataType.BITS)],
            [SimData(0, values=[0] * memory.size, datatype=DataType.BITS)],
        ),
        action=access,
    )

    def own_identity(sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        # pymodbus keeps one identity per process; nodes of the memory driver share a process, so each answers itself
        if sending and isinstance(pdu, ReadDeviceInformationResponse):
            names = ("vendor", "code", "revision", "url", "product", "model")
            wanted = names[:3] if pdu.read_code == 1 else names
            pdu.information = {i: identity[k].encode() for i, k in enumerate(names) if k in wanted and identity.get(k)}
        elif sending and isinstance(pdu, ReportDeviceIdResponse):
            known = [str(identity[k]) for k in ("vendor", "code", "revision") if identity.get(k)]
            pdu.identifier = " ".join(known).encode() or b"\0"
            pdu.status = controller.running  # FF: run indicator on
        elif not sending and isinstance(pdu, RestartCommunicationsOptionRequest):
            controller.restart()
        return pdu

    return ModbusTcpServer(device, trace_pdu=own_identity)
