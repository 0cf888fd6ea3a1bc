"""The CIP objects of a controller: identity, tags, program, clock, files, network interfaces; requests to answers.

Files (class 37h) hold the program's blocks, the main one as instance 1: initiate upload and transfer read it, initiate
download and transfer replace it. Reset (05h) of the identity restarts the controller; start and stop (06h, 07h) of the
program object (64h) change its mode.
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from cyber_range.engine.agents import enip_wire as wire
from cyber_range.engine.agents.cip_tags import Symbol, Tags, same_type
from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.agents.controller_program import LARGEST_BLOCK, BadBlock
from cyber_range.engine.agents.enip_wire import CipError, Path, Request

RUNNING, STOPPED = 0x3160, 0x3070  # identity status: owned, configured, remote run / remote program
OPERATIONAL, STANDBY, SELF_TEST = 3, 2, 1
INITIATE_UPLOAD, INITIATE_DOWNLOAD, UPLOAD_TRANSFER, DOWNLOAD_TRANSFER = 0x4B, 0x4C, 0x4F, 0x50
FIRST, MIDDLE, LAST, ABORT, ONLY = 0, 1, 2, 3, 4  # packet types of file transfers
SLICE = 200  # bytes of one file transfer
DEFAULT_IDENTITY = {
    "vendor": 1990, "type": 14, "code": 137, "major": 21, "minor": 11, "serial": 0x5C0F71A2,
    "name": "HD-LX33E/A Line Controller", "program": "LINE_MAIN",
}  # fmt: skip


class Files:
    """Transfers of one session: program blocks by instance number."""

    def __init__(self, controller: Controller, source: str) -> None:
        self._controller, self._source = controller, source
        self._reading: dict[int, tuple[bytes, int]] = {}  # instance: (content, slice)
        self._writing: dict[int, tuple[int, bytearray, int]] = {}  # instance: (wanted size, content, next number)

    def _names(self) -> list[str]:
        blocks = self._controller.program.blocks
        return sorted(blocks, key=lambda name: (name != "OB1", name))

    def answer(self, request: Request) -> bytes:
        number, data = request.path.instance, request.data
        names = self._names()
        if not 0 < number <= max(1, len(names)):
            raise CipError(wire.NO_OBJECT)
        if request.service == INITIATE_UPLOAD:
            if not data or number > len(names):
                raise CipError(wire.TOO_LITTLE if not data else wire.NO_OBJECT)
            content, size = self._controller.program.blocks[names[number - 1]], min(data[0], SLICE) or SLICE
            self._reading[number] = content, size
            return struct.pack("<IB", len(content), size)
        if request.service == UPLOAD_TRANSFER:
            return self._upload(number, data)
        if request.service == INITIATE_DOWNLOAD:
            if len(data) < 4:
                raise CipError(wire.TOO_LITTLE)
            size = struct.unpack_from("<I", data)[0]
            if size > LARGEST_BLOCK:
                raise CipError(wire.RESOURCES)
            self._writing[number] = size, bytearray(), 0
            return struct.pack("<IHB", 0, 0, SLICE)
        if request.service == DOWNLOAD_TRANSFER:
            return self._download(number, names, data)
        if request.service == wire.GET_SINGLE and number <= len(names):
            name = names[number - 1]
            content = self._controller.program.blocks[name]
            found = {
                1: b"\x02",  # state: file loaded
                2: wire.short_string(name), 6: struct.pack("<I", len(content)),
                7: struct.pack("<H", -sum(content) & 0xFFFF), 10: b"\x00", 11: b"\x00",
            }.get(request.path.attribute)  # fmt: skip
            if found is None:
                raise CipError(wire.NO_ATTRIBUTE)
            return found
        raise CipError(wire.NO_SERVICE)

    def _upload(self, number: int, data: bytes) -> bytes:
        if number not in self._reading or not data:
            raise CipError(wire.WRONG_STATE)
        content, size = self._reading[number]
        at = data[0] * size  # transfer numbers wrap at 256 slices, far beyond a block of these
        piece, last = content[at : at + size], at + size >= len(content)
        kind = (ONLY if at == 0 else LAST) if last else (FIRST if at == 0 else MIDDLE)
        tail = struct.pack("<H", -sum(content) & 0xFFFF) if last else b""
        return bytes((data[0], kind)) + piece + tail

    def _download(self, number: int, names: list[str], data: bytes) -> bytes:
        if number not in self._writing or len(data) < 2:
            raise CipError(wire.WRONG_STATE)
        size, content, following = self._writing[number]
        if data[1] == ABORT or data[0] != following:
            del self._writing[number]
            raise CipError(wire.WRONG_STATE)
        last = data[1] in (LAST, ONLY)
        content += data[2:-2] if last else data[2:]
        self._writing[number] = size, content, (following + 1) % 256
        if last:
            del self._writing[number]
            if len(content) != size or struct.unpack("<H", data[-2:])[0] != -sum(content) & 0xFFFF:
                raise CipError(wire.BAD_VALUE)
            try:
                self._controller.load(names[number - 1] if names else "OB1", bytes(content), self._source)
            except BadBlock:
                raise CipError(wire.BAD_VALUE) from None
        return data[:1]


class Objects:
    """All objects of one controller."""

    def __init__(
        self, controller: Controller, spec: Mapping[str, Any], legs: Callable[[], tuple[str, int, str]]
    ) -> None:
        self.controller = controller
        self.tags = Tags(controller, spec)
        self.identity: dict[str, Any] = {**DEFAULT_IDENTITY, **(spec.get("identity") or {})}
        self._legs = legs
        self._clock = datetime.timedelta()

    def identity_attributes(self) -> list[bytes]:
        said = self.identity
        status = RUNNING if self.controller.running else STOPPED
        return [
            struct.pack("<H", int(said["vendor"])), struct.pack("<H", int(said["type"])),
            struct.pack("<H", int(said["code"])), bytes((int(said["major"]), int(said["minor"]))),
            struct.pack("<H", status), struct.pack("<I", int(said["serial"]) & 0xFFFFFFFF),
            wire.short_string(str(said["name"])),
        ]  # fmt: skip

    def state(self) -> int:
        if self.controller.restarting:
            return SELF_TEST
        return OPERATIONAL if self.controller.running else STANDBY

    # ------------------------------------------------------------ requests

    def answer(self, raw: bytes, room: int, files: Files, source: str) -> bytes:
        """The answer to one message; `room` is the largest answer in bytes."""
        service = raw[0] if raw else 0
        try:
            request = wire.read_request(raw)
            if request.path.class_id == wire.MESSAGE_ROUTER and service == wire.MULTIPLE:
                return self._multiple(request, room, files, source)
            status, data = self._one(request, room - 4, files, source)
            return wire.reply(service, data, status)
        except CipError as refused:
            return wire.reply(service, b"", refused.status, refused.extended)
        except (wire.Malformed, struct.error):
            return wire.reply(service, b"", wire.TOO_LITTLE)

    def _multiple(self, request: Request, room: int, files: Files, source: str) -> bytes:
        count = struct.unpack_from("<H", request.data)[0]
        offsets = [*struct.unpack_from(f"<{count}H", request.data, 2), len(request.data)]
        answers: list[bytes] = []
        left = room - 6 - 2 * count
        for begin, end in itertools.pairwise(offsets):
            if not 2 + 2 * count <= begin < end:
                raise CipError(wire.TOO_LITTLE)
            answers.append(self.answer(request.data[begin:end], left, files, source))
            left -= len(answers[-1])
        data, at = struct.pack("<H", count), 2 + 2 * count
        for each in answers:
            data += struct.pack("<H", at)
            at += len(each)
        bad = any(each[2] not in (wire.OK, wire.PARTIAL) for each in answers)
        return wire.reply(wire.MULTIPLE, data + b"".join(answers), wire.EMBEDDED if bad else wire.OK)

    def _one(self, request: Request, room: int, files: Files, source: str) -> tuple[int, bytes]:
        path, service = request.path, request.service
        if path.class_id == wire.SYMBOL and service == wire.LIST_INSTANCES:
            return self._list(request, room)
        if path.class_id in (-1, wire.SYMBOL):
            return self._tag(request, room, source)
        if path.class_id == wire.IDENTITY:
            return wire.OK, self._identity(request, source)
        if path.class_id == wire.PROGRAM_NAME:
            return wire.OK, self._program(request, source)
        if path.class_id == wire.CLOCK:
            return wire.OK, self._time(request)
        if path.class_id == wire.FILE:
            return wire.OK, files.answer(request)
        if path.class_id in (wire.TCP_IP, wire.ETHERNET_LINK):
            return wire.OK, attributes(request, self._network(path.class_id))
        if path.class_id == wire.MESSAGE_ROUTER:
            raise CipError(wire.NO_SERVICE)
        raise CipError(wire.NO_DESTINATION)

    def _identity(self, request: Request, source: str) -> bytes:
        if request.path.instance not in (0, 1):
            raise CipError(wire.NO_OBJECT)
        if request.service == wire.RESET:
            if request.data[:1] not in (b"", b"\0", b"\1"):
                raise CipError(wire.BAD_VALUE)
            self.controller.restart(source)
            return b""
        return attributes(request, dict(enumerate(self.identity_attributes(), 1)))

    def _program(self, request: Request, source: str) -> bytes:
        if request.service == wire.GET_ALL:
            return wire.string(str(self.identity["program"]))
        if request.service == wire.STOP:
            self.controller.set_mode("stop", source)
        elif request.service == wire.START:
            self.controller.set_mode("run", source)
        else:
            raise CipError(wire.NO_SERVICE)
        return b""

    def _time(self, request: Request) -> bytes:
        """Attribute 6 (and 11, local): microseconds since 1970."""
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        now = datetime.datetime.now(datetime.UTC) + self._clock
        micro = struct.pack("<Q", (now - epoch) // datetime.timedelta(microseconds=1))
        if request.service == wire.SET_LIST:
            count, number = struct.unpack_from("<HH", request.data)
            if count != 1 or number not in (6, 11):
                raise CipError(wire.NO_ATTRIBUTE)
            wanted = struct.unpack_from("<Q", request.data, 4)[0]
            try:
                self._clock += epoch + datetime.timedelta(microseconds=wanted) - now
            except OverflowError:
                raise CipError(wire.BAD_VALUE) from None
            return struct.pack("<HHH", 1, number, 0)
        return attributes(request, {6: micro, 11: micro})

    def _network(self, class_id: int) -> dict[int, bytes]:
        ip, prefix, mac = self._legs()
        if class_id == wire.ETHERNET_LINK:
            return {1: struct.pack("<I", 100), 2: struct.pack("<I", 0x0F), 3: bytes.fromhex(mac.replace(":", ""))}
        address = int(ipaddress.IPv4Address(ip))
        mask = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
        return {
            1: struct.pack("<I", 2), 2: struct.pack("<I", 0x04), 3: struct.pack("<I", 0),
            4: struct.pack("<H", 2) + wire.logical(0x20, wire.ETHERNET_LINK) + wire.logical(0x24, 1),
            5: struct.pack("<IIIII", address, mask, 0, 0, 0) + wire.string(""), 6: wire.string(""),
        }  # fmt: skip

    # ------------------------------------------------------------ tags

    def _list(self, request: Request, room: int) -> tuple[int, bytes]:
        program = request.path.symbols[0] if request.path.symbols else ""
        if program and program.lower() != "program:mainprogram":
            raise CipError(wire.NO_DESTINATION)
        count = struct.unpack_from("<H", request.data)[0]
        wanted = struct.unpack_from(f"<{count}H", request.data, 2)
        found = b""
        for symbol in self.tags.listed(program, max(0, request.path.instance)):
            row = struct.pack("<I", symbol.instance)
            for number in wanted:
                value = symbol.attribute(number)
                if value is None:
                    raise CipError(wire.NO_ATTRIBUTE)
                row += value
            if len(found) + len(row) > room:
                return wire.PARTIAL, found
            found += row
        return wire.OK, found

    def _symbol(self, path: Path) -> Symbol:
        symbol = None
        if path.class_id == wire.SYMBOL:
            symbol = self.tags.by_instance(path.instance)
        elif path.symbols:
            symbol = self.tags.by_name(path.symbols[-1])
        if symbol is None or len(path.symbols) > 2 or len(path.elements) > 1:
            raise CipError(wire.BAD_SEGMENT if path.class_id != wire.SYMBOL else wire.NO_DESTINATION)
        return symbol

    def _tag(self, request: Request, room: int, source: str) -> tuple[int, bytes]:
        symbol, service, data = self._symbol(request.path), request.service, request.data
        first = request.path.elements[0] if request.path.elements else 0
        if request.path.elements and not symbol.size:
            raise CipError(wire.BAD_SEGMENT)
        if service == wire.READ_TAG:
            count = struct.unpack_from("<H", data)[0]
            return self._some(symbol, symbol.encode(first, count), room)
        if service == wire.READ_FRAGMENT:
            count, offset = struct.unpack_from("<HI", data)
            raw = symbol.encode(first, count)
            if offset >= len(raw):
                raise CipError(wire.GENERAL, wire.BEYOND_END)
            return self._some(symbol, raw[offset:], room)
        if service == wire.WRITE_TAG:
            kind, count = struct.unpack_from("<HH", data)
            same_type(symbol, kind)
            # what follows the last element is passed over, as real controllers do: pycomm3 sends single writes twice over
            raw = data[4 : 4 + count * symbol.width]
            if len(raw) < count * symbol.width:
                raise CipError(wire.TOO_LITTLE)
            self._store(symbol, first, raw, source)
            return wire.OK, b""
        if service == wire.WRITE_FRAGMENT:
            kind, count, offset = struct.unpack_from("<HHI", data)
            same_type(symbol, kind)
            if offset % symbol.width or offset + len(data) - 8 > count * symbol.width:
                raise CipError(wire.GENERAL, wire.BEYOND_END)
            self._store(symbol, first + offset // symbol.width, data[8:], source)
            return wire.OK, b""
        if service == wire.MODIFY_TAG:
            width = struct.unpack_from("<H", data)[0]
            if width != symbol.width or len(data) < 2 + 2 * width:
                raise CipError(wire.BAD_VALUE)
            given_or, given_and = (int.from_bytes(data[at : at + width], "little") for at in (2, 2 + width))
            now = int.from_bytes(symbol.encode(first, 1), "little")
            self._store(symbol, first, ((now | given_or) & given_and).to_bytes(width, "little"), source)
            return wire.OK, b""
        if service == wire.GET_SINGLE and request.path.attribute > 0:
            value = symbol.attribute(request.path.attribute)
            if value is None:
                raise CipError(wire.NO_ATTRIBUTE)
            return wire.OK, value
        raise CipError(wire.NO_SERVICE)

    @staticmethod
    def _some(symbol: Symbol, raw: bytes, room: int) -> tuple[int, bytes]:
        """As much as fits, whole elements: partial transfer when there is more."""
        most = (room - 2) // symbol.width * symbol.width
        status = wire.PARTIAL if len(raw) > most else wire.OK
        return status, struct.pack("<H", symbol.type) + raw[:most]

    def _store(self, symbol: Symbol, first: int, raw: bytes, source: str) -> None:
        symbol.decode(first, raw)
        where = f"{symbol.name}[{first}]" if symbol.size else symbol.name
        value = round(symbol.read()[first], 6)
        self.controller.told({"where": where, "tag": symbol.name, "value": value, "source": source})


def attributes(request: Request, known: Mapping[int, bytes]) -> bytes:
    """Get attributes all, list or single, of an object whose attributes are these."""
    if request.service == wire.GET_ALL:
        return b"".join(known.values())
    if request.service == wire.GET_SINGLE:
        if request.path.attribute not in known:
            raise CipError(wire.NO_ATTRIBUTE)
        return known[request.path.attribute]
    if request.service == wire.GET_LIST:
        count = struct.unpack_from("<H", request.data)[0]
        wanted = struct.unpack_from(f"<{count}H", request.data, 2)
        rows = [
            struct.pack("<HH", number, 0) + known[number]
            if number in known
            else struct.pack("<HH", number, wire.NO_ATTRIBUTE)
            for number in wanted
        ]
        return struct.pack("<H", count) + b"".join(rows)
    raise CipError(wire.NO_SERVICE)


def serial_of(name: str) -> int:
    """A serial number for a device that was given none: the same for the same name."""
    return zlib.crc32(name.encode())
