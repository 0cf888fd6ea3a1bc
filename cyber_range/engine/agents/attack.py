"""The intruder's machine: performs campaign steps when the lab says so.

Spec: `lab` {range, networks} (see attack.fence); `person`: true where a red seat has this node's terminal, whose
lb-attack then performs steps here too (attack_door). Command `step` {step, args} is answered with {"result", evidence…};
each outcome is also emitted as `step_evidence`. `try_login` and `try_connect` as in the probe.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from cyber_range.engine.agents.attack_door import open_door
from cyber_range.engine.agents.attack_speakers import Speakers
from cyber_range.engine.agents.context import Closable, Interface, Net, NodeContext, OnFrames, Peer, answer
from cyber_range.engine.agents.probe import WAITING, handlers
from cyber_range.engine.agents.sockets import connections
from cyber_range.engine.agents.ssh_way import StreamChannel, log_in
from cyber_range.engine.attack.fence import Fence
from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.steps import FAMILIES
from cyber_range.engine.attack.ways import Channel, Way
from cyber_range.engine.traffic.compiled import compiled

DECLARED = "cyber_range.engine.attack.declared"


class OwnFeet:
    """Connections from this machine itself."""

    alive = True

    def __init__(self, net: Net) -> None:
        self._net = net

    async def open(self, host: str, port: int, timeout: float) -> Channel:
        sock = await self._net.connect(host, port, timeout=timeout)
        return StreamChannel(*await asyncio.open_connection(sock=sock))

    async def run(self, command: str) -> tuple[int, str]:
        raise PermissionError("this machine's own programs are no console")

    def close(self) -> None:
        """There is nothing to leave."""


class SshToolbox(Speakers):
    """The machine itself, and SSH to others."""

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self._net = net

    def direct(self) -> Way:
        return OwnFeet(self._net)

    async def ask(self, host: str, port: int, datagram: bytes, timeout: float) -> bytes:
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def on_datagram(data: bytes, peer: Peer) -> None:
            if peer == (host, port) and not heard.done():
                heard.set_result(data)

        sender = await self._net.udp(0, on_datagram)
        try:
            sender.send(datagram, host, port)
            return await asyncio.wait_for(heard, timeout)
        finally:
            sender.close()

    def legs(self) -> list[Interface]:
        return self._net.interfaces()

    async def tap(self, ifname: str, on_frames: OnFrames) -> Closable:
        return await self._net.tap(ifname, on_frames)

    def send_frames(self, ifname: str, frames: Sequence[bytes]) -> int:
        return self._net.send_frames(ifname, frames)

    async def listen(self, port: int, serve: Callable[[Channel], Awaitable[None]]) -> Closable:
        async def on_socket(sock: socket.socket, _: Peer) -> None:
            await serve(StreamChannel(*await asyncio.open_connection(sock=sock)))

        return await self._net.serve_sockets(port, on_socket)

    def sockets(self) -> list[dict[str, Any]]:
        known = getattr(self._net, "connections", None)  # a network without a kernel knows them itself
        return known() if known is not None else connections()

    async def log_in(self, host: str, port: int, user: str, password: str) -> Way:
        return await log_in(self._net, host, port, user, password, version="PuTTY_Release_0.78")


async def run(node: NodeContext) -> None:
    fence = Fence(node.spec.get("lab"), [leg.ip for leg in node.net.interfaces()])

    @functools.cache
    def compiling() -> asyncio.Future[Mapping[str, bytes]]:
        return asyncio.ensure_future(compiled(DECLARED, {}))

    async def frames() -> Mapping[str, bytes]:
        return await compiling()

    intruder = Intruder(SshToolbox(node.net), fence, frames, lambda kind, data: node.emit(kind, **data))

    async def step(command: dict[str, Any]) -> dict[str, Any]:
        outcome = await intruder.perform(str(command["step"]), command.get("args") or {})
        node.emit("step_evidence", step=command["step"], **outcome)
        return outcome

    assert FAMILIES  # every step is registered
    door = await open_door(node.net, intruder, node.spec["lab"]) if node.spec.get("person") else None
    node.emit("ready")
    compiling()  # scapy's second is spent now, not in the first step
    try:
        await answer(node, {"step": step, **handlers(node)}, WAITING)
    finally:
        if door is not None:
            door.close()
        intruder.close()
