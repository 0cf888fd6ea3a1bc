"""A controller that speaks EtherNet/IP and CIP on port 44818 (TCP and UDP), with named tags as its kind has them.

No maintained server of a permissive licence exists, so this is a small one of our own: list identity, services and
interfaces; sessions; unconnected messages (also wrapped in an unconnected send) and connected ones (class 3: forward
open, large forward open, forward close); the objects of cip_objects.

Spec: that of every controller (controller.py); each tag may have a `name` and `type` (cip_tags); `io` {inputs, outputs:
{name of the fieldbus: {name?}}}; `arrays`; `identity` {vendor, type, code, major, minor, serial, name, program};
`connections` (16 sessions); `port` (44818).
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import Callable
from typing import Any, cast

from cyber_range.engine.agents import enip_wire as wire
from cyber_range.engine.agents.cip_objects import Files, Objects, serial_of
from cyber_range.engine.agents.context import NodeContext, Peer
from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.agents.enip_wire import CipError, Frame

UNCONNECTED_ROOM = 504  # bytes of an unconnected answer
CONNECTION_FAILURE, NO_MORE, DUPLICATE, NOT_FOUND, BAD_SIZE = 0x01, 0x0113, 0x0100, 0x0107, 0x0109


class Station:
    """What all sessions of one controller share."""

    def __init__(self, node: NodeContext, controller: Controller) -> None:
        spec = node.spec
        self._node = node
        self.objects = Objects(controller, spec, self.leg)
        if "serial" not in (spec.get("identity") or {}):
            self.objects.identity["serial"] = serial_of(node.name)
        self.limit = int(spec.get("connections", 16))
        self.port = int(spec.get("port", wire.PORT))
        self.sessions: set[Session] = set()
        self._handle = serial_of(node.name + "/session") & 0xFFFF0000
        self._connection = serial_of(node.name + "/connection") & 0xFFFF0000

    def leg(self) -> tuple[str, int, str]:
        """(address, prefix, MAC) of the leg the plant network sees: the first."""
        legs = [leg for leg in self._node.net.interfaces() if leg.ip and not leg.ip.startswith("127.")]
        legs = legs or self._node.net.interfaces()
        return (legs[0].ip, legs[0].prefix, legs[0].mac) if legs else ("0.0.0.0", 0, "00:00:00:00:00:00")  # noqa: S104

    def next_handle(self) -> int:
        self._handle += 1
        return self._handle & 0xFFFFFFFF

    def next_connection(self) -> int:
        self._connection += 1
        return self._connection & 0xFFFFFFFF

    def listed(self, frame: Frame, own: str) -> Frame | None:
        """Answers to what needs no session, by TCP and UDP."""
        if frame.command == wire.LIST_IDENTITY:
            item = struct.pack(">HH4s8x", 2, self.port, ipaddress.IPv4Address(own).packed)
            said = b"".join(self.objects.identity_attributes()) + bytes((self.objects.state(),))
            return frame.answer(wire.pack_items([(wire.IDENTITY_ITEM, struct.pack("<H", 1) + item + said)]))
        if frame.command == wire.LIST_SERVICES:
            item = struct.pack("<HH16s", 1, 0x0120, b"Communications")
            return frame.answer(wire.pack_items([(wire.SERVICES_ITEM, item)]))
        if frame.command == wire.LIST_INTERFACES:
            return frame.answer(wire.pack_items([]))
        return None


class CipConnection:
    """A class 3 connection: both ids, its serial and originator, the largest message."""

    def __init__(self, to_us: int, to_them: int, key: bytes, size: int) -> None:
        self.to_us, self.to_them, self.key, self.size = to_us, to_them, key, size


class Session(asyncio.Protocol):
    """One TCP connection of a client."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._handle = 0
        self._own = self._source = ""
        self._files = Files(station.objects.controller, "")
        self._connections: dict[int, CipConnection] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._source = str(peer[0]) if peer else ""
        self._own = str(own[0]) if own and own[0] else self._station.leg()[0]
        self._files = Files(self._station.objects.controller, self._source)
        if len(self._station.sessions) >= self._station.limit:
            transport.close()
            return
        self._station.sessions.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._station.sessions.discard(self)
        self._transport = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while self._transport is not None and (frame := wire.take_frame(self._buffer)) is not None:
                answer = self._frame(frame)
                if answer is not None:
                    self._transport.write(answer.pack())
        except wire.Malformed:
            self.close()

    def _frame(self, frame: Frame) -> Frame | None:
        if frame.command not in wire.COMMANDS:
            return frame.answer(status=wire.BAD_COMMAND)
        if frame.options != 0 or frame.command == wire.NOP:
            return None  # volume 2, 2-3.1: silently discarded
        if (listed := self._station.listed(frame, self._own)) is not None:
            return listed
        if frame.command == wire.REGISTER:
            return self._register(frame)
        if frame.session != self._handle or not self._handle:
            return frame.answer(status=wire.BAD_SESSION)
        if frame.command == wire.UNREGISTER:
            self.close()
            return None
        try:
            if len(frame.data) < 6:
                raise wire.Malformed("no interface handle")
            items = dict(wire.read_items(frame.data[6:]))
            if frame.command == wire.SEND_RR:
                return frame.answer(self._unconnected(items))
            return frame.answer(self._connected(items))
        except wire.Malformed as bad:
            return frame.answer(status=bad.status)

    def _register(self, frame: Frame) -> Frame:
        if len(frame.data) != 4:
            return frame.answer(status=wire.BAD_LENGTH)
        version, options = struct.unpack("<HH", frame.data)
        if version != 1 or options:
            return frame.answer(struct.pack("<HH", 1, 0), status=wire.BAD_VERSION)
        if not self._handle:
            self._handle = self._station.next_handle()
        return frame.answer(frame.data, session=self._handle)

    # ------------------------------------------------------------ messages

    def _unconnected(self, items: dict[int, bytes]) -> bytes:
        message = items.get(wire.UNCONNECTED_DATA)
        if message is None or wire.NULL_ADDRESS not in items:
            raise wire.Malformed("no unconnected message")
        return wire.command_data([(wire.NULL_ADDRESS, b""), (wire.UNCONNECTED_DATA, self._message(message))])

    def _connected(self, items: dict[int, bytes]) -> bytes:
        address, message = items.get(wire.CONNECTED_ADDRESS, b""), items.get(wire.CONNECTED_DATA, b"")
        if len(address) != 4 or len(message) < 2:
            raise wire.Malformed("no connected message")
        connection = self._connections.get(struct.unpack("<I", address)[0])
        if connection is None:
            raise wire.Malformed("no such connection")
        answer = self._station.objects.answer(message[2:], connection.size - 2, self._files, self._source)
        return wire.command_data(
            [
                (wire.CONNECTED_ADDRESS, struct.pack("<I", connection.to_them)),
                (wire.CONNECTED_DATA, message[:2] + answer),
            ]
        )

    def _message(self, raw: bytes) -> bytes:
        service = raw[0] if raw else 0
        try:
            request = wire.read_request(raw)
            if request.path.class_id == wire.CONNECTION_MANAGER:
                if service == wire.UNCONNECTED_SEND:
                    length = struct.unpack_from("<H", request.data, 2)[0]
                    inner = request.data[4 : 4 + length]
                    if len(inner) < length:
                        raise CipError(wire.TOO_LITTLE)
                    return self._message(inner)
                if service in (wire.FORWARD_OPEN, wire.LARGE_FORWARD_OPEN):
                    return wire.reply(service, self._open(service, request.data))
                if service == wire.FORWARD_CLOSE:
                    return wire.reply(service, self._close_connection(request.data))
                raise CipError(wire.NO_SERVICE)
        except CipError as refused:
            return wire.reply(service, b"", refused.status, refused.extended)
        except (wire.Malformed, struct.error):
            return wire.reply(service, b"", wire.TOO_LITTLE)
        return self._station.objects.answer(raw, UNCONNECTED_ROOM, self._files, self._source)

    def _open(self, service: int, data: bytes) -> bytes:
        """Priority, ticks, O->T and T->O ids, serial, vendor, originator, multiplier, RPI and parameters both ways."""
        large = service == wire.LARGE_FORWARD_OPEN
        layout = "<BBIIHHIB3xIIIIB" if large else "<BBIIHHIB3xIHIHB"
        found = struct.unpack_from(layout, data)
        to_them, key = found[3], struct.pack("<HHI", *found[4:7])
        rate_to_us, parameters, rate_to_them, trigger = found[8], found[9], found[10], found[12]
        size = parameters & (0xFFFF if large else 0x1FF)
        if trigger & 0x0F != 3:
            raise CipError(CONNECTION_FAILURE, 0x0103)  # transport class and trigger not supported
        if not 64 <= size <= 4002:
            raise CipError(CONNECTION_FAILURE, BAD_SIZE)
        if any(connection.key == key for connection in self._connections.values()):
            raise CipError(CONNECTION_FAILURE, DUPLICATE)
        if len(self._connections) >= self._station.limit:
            raise CipError(CONNECTION_FAILURE, NO_MORE)
        made = CipConnection(self._station.next_connection(), to_them, key, size)
        self._connections[made.to_us] = made
        return struct.pack("<II", made.to_us, to_them) + key + struct.pack("<IIBB", rate_to_us, rate_to_them, 0, 0)

    def _close_connection(self, data: bytes) -> bytes:
        key = data[2:10]
        for number, connection in self._connections.items():
            if connection.key == key:
                del self._connections[number]
                return key + b"\0\0"
        raise CipError(CONNECTION_FAILURE, NOT_FOUND)


async def run(node: NodeContext) -> None:
    controller = Controller(node)
    station = Station(node, controller)

    async def door() -> Callable[[], None]:
        listener = await node.net.create_server(lambda: Session(station), station.port)

        def on_datagram(data: bytes, peer: Peer) -> None:
            try:
                frame = wire.take_frame(bytearray(data))
            except wire.Malformed:
                return
            answer = station.listed(frame, station.leg()[0]) if frame is not None else None
            if answer is not None:
                udp.send(answer.pack(), *peer)

        udp = await node.net.udp(station.port, on_datagram)

        def close() -> None:
            listener.close()
            udp.close()
            for session in list(station.sessions):
                session.close()

        return close

    async def read(command: dict[str, Any]) -> dict[str, Any]:
        """By tag of the logic, or by the name the network knows it by (an array as a whole)."""
        name = str(command.get("tag", ""))
        symbol = station.objects.tags.by_name(name) if name and name not in controller.tags else None
        if symbol is not None:
            return {"values": [round(value, 6) for value in symbol.read()]}
        return await controller.read(command)

    await controller.run(door, {"read": read})
