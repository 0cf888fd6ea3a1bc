"""Who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.ways import Blocked, Evidence

AT_ONCE = 8  # connections; a remote session carries no more without being noticed by its owner


@step("scan", "T0846", needs=("session",), gains=("hosts",))
async def scan(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Connects to every host (or network's hosts) and port through the session. Gains who answers."""
    await intruder.way()
    hosts, ports = intruder.fence.hosts(args["hosts"]), [int(p) for p in args.get("ports", [502])]
    answers: dict[str, list[int]] = {}
    attempts = refused = 0

    async def one(host: str, port: int) -> None:
        nonlocal attempts, refused
        attempts += 1
        try:
            channel = await (await intruder.way()).open(host, port, 2.0)
        except PermissionError:
            refused += 1
            return
        except (TimeoutError, OSError):
            return
        channel.close()
        answers.setdefault(host, []).append(port)

    for port in ports:
        for start in range(0, len(hosts), AT_ONCE):
            await asyncio.gather(*(one(host, port) for host in hosts[start : start + AT_ONCE]))
    intruder.found = answers
    evidence.facts |= {"attempts": attempts, "not_allowed": refused, "open": answers}
    if not answers:
        raise Blocked("nothing inside answers")
