"""A small Modbus/TCP master over `node.net`: one request at a time on one connection, as plant masters do.

Written on the protocol's framing (7-byte MBAP header, big-endian) so that the same client runs on sockets of the
kernel, of the memory driver and inside SSH tunnels.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import cast

from cyber_range.engine.agents.context import Net

READS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
EXCEPTIONS = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "device failure",
    5: "acknowledge", 6: "device busy", 10: "gateway path unavailable", 11: "gateway target did not respond",
}  # fmt: skip
MAX_READ = {"coil": 2000, "discrete": 2000, "holding": 125, "input": 125}


class ModbusError(Exception):
    """The device answered with an exception code."""

    def __init__(self, function: int, code: int) -> None:
        self.function, self.code = function, code
        super().__init__(f"function {function}: exception {code} ({EXCEPTIONS.get(code, 'unknown')})")


class ModbusLink(asyncio.Protocol):
    """One connection. Any failure closes it; the owner opens a new one (see `connect`)."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._transaction = 0
        self._turn = asyncio.Lock()
        self.sent = self.received = 0  # bytes of payload, for evidence

    @classmethod
    async def connect(cls, net: Net, host: str, port: int = 502, *, timeout: float = 3.0) -> ModbusLink:
        _, protocol = await net.create_connection(cls, host, port, timeout=timeout)
        assert isinstance(protocol, cls)
        return protocol

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionResetError("the device closed the connection"))
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self.received += len(data)
        while len(self._buffer) >= 8:
            transaction, protocol, length = struct.unpack_from(">HHH", self._buffer)
            if protocol != 0 or not 2 <= length <= 254:
                self.close()
                return
            if len(self._buffer) < 6 + length:
                return
            pdu = bytes(self._buffer[7 : 6 + length])
            del self._buffer[: 6 + length]
            future = self._waiting.pop(transaction, None)
            if future is not None and not future.done():
                future.set_result(pdu)

    async def request(self, pdu: bytes, *, unit: int = 1, timeout: float = 2.0) -> bytes:
        """The answer's PDU; ModbusError for an exception answer, TimeoutError (and a closed link) for none."""
        async with self._turn:
            if self._transport is None or self._transport.is_closing():
                raise ConnectionResetError("not connected")
            self._transaction = self._transaction % 0xFFFF + 1
            frame = struct.pack(">HHHB", self._transaction, 0, len(pdu) + 1, unit) + pdu
            future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._waiting[self._transaction] = future
            self._transport.write(frame)
            self.sent += len(frame)
            try:
                answer = await asyncio.wait_for(future, timeout)
            except TimeoutError:
                self.close()  # an answer that comes now would be taken for the next request's
                raise TimeoutError(f"no answer within {timeout:g} s") from None
        if answer[0] & 0x80:
            raise ModbusError(answer[0] & 0x7F, answer[1])
        return answer

    async def read(self, table: str, address: int, count: int = 1, *, unit: int = 1, timeout: float = 2.0) -> list[int]:
        """Registers, or bits as 0 and 1."""
        pdu = struct.pack(">BHH", READS[table], address, count)
        answer = await self.request(pdu, unit=unit, timeout=timeout)
        return unpack_values(table, answer, count)

    async def write(self, table: str, address: int, values: Sequence[int], *, unit: int = 1) -> None:
        """One coil (5), one register (6) or several of either (15, 16)."""
        await self.request(write_pdu(table, address, values), unit=unit)

    async def identify(self, *, unit: int = 1) -> dict[int, str]:
        """Device identification (43/14, basic stream): object id -> text."""
        answer = await self.request(bytes([0x2B, 0x0E, 1, 0]), unit=unit)
        return unpack_identity(answer)


def write_pdu(table: str, address: int, values: Sequence[int]) -> bytes:
    if table == "coil":
        if len(values) == 1:
            return struct.pack(">BHH", 5, address, 0xFF00 if values[0] else 0)
        packed = bytearray((len(values) + 7) // 8)
        for index, value in enumerate(values):
            packed[index // 8] |= bool(value) << index % 8
        return struct.pack(">BHHB", 15, address, len(values), len(packed)) + bytes(packed)
    if table == "holding":
        if len(values) == 1:
            return struct.pack(">BHH", 6, address, values[0])
        return struct.pack(">BHHB", 16, address, len(values), 2 * len(values)) + struct.pack(
            f">{len(values)}H", *values
        )
    raise ValueError(f"table {table!r} cannot be written; coil and holding can")


def unpack_values(table: str, answer: bytes, count: int) -> list[int]:
    data = answer[2:]
    if table in ("coil", "discrete"):
        if len(data) * 8 < count:
            raise ConnectionError("the device sent fewer bits than asked for")
        return [data[i // 8] >> i % 8 & 1 for i in range(count)]
    if len(data) != 2 * count:
        raise ConnectionError("the device sent another number of registers than asked for")
    return list(struct.unpack(f">{count}H", data))


def unpack_identity(answer: bytes) -> dict[int, str]:
    """Objects of a 43/14 answer: 0 vendor, 1 product code, 2 revision."""
    found, at = {}, 7
    for _ in range(answer[6]):
        kind, length = answer[at], answer[at + 1]
        found[kind] = answer[at + 2 : at + 2 + length].decode(errors="replace")
        at += 2 + length
    return found
