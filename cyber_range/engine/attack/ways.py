"""What an intruder's machine offers: byte streams, sessions that lead inside, and how they say no."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cyber_range.engine.attack.speakers import (
    BacnetSpeaker,
    Dnp3Speaker,
    EnipSpeaker,
    Iec104Speaker,
    MqttSpeaker,
    OpcUaSpeaker,
    S7Speaker,
)


class Blocked(Exception):
    """The step met a closed door; its words are evidence. The campaign may then try another way."""


class Channel(Protocol):
    """A byte stream to a target."""

    async def send(self, data: bytes) -> None: ...
    async def receive(self, count: int, timeout: float) -> bytes:
        """Exactly `count` bytes; TimeoutError or ConnectionError else."""
        ...

    async def line(self, timeout: float) -> bytes:
        """Up to and with the next newline; errors as above."""
        ...

    async def rest(self, timeout: float) -> bytes:
        """Everything until the far side closes; TimeoutError when it does not."""
        ...

    async def some(self) -> bytes:
        """Whatever comes next; empty when the far side has closed."""
        ...

    def close(self) -> None: ...


class Way(Protocol):
    """What leads to the targets: a session inside, or the machine's own feet."""

    @property
    def alive(self) -> bool: ...
    async def open(self, host: str, port: int, timeout: float) -> Channel:
        """ConnectionRefusedError, TimeoutError, PermissionError (the session may not), ConnectionError (it is gone)."""
        ...

    async def run(self, command: str) -> tuple[int, str]:
        """One command at the far side's console: (status, text); PermissionError where there is none."""
        ...

    def close(self) -> None: ...


Reach = Callable[[str, int, float], Awaitable[Channel]]  # (host, port, seconds): a stream through the way in
OnFrames = Callable[[list[tuple[int, bytes]]], None]  # (nanoseconds since the epoch, whole Ethernet frame)


class Leg(Protocol):
    """One interface of the intruder's machine."""

    @property
    def name(self) -> str: ...
    @property
    def ip(self) -> str: ...
    @property
    def prefix(self) -> int: ...
    @property
    def mac(self) -> str: ...


class Tap(Protocol):
    def close(self) -> None: ...


class Toolbox(Protocol):
    """What the intruder's machine can do.

    The speakers of protocols open their streams with `reach`, so they go through the way in and are fenced as it is;
    they raise PermissionError for what the device refuses, TimeoutError and OSError when it is not reached.
    """

    async def log_in(self, host: str, port: int, user: str, password: str) -> Way:
        """PermissionError when refused; TimeoutError, ConnectionError when not reached."""
        ...

    def direct(self) -> Way:
        """Connections from this machine itself: it stands where the target can be reached."""
        ...

    async def ask(self, host: str, port: int, datagram: bytes, timeout: float) -> bytes:
        """One datagram from this machine and its answer; TimeoutError when none comes."""
        ...

    def legs(self) -> Sequence[Leg]: ...
    async def tap(self, ifname: str, on_frames: OnFrames) -> Tap:
        """Frames that pass an own interface; PermissionError where raw sockets are not allowed."""
        ...

    def send_frames(self, ifname: str, frames: Sequence[bytes]) -> int: ...
    async def listen(self, port: int, serve: Callable[[Channel], Awaitable[None]]) -> Tap:
        """A port of this machine; OSError when it is taken."""
        ...

    def sockets(self) -> list[dict[str, Any]]:
        """The machine's own connections: {local, remote, state}."""
        ...

    async def s7(self, reach: Reach, host: str, port: int, slot: int) -> S7Speaker: ...
    async def enip(self, reach: Reach, host: str, port: int) -> EnipSpeaker: ...
    async def opcua(self, reach: Reach, host: str, port: int, user: str, password: str) -> OpcUaSpeaker: ...
    async def iec104(self, reach: Reach, host: str, port: int, common: int) -> Iec104Speaker: ...
    async def dnp3(self, reach: Reach, host: str, port: int, own: int, station: int) -> Dnp3Speaker: ...
    async def mqtt(self, reach: Reach, host: str, port: int, name: str, user: str, password: str) -> MqttSpeaker: ...
    async def bacnet(self, instance: int, bbmd: str | None = None) -> BacnetSpeaker:
        """Datagrams, so from this machine itself, not through a session; `bbmd`: registered there as a foreign device."""
        ...


@dataclass
class Evidence:
    """What one step did, told when it ends."""

    started: float = field(default_factory=time.time)
    sent: int = 0
    received: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "started": round(self.started, 3), "ended": round(time.time(), 3), "bytes_out": self.sent,
            "bytes_in": self.received, **self.facts,
        }  # fmt: skip
