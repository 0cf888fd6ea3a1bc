"""A person at the attacker's own terminal performs the steps too: lb-attack speaks to the running program here.

The program has passed the fence already, and shares its sessions and finds with the person. Only connections from this
very node are answered: the peer's address must be its own (a kernel drops packets from outside that claim so).
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.agents.context import Closable, Net, Peer
from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.errors import Refused

PORT = 9510
LONGEST = 64 * 1024  # bytes of an order


async def open_door(net: Net, intruder: Intruder, lab: Mapping[str, Any]) -> Closable:
    own = {leg.ip for leg in net.interfaces()} | {"127.0.0.1"}

    async def perform(order: Mapping[str, Any]) -> dict[str, Any]:
        if order.get("do") == "lab":
            return {"lab": dict(lab)}
        if order.get("do") == "state":
            return {
                "knows": sorted(intruder.knows), "found": intruder.found,
                "loot": {name: len(data) for name, data in intruder.loot.items()},
            }  # fmt: skip
        return await intruder.perform(str(order["step"]), order.get("args") or {})

    async def on_socket(sock: socket.socket, peer: Peer) -> None:
        if peer[0] not in own:
            sock.close()
            return
        reader, writer = await asyncio.open_connection(sock=sock, limit=LONGEST)
        try:
            order = json.loads(await asyncio.wait_for(reader.readline(), 10))
            try:
                answer = await perform(order)
            except Refused as exc:
                answer = {"error": str(exc)}
            except (ValueError, LookupError, TypeError) as exc:  # wrong arguments of a person
                answer = {"error": f"{type(exc).__name__}: {exc}"}
            if "step" in order:
                said = {
                    "result": answer.get("result", "failed"),
                    "reason": answer.get("reason") or answer.get("error", ""),
                }
                intruder.tell("step_by_hand", {"order": order, **said})
            writer.write(json.dumps(answer, ensure_ascii=False, default=str).encode() + b"\n")
            await writer.drain()
        except (ValueError, TimeoutError):
            pass  # no order
        finally:
            writer.close()

    return await net.serve_sockets(PORT, on_socket)


async def order(net: Net, what: Mapping[str, Any], timeout: float = 660.0) -> dict[str, Any]:
    """What the attack program of this node answers; ConnectionError where there is none."""
    legs = net.interfaces()
    if not legs:
        raise ConnectionRefusedError("this machine has no leg in a lab")
    sock = await net.connect(legs[0].ip, PORT, timeout=3)
    reader, writer = await asyncio.open_connection(sock=sock, limit=4 * 1024 * 1024)
    try:
        writer.write(json.dumps(what).encode() + b"\n")
        await writer.drain()
        line = await asyncio.wait_for(reader.readline(), timeout)
    finally:
        writer.close()
    if not line:
        raise ConnectionResetError("the attack program does not answer this machine")
    found: dict[str, Any] = json.loads(line)
    return found
