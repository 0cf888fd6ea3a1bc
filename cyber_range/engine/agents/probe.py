"""The white cell's tester: tries connections and logins for the objectives, changes nothing.

`try_connect` {host, port, timeout} -> `open`; `try_bacnet` the same for a BACnet device; `try_login` {service: ssh | http, host, port, user, password, path} ->
`reached`, `ok`; `read_modbus` {host, table, address, count} -> `values`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import Any

import asyncssh

from cyber_range.engine.agents.context import Handler, NodeContext, answer
from cyber_range.engine.agents.modbus_link import ModbusLink

LOGIN = 12.0  # s for a whole login attempt
WAITING = frozenset({"try_connect", "try_bacnet", "try_login", "read_modbus"})  # handlers that mostly wait for a peer
WHO_ARE_YOU = bytes.fromhex("810a001101040005010c0c023fffff194b")  # BACnet: device 4194303, object identifier


def handlers(node: NodeContext) -> dict[str, Handler]:
    """The probe's commands, for every program that offers them."""

    async def try_connect(command: dict[str, Any]) -> dict[str, Any]:
        timeout = float(command.get("timeout", 1.5))
        try:
            sock = await node.net.connect(str(command["host"]), int(command["port"]), timeout=timeout)
        except (TimeoutError, OSError) as exc:
            return {"open": False, "why": type(exc).__name__}
        sock.close()
        return {"open": True}

    async def try_bacnet(command: dict[str, Any]) -> dict[str, Any]:
        where = str(command["host"]), int(command["port"])
        heard = asyncio.Event()
        sender = await node.net.udp(0, lambda data, peer: heard.set() if peer == where else None)
        try:
            for _ in range(2):  # a datagram may be lost
                sender.send(WHO_ARE_YOU, *where)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(heard.wait(), float(command.get("timeout", 1.5)) / 2)
                    break
        except OSError as exc:
            return {"open": False, "why": type(exc).__name__}
        finally:
            sender.close()
        return {"open": heard.is_set()}

    async def try_login(command: dict[str, Any]) -> dict[str, Any]:
        host, port = str(command["host"]), int(command["port"])
        user, password = str(command["user"]), str(command["password"])
        if command.get("service", "ssh") == "http":
            return await http_login(node, host, port, str(command.get("path", "/")), user, password)
        try:
            sock = await node.net.connect(host, port, timeout=4.0)
        except (TimeoutError, OSError):
            return {"reached": False, "ok": False}
        try:
            connection = await asyncssh.run_client(
                sock, username=user, password=password, known_hosts=None, client_keys=None, agent_path=None,
                login_timeout=LOGIN, preferred_auth="password",
            )  # fmt: skip
        except asyncssh.PermissionDenied:
            return {"reached": True, "ok": False}
        except (asyncssh.Error, OSError, TimeoutError, EOFError):
            return {"reached": False, "ok": False}
        connection.close()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(connection.wait_closed(), 2)
        return {"reached": True, "ok": True}

    async def read_modbus(command: dict[str, Any]) -> dict[str, Any]:
        link = await ModbusLink.connect(node.net, str(command["host"]), int(command.get("port", 502)))
        try:
            values = await link.read(str(command["table"]), int(command["address"]), int(command.get("count", 1)))
        finally:
            link.close()
        return {"values": values}

    return {"try_connect": try_connect, "try_bacnet": try_bacnet, "try_login": try_login, "read_modbus": read_modbus}


async def http_login(node: NodeContext, host: str, port: int, path: str, user: str, password: str) -> dict[str, Any]:
    """HTTP basic authentication: 401 and 403 are refusals, any other answer below 500 is a success, the rest is no answer."""
    try:
        sock = await node.net.connect(host, port, timeout=4.0)
    except (TimeoutError, OSError):
        return {"reached": False, "ok": False}
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {token}\r\nConnection: close\r\n\r\n".encode()
        )
        status = (await asyncio.wait_for(reader.readline(), 5)).split()
    except (TimeoutError, OSError):
        return {"reached": False, "ok": False}
    finally:
        writer.close()
    if len(status) < 2 or not status[1].isdigit() or int(status[1]) >= 500:
        return {"reached": False, "ok": False}  # a service that is down says nothing about the password
    return {"reached": True, "ok": int(status[1]) not in (401, 403), "status": int(status[1])}


async def run(node: NodeContext) -> None:
    node.emit("ready")
    await answer(node, handlers(node), WAITING)
