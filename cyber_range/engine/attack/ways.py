"""What an intruder's machine offers: byte streams, sessions that lead inside, and how they say no."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol


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

    def close(self) -> None: ...


class Way(Protocol):
    """What leads to the targets: a session inside, or the machine's own feet."""

    @property
    def alive(self) -> bool: ...
    async def open(self, host: str, port: int, timeout: float) -> Channel:
        """ConnectionRefusedError, TimeoutError, PermissionError (the session may not), ConnectionError (it is gone)."""
        ...

    def close(self) -> None: ...


class Toolbox(Protocol):
    """What the intruder's machine can do."""

    async def log_in(self, host: str, port: int, user: str, password: str) -> Way:
        """PermissionError when refused; TimeoutError, ConnectionError when not reached."""
        ...

    def direct(self) -> Way:
        """Connections from this machine itself: it stands where the target can be reached."""
        ...

    async def ask(self, host: str, port: int, datagram: bytes, timeout: float) -> bytes:
        """One datagram from this machine and its answer; TimeoutError when none comes."""
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
