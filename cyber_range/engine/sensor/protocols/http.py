"""HTTP/1.x requests and answers (RFC 9112): start line, headers, the first bytes of a body."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cyber_range.engine.sensor.protocols.message import REQUEST, RESPONSE, Message, text

PROTO = "http"
METHODS = (
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"PROPFIND ",
    b"TRACE ",
    b"CONNECT ",
)
HEAD_LIMIT = 32 * 1024
BODY_KEPT = 4096  # bytes of a body that rules see
NO_CHUNKS, SIZE, DATA, BEHIND, TRAILER = range(5)  # where in a chunked body a side is
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;|\s|$)")
_IDENTITY = {b"server": "http_server", b"user-agent": "http_agent"}


class _Side:
    __slots__ = ("body", "buffer", "chunk", "headers", "left", "start")

    def __init__(self) -> None:
        self.buffer = b""
        self.start = b""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.left = -1  # bytes of the body still to come; -1: no body is being read
        self.chunk = NO_CHUNKS


class Http:
    def __init__(self) -> None:
        self.broken = self.done = False
        self._sides = [_Side(), _Side()]
        self._asked: list[bytes] = []  # methods not yet answered: an answer to HEAD has no body

    def lose(self, up: bool) -> None:
        self._sides[up] = _Side()

    def feed(self, up: bool, data: bytes) -> Sequence[Message]:
        side = self._sides[up]
        messages: list[Message] = []
        side.buffer += data
        while side.buffer:
            if side.left >= 0 or side.chunk != NO_CHUNKS:
                if not self._body(up, side, messages):
                    break
                continue
            end = side.buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(side.buffer) > HEAD_LIMIT or not _begins(up, side.buffer):
                    self.broken = True
                    side.buffer = b""
                break
            if not _begins(up, side.buffer):
                self.broken = True
                side.buffer = b""
                break
            head, side.buffer = side.buffer[:end], side.buffer[end + 4 :]
            self._head(up, side, head, messages)
        return messages

    def _head(self, up: bool, side: _Side, head: bytes, messages: list[Message]) -> None:
        lines = head.split(b"\r\n")
        side.start = lines[0]
        side.headers = {}
        for line in lines[1:200]:
            name, _, value = line.partition(b":")
            side.headers[name.strip().lower()] = value.strip()
        side.body = b""
        if up:
            self._asked.append(side.start.split(b" ", 1)[0])
            bodiless = False
        else:
            method = self._asked.pop(0) if self._asked else b""
            code = side.start[9:12]
            bodiless = method == b"HEAD" or code in (b"204", b"304") or code[:1] == b"1"
            if code == b"101" or (method == b"CONNECT" and code[:1] == b"2"):
                self.done = True
        chunked = not bodiless and b"chunked" in side.headers.get(b"transfer-encoding", b"").lower()
        side.chunk = SIZE if chunked else NO_CHUNKS
        length = side.headers.get(b"content-length", b"")
        side.left = int(length) if length.isdigit() and len(length) < 12 and not bodiless and not chunked else -1
        if not chunked and side.left <= 0:
            side.left = -1
            messages.append(self._message(up, side))

    def _body(self, up: bool, side: _Side, messages: list[Message]) -> bool:
        """Takes what is there of a body; False when more must come first. The message is told when it is whole."""
        if side.chunk in (SIZE, BEHIND, TRAILER):
            line, newline, rest = side.buffer.partition(b"\n")
            if not newline:
                if len(side.buffer) > HEAD_LIMIT:
                    self.broken, side.buffer = True, b""
                return False
            side.buffer = rest
            self._chunk_line(up, side, line.strip(), messages)
            return True
        taken = side.buffer[: side.left]
        side.buffer = side.buffer[len(taken) :]
        side.left -= len(taken)
        if len(side.body) < BODY_KEPT:
            side.body += taken[: BODY_KEPT - len(side.body)]
        if side.left == 0:
            if side.chunk == DATA:
                side.chunk = BEHIND
            else:
                side.left = -1
                messages.append(self._message(up, side))
        return True

    def _chunk_line(self, up: bool, side: _Side, line: bytes, messages: list[Message]) -> None:
        """A line between chunks (RFC 9112, 7.1): a size, the end of a chunk, a trailer, the end of all."""
        if side.chunk == BEHIND:
            side.chunk = SIZE
        elif side.chunk == SIZE:
            found = _CHUNK.match(line)
            if found is None:
                self.broken, side.chunk, side.buffer = True, NO_CHUNKS, b""
                return
            side.left = int(found.group(1), 16)
            side.chunk = DATA if side.left else TRAILER
        elif not line:
            side.left, side.chunk = -1, NO_CHUNKS
            messages.append(self._message(up, side))

    def _message(self, up: bool, side: _Side) -> Message:
        raw = b"\r\n".join(name + b": " + value for name, value in side.headers.items()) + b"\r\n"
        buffers = {"http.header": raw}
        first, _, rest = side.start.partition(b" ")
        identity = {
            word: text(side.headers[name]) for name, word in _IDENTITY.items() if side.headers.get(name)
        } or None
        if up:
            uri = rest.rsplit(b" ", 1)[0]
            buffers |= {
                "http.method": first, "http.uri": normal(uri), "http.uri.raw": uri, "http.request_line": side.start,
                "http.host": side.headers.get(b"host", b"").lower(), "http.user_agent": side.headers.get(b"user-agent", b""),
                "http.cookie": side.headers.get(b"cookie", b""), "http.content_type": side.headers.get(b"content-type", b""),
                "http.request_body": side.body, "http.protocol": side.start.rsplit(b" ", 1)[-1],
                "http.authorization": side.headers.get(b"authorization", b""),
            }  # fmt: skip
            return Message(PROTO, REQUEST, 0, text(first, 12), text(uri), buffers=buffers, identity=identity)
        code = rest[:3]
        buffers |= {
            "http.stat_code": code, "http.stat_msg": rest[4:], "http.server": side.headers.get(b"server", b""),
            "http.content_type": side.headers.get(b"content-type", b""), "http.response_body": side.body,
            "http.response_line": side.start, "http.protocol": first, "http.location": side.headers.get(b"location", b""),
        }  # fmt: skip
        status = int(code) if code.isdigit() else 0
        return Message(
            PROTO, RESPONSE, status, f"状态 {status}", error=status if status >= 400 else 0, buffers=buffers,
            identity=identity,
        )  # fmt: skip


def _begins(up: bool, data: bytes) -> bool:
    """Whether these are the first bytes of a request or an answer, as far as they have come."""
    if not up:
        return data[:5] == b"HTTP/"[: len(data)]
    return any(data[: len(method)] == method[: len(data)] for method in METHODS)


_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def normal(uri: bytes) -> bytes:
    """As Suricata's http.uri: escapes undone once, no doubled slashes, no . and .. left in the path.

    What the client really wrote is in http.uri.raw; a rule for ../ looks there.
    """
    if b"%" in uri:
        uri = _ESCAPE.sub(lambda m: bytes([int(m.group(1), 16)]), uri)
    path, mark, query = uri.partition(b"?")
    if b"//" in path or b"/." in path:
        kept: list[bytes] = []
        for part in path.split(b"/"):
            if part == b"..":
                del kept[-1:]
            elif part not in (b"", b"."):
                kept.append(part)
        ending = b"/" if kept and path.endswith((b"/", b"/.", b"/..")) else b""
        path = b"/" + b"/".join(kept) + ending
    return path + mark + query
