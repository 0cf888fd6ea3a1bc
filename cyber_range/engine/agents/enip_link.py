"""A small EtherNet/IP client over `node.net`: sessions, tags by name, any other CIP message, files.

Operator stations use `read` and `write` (unconnected messages, several reads packed into one); engineering stations,
campaigns and tools the rest.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Sequence
from typing import cast

from cyber_range.engine.agents import enip_wire as wire
from cyber_range.engine.agents.cip_objects import (
    DOWNLOAD_TRANSFER,
    FIRST,
    INITIATE_DOWNLOAD,
    INITIATE_UPLOAD,
    LAST,
    MIDDLE,
    ONLY,
    SLICE,
    UPLOAD_TRANSFER,
)
from cyber_range.engine.agents.cip_tags import FORMATS, TYPES
from cyber_range.engine.agents.context import Connecting
from cyber_range.engine.agents.enip_wire import CipError, Frame, Path, Request

READS_AT_ONCE = 16  # tags of one packet: names of 25 letters stay below the 504 bytes of an unconnected message
NAMES = {code: name for name, code in TYPES.items()}


class EnipLink(asyncio.Protocol):
    """One connection. Any failure closes it; the owner opens a new one (see `connect`)."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: asyncio.Future[Frame] | None = None
        self._turn = asyncio.Lock()
        self.session = 0

    @classmethod
    async def connect(cls, net: Connecting, host: str, port: int = wire.PORT, *, timeout: float = 3.0) -> EnipLink:
        """With a registered session."""
        _, protocol = await net.create_connection(cls, host, port, timeout=timeout)
        assert isinstance(protocol, cls)
        try:
            answer = await protocol.exchange(wire.REGISTER, struct.pack("<HH", 1, 0), timeout=timeout)
            protocol.session = answer.session
        except BaseException:
            protocol.close()
            raise
        return protocol

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            if self.session and not self._transport.is_closing():
                self._transport.write(Frame(wire.UNREGISTER, self.session).pack())
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the device closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while (frame := wire.take_frame(self._buffer)) is not None:
                if self._waiting is not None and not self._waiting.done():
                    self._waiting.set_result(frame)
        except wire.Malformed:
            self.close()

    async def exchange(self, command: int, data: bytes, *, timeout: float = 2.0) -> Frame:
        """TimeoutError (and a closed link) for no answer, ConnectionError for a refused command."""
        async with self._turn:
            if self._transport is None or self._transport.is_closing():
                raise ConnectionResetError("not connected")
            self._waiting = asyncio.get_running_loop().create_future()
            self._transport.write(Frame(command, self.session, data).pack())
            try:
                answer = await asyncio.wait_for(self._waiting, timeout)
            except TimeoutError:
                self.close()
                raise TimeoutError(f"no answer within {timeout:g} s") from None
        if answer.status:
            raise ConnectionError(f"the device refused command {command:#06x}: status {answer.status:#06x}")
        return answer

    async def send(self, request: Request, *, timeout: float = 2.0) -> tuple[int, bytes]:
        """(status, data) of an unconnected message; CipError when the device refuses."""
        return wire.read_reply(await self._raw(request.pack(), timeout))

    async def _raw(self, message: bytes, timeout: float) -> bytes:
        items = [(wire.NULL_ADDRESS, b""), (wire.UNCONNECTED_DATA, message)]
        answer = await self.exchange(wire.SEND_RR, wire.command_data(items, 5), timeout=timeout)
        found = dict(wire.read_items(answer.data[6:]))
        if wire.UNCONNECTED_DATA not in found:
            raise ConnectionError("the device sent no message")
        return found[wire.UNCONNECTED_DATA]

    # ------------------------------------------------------------ tags

    async def read(self, names: Sequence[str]) -> list[float]:
        """One value of each tag; CipError for the first that the device does not give."""
        values: list[float] = []
        for at in range(0, len(names), READS_AT_ONCE):
            values += await self._read_some(names[at : at + READS_AT_ONCE])
        return values

    async def _read_some(self, names: Sequence[str]) -> list[float]:
        requests = [Request(wire.READ_TAG, Path(symbols=(name,)), struct.pack("<H", 1)).pack() for name in names]
        offsets, at = b"", 2 + 2 * len(requests)
        for request in requests:
            offsets += struct.pack("<H", at)
            at += len(request)
        data = struct.pack("<H", len(requests)) + offsets + b"".join(requests)
        path = Path(wire.MESSAGE_ROUTER, 1)
        raw = await self._raw(Request(wire.MULTIPLE, path, data).pack(), 2.0)
        if len(raw) < 4 or raw[2] not in (wire.OK, wire.EMBEDDED):
            raise CipError(raw[2] if len(raw) > 2 else wire.TOO_LITTLE)
        body = raw[4 + 2 * raw[3] :]
        count = struct.unpack_from("<H", body)[0]
        starts = [*struct.unpack_from(f"<{count}H", body, 2), len(body)]
        return [unpack_value(wire.read_reply(body[a:b])[1])[1] for a, b in itertools.pairwise(starts)]

    async def read_array(self, name: str, count: int) -> list[float]:
        """Elements from the first on, fragment by fragment."""
        raw, code, status = b"", 0, wire.PARTIAL
        while status == wire.PARTIAL:
            request = Request(wire.READ_FRAGMENT, Path(symbols=(name,)), struct.pack("<HI", count, len(raw)))
            status, data = await self.send(request)
            code, raw = struct.unpack_from("<H", data)[0], raw + data[2:]
        width = struct.calcsize(FORMATS[code])
        return [float(value) for value in struct.unpack(f"<{len(raw) // width}{FORMATS[code]}", raw)]

    async def write(self, name: str, value: float) -> None:
        """One value, in the type the tag has."""
        _, data = await self.send(Request(wire.READ_TAG, Path(symbols=(name,)), struct.pack("<H", 1)))
        code, _ = unpack_value(data)
        packed = struct.pack("<" + FORMATS[code], pack_able(code, value))
        await self.send(Request(wire.WRITE_TAG, Path(symbols=(name,)), struct.pack("<HH", code, 1) + packed))

    async def tags(self) -> dict[str, str]:
        """Names and types of all single tags, as the symbol list tells them."""
        found: dict[str, str] = {}
        first, status = 0, wire.PARTIAL
        while status == wire.PARTIAL:
            path = Path(wire.SYMBOL, first)
            status, data = await self.send(Request(wire.LIST_INSTANCES, path, struct.pack("<HHH", 2, 1, 2)))
            at = 0
            while at < len(data):
                instance, length = struct.unpack_from("<IH", data, at)
                name = data[at + 6 : at + 6 + length].decode("ascii", "replace")
                code = struct.unpack_from("<H", data, at + 6 + length)[0]
                at += 8 + length
                first = instance + 1
                if not code & 0x1000:
                    found[name] = NAMES.get(code & 0xFF, "") + ("[]" if code & 0x2000 else "")
        return found

    # ------------------------------------------------------------ the controller itself

    async def identity(self) -> dict[str, str | int]:
        answer = await self.exchange(wire.LIST_IDENTITY, b"")
        item = wire.read_items(answer.data)[0][1]
        vendor, kind, code, major, minor, status, serial, length = struct.unpack_from("<HHHBBHIB", item, 18)
        name = item[33 : 33 + length].decode("ascii", "replace")
        return {
            "vendor": vendor, "type": kind, "code": code, "revision": f"{major}.{minor}", "status": status,
            "serial": serial, "name": name, "state": item[33 + length],
        }  # fmt: skip

    async def stop(self) -> None:
        await self.send(Request(wire.STOP, Path(wire.PROGRAM_NAME, 1)))

    async def start(self) -> None:
        await self.send(Request(wire.START, Path(wire.PROGRAM_NAME, 1)))

    async def reset(self) -> None:
        await self.send(Request(wire.RESET, Path(wire.IDENTITY, 1), b"\0"))

    async def upload(self, file: int = 1) -> bytes:
        """The content of a program file."""
        path = Path(wire.FILE, file)
        _, begun = await self.send(Request(INITIATE_UPLOAD, path, bytes((SLICE,))))
        size = struct.unpack_from("<I", begun)[0]
        content, number, kind = b"", 0, FIRST
        while kind in (FIRST, MIDDLE):
            _, data = await self.send(Request(UPLOAD_TRANSFER, path, bytes((number,))))
            kind, content, number = data[1], content + data[2:], number + 1
        content = content[:-2]  # its checksum
        if len(content) != size:
            raise ConnectionError("the device sent another number of bytes than it had said")
        return content

    async def download(self, content: bytes, file: int = 1) -> None:
        """Replaces a program file; CipError when the controller does not take it."""
        path = Path(wire.FILE, file)
        name = wire.short_string("")
        await self.send(Request(INITIATE_DOWNLOAD, path, struct.pack("<IHH", len(content), 1, 1) + name))
        pieces = [content[at : at + SLICE] for at in range(0, len(content), SLICE)] or [b""]
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            kind = (ONLY if number == 0 else LAST) if last else (FIRST if number == 0 else MIDDLE)
            tail = struct.pack("<H", -sum(content) & 0xFFFF) if last else b""
            await self.send(Request(DOWNLOAD_TRANSFER, path, bytes((number & 0xFF, kind)) + piece + tail))


def unpack_value(data: bytes) -> tuple[int, float]:
    """(type code, value) of one element of a read answer."""
    code = struct.unpack_from("<H", data)[0]
    if code not in FORMATS:
        raise ConnectionError(f"a value of a type that is not spoken here ({code:#06x})")
    value = struct.unpack_from("<" + FORMATS[code], data, 2)[0]
    return code, float(bool(value)) if code == TYPES["BOOL"] else float(value)


def pack_able(code: int, value: float) -> float | int:
    if code in (TYPES["REAL"], TYPES["LREAL"]):
        return value
    return (0xFF if value else 0) if code == TYPES["BOOL"] else round(value)
