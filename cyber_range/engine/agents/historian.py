"""The historian: fetches the operator station's picture, keeps it as a time series, answers queries over HTTP.

Spec: `source` {host, port} (the HMI's feed), `every` (s, 1), `port` (8086), `keep_mib` (4), `users` {name: password}
(empty: open to everyone who reaches it). GET / (overview), /api/last, /api/series?device=&tag=&last=seconds,
/api/export (CSV). The series lies in the node's store as lines `unix time,device,tag,value`.
"""

from __future__ import annotations

import asyncio
import hmac
import html
import json
import time
from collections import deque
from typing import Any

from cyber_range.engine.agents.context import NodeContext, answer
from cyber_range.engine.agents.http_door import Request, Response, serve_http

READ_LIMIT = 64 * 1024  # bytes of one picture
LONGEST_SERIES = 5000  # points of one answer


class Series:
    """The last values and the file behind them; when it reaches its size the older half is dropped."""

    def __init__(self, node: NodeContext) -> None:
        self._path = node.store / "series.csv"
        self._limit = int(float(node.spec.get("keep_mib", 4)) * 1024 * 1024)
        self._recent: deque[tuple[float, str, str, float]] = deque(maxlen=200_000)
        self.last: dict[str, dict[str, float]] = {}
        self.last_at = 0.0
        self.rows = 0

    def add(self, at: float, picture: dict[str, Any]) -> None:
        lines = []
        for device, state in picture.get("devices", {}).items():
            for tag, value in state.get("values", {}).items():
                if value is not None:
                    self.last.setdefault(device, {})[tag] = value
                    self._recent.append((at, device, tag, value))
                    lines.append(f"{at:.3f},{device},{tag},{value:g}\n")
        self.last_at = at
        self.rows += len(lines)
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(lines)
            size = file.tell()
        if size > self._limit:
            kept = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            self._path.write_text("".join(kept[len(kept) // 2 :]), encoding="utf-8")

    def points(self, device: str, tag: str, since: float) -> list[tuple[float, float]]:
        found = [(at, value) for at, d, t, value in self._recent if d == device and t == tag and at >= since]
        return found[-LONGEST_SERIES:]

    def export(self) -> bytes:
        return b"time,device,tag,value\n" + (self._path.read_bytes() if self._path.exists() else b"")


async def run(node: NodeContext) -> None:
    series = Series(node)
    source = node.spec["source"]
    users: dict[str, str] = dict(node.spec.get("users") or {})
    failures = 0

    async def collect() -> None:
        nonlocal failures
        told = 0.0
        while True:
            started = time.monotonic()
            try:
                sock = await node.net.connect(str(source["host"]), int(source["port"]), timeout=3.0)
                reader, writer = await asyncio.open_connection(sock=sock, limit=READ_LIMIT)
                try:
                    line = await asyncio.wait_for(reader.readline(), 3.0)
                finally:
                    writer.close()
                series.add(time.time(), json.loads(line))
                failures = 0
            except (OSError, TimeoutError, ValueError):
                failures += 1
                if failures == 5:
                    node.emit("source_lost", host=source["host"])
            if time.monotonic() - told > 5:
                told = time.monotonic()
                node.emit("counters", values={"rows": series.rows, "failures": failures})
            await asyncio.sleep(max(0.05, float(node.spec.get("every", 1.0)) - (time.monotonic() - started)))

    async def respond(request: Request) -> Response:
        if users:
            given = request.credentials()
            if given is None or not hmac.compare_digest(users.get(given[0], "").encode(), given[1].encode()):
                return Response(401, headers={"WWW-Authenticate": 'Basic realm="historian"'})
        if request.method != "GET":
            return Response(405)
        if request.path == "/api/last":
            body = {"time": series.last_at, "devices": series.last}
            return Response(200, json.dumps(body).encode(), "application/json")
        if request.path == "/api/series":
            try:
                since = time.time() - float(request.query.get("last", "600"))
            except ValueError:
                return Response(400, b"last: seconds")
            points = series.points(request.query.get("device", ""), request.query.get("tag", ""), since)
            return Response(200, json.dumps(points).encode(), "application/json")
        if request.path == "/api/export":
            return Response(200, series.export(), "text/csv; charset=utf-8")
        if request.path == "/":
            return Response(200, overview(series).encode(), "text/html; charset=utf-8")
        return Response(404, b"not found")

    async def last(_: dict[str, Any]) -> dict[str, Any]:
        return {"last": series.last, "rows": series.rows, "failures": failures}

    server = await serve_http(node.net, int(node.spec.get("port", 8086)), respond, "historian/2.4")
    collecting = asyncio.ensure_future(collect())
    node.emit("ready")
    try:
        await answer(node, {"last": last})
    finally:
        collecting.cancel()
        server.close()


def overview(series: Series) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(device)}<td>{html.escape(tag)}<td>{value:g}"
        for device, tags in sorted(series.last.items())
        for tag, value in sorted(tags.items())
    )
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(series.last_at)) if series.last_at else "-"
    return f"<!doctype html><meta charset=utf-8><title>历史数据库</title><h1>历史数据库</h1><p>最近采集 {when}<table>{rows}</table>"
