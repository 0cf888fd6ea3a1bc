"""What a node program is given: its name and spec, a way to speak to the lab, a network, a clock, a folder.

Programs depend on these protocols and on nothing of a driver. `kernel.KernelNet` is the network of netns and
Docker nodes; the memory driver brings its own object of the same shape.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

from cyber_range.engine.agents.neighbours import Neighbours

Peer = tuple[str, int]  # (IPv4 address, port) of the far side as the packets say it
OnDatagram = Callable[[bytes, Peer], None]
OnFrames = Callable[[list[tuple[int, bytes]]], None]  # (nanoseconds since the epoch, whole Ethernet frame)
OnSocket = Callable[[socket.socket, Peer], Awaitable[None]]
ProtocolFactory = Callable[[], asyncio.BaseProtocol]


TOGETHER = 16  # handlers of a program that wait for a peer at once


@dataclass(frozen=True, slots=True)
class Interface:
    """One leg as the node itself sees it; `zone` is filled where the network knows it (memory), else empty."""

    name: str
    ip: str
    prefix: int
    mac: str
    zone: str = ""


class Closable(Protocol):
    """A server, tap or sender that can be ended; closing twice is fine."""

    def close(self) -> None: ...


class UdpSender(Protocol):
    """Sends from the bound local port (0 = one the network picks)."""

    def send(self, data: bytes, host: str, port: int) -> None: ...
    def close(self) -> None: ...


class FilterRule(TypedDict, total=False):
    """One forwarding rule in JSON form. A missing or empty match key matches everything.

    `handle` names the rule (given by the firewall, stable until deleted); `packets` and `bytes` are its counters;
    `dport` is "502" or "1000-2000"; `src` and `dst` are an address or a CIDR; `iif`/`oif` are interface names.
    Rules with `early` stand before the "established connections pass" rule, so they also cut running connections.
    """

    handle: int
    action: Literal["accept", "drop", "reject"]
    src: str
    dst: str
    proto: Literal["tcp", "udp", "icmp"]
    dport: str
    iif: str
    oif: str
    comment: str
    early: bool
    packets: int
    bytes: int


class Firewall(Protocol):
    """The packet filter on a node that forwards. Order: early rules, established, late rules, default policy.

    In the kernel this is nftables table `inet lianbing`, chain `forward`. In memory it is
    `packet_filter.PacketFilter` consulted by the relay for every segment, so a new early rule stalls a
    connection that already runs, exactly as the kernel does.
    """

    async def install(self, rules: Sequence[FilterRule], default: Literal["accept", "drop"]) -> None:
        """Replaces the whole rule set in one transaction."""
        ...

    async def rules(self) -> list[FilterRule]:
        """All rules in the order they are tried, with handles and counters."""
        ...

    async def default(self) -> FilterRule:
        """The policy as a rule: `action` is accept or drop; counters are of packets that met no rule."""
        ...

    async def add(self, rule: FilterRule, *, first: bool = False) -> int:
        """Appends (or with `first` prepends) within its part (early or late); returns the new handle."""
        ...

    async def delete(self, handle: int) -> None:
        """Removes one rule; LookupError when no rule has this handle."""
        ...

    async def restore(self) -> None:
        """Installs the rule set of the last `install` again, counters at zero; LookupError when there was none."""
        ...


class Connecting(Protocol):
    """What a client of a stream protocol needs: a node's network has it, and so has a session that leads elsewhere."""

    async def create_connection(
        self, factory: ProtocolFactory, host: str, port: int, *, timeout: float = 5.0
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """ConnectionRefusedError when nothing listens, TimeoutError when packets are dropped."""
        ...


class Net(Connecting, Protocol):
    """The node's network. Hosts are IPv4 addresses or names of the plan's `hosts` lines."""

    async def create_server(self, factory: ProtocolFactory, port: int) -> Closable:
        """Listens on every leg; a protocol's transport answers get_extra_info("peername") with the `Peer`."""
        ...

    async def connect(self, host: str, port: int, *, timeout: float = 5.0) -> socket.socket:
        """A connected non-blocking stream socket, for libraries that take one; errors as above."""
        ...

    async def serve_sockets(self, port: int, on_socket: OnSocket) -> Closable:
        """Each accepted connection as a non-blocking socket and its peer (an AF_UNIX socket has no useful peer name)."""
        ...

    async def udp(self, local_port: int, on_datagram: OnDatagram | None = None) -> UdpSender: ...

    async def tap(self, where: str, on_frames: OnFrames) -> Closable:
        """Frames seen at a zone (hub programs: the bridge, everything) or at an own interface name (what a NIC sees)."""
        ...

    def send_frames(self, ifname: str, frames: Sequence[bytes]) -> int:
        """Raw frames out of one leg; returns how many were taken."""
        ...

    def interfaces(self) -> list[Interface]: ...

    def firewall(self) -> Firewall:
        """The node's packet filter; PermissionError on a node that may not change its network."""
        ...

    def neighbours(self) -> Neighbours:
        """The node's ARP table."""
        ...


class Clock:
    """The scenario's clock: `speed` scenario seconds pass per real second; 0 = paused.

    A sleeper notices at once when speed or time are changed.
    """

    def __init__(self, speed: float = 1.0, at: float = 0.0) -> None:
        self._speed = speed
        self._at = at
        self._since = time.monotonic()
        self._changed = asyncio.Event()

    @property
    def speed(self) -> float:
        return self._speed

    def now(self) -> float:
        """Scenario seconds since the drill's start."""
        return self._at + (time.monotonic() - self._since) * self._speed

    def set(self, *, speed: float | None = None, at: float | None = None) -> None:
        self._at = self.now() if at is None else at
        self._since = time.monotonic()
        if speed is not None:
            self._speed = max(0.0, speed)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def sleep(self, seconds: float) -> None:
        await self.until(self.now() + seconds)

    async def until(self, at: float) -> None:
        """Returns when `now()` has reached `at` (at once when it is past)."""
        while (missing := at - self.now()) > 0:
            wait = None if self._speed == 0 else missing / self._speed
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), wait)
            except TimeoutError:
                continue


