"""A supplier's engineer at his own desk: logs in at the factory's gateway and looks after his machines through it.

Spec: `gateway` {host, port (22)}, `user`, `passwords` [the one he has, the one he is told next, …], `machines` [address of
an EtherNet/IP controller, …], `tags` [name, …] (what he reads of each), `port` (44818), `every` (s between two looks, 10),
`retry` (s after a refusal, 20). He only reads. Emits `maintenance` {state: in/out/refused/unreached, why} on a change.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from cyber_range.engine.agents.clients.enip import EnipClient
from cyber_range.engine.agents.clients.stream_net import StreamNet
from cyber_range.engine.agents.context import NodeContext, answer
from cyber_range.engine.agents.ssh_way import SshWay, log_in

SSH_PORT, ENIP_PORT = 22, 44818


class Desk:
    def __init__(self, node: NodeContext) -> None:
        self._node, self._spec = node, node.spec
        self._passwords = [str(word) for word in node.spec["passwords"]]
        self.state = ""

    def tell(self, state: str, why: str = "") -> None:
        if state != self.state:
            self.state = state
            self._node.emit("maintenance", state=state, why=why)

    async def inside(self) -> SshWay | None:
        """Tries the passwords he knows; the one that works is tried first next time. None when nobody lets him in."""
        gateway = self._spec["gateway"]
        where = str(gateway["host"]), int(gateway.get("port", SSH_PORT))
        for word in list(self._passwords):
            try:
                way = await log_in(self._node.net, *where, str(self._spec["user"]), word, version="OpenSSH_9.2")
            except PermissionError:
                continue
            except (TimeoutError, OSError) as exc:
                self.tell("unreached", type(exc).__name__)
                return None
            self._passwords.remove(word)
            self._passwords.insert(0, word)
            self.tell("in")
            return way
        self.tell("refused", "no password he has is taken")
        return None

    async def look(self, way: SshWay, machine: str) -> None:
        port = int(self._spec.get("port", ENIP_PORT))
        async with asyncio.timeout(8):
            plc = await EnipClient.open(StreamNet(way.open), machine, port)
            try:
                await plc.identity()
                await plc.read([str(tag) for tag in self._spec["tags"]])
            finally:
                plc.close()

    async def work(self) -> None:
        while True:
            way = await self.inside()
            if way is None:
                await asyncio.sleep(float(self._spec.get("retry", 20)))
                continue
            try:
                while way.alive:
                    for machine in self._spec["machines"]:
                        with contextlib.suppress(OSError, TimeoutError):  # a machine that does not answer: the next one
                            await self.look(way, str(machine))
                    await asyncio.sleep(float(self._spec.get("every", 10)))
            finally:
                way.close()
            self.tell("out")
            await asyncio.sleep(1)


async def run(node: NodeContext) -> None:
    desk = Desk(node)
    working = asyncio.ensure_future(desk.work())
    node.emit("ready")

    async def state(_: dict[str, Any]) -> dict[str, Any]:
        return {"state": desk.state}

    try:
        await answer(node, {"state": state})
    finally:
        working.cancel()
