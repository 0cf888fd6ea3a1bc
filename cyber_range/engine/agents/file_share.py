"""The plant's file share: folders over HTTP with a login per person, a daily backup, and canaries.

Spec: `users` {name: password}, `files` {path: text}, `canaries` [path…], `port` (8080), `backup_every` (scenario s,
86400), `admin` (user name; opens the two doors below), `collector` {host, port} (log server; trail.py).
GET (file or list), PUT, DELETE. For the admin: GET /audit?last=N (who changed what, refusals), PUT
/accounts/USER/password (body; anyone for the own one). Emits `share_access` (who changed what), `canary` (somebody read
one), `backup`. Commands: `hash` {path} -> sha256, `backup`, `restore` {path?} (the newest backup's copy).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import html
import json
import mimetypes
import posixpath
import shutil
import time
import urllib.parse
from pathlib import Path
from typing import Any

from cyber_range.engine.agents.context import NodeContext, answer
from cyber_range.engine.agents.http_door import Request, Response, serve_http
from cyber_range.engine.agents.trail import Trail

KEPT = 2000  # audit rows
QUOTA = 6 * 1024 * 1024  # bytes of all files; the backup takes as much again


def shared_name(name: str) -> str:
    """The canonical form of a name in the share: one leading slash, no dots."""
    return "/" + posixpath.normpath("/" + name).lstrip("/")


class Tree:
    """The shared folder and its backup on disk."""

    def __init__(self, store: Path, files: dict[str, str]) -> None:
        self.live, self.saved = store / "share", store / "backup"
        for name, text in files.items():
            path = self.at(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.live.mkdir(parents=True, exist_ok=True)
        self.back_up()

    def at(self, name: str) -> Path:
        """The place of a shared name, which cannot leave the share."""
        return self.live / shared_name(name).lstrip("/")

    def used(self) -> int:
        return sum(path.stat().st_size for path in self.live.rglob("*") if path.is_file())

    def back_up(self) -> int:
        shutil.rmtree(self.saved, ignore_errors=True)
        shutil.copytree(self.live, self.saved)
        return sum(1 for path in self.saved.rglob("*") if path.is_file())

    def restore(self, name: str = "") -> int:
        """Copies back one file, or everything that was saved; returns how many."""
        wanted = [self.saved / self.at(name).relative_to(self.live)] if name else list(self.saved.rglob("*"))
        done = 0
        for path in wanted:
            if path.is_file():
                target = self.live / path.relative_to(self.saved)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                done += 1
        return done


async def run(node: NodeContext) -> None:
    users: dict[str, str] = {str(k): str(v) for k, v in dict(node.spec["users"]).items()}
    canaries = {shared_name(name) for name in node.spec.get("canaries", ())}
    tree = Tree(node.store, dict(node.spec.get("files") or {}))
    admin = str(node.spec.get("admin", ""))
    audit = Trail(node, "share", KEPT)
    counts = {"reads": 0, "writes": 0, "deletes": 0, "refused": 0, "canary_reads": 0}

    def note(user: str, request: Request, action: str) -> None:
        row = {"at": round(time.time(), 3), "user": user, "peer": request.peer, "action": action, "path": request.path}
        audit.add(row)

    def manage(user: str, request: Request) -> Response | None:
        """The administration's doors; None when the request is about a file."""
        match (request.method, request.path.strip("/").split("/")):
            case ("GET", ["audit"]):
                if user != admin:
                    return Response(403, b"for administrators")
                last = request.query.get("last", "50")
                wanted = max(1, min(KEPT, int(last))) if last.isdecimal() else 50
                rows = json.dumps(list(audit.rows)[-wanted:][::-1], ensure_ascii=False)
                return Response(200, rows.encode(), "application/json; charset=utf-8")
            case ("PUT", ["accounts", other, "password"]):
                password = request.body.decode("utf-8", "replace").strip()
                if user not in (admin, other):
                    return Response(403, b"for administrators")
                if other not in users:
                    return Response(404, b"no such account")
                if len(password) < 6:
                    return Response(400, b"password: at least 6 characters")
                users[other] = password
                note(user, request, "account password")
                node.emit("share_access", action="account password", path=request.path, user=user, peer=request.peer)
                return Response(204)
        return None

    async def respond(request: Request) -> Response:
        given = request.credentials()
        known = users.get(given[0]) if given else None
        if given is None or known is None or not hmac.compare_digest(known.encode(), given[1].encode()):
            counts["refused"] += 1
            if given:
                note(given[0], request, "refused")
            return Response(401, headers={"WWW-Authenticate": 'Basic realm="share"'})
        path, user = tree.at(request.path), given[0]
        if admin and (managed := manage(user, request)) is not None:
            return managed
        if request.method in ("GET", "HEAD"):
            if path.is_dir():
                return Response(200, listing(tree, path).encode(), "text/html; charset=utf-8")
            if not path.is_file():
                return Response(404, b"not found")
            counts["reads"] += 1
            if shared_name(request.path) in canaries:
                counts["canary_reads"] += 1
                node.emit("canary", path=request.path, user=user, peer=request.peer)
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            return Response(200, path.read_bytes() if request.method == "GET" else b"", kind)
        if request.method == "PUT":
            if path.is_dir() or path == tree.live:
                return Response(409, b"that is a folder")
            if tree.used() + len(request.body) > QUOTA:
                return Response(507, b"the share is full")
            created = not path.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(request.body)
            counts["writes"] += 1
            note(user, request, "put")
            node.emit("share_access", action="put", path=request.path, user=user, peer=request.peer)
            return Response(201 if created else 204)
        if request.method == "DELETE":
            if not path.is_file():
                return Response(404, b"not found")
            path.unlink()
            counts["deletes"] += 1
            note(user, request, "delete")
            node.emit("share_access", action="delete", path=request.path, user=user, peer=request.peer)
            return Response(204)
        return Response(405, headers={"Allow": "GET, HEAD, PUT, DELETE"})

    async def daily() -> None:
        while True:
            await node.clock.sleep(float(node.spec.get("backup_every", 86400)))
            node.emit("backup", files=tree.back_up())

    async def tell() -> None:
        while True:
            await asyncio.sleep(5)
            node.emit("counters", values=dict(counts))

    async def digest(command: dict[str, Any]) -> dict[str, Any]:
        path = tree.at(str(command["path"]))
        return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None}

    async def back_up(_: dict[str, Any]) -> dict[str, Any]:
        return {"files": tree.back_up()}

    async def restore(command: dict[str, Any]) -> dict[str, Any]:
        return {"files": tree.restore(str(command.get("path", "")))}

    await audit.open()
    server = await serve_http(node.net, int(node.spec.get("port", 8080)), respond, "nas/6.2")
    work = [asyncio.ensure_future(daily()), asyncio.ensure_future(tell())]
    node.emit("ready")
    try:
        await answer(node, {"hash": digest, "backup": back_up, "restore": restore})
    finally:
        for task in work:
            task.cancel()
        audit.close()
        server.close()


def listing(tree: Tree, folder: Path) -> str:
    rows = []
    for path in sorted(folder.iterdir()):
        name = path.name + ("/" if path.is_dir() else "")
        size = "" if path.is_dir() else f" {path.stat().st_size}"
        rows.append(f'<li><a href="{urllib.parse.quote(name)}">{html.escape(name)}</a>{size}')
    where = "/" + str(folder.relative_to(tree.live)).lstrip(".")
    return f"<!doctype html><meta charset=utf-8><title>{html.escape(where)}</title><ul>{''.join(rows)}</ul>"