class NodeContext(Protocol):
    """Everything a program may use."""

    name: str
    spec: Mapping[str, Any]
    net: Net
    clock: Clock
    store: Path

    def emit(self, kind: str, **data: Any) -> None:
        """One JSON object to the lab. Never blocks; when the lab is far behind, `telemetry` and `pcap` are dropped."""
        ...

    def commands(self) -> AsyncIterator[dict[str, Any]]:
        """JSON objects from the lab; its end means stop. `clock` commands never show here."""
        ...


Handler = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any] | None]]


async def answer(node: NodeContext, handlers: Mapping[str, Handler], together: Collection[str] = ()) -> None:
    """Serves the command loop of a program until the lab says stop.

    A command is {"kind": name, "id": optional, …}; its handler's mapping becomes the fields of the reply, an
    exception becomes `error` there. Handlers run one after another, but for those kinds named in `together`: they
    mostly wait, and TOGETHER of them do so at once. When the loop ends, what still runs is cancelled.
    """
    running: set[asyncio.Task[None]] = set()
    room = asyncio.Semaphore(TOGETHER)

    async def one(command: dict[str, Any]) -> None:
        kind = str(command.get("kind", ""))
        handler = handlers.get(kind)
        try:
            if handler is None:
                raise LookupError(f"no command {kind!r}; there are: {', '.join(sorted(handlers)) or 'none'}")
            result = dict(await handler(command) or {})
        except Exception as exc:  # a bad command must not end the device it was sent to
            result = {"error": f"{type(exc).__name__}: {exc}"}
        if "id" in command:
            node.emit("reply", id=command["id"], **result)

    async def beside(command: dict[str, Any]) -> None:
        async with room:
            await one(command)

    try:
        async for command in node.commands():
            if str(command.get("kind", "")) in together:
                task = asyncio.create_task(beside(command))
                running.add(task)
                task.add_done_callback(running.discard)
            else:
                await one(command)
    finally:
        for task in running:
            task.cancel()
