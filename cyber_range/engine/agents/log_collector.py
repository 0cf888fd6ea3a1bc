"""The plant's log server: takes syslog datagrams, keeps them where their senders cannot wipe them, shows them by HTTP.

Spec: `port` (UDP, 514), `web_port` (8514), `users` {user: password} who may read (default nobody), `kept` (rows, 5000).
GET /log?host=NAME&last=N: rows as JSON, newest first: {at, peer, host, app, text}. GET /gaps?host=NAME: numbers missing
between the rows of each application, which is what a lossy network or somebody's hand leaves.
Counters: rows, senders. Commands: `rows` {host?, last?}, `count` {host?}.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from cyber_range.engine.agents.context import NodeContext, Peer, answer
from cyber_range.engine.agents.http_door import Request, Response, serve_http
from cyber_range.engine.agents.trail import PORT

LINE = re.compile(r"<\d{1,3}>1 (\S+) (\S+) (\S+) \S+ \S+ \S+ (.*)\Z", re.DOTALL)
LONGEST = 2048  # bytes of a row
TELL_EVERY = 2.0


class Collector:
    def __init__(self, node: NodeContext) -> None:
        self._users = {str(user): str(word) for user, word in dict(node.spec.get("users") or {}).items()}
        self.rows: deque[dict[str, Any]] = deque(maxlen=int(node.spec.get("kept", 5000)))
        self.count = 0

    def take(self, data: bytes, peer: Peer) -> None:
        text = data[:LONGEST].decode("utf-8", "replace")
        found = LINE.match(text)
        at, host, app, said = found.groups() if found else ("", peer[0], "", text)
        self.rows.append({"at": at or time.time(), "peer": peer[0], "host": host, "app": app, "text": said})
        self.count += 1

    def of(self, host: str, last: int) -> list[dict[str, Any]]:
        return [row for row in reversed(self.rows) if host in ("", row["host"], row["peer"])][:last]

    async def respond(self, request: Request) -> Response:
        given = request.credentials()
        known = self._users.get(given[0]) if given else None
        if given is None or known is None or not hmac.compare_digest(known.encode(), given[1].encode()):
            return Response(401, headers={"WWW-Authenticate": 'Basic realm="log"'})
        host = request.query.get("host", "")
        if request.path == "/log":
            last = request.query.get("last", "50")
            return as_json(self.of(host, max(1, min(2000, int(last) if last.isdigit() else 50))))
        if request.path == "/gaps":
            return as_json(gaps(row for row in self.rows if host in ("", row["host"], row["peer"])))
        return Response(404, b"see /log and /gaps")


def gaps(rows: Iterable[dict[str, Any]]) -> dict[str, list[int]]:
    """{"host app": numbers that are missing}, at most 200 each."""
    seen: dict[str, set[int]] = {}
    for row in rows:
        try:
            number = int(json.loads(row["text"])["no"])
        except (ValueError, TypeError, KeyError):
            continue
        seen.setdefault(f"{row['host']} {row['app']}", set()).add(number)
    return {
        key: [n for n in range(min(numbers), max(numbers)) if n not in numbers][:200] for key, numbers in seen.items()
    }


def as_json(value: Any) -> Response:
    return Response(200, json.dumps(value, ensure_ascii=False).encode(), "application/json; charset=utf-8")


async def run(node: NodeContext) -> None:
    collector = Collector(node)
    receiving = await node.net.udp(int(node.spec.get("port", PORT)), collector.take)
    server = await serve_http(node.net, int(node.spec.get("web_port", 8514)), collector.respond, "rsyslog-web")

    async def tell() -> None:
        while True:
            senders = len({row["peer"] for row in collector.rows})
            node.emit("counters", values={"rows": collector.count, "senders": senders})
            await asyncio.sleep(TELL_EVERY)

    async def rows(command: dict[str, Any]) -> dict[str, Any]:
        return {"rows": collector.of(str(command.get("host", "")), int(command.get("last", 50)))}

    async def count(command: dict[str, Any]) -> dict[str, Any]:
        return {"count": len(collector.of(str(command.get("host", "")), len(collector.rows)))}

    telling = asyncio.ensure_future(tell())
    node.emit("ready")
    try:
        await answer(node, {"rows": rows, "count": count})
    finally:
        telling.cancel()
        receiving.close()
        server.close()
