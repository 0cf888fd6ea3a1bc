"""The one protocol behind which memory, netns, docker and capsule stand. All verbs are async and idempotent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from cyber_range.engine.plan import Action, Limits, Observed


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a driver can work here. `reason` and `remedy` are empty when usable."""

    usable: bool
    reason: str = ""
    remedy: str = ""  # the exact command that brings it, where there is one
    unbounded: tuple[str, ...] = ()  # limits this driver cannot hold on this machine, said by doctor


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """One JSON object a node program emitted. `body["kind"]` is always there; "ready" comes first.

    Made by the driver: {"kind": "exit", "code": int (128 + signal when one ended it), "log": end of its stderr, where
    there is one}; {"kind": "watchdog", …} before the exit of a program that took too much memory; and with no program
    named {"kind": "gone", "why"} for a node that ended as a whole, after the exits of its programs.
    """

    range_id: str
    node: str
    program: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecResult:
    code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed, by kind, for the log: {"containers": 3, "networks": 2}."""

    removed: Mapping[str, int] = field(default_factory=dict)


class Pty(Protocol):
    """A terminal in a node. Bytes are raw; the far side closing ends `read` with b""."""

    async def read(self, limit: int = 65536) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def resize(self, columns: int, rows: int) -> None: ...
    async def close(self) -> None: ...


class Driver(Protocol):
    """About eight verbs. A driver object serves any number of ranges at once on one event loop.

    Library errors are wrapped at this border into `errors.DriverError` (`from exc`). Drivers derive from this class for
    the one verb that has a meaning of its own here (`reopen`).
    """

    name: ClassVar[str]

    @classmethod
    async def probe(cls) -> Probe:
        """Looks, changes nothing, takes under a second."""
        ...

    async def open(self, range_id: str, limits: Limits) -> None:
        """Makes the empty range (supervisor, capsule). Opening an open range changes nothing."""
        ...

    async def reopen(self, range_id: str, limits: Limits) -> None:
        """A fresh empty range of that id is open; the nodes of the old one are gone or going, and none of them is heard or
        reached any more. A driver that need not wait for their end does not: `close`, `sweep`, `aclose` then do."""
        await self.close(range_id)
        await self.open(range_id, limits)

    async def apply(self, range_id: str, actions: Sequence[Action]) -> None:
        """Performs the actions of `plan.converge`, as parallel as the order allows. Returns when all programs
        are started (not yet ready: readiness is each program's own "ready" message)."""
        ...

    async def observe(self, range_id: str) -> Observed:
        """What really is there, from kernel or Docker."""
        ...

    async def send(self, range_id: str, node: str, program: str, message: Mapping[str, Any]) -> None:
        """One JSON object to a running program."""
        ...

    def messages(self, range_id: str) -> AsyncIterator[AgentMessage]:
        """Everything the programs of the range emit, from `open` on, in order per program; ends at close."""
        ...

    async def exec(
        self, range_id: str, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0
    ) -> ExecResult:
        """Runs a command in the node. lb-scan, lb-capture, lb-modbus, lb-plc, lb-fw, lb-ssh, lb-web, lb-arp and lb-attack are there on every driver."""
        ...

    async def shell(self, range_id: str, node: str, *, columns: int = 80, rows: int = 24) -> Pty:
        """An interactive shell in the node. Raises `Refused` for a node without `shell`."""
        ...

    async def take_files(self, range_id: str, node: str) -> bytes:
        """What stands in the node's writable folders (/srv, /root, /home, /tmp), as one compressed archive."""
        ...

    async def put_files(self, range_id: str, node: str, archive: bytes) -> None:
        """Makes the node's files those of an archive of `take_files`; others there are deleted."""
        ...

    async def pause(self, range_id: str) -> None: ...

    async def resume(self, range_id: str) -> None: ...

    async def close(self, range_id: str) -> None:
        """Ends the range and everything it made. Closing what is not there is fine."""
        ...

    async def sweep(self, keep: frozenset[str] = frozenset()) -> Swept:
        """Removes every leftover of this driver on this machine whose range id is not kept, by name or label alone."""
        ...

    async def aclose(self) -> None:
        """Ends the driver: zygote, clients, every range it still has."""
        ...
