"""The plant's business application (MES or ERP) over HTTP: documents and tables behind accounts with roles, an audit trail.

Spec: `title`, `port` (8081), `accounts` [{user, password, role: admin|editor|reader, title?}], `documents` {path: text}
(recipes, programs, customer tables), `canaries` [path…], `traversal`: bool (a download address that does not check its
path, as such applications have; `patch` closes it), `secret` (text only that hole gives away), `jobs` {machine: document}
(what a machine is told to run), `restart_seconds` (scenario s, 20), `collector` {host, port} (log server; trail.py).

| call | who | what |
|---|---|---|
| GET /health | anyone | 200 while the application runs, 503 while it is stopped |
| GET /docs, GET /docs/PATH, PUT /docs/PATH, DELETE /docs/PATH | reader; editor to write | documents |
| GET /export?table=PATH | reader | the whole document as an attachment, counted |
| GET /jobs, PUT /jobs/MACHINE (body: document path) | reader; editor | what the machines run |
| GET /download?file=NAME | anyone while `traversal` is open | the hole (ATT&CK T0819) |
| GET /audit?last=N, GET /accounts, GET /sessions | admin | who did what |
| PUT /accounts/USER/password (body), PUT /accounts/USER/state (enabled or disabled) | admin; own password: anyone | |
| POST /admin/restart, POST /admin/stop, PUT /admin/patch (body: closed or open) | admin | |
| POST /admin/clear-audit | admin | the audit trail is wiped; its numbers go on, and a `collector` has the copy |

Emits `app_access` for writes, refusals and account changes, `canary` for canary reads, counters: requests, refused,
reads, writes, exports, exported_bytes, canary_reads, up (1 or 0). Commands: `hash` {path}, `account` {user} ->
{enabled, password_is}: with `password`, `patched`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import posixpath
import time
from dataclasses import dataclass
from typing import Any

from cyber_range.engine.agents.context import NodeContext, answer
from cyber_range.engine.agents.http_door import Request, Response, serve_http
from cyber_range.engine.agents.trail import Trail

RANKS = {"reader": 0, "editor": 1, "admin": 2}
LARGEST_DOCUMENT, MOST_DOCUMENTS = 512 * 1024, 400
KEPT = 2000  # audit rows
TELL_EVERY = 2.0


@dataclass(slots=True)
class Account:
    user: str
    password: str
    role: str
    title: str = ""
    enabled: bool = True
    last: float = 0.0  # unix time of the last accepted request
    peer: str = ""


class Application:
    """State and rules; answers requests, knows no sockets."""

    def __init__(self, node: NodeContext) -> None:
        spec = node.spec
        self._node = node
        self.accounts = {
            str(one["user"]): Account(
                str(one["user"]), str(one["password"]), str(one.get("role", "reader")), str(one.get("title", ""))
            )
            for one in spec.get("accounts", ())
        }
        for account in self.accounts.values():
            if account.role not in RANKS:
                raise ValueError(f"role {account.role!r} of {account.user!r}: choose {', '.join(RANKS)}")
        self.documents = {clean(path): str(text).encode() for path, text in dict(spec.get("documents") or {}).items()}
        self.canaries = {clean(path) for path in spec.get("canaries", ())}
        self.jobs = {str(machine): clean(str(path)) for machine, path in dict(spec.get("jobs") or {}).items()}
        self.hole = bool(spec.get("traversal", False))
        self.up = True
        self._restarting: asyncio.Task[None] | None = None
        self.audit = Trail(node, "app", KEPT)
        self.counts = dict.fromkeys(
            ("requests", "refused", "reads", "writes", "exports", "exported_bytes", "canary_reads"), 0
        )

    # ------------------------------------------------------------ requests

    async def respond(self, request: Request) -> Response:
        self.counts["requests"] += 1
        verb, _, rest = request.path.strip("/").partition("/")
        if verb == "health":
            return Response(200, b"ok") if self.up else Response(500, b"stopped")
        if verb == "download" and self.hole:
            return self._through_the_hole(request)
        account = self._who(request)
        if account is None:
            self.counts["refused"] += 1
            given = request.credentials()
            if given:
                self._note(given[0], request, "refused")
            return Response(401, headers={"WWW-Authenticate": f'Basic realm="{self._node.name}"'})
        if not self.up and verb not in ("admin", "accounts", "audit", "sessions"):
            return Response(500, b"the application is stopped")
        match (verb, request.method):
            case ("docs", "GET") if not rest:
                return as_json([{"path": path, "bytes": len(body)} for path, body in sorted(self.documents.items())])
            case ("docs", "GET"):
                return self._read(account, request, clean(rest))
            case ("docs", "PUT" | "DELETE"):
                return self._write(account, request, clean(rest))
            case ("export", "GET"):
                answered = self._read(account, request, clean(request.query.get("table", "")))
                if answered.status == 200:
                    self.counts["exports"] += 1
                    self.counts["exported_bytes"] += len(answered.body)
                return answered
            case ("jobs", "GET"):
                return as_json(self.jobs)
            case ("jobs", "PUT"):
                return self._set_job(account, request, rest)
            case ("audit", "GET"):
                wanted = max(1, min(KEPT, int(request.query.get("last", "50"))))
                return self._for_admins(account, list(self.audit.rows)[-wanted:][::-1])
            case ("accounts", "GET"):
                return self._for_admins(account, [
                    {"user": one.user, "role": one.role, "title": one.title, "enabled": one.enabled}
                    for one in self.accounts.values()
                ])  # fmt: skip
            case ("sessions", "GET"):
                return self._for_admins(account, [
                    {"user": one.user, "peer": one.peer, "last": round(one.last)}
                    for one in self.accounts.values() if one.last
                ])  # fmt: skip
            case ("accounts", "PUT"):
                return self._change_account(account, request, rest)
            case ("admin", "POST" | "PUT"):
                return self._manage(account, request, rest)
        return Response(404, b"see /docs /export /jobs /audit /accounts /sessions /admin")

    def _who(self, request: Request) -> Account | None:
        given = request.credentials()
        account = self.accounts.get(given[0]) if given else None
        if given is None or account is None or not account.enabled:
            return None
        if not hmac.compare_digest(account.password.encode(), given[1].encode()):
            return None
        account.last, account.peer = time.time(), request.peer
        return account

    def _read(self, account: Account, request: Request, path: str) -> Response:
        body = self.documents.get(path)
        if body is None:
            return Response(404, b"no such document")
        self.counts["reads"] += 1
        self._note(account.user, request, "read", path)
        if path in self.canaries:
            self.counts["canary_reads"] += 1
            self._node.emit("canary", path=path, user=account.user, peer=request.peer)
        return Response(200, body)

    def _write(self, account: Account, request: Request, path: str) -> Response:
        if RANKS[account.role] < RANKS["editor"]:
            self.counts["refused"] += 1
            self._note(account.user, request, "refused", path)
            return Response(403, b"your role may only read")
        if request.method == "DELETE":
            if self.documents.pop(path, None) is None:
                return Response(404, b"no such document")
        elif len(request.body) > LARGEST_DOCUMENT or len(self.documents) >= MOST_DOCUMENTS:
            return Response(507, b"no room")
        else:
            self.documents[path] = request.body
        self.counts["writes"] += 1
        self._note(account.user, request, request.method.lower(), path, tell=True)
        return Response(204)

    def _set_job(self, account: Account, request: Request, machine: str) -> Response:
        path = clean(request.body.decode("utf-8", "replace"))
        if RANKS[account.role] < RANKS["editor"]:
            return Response(403, b"your role may only read")
        if machine not in self.jobs or path not in self.documents:
            return Response(404, b"no such machine or document")
        self.jobs[machine] = path
        self._note(account.user, request, "job", f"{machine} {path}", tell=True)
        return Response(204)

    def _change_account(self, account: Account, request: Request, rest: str) -> Response:
        user, _, what = rest.partition("/")
        other, value = self.accounts.get(user), request.body.decode("utf-8", "replace").strip()
        if account.role != "admin" and not (what == "password" and user == account.user):
            return Response(403, b"for administrators")
        if other is None:
            return Response(404, b"no such account")
        if what == "password" and len(value) >= 6:
            other.password = value
        elif what == "state" and value in ("enabled", "disabled"):
            other.enabled = value == "enabled"
        else:
            return Response(400, b"password: at least 6 characters; state: enabled or disabled")
        self._note(account.user, request, f"account {what}", user, tell=True)
        return Response(204)

    def _manage(self, account: Account, request: Request, what: str) -> Response:
        if account.role != "admin":
            return Response(403, b"for administrators")
        if what == "patch":
            self.hole = request.body.strip() == b"open"
        elif what == "stop":
            self.up = False
        elif what == "restart":
            self.up = False
            self._restarting = asyncio.ensure_future(self._come_up())
        elif what == "clear-audit":
            self.audit.clear()
        else:
            return Response(404, b"restart, stop, patch or clear-audit")
        self._note(account.user, request, what, tell=True)
        return Response(204)

    async def _come_up(self) -> None:
        await self._node.clock.sleep(float(self._node.spec.get("restart_seconds", 20)))
        self.up = True
        self._node.emit("app_up")

    def _for_admins(self, account: Account, value: Any) -> Response:
        return as_json(value) if account.role == "admin" else Response(403, b"for administrators")

    def _through_the_hole(self, request: Request) -> Response:
        """The address joins what it is given to its folder and never looks where that leads."""
        wanted = posixpath.normpath(posixpath.join("/srv/app/files", request.query.get("file", "")))
        self._note("-", request, "download", wanted)
        if wanted == "/srv/app/config.ini":
            return Response(200, str(self._node.spec.get("secret", "")).encode())
        prefix = "/srv/app/docs"
        body = self.documents.get(clean(wanted.removeprefix(prefix))) if wanted.startswith(prefix) else None
        return Response(200, body) if body is not None else Response(404, b"not found")

    def _note(self, user: str, request: Request, action: str, path: str = "", *, tell: bool = False) -> None:
        row = {"at": round(time.time(), 3), "user": user, "peer": request.peer, "action": action, "path": path}
        self.audit.add(row)
        if tell or action == "refused":
            self._node.emit("app_access", user=user, peer=request.peer, action=action, path=path)

    def close(self) -> None:
        if self._restarting is not None:
            self._restarting.cancel()
        self.audit.close()


def clean(path: str) -> str:
    """The canonical form of a document's path: one leading slash, no dots."""
    return "/" + posixpath.normpath("/" + path.strip()).lstrip("/")


def as_json(value: Any) -> Response:
    return Response(200, json.dumps(value, ensure_ascii=False).encode(), "application/json; charset=utf-8")


async def run(node: NodeContext) -> None:
    app = Application(node)

    async def tell() -> None:
        while True:
            node.emit("counters", values={**app.counts, "up": int(app.up)})
            await asyncio.sleep(TELL_EVERY)

    async def digest(command: dict[str, Any]) -> dict[str, Any]:
        body = app.documents.get(clean(str(command["path"])))
        return {"sha256": None if body is None else hashlib.sha256(body).hexdigest()}

    async def account(command: dict[str, Any]) -> dict[str, Any]:
        one = app.accounts[str(command["user"])]
        return {"enabled": one.enabled, "password_is": one.password == str(command.get("password", ""))}

    async def patched(_: dict[str, Any]) -> dict[str, Any]:
        return {"patched": not app.hole}

    await app.audit.open()
    server = await serve_http(node.net, int(node.spec.get("port", 8081)), app.respond, "Jetty(9.4)")
    telling = asyncio.ensure_future(tell())
    node.emit("ready")
    try:
        await answer(node, {"hash": digest, "account": account, "patched": patched})
    finally:
        telling.cancel()
        app.close()
        server.close()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
