"""A small HTTP/1.1 service over `node.net`, and its client: what the plant's file share and historian stand on.

One request per connection, bodies up to 2 MiB, basic authentication. Not a web server for strangers: it serves a lab.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from cyber_range.engine.agents.context import Closable, Net

LARGEST_BODY = 2 * 1024 * 1024
LARGEST_HEAD = 16 * 1024
PATIENCE = 15.0  # s for a whole request
REASONS = {
    200: "OK", 201: "Created", 204: "No Content", 207: "Multi-Status", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 413: "Payload Too Large",
    500: "Internal Server Error", 507: "Insufficient Storage",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str  # decoded, without the query
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    peer: str

    def credentials(self) -> tuple[str, str] | None:
        """User and password of basic authentication."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return user, password


@dataclass(frozen=True, slots=True)
class Response:
    status: int = 200
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self, server: str) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, '')}".rstrip(), f"Server: {server}",
                 f"Content-Length: {len(self.body)}", f"Content-Type: {self.kind}", "Connection: close"]  # fmt: skip
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


Answer = Callable[[Request], Awaitable[Response]]


async def serve_http(net: Net, port: int, answer: Answer, server: str = "nginx") -> Closable:
    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername") or ("", 0)
        try:
            async with asyncio.timeout(PATIENCE):
                request = await read_request(reader, str(peer[0]))
                response = Response(400) if request is None else await answer(request)
                writer.write(response.encoded(server))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            pass  # a client that talks nonsense or goes away gets no answer
        finally:
            writer.close()

    def factory() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=LARGEST_HEAD), on_connection)

    return await net.create_server(factory, port)


async def read_request(reader: asyncio.StreamReader, peer: str) -> Request | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    words = head[0].split(" ")
    if len(words) != 3:
        return None
    headers = {}
    for line in head[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    size = int(headers.get("content-length", "0"))
    if not 0 <= size <= LARGEST_BODY:
        return None
    body = await reader.readexactly(size) if size else b""
    target = urllib.parse.urlsplit(words[1])
    query = dict(urllib.parse.parse_qsl(target.query))
    return Request(words[0].upper(), urllib.parse.unquote(target.path), query, headers, body, peer)


async def fetch(
    net: Net,
    host: str,
    port: int,
    path: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    login: tuple[str, str] | None = None,
    timeout: float = 5.0,
) -> tuple[int, bytes]:
    """(status, body); OSError or TimeoutError when there is no answer."""
    sock = await net.connect(host, port, timeout=timeout)
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        lines = [f"{method} {urllib.parse.quote(path, safe='/?&=%')} HTTP/1.1", f"Host: {host}", "Connection: close",
                 f"Content-Length: {len(body)}", "User-Agent: Mozilla/5.0"]  # fmt: skip
        if login is not None:
            lines.append("Authorization: Basic " + base64.b64encode(":".join(login).encode()).decode())
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        async with asyncio.timeout(timeout):
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            content = await reader.read(-1)
        words = head[0].split(" ")
        return (int(words[1]), content) if len(words) > 1 and words[1].isdigit() else (0, content)
    except asyncio.IncompleteReadError as exc:
        raise ConnectionResetError(f"{host} closed the connection") from exc
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
