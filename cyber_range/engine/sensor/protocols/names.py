"""Names that hosts tell over UDP: DNS questions and answers, multicast names, NetBIOS names, DHCP host names."""

from __future__ import annotations

from collections.abc import Sequence

from cyber_range.engine.sensor.protocols.framing import NONE
from cyber_range.engine.sensor.protocols.message import REQUEST, RESPONSE, Message, text

DNS, DHCP, NBNS = "dns", "dhcp", "nbns"
TYPES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    10: "NULL",
    255: "ANY",
}
DHCP_TYPES = {1: "DISCOVER", 2: "OFFER", 3: "REQUEST", 4: "DECLINE", 5: "ACK", 6: "NAK", 7: "RELEASE", 8: "INFORM"}
COOKIE = b"\x63\x82\x53\x63"


class Dns:
    """DNS over UDP or, with its length prefix, TCP (RFC 1035); also mDNS and LLMNR, which have the same form."""

    def __init__(self, *, stream: bool = False) -> None:
        self.broken = self.done = False
        self._stream = stream
        self._left = [b"", b""]

    def lose(self, up: bool) -> None:
        self._left[up] = b""

    def feed(self, up: bool, data: bytes) -> Sequence[Message]:
        if not self._stream:
            found = message(data)
            self.broken = found is None
            return NONE if found is None else (found,)
        messages: list[Message] = []
        data = self._left[up] + data
        while len(data) >= 2 and len(data) >= 2 + (size := data[0] << 8 | data[1]):
            found = message(data[2 : 2 + size])
            if found is None:
                self.broken = True
                return messages
            messages.append(found)
            data = data[2 + size :]
        self._left[up] = data
        return messages


def name_at(data: bytes, at: int) -> tuple[bytes, int]:
    """(dotted name, position behind) with compression followed; position -1 when it is none."""
    parts: list[bytes] = []
    behind, hops = -1, 0
    while at < len(data):
        size = data[at]
        if size == 0:
            return b".".join(parts), behind if behind >= 0 else at + 1
        if size >= 0xC0:
            if at + 1 >= len(data) or hops > 16:
                return b"", -1
            behind = behind if behind >= 0 else at + 2
            at, hops = (size & 0x3F) << 8 | data[at + 1], hops + 1
            continue
        if size > 63 or at + 1 + size > len(data) or len(parts) > 64:
            return b"", -1
        parts.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return b"", -1


def message(data: bytes) -> Message | None:
    if len(data) < 12:
        return None
    flags, questions, answers = data[2] << 8 | data[3], data[4] << 8 | data[5], data[6] << 8 | data[7]
    if questions > 16:
        return None
    at, asked, kind = 12, [], 0
    for _ in range(questions):
        name, at = name_at(data, at)
        if at < 0 or at + 4 > len(data):
            return None
        asked.append(name)
        kind = kind or data[at] << 8 | data[at + 1]
        at += 4
    answered = bool(flags & 0x8000)
    fields = {"opcode": flags >> 11 & 15, "qtype": kind, "rcode": flags & 15, "answers": answers}
    query = b"\n".join(asked)
    return Message(
        DNS, RESPONSE if answered else REQUEST, kind, f"查询{TYPES.get(kind, kind)}", text(query), error=flags & 15 if answered else 0,
        fields=fields, buffers={"dns.query": query} if asked else {},
    )  # fmt: skip


class Nbns:
    """NetBIOS name service (RFC 1002): registrations tell the sender's name."""

    def __init__(self) -> None:
        self.broken = self.done = False

    def lose(self, up: bool) -> None:
        pass

    def feed(self, up: bool, data: bytes) -> Sequence[Message]:
        if len(data) < 46 or data[12] != 32:
            self.broken = True
            return NONE
        letters = data[13:45]
        raw = bytes((letters[i] - 65 & 15) << 4 | letters[i + 1] - 65 & 15 for i in range(0, 32, 2))
        name, suffix = text(raw[:15]), raw[15]
        opcode, answered = data[2] >> 3 & 15, bool(data[2] & 0x80)
        told = {"name": name} if opcode in (5, 6, 8, 9) and suffix in (0, 0x20) and not answered else None
        return (Message(NBNS, RESPONSE if answered else REQUEST, opcode, "NetBIOS名称", name, identity=told),)


class Dhcp:
    """DHCP (RFC 2131, 2132): the client's host name, vendor class and wish."""

    def __init__(self) -> None:
        self.broken = self.done = False

    def lose(self, up: bool) -> None:
        pass

    def feed(self, up: bool, data: bytes) -> Sequence[Message]:
        if len(data) < 244 or data[236:240] != COOKIE:
            self.broken = True
            return NONE
        options: dict[int, bytes] = {}
        at = 240
        while at + 1 < len(data) and data[at] != 255:
            if data[at] == 0:
                at += 1
                continue
            options[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
            at += 2 + data[at + 1]
        kind = options.get(53, b"\0")[:1] or b"\0"
        told = {"name": text(options.get(12, b"")), "system": text(options.get(60, b""))} if data[0] == 1 else {}
        identity = {word: value for word, value in told.items() if value} or None
        word = DHCP_TYPES.get(kind[0], str(kind[0]))
        return (Message(DHCP, REQUEST if data[0] == 1 else RESPONSE, kind[0], f"DHCP {word}", identity=identity),)
