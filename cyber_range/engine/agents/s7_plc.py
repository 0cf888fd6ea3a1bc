"""A controller that speaks S7 communication on port 102 (ISO on TCP), as programming tools and operator stations do.

python-snap7 brings a server too, but it binds a socket and starts threads of its own; a node's sockets come from
`node.net`. So this is a server of our own over the same wire: connect, read and write variables (DB, M, I, Q, counters,
timers), status lists, block list, upload, download and deletion of blocks, STOP and start, clock, session password.

Spec: that of every controller (controller.py); each tag has an `address` (s7_memory) and may have a `type`;
`io` {inputs, outputs: {name of the fieldbus: {address, type?, scale?}}}: the I/O images; `dbs` {number: bytes};
`identity` {order_code, hardware, firmware, name, module, plant, copyright, serial, type, card}; `slot` (any; else only
this one is answered); `connections` (8); `pdu` (480); `protection` (1: none, 2: no writing, 3: nothing without
`password`); `port` (102).

A downloaded block is taken over at once (real ones wait for the tool's _INSE, which is answered and does no more).
A write to a Q output holds until the next scan, as it does in a real one.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast

from cyber_range.engine.agents import s7_blocks, s7_wire
from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.agents.controller_program import BadBlock
from cyber_range.engine.agents.s7_blocks import BlockName
from cyber_range.engine.agents.s7_memory import COUNTERS, DB, FLAGS, INPUTS, OUTPUTS, TIMERS, Memory, OutOfRange
from cyber_range.engine.agents.s7_status import (
    BLOCK_LOADED,
    STOP_BY_TOOL,
    TO_RUN,
    TO_STARTUP,
    Status,
    bcd_time,
    read_bcd_time,
)
from cyber_range.engine.agents.s7_wire import BAD_ADDRESS, BAD_TYPE, JOB, NO_OBJECT, OK, USERDATA, Item, Pdu

AREA_NAMES = {DB: "DB", INPUTS: "I", OUTPUTS: "Q", FLAGS: "M", COUNTERS: "C", TIMERS: "T"}
NO_FUNCTION, NOT_PROTECTED, WRONG_PASSWORD, NO_BLOCK, TOO_LONG = 0x8104, 0xD241, 0xD602, 0xD209, 0x8500
BAD_BLOCK = 0xD219
WRITING = frozenset({s7_wire.WRITE, s7_wire.REQUEST_DOWNLOAD, s7_wire.PI_SERVICE, s7_wire.PLC_STOP})
READING = frozenset({s7_wire.READ, s7_wire.START_UPLOAD})
SMALLEST_PDU = 112  # bytes


class Station:
    """What all connections of one controller share."""

    def __init__(self, controller: Controller, spec: Mapping[str, Any]) -> None:
        self.controller = controller
        self.memory = Memory(controller, spec)
        self.protection = int(spec.get("protection", 1))
        self.password = str(spec.get("password", ""))
        self.status = Status(controller, spec.get("identity") or {}, self.protection)
        self.slot = int(spec["slot"]) if "slot" in spec else None
        self.largest_pdu = int(spec.get("pdu", 480))
        self.limit = int(spec.get("connections", 8))
        self.connections: set[Connection] = set()

    # blocks: the program's, and the data blocks of the memory

    def blocks(self) -> list[BlockName]:
        code = [s7_blocks.parse_name(name) for name in self.controller.program.blocks]
        data = [BlockName("DB", number) for area, number in self.memory.areas if area == DB]
        return sorted(code + data, key=lambda block: (block.kind, block.number))

    def block(self, name: BlockName) -> bytes | None:
        if name.kind == "DB":
            self.memory.refresh()
            held = self.memory.areas.get((DB, name.number))
            return None if held is None else bytes(held)
        return self.controller.program.blocks.get(str(name))

    def load(self, name: BlockName, code: bytes, source: str) -> None:
        """BadBlock or OutOfRange when it cannot be taken."""
        if name.kind == "DB":
            held = self.memory.areas.get((DB, name.number))
            if held is None:
                self.memory.areas[DB, name.number] = bytearray(code)
            else:
                self.write(Item(2, len(code), name.number, DB, 0), code[: len(held)], source)
        elif name.kind in ("OB", "FC", "FB"):
            self.controller.load(str(name), code, source)
        else:
            raise BadBlock(f"{name.kind} cannot be downloaded")
        self.status.happened(BLOCK_LOADED)

    def write(self, item: Item, data: bytes, source: str) -> None:
        code = item.area
        number = item.db if code == DB else 0
        start, bit = (item.address, -1) if code in (COUNTERS, TIMERS) else divmod(item.address, 8)
        if code in (COUNTERS, TIMERS):
            start *= 2
        touched = self.memory.write((code, number), start, data, bit if item.size == s7_wire.BIT else -1)
        for name, at, value in touched:
            self.controller.told({"where": str(at), "tag": name, "value": round(value, 6), "source": source})
        if not touched:
            where = f"{AREA_NAMES[code]}{number or ''}.{start}"
            self.controller.told({"where": where, "tag": "", "value": data[:16].hex(), "source": source})


class Connection(asyncio.Protocol):
    """One client. Requests are answered in their order; a download asks the client for its slices."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._pieces = b""  # of a PDU that came in several data packets
        self._connected = False
        self._pdu_size = 240
        self._authorised = station.protection == 1
        self._source = ""
        self._uploads: dict[int, bytes] = {}
        self._fragments: tuple[int, bytes] = (0, b"")  # rest of a status list too long for one PDU
        self._download: tuple[BlockName, bytearray] | None = None
        self._reference = 0x0100

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._source = str(peer[0]) if peer else ""
        if len(self._station.connections) >= self._station.limit:
            transport.close()
            return
        self._station.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._station.connections.discard(self)
        self._transport = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while self._transport is not None and (cotp := s7_wire.take_tpkt(self._buffer)) is not None:
                self._packet(cotp)
        except s7_wire.Malformed:
            self.close()

    def _packet(self, cotp: bytes) -> None:
        kind = cotp[1] & 0xF0
        if kind == s7_wire.CR:
            wanted = s7_wire.read_connect(cotp)
            slot = wanted.called[1] & 0x1F if len(wanted.called) == 2 else None
            if self._station.slot is not None and slot != self._station.slot:
                self._write(s7_wire.disconnect(wanted.source))
                self.close()
                return
            self._connected = True
            self._write(wanted.confirm(0x4431))
        elif kind == s7_wire.DT and self._connected:
            if len(cotp) < 3:
                raise s7_wire.Malformed("short data packet")
            self._pieces += cotp[cotp[0] + 1 :]
            if len(self._pieces) > s7_wire.LARGEST_TPKT:
                raise s7_wire.Malformed("endless packet")
            if cotp[2] & 0x80:
                whole, self._pieces = self._pieces, b""
                if whole:
                    self._pdu(s7_wire.unpack(whole))
        else:
            raise s7_wire.Malformed("data before connection, or the end of it")

    def _write(self, packet: bytes) -> None:
        if self._transport is not None:
            self._transport.write(packet)

    def _send(self, pdu: Pdu) -> None:
        self._write(s7_wire.data_packet(pdu.pack()))

    def _pdu(self, pdu: Pdu) -> None:
        if pdu.kind == JOB and pdu.parameters:
            parameters, data, error = self._job(pdu)
            kind = s7_wire.ACK_DATA if parameters else s7_wire.ACK
            self._send(Pdu(kind, pdu.reference, parameters, data, error))
            if not error and pdu.parameters[0] == s7_wire.REQUEST_DOWNLOAD:
                self._ask(s7_wire.DOWNLOAD_BLOCK)
        elif pdu.kind == USERDATA and len(pdu.parameters) >= 8:
            parameters, data = self._userdata(pdu)
            self._send(Pdu(USERDATA, pdu.reference, parameters, data))
        elif pdu.kind == s7_wire.ACK_DATA:
            self._answered(pdu)
        else:
            raise s7_wire.Malformed("no request")

    # ------------------------------------------------------------ jobs: (parameters, data, error) of the answer

    def _job(self, pdu: Pdu) -> tuple[bytes, bytes, int]:
        function = pdu.parameters[0]
        if not self._authorised and (
            function in WRITING or (self._station.protection > 2 and function in READING)
        ):  # fmt: skip
            return b"", b"", NOT_PROTECTED
        handler = {
            s7_wire.SETUP: self._setup, s7_wire.READ: self._read, s7_wire.WRITE: self._write_variables,
            s7_wire.START_UPLOAD: self._start_upload, s7_wire.UPLOAD: self._upload, s7_wire.END_UPLOAD: self._end_upload,
            s7_wire.REQUEST_DOWNLOAD: self._request_download, s7_wire.PI_SERVICE: self._service,
            s7_wire.PLC_STOP: self._stop,
        }.get(function)  # fmt: skip
        if handler is None:
            return b"", b"", NO_FUNCTION
        return handler(pdu)

    def _setup(self, pdu: Pdu) -> tuple[bytes, bytes, int]:
        if len(pdu.parameters) < 8:
            raise s7_wire.Malformed("short setup")
        _, _, calling, called, size = struct.unpack_from(">BBHHH", pdu.parameters)
        self._pdu_size = max(SMALLEST_PDU, min(size, self._station.largest_pdu))
        return struct.pack(">BBHHH", s7_wire.SETUP, 0, min(calling, 8), min(called, 8), self._pdu_size), b"", 0

    def _read(self, pdu: Pdu) -> tuple[bytes, bytes, int]:
        items = s7_wire.read_items(pdu.parameters)
        if not items:
            return b"", b"", TOO_LONG
        self._station.memory.refresh()
        values = [self._value(item) for item in items]
        data = s7_wire.join(values)
        if 14 + len(data) > self._pdu_size:
            return b"", b"", TOO_LONG
        return bytes((s7_wire.READ, len(items))), data, 0

    def _value(self, item: Item | None) -> bytes:
        if item is None or item.size not in s7_wire.WIDTHS:
            return s7_wire.value(BAD_TYPE, 0, b"")
        if item.area not in AREA_NAMES:
            return s7_wire.value(NO_OBJECT, 0, b"")
        area = (item.area, item.db if item.area == DB else 0)
        try:
            if item.area in (COUNTERS, TIMERS):
                return s7_wire.value(OK, item.size, self._station.memory.read(area, item.address * 2, item.count * 2))
            start, bit = divmod(item.address, 8)
            if item.size == s7_wire.BIT:
                if item.count != 1:
                    return s7_wire.value(BAD_TYPE, 0, b"")
                raw = bytes((self._station.memory.read(area, start, 1)[0] >> bit & 1,))
            else:
                raw = self._station.memory.read(area, start, item.length)
        except KeyError:
            return s7_wire.value(NO_OBJECT, 0, b"")
        except OutOfRange:
            return s7_wire.value(BAD_ADDRESS, 0, b"")
        return s7_wire.value(OK, item.size, raw)

    def _write_variables(self, pdu: Pdu) -> tuple[bytes, bytes, int]:
        items = s7_wire.read_items(pdu.parameters)
        values = s7_wire.read_values(pdu.data, len(items))
        codes = bytearray()
        for item, (_, data) in zip(items, values, strict=True):
            if item is None or item.size not in s7_wire.WIDTHS or len(data) != item.length:
                codes.append(BAD_TYPE if item is None else 0x07)  # 7: data type inconsistent
            elif item.area not in AREA_NAMES:
                codes.append(NO_OBJECT)
            else:
                try:
                    self._station.write(item, data, self._source)
                    codes.append(OK)
                except KeyError:
                    codes.append(NO_OBJECT)
                except OutOfRange:
                    codes.append(BAD_ADDRESS)
        return bytes((s7_wire.WRITE, len(items))), bytes(codes), 0

    def _stop(self, _: Pdu) -> tuple[bytes, bytes, int]:
        station = self._station
        if station.controller.mode != "stop":
            station.controller.set_mode("stop", self._source)
            station.status.happened(STOP_BY_TOOL)
        return bytes((s7_wire.PLC_STOP,)), b"", 0

    def _service(self, pdu: Pdu) -> tuple[bytes, bytes, int]:
        """PI services: function, 7 bytes, length and bytes of the argument, length and bytes of the name."""
        raw, station = pdu.parameters, self._station
        if len(raw) < 11:
            return b"", b"", NO_FUNCTION
        length = struct.unpack_from(">H", raw, 8)[0]
        argument = raw[10 : 10 + length]
        name = raw[11 + length :].decode("ascii", "replace")
        if name == "P_PROGRAM":
            cold = argument.startswith(b"C")
            station.status.happened(TO_STARTUP)
            if cold:
                station.controller.restart(self._source)
            station.controller.set_mode("run", self._source)
            station.status.happened(TO_RUN)
        elif name in ("_INSE", "_DELE"):
            try:
                blocks = [s7_blocks.parse_address(argument[2 + 8 * i : 10 + 8 * i]) for i in range(argument[0])]
                if any(station.block(block) is None for block in blocks):
                    return b"", b"", NO_BLOCK
                if name == "_DELE":
                    for block in blocks:
                        self._delete(block)
            except (ValueError, IndexError):
                return b"", b"", NO_FUNCTION
        elif name not in ("_GARB", "_MODU"):
            return b"", b"", NO_FUNCTION
        return bytes((s7_wire.PI_SERVICE,)), b"", 0

    def _delete(self, block: BlockName) -> None:
        if block.kind == "DB":
            if any(place.area == (DB, block.number) for place in self._station.memory.tags.values()):
                raise ValueError("the program uses this data block")
            del self._station.memory.areas[DB, block.number]
        else:
            self._station.controller.unload(str(block), self._source)

    # ------------------------------------------------------------ blocks

    def _start_upload(self, pdu: Pdu) -> tuple[bytes, bytes, int]:
        try:
            name = s7_blocks.parse_address(pdu.parameters[9 : 9 + pdu.parameters[8]])
        except (ValueError, IndexError):
            return b"", b"", NO_FUNCTION
        code = self._station.block(name)
        if code is None or len(code) > s7_blocks.LARGEST_CODE:
            return b"", b"", NO_BLOCK
        whole = s7_blocks.pack(name, code)
        number = next(n for n in range(1, 256) if n not in self._uploads) if len(self._uploads) < 8 else 1
        self._uploads[number] = whole
        answer = struct.pack(">BB2xIB", s7_wire.START_UPLOAD, 0, number, 7) + f"{len(whole):07d}".encode()
        return answer, b"", 0

    def _upload(self, pdu: Pdu) -> tuple[bytes, bytes, int]:
        number = pdu.parameters[7] if len(pdu.parameters) > 7 else 0
        if number not in self._uploads:
            return b"", b"", NO_FUNCTION
        room = self._pdu_size - 18
        piece, rest = self._uploads[number][:room], self._uploads[number][room:]
        self._uploads[number] = rest
        return bytes((s7_wire.UPLOAD, int(bool(rest)))), struct.pack(">HH", len(piece), 0x00FB) + piece, 0

    def _end_upload(self, pdu: Pdu) -> tuple[bytes, bytes, int]:
        self._uploads.pop(pdu.parameters[7] if len(pdu.parameters) > 7 else 0, None)
        return bytes((s7_wire.END_UPLOAD,)), b"", 0

    def _request_download(self, pdu: Pdu) -> tuple[bytes, bytes, int]:
        try:
            name = s7_blocks.parse_address(pdu.parameters[9 : 9 + pdu.parameters[8]])
        except (ValueError, IndexError):
            return b"", b"", NO_FUNCTION
        self._download = name, bytearray()
        return bytes((s7_wire.REQUEST_DOWNLOAD,)), b"", 0

    def _ask(self, function: int, error: int = 0) -> None:
        """We ask the client now: for the next slice, or to take note of the end (with the reason when it failed)."""
        if self._download is not None:
            name, _ = self._download
            self._reference = self._reference % 0xFFFF + 1
            parameters = struct.pack(">BBH4xB", function, 0, error, 9) + b"_" + name.address + b"P"
            self._send(Pdu(JOB, self._reference, parameters, b""))

    def _answered(self, pdu: Pdu) -> None:
        if self._download is None or not pdu.parameters:
            raise s7_wire.Malformed("an answer nobody asked for")
        name, got = self._download
        if pdu.error:
            self._download = None
        elif pdu.parameters[0] == s7_wire.DOWNLOAD_BLOCK:
            length = struct.unpack_from(">H", pdu.data)[0] if len(pdu.data) >= 4 else 0
            got += pdu.data[4 : 4 + length]
            if len(got) > s7_blocks.LARGEST_CODE + s7_blocks.HEAD_SIZE + s7_blocks.TAIL_SIZE:
                raise s7_wire.Malformed("endless block")
            more = len(pdu.parameters) > 1 and pdu.parameters[1] & 1
            self._ask(s7_wire.DOWNLOAD_BLOCK if more else s7_wire.DOWNLOAD_ENDED, 0 if more else self._take(name, got))
        elif pdu.parameters[0] == s7_wire.DOWNLOAD_ENDED:
            self._download = None

    def _take(self, name: BlockName, got: bytearray) -> int:
        try:
            _, code = s7_blocks.unpack(bytes(got))
            self._station.load(name, code, self._source)
        except (ValueError, OutOfRange):
            return BAD_BLOCK
        return 0

    # ------------------------------------------------------------ user data: (parameters, data) of the answer

    def _userdata(self, pdu: Pdu) -> tuple[bytes, bytes]:
        group, function = pdu.parameters[5] & 0x0F, pdu.parameters[6]
        code, length = pdu.data[0:1], struct.unpack_from(">H", pdu.data, 2)[0] if len(pdu.data) >= 4 else 0
        asked = pdu.data[4 : 4 + length] if code else b""
        if group == 4 and function == 1:
            if pdu.parameters[4] == 0x12:
                return self._next_fragment(pdu)
            if len(asked) >= 4:
                found, error = self._station.status.list(*struct.unpack_from(">HH", asked))
                return self._said(pdu, found, error)
        elif group == 3:
            return self._said(pdu, *self._block_lists(function, asked))
        elif group == 7 and function in (1, 3):
            return self._said(pdu, bcd_time(self._station.status.now()), 0)
        elif group == 7 and function in (2, 4):
            return self._set_clock(pdu, asked)
        elif group == 5 and function in (1, 2):
            return self._session(pdu, function, asked)
        return self._said(pdu, b"", NO_FUNCTION)

    def _said(self, pdu: Pdu, data: bytes, error: int) -> tuple[bytes, bytes]:
        if error:
            return s7_wire.userdata_answer(pdu.parameters, b"", error=error), s7_wire.octets(b"", NO_OBJECT)
        room = self._pdu_size - 26
        if len(data) <= room:
            return s7_wire.userdata_answer(pdu.parameters, data), s7_wire.octets(data)
        self._fragments = pdu.parameters[6] << 8 | 1, data[room:]
        return s7_wire.userdata_answer(pdu.parameters, data, unit=1, more=True), s7_wire.octets(data[:room])

    def _next_fragment(self, pdu: Pdu) -> tuple[bytes, bytes]:
        unit, rest = self._fragments
        if not rest:
            return self._said(pdu, b"", NO_FUNCTION)
        room = self._pdu_size - 26
        piece, rest = rest[:room], rest[room:]
        self._fragments = unit, rest
        answer = s7_wire.userdata_answer(pdu.parameters, piece, unit=unit & 0xFF, more=bool(rest))
        return answer, s7_wire.octets(piece)

    def _block_lists(self, function: int, asked: bytes) -> tuple[bytes, int]:
        blocks = self._station.blocks()
        by_code = {code: kind for kind, code in s7_blocks.TYPE_CODES.items()}
        if function == 1:
            counts = {kind: sum(block.kind == kind for block in blocks) for kind in s7_blocks.TYPE_CODES}
            return b"".join(struct.pack(">BBH", 0x30, s7_blocks.TYPE_CODES[k], n) for k, n in counts.items()), 0
        kind = by_code.get(asked[1], "") if len(asked) > 1 else ""
        if function == 2:
            language = s7_blocks.LANGUAGES.get(kind, 1)
            found = [struct.pack(">HBB", b.number, 0x22, language) for b in blocks if b.kind == kind]
            return b"".join(found), 0 if found else NO_BLOCK
        if function == 3 and len(asked) >= 7 and asked[2:7].isdigit() and kind:
            name = BlockName(kind, int(asked[2:7]))
            code = self._station.block(name)
            if code is not None:
                return s7_blocks.info(name, code), 0
            return b"", NO_BLOCK
        return b"", NO_FUNCTION

    def _set_clock(self, pdu: Pdu, asked: bytes) -> tuple[bytes, bytes]:
        status = self._station.status
        if not self._authorised:
            return self._said(pdu, b"", NOT_PROTECTED)
        try:
            status.offset += read_bcd_time(asked) - status.now()
        except ValueError:
            return self._said(pdu, b"", NO_FUNCTION)
        return s7_wire.userdata_answer(pdu.parameters, b""), s7_wire.octets(b"", NO_OBJECT)

    def _session(self, pdu: Pdu, function: int, asked: bytes) -> tuple[bytes, bytes]:
        open_to_all = self._station.protection == 1
        if function == 1 and not open_to_all:
            if not self._station.password or read_password(asked) != self._station.password:
                return self._said(pdu, b"", WRONG_PASSWORD)
            self._authorised = True
        elif function == 2:
            self._authorised = open_to_all
        return s7_wire.userdata_answer(pdu.parameters, b""), s7_wire.octets(b"", NO_OBJECT)


