"""The node's neighbour table (ARP) from the kernel by rtnetlink: listed, pinned, cleared. Changing it needs NET_ADMIN."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

NETLINK_ROUTE = 0
NEW, DELETE, GET = 28, 29, 30  # RTM_…NEIGH
REQUEST, ACK, DUMP, CREATE, REPLACE = 1, 4, 0x300, 0x400, 0x100
ERROR, DONE = 2, 3
DESTINATION, ADDRESS = 1, 2  # NDA_DST, NDA_LLADDR
STATES = {
    0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x08: "delay", 0x10: "probe", 0x20: "failed",
    0x40: "noarp", 0x80: "permanent",
}  # fmt: skip
PERMANENT, NOARP = 0x80, 0x40


@dataclass(frozen=True, slots=True)
class Neighbour:
    ip: str
    mac: str
    state: str
    ifname: str


class Neighbours(Protocol):
    """PermissionError on a node that may not change its network; LookupError for an address in no own segment."""

    def all(self) -> list[Neighbour]: ...
    def pin(self, ip: str, mac: str) -> None: ...
    def forget(self, ip: str) -> None: ...


class KernelNeighbours:
    """`leg_of` gives the interface an address is reached over."""

    def __init__(self, legs: dict[str, str]) -> None:
        self._legs = legs  # network -> interface

    def all(self) -> list[Neighbour]:
        found = []
        for kind, body in exchange(GET, DUMP, struct.pack("BxHiHBB", socket.AF_INET, 0, 0, 0, 0, 0)):
            if kind != NEW:
                continue
            index, state = struct.unpack_from("iH", body, 4)
            values = attributes(body[12:])
            if state & NOARP or DESTINATION not in values:
                continue
            mac = values.get(ADDRESS, b"").hex(":")
            name = socket.if_indextoname(index)
            found.append(Neighbour(socket.inet_ntoa(values[DESTINATION]), mac, STATES.get(state, str(state)), name))
        return sorted(found, key=lambda one: socket.inet_aton(one.ip))

    def pin(self, ip: str, mac: str) -> None:
        self._change(NEW, CREATE | REPLACE, ip, PERMANENT, attribute(ADDRESS, bytes.fromhex(mac.replace(":", ""))))

    def forget(self, ip: str) -> None:
        """Nothing when there is no entry."""
        try:
            self._change(DELETE, 0, ip, 0, b"")
        except FileNotFoundError:
            return

    def _change(self, kind: int, flags: int, ip: str, state: int, more: bytes) -> None:
        index = socket.if_nametoindex(leg_of(self._legs, ip))
        head = struct.pack("BxHiHBB", socket.AF_INET, 0, index, state, 0, 0)
        for _ in exchange(kind, ACK | flags, head + attribute(DESTINATION, socket.inet_aton(ip)) + more):
            pass


def leg_of(legs: dict[str, str], ip: str) -> str:
    """The interface whose network holds an address."""
    number = int.from_bytes(socket.inet_aton(ip), "big")
    for network, name in legs.items():
        address, _, prefix = network.partition("/")
        mask = 0xFFFFFFFF << 32 - int(prefix) & 0xFFFFFFFF
        if number & mask == int.from_bytes(socket.inet_aton(address), "big") & mask:
            return name
    raise LookupError(f"{ip} is in none of this node's segments: {', '.join(legs)}")


def exchange(kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Messages of the answer; OSError with the kernel's number for a refusal."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as asking:
        asking.settimeout(2)
        asking.bind((0, 0))
        asking.send(struct.pack("IHHII", 16 + len(body), kind, REQUEST | flags, 1, 0) + body)
        while True:
            data = asking.recv(65536)
            at = 0
            while at + 16 <= len(data):
                length, answered = struct.unpack_from("IH", data, at)
                content = data[at + 16 : at + length]
                if answered == DONE:
                    return
                if answered == ERROR:
                    number = -struct.unpack_from("i", content)[0]
                    if number:
                        raise OSError(number, os.strerror(number) if number != errno.EPERM else "needs NET_ADMIN")
                    return
                yield answered, content
                at += length + 3 & ~3


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("HH", data, at)
        if length < 4:
            break
        found[kind] = data[at + 4 : at + length]
        at += length + 3 & ~3
    return found
