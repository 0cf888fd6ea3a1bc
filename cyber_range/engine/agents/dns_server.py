"""The office's name server: its own zone, a forwarder for the rest, a block list, and a memory of who asked what.

Spec: `zone` (plant.example), `hosts` {name: address}, `upstream` (address of the outside's server, "" = none), `admin`
{user, password}, `admin_port` (8053), `blocked` [domain…], `allow` [network…] (who may ask; all when missing).
Admin over HTTP with that login: GET /queries?last=N (newest first, JSON), GET /top (names and bytes asked per client and
parent domain), GET /blocked, PUT and DELETE /blocked/<domain>. Emits `dns_blocked` once per client and domain, and
counters: queries, forwarded, blocked, failures.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from cyber_range.engine.agents import dns_wire as wire
from cyber_range.engine.agents.context import NodeContext, Peer, answer
from cyber_range.engine.agents.http_door import Request, Response, serve_http

PORT = 53
KEPT = 4000  # queries remembered
UPSTREAM_SECONDS = 3.0
WAITING = 512  # forwarded questions at once; more are answered SERVFAIL
TELL_EVERY = 2.0


def parent_of(name: str) -> str:
    """The registered part of a name: what a block list names (two labels; three under a two-letter code's second level)."""
    labels = name.split(".")
    deep = 3 if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in ("com", "net", "org", "gov", "edu") else 2
    return ".".join(labels[-deep:])


class Zone:
    """What this server knows by itself, and what it refuses."""

    def __init__(self, zone: str, hosts: dict[str, str], blocked: list[str]) -> None:
        self.zone = zone.lower().strip(".")
        self.hosts = {self._full(name): str(ip) for name, ip in hosts.items()}
        self.blocked = {domain.lower().strip(".") for domain in blocked}

    def _full(self, name: str) -> str:
        name = name.lower().strip(".")
        return name if "." in name else f"{name}.{self.zone}"

    def owns(self, name: str) -> bool:
        return name == self.zone or name.endswith(f".{self.zone}") or name in self.hosts

    def blocks(self, name: str) -> str:
        """The entry of the block list that covers this name, or nothing."""
        labels = name.split(".")
        return next((d for i in range(len(labels)) if (d := ".".join(labels[i:])) in self.blocked), "")

    def reply(self, question: wire.Question) -> bytes:
        ip = self.hosts.get(question.name)
        if ip is None:
            return wire.response(question, code=wire.NAME_ERROR if question.name != self.zone else wire.NO_ERROR)
        return wire.response(question, [wire.address(question.name, ip)] if question.kind in (wire.A, wire.ANY) else [])


async def run(node: NodeContext) -> None:
    spec = node.spec
    zone = Zone(str(spec.get("zone", "plant.example")), dict(spec.get("hosts") or {}), list(spec.get("blocked", ())))
    upstream = str(spec.get("upstream", ""))
    allowed = [ipaddress.IPv4Network(text) for text in spec.get("allow", ())]
    asked: deque[dict[str, Any]] = deque(maxlen=KEPT)
    volume: Counter[tuple[str, str]] = Counter()
    bytes_of: Counter[tuple[str, str]] = Counter()
    counts = {"queries": 0, "forwarded": 0, "blocked": 0, "failures": 0}
    told: set[tuple[str, str]] = set()
    waiting: dict[int, Callable[[bytes], None]] = {}

    def on_question(data: bytes, peer: Peer) -> None:
        try:
            question = wire.read_query(data)
        except ValueError:
            return
        if allowed and not any(ipaddress.IPv4Address(peer[0]) in network for network in allowed):
            door.send(wire.response(question, code=wire.REFUSED), *peer)
            return
        counts["queries"] += 1
        parent = parent_of(question.name)
        volume[peer[0], parent] += 1
        bytes_of[peer[0], parent] += len(question.name)
        entry = zone.blocks(question.name)
        asked.append({
            "at": round(time.time(), 3), "client": peer[0], "name": question.name,
            "type": wire.TYPES.get(question.kind, str(question.kind)), "blocked": bool(entry),
        })  # fmt: skip
        if entry:
            counts["blocked"] += 1
            if (peer[0], entry) not in told:
                told.add((peer[0], entry))
                node.emit("dns_blocked", client=peer[0], domain=entry)
            door.send(wire.response(question, code=wire.NAME_ERROR), *peer)
        elif zone.owns(question.name):
            door.send(zone.reply(question), *peer)
        elif not upstream or len(waiting) >= WAITING:
            counts["failures"] += 1
            door.send(wire.response(question, code=wire.SERVER_FAILURE, authoritative=False), *peer)
        else:
            forward(question, peer)

    def forward(question: wire.Question, peer: Peer) -> None:
        ident = secrets.randbelow(0x10000)
        while ident in waiting:
            ident = secrets.randbelow(0x10000)
        counts["forwarded"] += 1

        def give_up() -> None:
            if waiting.pop(ident, None) is not None:
                counts["failures"] += 1
                door.send(wire.response(question, code=wire.SERVER_FAILURE, authoritative=False), *peer)

        timer = asyncio.get_running_loop().call_later(UPSTREAM_SECONDS, give_up)

        def deliver(reply: bytes) -> None:
            timer.cancel()
            door.send(question.ident.to_bytes(2, "big") + reply[2:], *peer)

        waiting[ident] = deliver
        outward.send(wire.query(wire.Question(ident, question.name, question.kind)), upstream, PORT)

    def on_reply(data: bytes, peer: Peer) -> None:
        if peer[0] != upstream or len(data) < 12:
            return
        deliver = waiting.pop(int.from_bytes(data[:2], "big"), None)
        if deliver is not None:
            deliver(data)

    async def admin(request: Request) -> Response:
        login = dict(spec.get("admin") or {})
        given = request.credentials()
        right = f"{login.get('user', '')}:{login.get('password', '')}"
        if not login or given is None or not hmac.compare_digest(":".join(given).encode(), right.encode()):
            return Response(401, headers={"WWW-Authenticate": 'Basic realm="dns"'})
        verb, _, rest = request.path.strip("/").partition("/")
        if request.method == "GET" and verb == "queries":
            wanted = max(1, min(KEPT, int(request.query.get("last", "50"))))
            return as_json(list(asked)[-wanted:][::-1])
        if request.method == "GET" and verb == "top":
            return as_json([
                {"client": client, "domain": domain, "queries": n, "bytes": bytes_of[client, domain]}
                for (client, domain), n in volume.most_common(30)
            ])  # fmt: skip
        if verb == "blocked" and request.method == "GET":
            return as_json(sorted(zone.blocked))
        if verb == "blocked" and rest and request.method in ("PUT", "DELETE"):
            domain = rest.lower().strip(".")
            zone.blocked.add(domain) if request.method == "PUT" else zone.blocked.discard(domain)
            node.emit("dns_policy", action=request.method.lower(), domain=domain, peer=request.peer)
            return Response(204)
        return Response(404, b"GET /queries /top /blocked; PUT or DELETE /blocked/DOMAIN")

    door = await node.net.udp(PORT, on_question)
    outward = await node.net.udp(0, on_reply)
    server = await serve_http(node.net, int(spec.get("admin_port", 8053)), admin, "dns-admin")

    async def tell() -> None:
        while True:
            await asyncio.sleep(TELL_EVERY)
            node.emit("counters", values=dict(counts))

    async def blocked(command: dict[str, Any]) -> dict[str, Any]:
        return {"blocked": bool(zone.blocks(str(command["domain"]).lower()))}

    telling = asyncio.ensure_future(tell())
    node.emit("ready")
    try:
        await answer(node, {"blocked": blocked})
    finally:
        telling.cancel()
        server.close()
        door.close()
        outward.close()


def as_json(value: Any) -> Response:
    return Response(200, json.dumps(value, ensure_ascii=False).encode(), "application/json; charset=utf-8")
