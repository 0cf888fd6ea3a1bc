"""An intruder on the loopback (see agents.loopback): what each test of a step begins with."""

from __future__ import annotations

from typing import Any

from tests.cyber_range.engine.agents.loopback import Running

PATIENCE = 60  # s for one step on a loaded machine


def intruder(net: int, host: int = 7) -> Running:
    lab = {"range": "0123456789ab", "networks": [f"127.{net}.0.0/28"]}
    return Running("attacker", "attack", f"127.{net}.0.{host}", {"lab": lab})


async def did(attacker: Running, step: str, **args: Any) -> dict[str, Any]:
    """The evidence of one step without the times and byte counts."""
    reply = await attacker.ask("step", PATIENCE, step=step, args=args)
    return {
        key: value
        for key, value in reply.items()
        if key not in ("kind", "id", "started", "ended", "bytes_in", "bytes_out")
    }


async def inside(attacker: Running) -> Running:
    """With a foothold."""
    assert (await did(attacker, "foothold"))["result"] == "done"
    return attacker