def read_password(encoded: bytes) -> str:
    """Eight bytes, each hidden by 55 and the byte two before it: anybody who listens reads it."""
    clear = bytes(b ^ 0x55 ^ (encoded[i - 2] if i > 1 else 0) for i, b in enumerate(encoded[:8]))
    return clear.decode("latin-1").rstrip(" \0")


async def run(node: NodeContext) -> None:
    controller = Controller(node)
    station = Station(controller, node.spec)

    async def door() -> Callable[[], None]:
        listener = await node.net.create_server(lambda: Connection(station), int(node.spec.get("port", 102)))

        def close() -> None:
            listener.close()
            for connection in list(station.connections):
                connection.close()

        return close

    async def read(command: dict[str, Any]) -> dict[str, Any]:
        """By tag, or as registers are asked for in Modbus: `table` an area like DB1, `address` a byte."""
        if "address" not in command:
            return await controller.read(command)
        name, at, count = str(command["table"]), int(command["address"]), int(command.get("count", 1))
        area = (DB, int(name[2:])) if name.startswith("DB") else ({"M": FLAGS, "I": INPUTS, "Q": OUTPUTS}[name], 0)
        station.memory.refresh()
        try:
            return {"values": list(station.memory.read(area, at, count))}
        except (KeyError, OutOfRange):
            raise ValueError(f"{name} {at}..{at + count - 1} is outside this controller's memory") from None

    await controller.run(door, {"read": read})
