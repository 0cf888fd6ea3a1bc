"""A small S7 client over `node.net`: one job at a time on one connection, as operator stations and tools do.

Operator stations use `read` and `write`; engineering stations, campaigns and tools the rest.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import cast

from cyber_range.engine.agents import s7_blocks, s7_wire
from cyber_range.engine.agents.context import Connecting
from cyber_range.engine.agents.s7_memory import DB, Place
from cyber_range.engine.agents.s7_wire import ACK, ACK_DATA, JOB, USERDATA, Item, Pdu

BYTE = 0x02
PDU_SIZE = 480
LAST_OVERHEAD = 18  # bytes of header, parameters and length before a slice of a block


class S7Error(Exception):
    """The controller refused; `code` is the header's error word or the item's return code."""

    def __init__(self, what: str, code: int) -> None:
        self.code = code
        super().__init__(f"{what}: error {code:#06x}")


class S7Link(asyncio.Protocol):
    """One connection. Any failure closes it; the owner opens a new one (see `connect`)."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self._turn = asyncio.Lock()
        self._reference = 0
        self.pdu_size = 240

    @classmethod
    async def connect(
        cls, net: Connecting, host: str, port: int = 102, *, slot: int = 2, timeout: float = 3.0
    ) -> S7Link:
        """After COTP connect and setup; ConnectionRefusedError when the slot does not answer."""
        _, protocol = await net.create_connection(cls, host, port, timeout=timeout)
        assert isinstance(protocol, cls)
        try:
            protocol._send_raw(s7_wire.Connect(0x000C, called=bytes((1, slot))).request())
            cotp = await protocol._next(timeout)
            if cotp[1] & 0xF0 != s7_wire.CC:
                raise ConnectionRefusedError(f"{host} has no controller in slot {slot}")
            setup = struct.pack(">BBHHH", s7_wire.SETUP, 0, 1, 1, PDU_SIZE)
            answer = await protocol.job(setup, timeout=timeout)
            protocol.pdu_size = struct.unpack_from(">H", answer.parameters, 6)[0]
        except BaseException:
            protocol.close()
            raise
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
        self._arrived.put_nowait(b"")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while (cotp := s7_wire.take_tpkt(self._buffer)) is not None:
                self._arrived.put_nowait(cotp)
        except s7_wire.Malformed:
            self.close()

    def _send_raw(self, packet: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("not connected")
        self._transport.write(packet)

    async def _next(self, timeout: float) -> bytes:
        try:
            cotp = await asyncio.wait_for(self._arrived.get(), timeout)
        except TimeoutError:
            self.close()
            raise TimeoutError(f"no answer within {timeout:g} s") from None
        if not cotp:
            raise ConnectionResetError("the device closed the connection")
        return cotp

    async def _receive(self, timeout: float) -> Pdu:
        cotp = await self._next(timeout)
        return s7_wire.unpack(cotp[cotp[0] + 1 :])

    async def exchange(self, kind: int, parameters: bytes, data: bytes = b"", *, timeout: float = 2.0) -> Pdu:
        async with self._turn:
            return await self._exchange(kind, parameters, data, timeout)

    async def _exchange(self, kind: int, parameters: bytes, data: bytes, timeout: float) -> Pdu:
        self._reference = self._reference % 0xFFFF + 1
        self._send_raw(s7_wire.data_packet(Pdu(kind, self._reference, parameters, data).pack()))
        while True:
            answer = await self._receive(timeout)
            if answer.reference == self._reference and answer.kind in (ACK, ACK_DATA, USERDATA):
                return answer

    async def job(self, parameters: bytes, data: bytes = b"", *, timeout: float = 2.0) -> Pdu:
        answer = await self.exchange(JOB, parameters, data, timeout=timeout)
        if answer.error:
            raise S7Error(f"function {parameters[0]:#04x}", answer.error)
        return answer

    # ------------------------------------------------------------ variables

    async def read(self, items: Sequence[Item]) -> list[bytes]:
        """Values of all items; S7Error for the first that the controller does not give."""
        parameters = bytes((s7_wire.READ, len(items))) + b"".join(item.pack() for item in items)
        answer = await self.job(parameters)
        found = []
        for code, data in s7_wire.read_values(answer.data, len(items)):
            if code != s7_wire.OK:
                raise S7Error("read", code)
            found.append(data)
        return found

    async def read_bytes(self, area: int, db: int, start: int, count: int) -> bytes:
        return (await self.read([Item(BYTE, count, db, area, start * 8)]))[0]

    async def write(self, item: Item, data: bytes) -> None:
        parameters = bytes((s7_wire.WRITE, 1)) + item.pack()
        answer = await self.job(parameters, s7_wire.value(0, item.size, data))
        if answer.data[:1] != bytes((s7_wire.OK,)):
            raise S7Error("write", answer.data[0] if answer.data else 0)

    # ------------------------------------------------------------ the controller itself

    async def status_list(self, number: int, index: int = 0) -> bytes:
        """A system status list with its head, all fragments together."""
        answer = await self._userdata(bytes((0, 1, 0x12, 4, 0x11, 0x44, 1, 0)), struct.pack(">HH", number, index))
        found = answer.data[4:]
        while answer.parameters[9]:
            sequence = answer.parameters[7]
            ask = bytes((0, 1, 0x12, 8, 0x12, 0x44, 1, sequence, 0, 0, 0, 0))
            answer = await self._userdata(ask, b"")
            found += answer.data[4:]
        return found

    async def mode(self) -> str:
        """ "run" or "stop", as the operating mode list says."""
        return "run" if (await self.status_list(0x0424))[8 + 3] == 0x08 else "stop"

    async def password(self, text: str) -> None:
        clear = text.encode("latin-1").ljust(8)[:8]
        hidden = bytearray()
        for index, byte in enumerate(clear):
            hidden.append(byte ^ 0x55 ^ (hidden[index - 2] if index > 1 else 0))
        await self._userdata(bytes((0, 1, 0x12, 4, 0x11, 0x45, 1, 0)), bytes(hidden))

    async def _userdata(self, parameters: bytes, data: bytes) -> Pdu:
        code = s7_wire.OK if data else 0x0A
        answer = await self.exchange(USERDATA, parameters, s7_wire.octets(data, code))
        error = struct.unpack_from(">H", answer.parameters, 10)[0]
        if error:
            raise S7Error("user data", error)
        return answer

    async def stop(self) -> None:
        await self.job(bytes((s7_wire.PLC_STOP, 0, 0, 0, 0, 0, 9)) + b"P_PROGRAM")

    async def start(self, *, cold: bool = False) -> None:
        argument = b"C " if cold else b""
        await self.service(b"P_PROGRAM", argument)

    async def service(self, name: bytes, argument: bytes = b"") -> None:
        head = bytes((s7_wire.PI_SERVICE, 0, 0, 0, 0, 0, 0, 0xFD)) + struct.pack(">H", len(argument))
        await self.job(head + argument + bytes((len(name),)) + name)

    # ------------------------------------------------------------ blocks

    async def upload(self, name: str) -> bytes:
        """The code of a block (OB1, FC3, DB1 …) without head and tail."""
        address = b"_" + s7_blocks.parse_name(name).address + b"A"
        begun = await self.job(bytes((s7_wire.START_UPLOAD,)) + bytes(7) + bytes((len(address),)) + address)
        number, whole, more = begun.parameters[7], b"", True
        while more:
            answer = await self.job(bytes((s7_wire.UPLOAD,)) + bytes(6) + bytes((number,)))
            whole += answer.data[4:]
            more = bool(answer.parameters[1])
        await self.job(bytes((s7_wire.END_UPLOAD,)) + bytes(6) + bytes((number,)))
        return s7_blocks.unpack(whole)[1]

    async def download(self, name: str, code: bytes, *, timeout: float = 5.0) -> None:
        """Replaces a block; S7Error when the controller does not take it."""
        block = s7_blocks.parse_name(name)
        whole = s7_blocks.pack(block, code)
        address = b"_" + block.address + b"P"
        sizes = b"1" + f"{len(whole):06d}{len(code):06d}".encode()
        parameters = bytes((s7_wire.REQUEST_DOWNLOAD, 0, 1)) + bytes(5) + b"\x09" + address + b"\x0d" + sizes
        async with self._turn:
            answer = await self._exchange(JOB, parameters, b"", timeout)
            if answer.error:
                raise S7Error("download", answer.error)
            at, room = 0, self.pdu_size - LAST_OVERHEAD
            while True:
                asked = await self._receive(timeout)
                if asked.kind != JOB:
                    raise S7Error("download", asked.error)
                if asked.parameters[0] == s7_wire.DOWNLOAD_ENDED:
                    self._answer(asked, bytes((s7_wire.DOWNLOAD_ENDED,)), b"")
                    error = struct.unpack_from(">H", asked.parameters, 2)[0]
                    if error:
                        raise S7Error("download", error)
                    break
                piece = whole[at : at + room]
                at += len(piece)
                more = int(at < len(whole))
                self._answer(asked, bytes((s7_wire.DOWNLOAD_BLOCK, more)), struct.pack(">HH", len(piece), 0xFB) + piece)
        if block.kind != "DB":
            await self.service(b"_INSE", b"\x01\x00" + block.address + b"P")

    def _answer(self, asked: Pdu, parameters: bytes, data: bytes) -> None:
        self._send_raw(s7_wire.data_packet(Pdu(ACK_DATA, asked.reference, parameters, data).pack()))


def item_of(at: Place) -> Item:
    """The request item that reads or writes one place."""
    code, number = at.area
    if at.bit >= 0:
        return Item(s7_wire.BIT, 1, number if code == DB else 0, code, at.byte * 8 + at.bit)
    if at.type == "real":
        return Item(s7_wire.REAL_SIZE, 1, number if code == DB else 0, code, at.byte * 8)
    return Item(BYTE, at.size, number if code == DB else 0, code, at.byte * 8)
