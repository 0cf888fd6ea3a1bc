"""Reading a capture again with other eyes: dpkt decodes what the range recorded; nothing of the range's own notes is used."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import dpkt

MODBUS_PORT = 502
REGISTER_WRITES = frozenset({6, 16})  # function codes; 5 and 15 write coils


@dataclass(frozen=True, slots=True)
class Write:
    """One Modbus write request on the wire: who, to whom, when (unix seconds), function code, address, first value."""

    at: float
    source: str
    target: str
    function: int
    address: int
    value: int

    @property
    def point(self) -> tuple[bool, int]:
        """(a register rather than a coil, address): what was written to."""
        return self.function in REGISTER_WRITES, self.address


@dataclass(slots=True)
class Reading:
    """What one zone's captures hold."""

    packets: int = 0
    modbus: int = 0
    first: float = 0.0
    last: float = 0.0
    digest: str = ""
    writes: list[Write] = field(default_factory=list)
    to_modbus: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # (source, target) -> times of requests


def read_captures(files: Iterable[bytes]) -> Reading:
    """Every frame of the pcapng files of one zone, in order."""
    found, digest = Reading(), hashlib.sha256()
    for data in files:
        digest.update(data)
        for at, frame in dpkt.pcapng.Reader(io.BytesIO(data)):
            found.packets += 1
            found.first = found.first or at
            found.last = at
            note(found, at, dpkt.ethernet.Ethernet(frame))
    found.digest = digest.hexdigest()
    return found


def note(found: Reading, at: float, frame: dpkt.ethernet.Ethernet) -> None:
    packet = frame.data
    if not isinstance(packet, dpkt.ip.IP) or not isinstance(packet.data, dpkt.tcp.TCP):
        return
    segment = packet.data
    if MODBUS_PORT not in (segment.sport, segment.dport) or not segment.data:
        return
    found.modbus += 1
    if segment.dport != MODBUS_PORT:
        return
    source, target = dotted(packet.src), dotted(packet.dst)
    found.to_modbus.setdefault((source, target), []).append(at)
    found.writes += [
        Write(at, source, target, function, address, value)
        for function, address, value in requests(bytes(segment.data))
    ]


def requests(data: bytes) -> Iterable[tuple[int, int, int]]:
    """Write requests among the Modbus/TCP messages of one segment (Modbus Messaging on TCP/IP v1.0b, 3.1.3)."""
    while len(data) >= 8:
        _transaction, protocol, length, _unit, function = struct.unpack_from(">HHHBB", data)
        if protocol != 0 or not 2 <= length <= 254 or len(data) < 6 + length:
            return
        body = data[8 : 6 + length]
        if function in (5, 6) and len(body) >= 4:
            yield (function, *struct.unpack_from(">HH", body))
        elif function in (15, 16) and len(body) >= 7:
            address, _count, _bytes = struct.unpack_from(">HHB", body)
            yield function, address, struct.unpack_from(">H", body, 5)[0] if function == 16 else body[5]
        data = data[6 + length :]


def dotted(raw: bytes) -> str:
    return ".".join(map(str, raw))
