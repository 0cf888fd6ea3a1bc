"""A host of the outside that takes whatever it is given: where stolen data ends, and where its bytes are counted.

Spec: `port` (80), `domain` (names under it are answered by DNS on 53 and taken for a tunnel), `canaries` [text…]
(looked for in everything that arrives), `page` (what GET / shows). HTTP: POST or PUT anything. DNS: labels before
`domain` are base32 without padding, the last of them "<session>-<number>"; answered with a TXT "ok".
Emits `exfil` {channel, client, bytes, canaries} at most twice a second, and counters: http_bytes, dns_bytes,
dns_queries, canary_hits. Command `received` -> {channel: bytes, canaries: [..]}.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import defaultdict
from typing import Any

from cyber_range.engine.agents import dns_wire as wire
from cyber_range.engine.agents.context import NodeContext, Peer, answer
from cyber_range.engine.agents.http_door import Request, Response, serve_http

DNS_PORT = 53
KEPT = 2 * 1024 * 1024  # bytes per channel in which canaries are looked for
TELL_EVERY = 0.5


class Received:
    """Everything that came, per channel, and which canaries were in it."""

    def __init__(self, canaries: list[str]) -> None:
        self._wanted = {text: text.encode() for text in canaries if text}
        self._kept: dict[str, bytearray] = defaultdict(bytearray)
        self.counts = {"http_bytes": 0, "dns_bytes": 0, "dns_queries": 0, "canary_hits": 0}
        self.found: set[str] = set()

    def take(self, channel: str, data: bytes) -> None:
        self.counts[f"{channel}_bytes"] += len(data)
        kept = self._kept[channel]
        kept += data
        del kept[:-KEPT]
        for text, raw in self._wanted.items():
            if text not in self.found and raw in kept:
                self.found.add(text)
                self.counts["canary_hits"] += 1


def tunnel_bytes(name: str, domain: str) -> bytes | None:
    """What a tunnel's question carries; None when it is none."""
    if not name.endswith(f".{domain}"):
        return None
    labels = name[: -len(domain) - 1].split(".")
    coded = "".join(labels[:-1]).upper()
    if len(labels) < 2 or not coded:
        return None
    try:
        return base64.b32decode(coded + "=" * (-len(coded) % 8))
    except (binascii.Error, ValueError):
        return None


async def run(node: NodeContext) -> None:
    spec = node.spec
    domain = str(spec.get("domain", "")).lower().strip(".")
    received = Received([str(text) for text in spec.get("canaries", ())])
    page = str(spec.get("page", "<!doctype html><meta charset=utf-8><title>cdn</title><p>ok</p>")).encode()
    pending: dict[tuple[str, str], int] = {}
    seen: set[str] = set()

    def note(channel: str, client: str, data: bytes) -> None:
        received.take(channel, data)
        pending[channel, client] = pending.get((channel, client), 0) + len(data)

    async def web(request: Request) -> Response:
        if request.method in ("POST", "PUT"):
            note("http", request.peer, request.body)
            return Response(201)
        return Response(200, page, "text/html; charset=utf-8") if request.path == "/" else Response(404)

    def on_question(data: bytes, peer: Peer) -> None:
        try:
            question = wire.read_query(data)
        except ValueError:
            return
        received.counts["dns_queries"] += 1
        carried = tunnel_bytes(question.name, domain) if domain else None
        if carried is not None:
            if question.name not in seen:  # a resolver may ask twice
                seen.add(question.name)
                note("dns", peer[0], carried)
            dns.send(wire.response(question, [wire.text(question.name, b"ok")]), *peer)
        elif question.kind == wire.A:
            own = next(iter(node.net.interfaces())).ip
            dns.send(wire.response(question, [wire.address(question.name, own)]), *peer)
        else:
            dns.send(wire.response(question), *peer)

    async def tell() -> None:
        told: dict[str, int] = {}
        while True:
            await asyncio.sleep(TELL_EVERY)
            for (channel, client), size in list(pending.items()):
                node.emit("exfil", channel=channel, client=client, bytes=size, canaries=len(received.found))
            pending.clear()
            if told != received.counts:
                told = dict(received.counts)
                node.emit("counters", values=told)

    async def what(_: dict[str, Any]) -> dict[str, Any]:
        return {
            "http": received.counts["http_bytes"], "dns": received.counts["dns_bytes"], "canaries": sorted(received.found)
        }  # fmt: skip

    server = await serve_http(node.net, int(spec.get("port", 80)), web, "openresty")
    dns = await node.net.udp(DNS_PORT, on_question)
    telling = asyncio.ensure_future(tell())
    node.emit("counters", values=dict(received.counts))
    node.emit("ready")
    try:
        await answer(node, {"received": what})
    finally:
        telling.cancel()
        server.close()
        dns.close()
