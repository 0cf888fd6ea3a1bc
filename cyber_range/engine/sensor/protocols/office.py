"""Greetings of office protocols: SSH identification strings and the server name of TLS client hellos."""

from __future__ import annotations

from collections.abc import Sequence

from cyber_range.engine.sensor.protocols.framing import NONE
from cyber_range.engine.sensor.protocols.message import REQUEST, RESPONSE, Message, text

SSH, TLS = "ssh", "tls"
BANNER_LIMIT, HELLO_LIMIT = 1024, 17_000


class Ssh:
    """The first line of each side (RFC 4253, 4.2). Nothing is read after both have spoken."""

    def __init__(self) -> None:
        self.broken = self.done = False
        self._left = [b"", b""]
        self._told = [False, False]

    def lose(self, up: bool) -> None:
        self._told[up] = True

    def feed(self, up: bool, data: bytes) -> Sequence[Message]:
        if self._told[up]:
            return NONE
        data = self._left[up] + data
        at = data.find(b"SSH-")
        end = data.find(b"\n", at) if at >= 0 else -1
        if end < 0:
            self._left[up] = data
            self.broken = len(data) > BANNER_LIMIT
            return NONE
        self._told[up] = True
        self.done = all(self._told)
        line = data[at:end].rstrip(b"\r")
        _, _, rest = line.partition(b"-")
        version, _, software = rest.partition(b"-")
        identity = {"ssh": text(software)} if software else None
        buffers = {"ssh.proto": version, "ssh.software": software}
        return (
            Message(SSH, REQUEST if up else RESPONSE, 0, "SSH标识", text(software), buffers=buffers, identity=identity),
        )


class Tls:
    """Server name and version of the client hello (RFC 8446, 4.1.2; RFC 6066, 3)."""

    def __init__(self) -> None:
        self.broken = self.done = False
        self._left = b""

    def lose(self, up: bool) -> None:
        self.done = True

    def feed(self, up: bool, data: bytes) -> Sequence[Message]:
        if not up:
            return NONE
        data = self._left + data
        if len(data) < 6:
            self._left = data
            return NONE
        if data[0] != 22 or data[1] != 3 or data[5] != 1:
            self.broken = self.done = True
            return NONE
        size = 5 + (data[3] << 8 | data[4])
        if len(data) < size:
            self._left = data
            self.broken = len(data) > HELLO_LIMIT
            return NONE
        self.done, self._left = True, b""
        version, name = hello(data[9:size])
        return (
            Message(TLS, REQUEST, 1, "TLS握手", text(name), fields={"version": version}, buffers={"tls.sni": name}),
        )


def hello(body: bytes) -> tuple[int, bytes]:
    """(legacy version, server name or nothing) of a client hello behind its handshake head."""
    if len(body) < 39:
        return 0, b""
    at = 34 + 1 + body[34]
    if at + 2 > len(body):
        return body[0] << 8 | body[1], b""
    at += 2 + (body[at] << 8 | body[at + 1])
    at += 1 + (body[at] if at < len(body) else 0)
    at += 2
    while at + 4 <= len(body):
        kind, size = body[at] << 8 | body[at + 1], body[at + 2] << 8 | body[at + 3]
        if kind == 0 and size >= 5:
            length = body[at + 7] << 8 | body[at + 8]
            return body[0] << 8 | body[1], body[at + 9 : at + 9 + length]
        at += 4 + size
    return body[0] << 8 | body[1], b""
