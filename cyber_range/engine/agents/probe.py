"""Tries connections and logins for the lab's objectives, from a node no trainee holds.

Commands: {"kind": "try_connect", host, port, timeout} -> {"open": bool, "why"};
{"kind": "try_login", service: ssh|http, host, port, user, password, path} -> {"reached": bool, "ok": bool, "why"}.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import asyncssh

from cyber_range.engine.agents.context import NodeContext, answer

LOGIN_SECONDS = 8.0


async def run(node: NodeContext) -> None:
    async def try_connect(command: dict[str, Any]) -> dict[str, Any]:
        try:
            sock = await node.net.connect(str(command["host"]), int(command["port"]), timeout=float(command["timeout"]))
        except OSError as exc:  # TimeoutError and ConnectionRefusedError are among them
            return {"open": False, "why": type(exc).__name__}
        sock.close()
        return {"open": True, "why": ""}

    async def try_login(command: dict[str, Any]) -> dict[str, Any]:
        attempt = ssh_login if command["service"] == "ssh" else http_login
        try:
            return await asyncio.wait_for(attempt(node, command), LOGIN_SECONDS)
        except (OSError, asyncssh.ConnectionLost, asyncssh.ProtocolError, asyncio.IncompleteReadError) as exc:
            return {"reached": False, "ok": False, "why": f"{type(exc).__name__}: {exc}"}

    node.emit("ready")
    await answer(node, {"try_connect": try_connect, "try_login": try_login})


async def ssh_login(node: NodeContext, command: dict[str, Any]) -> dict[str, Any]:
    """A password login, as the attacker would do it; host keys are the range's own and are not checked."""
    sock = await node.net.connect(str(command["host"]), int(command["port"]), timeout=3.0)
    try:
        connection = await asyncssh.connect(
            sock=sock, username=str(command["user"]), password=str(command["password"]), known_hosts=None,
            client_keys=None, agent_path=None, config=None, preferred_auth="password,keyboard-interactive",
        )  # fmt: skip
    except asyncssh.PermissionDenied as exc:
        return {"reached": True, "ok": False, "why": exc.reason}
    connection.close()
    await connection.wait_closed()
    return {"reached": True, "ok": True, "why": ""}


async def http_login(node: NodeContext, command: dict[str, Any]) -> dict[str, Any]:
    """Basic authentication on `path`: 401 and 403 are a refusal, any other answer below 500 a login."""
    sock = await node.net.connect(str(command["host"]), int(command["port"]), timeout=3.0)
    token = base64.b64encode(f"{command['user']}:{command['password']}".encode()).decode()
    request = (
        f"GET {command.get('path') or '/'} HTTP/1.1\r\nHost: {command['host']}\r\n"
        f"Authorization: Basic {token}\r\nConnection: close\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    with sock:
        await loop.sock_sendall(sock, request.encode())
        head = b""
        while b"\r\n" not in head and len(head) < 4096:
            chunk = await loop.sock_recv(sock, 4096)
            if not chunk:
                break
            head += chunk
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return {"reached": False, "ok": False, "why": "no HTTP answer"}
    status = int(words[1])
    return {"reached": status < 500, "ok": status < 400, "why": f"HTTP {status}"}
