"""Whole JSON objects with file descriptors over a SOCK_SEQPACKET pair: how driver, zygote, supervisor and nodes talk.

An object above LARGE goes into a memfd that travels as the last descriptor, because a packet must fit the
socket's send buffer (about 200 KiB by default).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

LARGE = 60_000  # bytes of JSON
MOST_FDS = 16
ROOM = 1 << 16
IN_MEMFD = b"@"  # first byte of a packet whose text is in its last descriptor; JSON begins with {


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def packet(message: dict[str, Any], fds: Sequence[int] = ()) -> tuple[bytes, list[int], int]:
    """(bytes, descriptors to send, descriptor to close after sending or -1)."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) <= LARGE:
        return data, list(fds), -1
    memory = in_memory(data)
    return IN_MEMFD, [*fds, memory], memory


def in_memory(data: bytes) -> int:
    """A memfd holding `data`, read from its beginning by whoever gets it."""
    memory = os.memfd_create("message", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(memory, view) :]
    os.lseek(memory, 0, os.SEEK_SET)
    return memory


def read_memory(memory: int) -> bytes:
    """All of a memfd or file, whatever its offset; closes it."""
    with os.fdopen(memory, "rb") as file:
        file.seek(0)
        return file.read()


def send(sock: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    data, all_fds, memory = packet(message, fds)
    try:
        socket.send_fds(sock, [data], all_fds) if all_fds else sock.send(data)
    finally:
        if memory >= 0:
            os.close(memory)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """One object and its descriptors; None at the end of the line."""
    data, fds, _, _ = socket.recv_fds(sock, ROOM, MOST_FDS, socket.MSG_CMSG_CLOEXEC)
    return unpack(data, fds)


def unpack(data: bytes, fds: list[int]) -> tuple[dict[str, Any], list[int]] | None:
    if not data:
        return None
    if data == IN_MEMFD:
        data = read_memory(fds.pop())
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")
    return message, fds
