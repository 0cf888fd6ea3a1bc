"""Traffic of one node's segment from compiled profiles (`traffic.profiles`), each repetition a little different.

Spec:
* `mix` {profile: seconds between two}: what this host says to everybody, or to `syslog` and `time`.
* `profiles` [{use, every?, shift?, ghosts?, args?, port?}]: whole sessions between ghosts, machines of this segment that
  are no nodes: `ghosts: 4` (three clients of one server) is the default. Needs `taken: ${range.nodes}`.
* `host` (name the packets claim), `syslog`, `time` (addresses, optional), `start` (local time at scenario second 0, ISO),
  `lab` {range, networks}: needed for profiles that are attacks.
Waits between sessions, turns and events are scenario seconds: a faster clock brings more of them, a pause none.
"""

from __future__ import annotations

import asyncio
from typing import Any

from cyber_range.engine.agents.context import NodeContext, answer
from cyber_range.engine.attack.fence import Fence
from cyber_range.engine.traffic.compiled import pieces
from cyber_range.engine.traffic.dice import Dice
from cyber_range.engine.traffic.live import Stage
from cyber_range.engine.traffic.spec import chatter, sessions


async def run(node: NodeContext) -> None:
    leg = node.net.interfaces()[0]
    acts = [*chatter(node.spec, leg, node.name), *sessions(node.spec, leg)]
    if any(act.profile.kind == "attack" for act in acts):
        Fence(node.spec.get("lab"), [own.ip for own in node.net.interfaces()])
    sent: dict[str, int] = {}

    async def begin() -> None:
        compiled = await pieces(order for act in acts for order in act.script.orders)
        stage = Stage(
            compiled, lambda frames: node.net.send_frames(leg.name, frames), node.clock.now, node.clock.sleep,
            Dice(str(node.spec.get("seed", "")), node.name),
        )  # fmt: skip
        stage.sent = sent
        await asyncio.gather(*(stage.perform(act) for act in acts))

    async def counters(_: dict[str, Any]) -> dict[str, Any]:
        return {"values": dict(sent)}

    node.emit("ready")
    beginning = asyncio.ensure_future(begin())
    commands = asyncio.ensure_future(answer(node, {"counters": counters}))
    try:
        await asyncio.wait({beginning, commands}, return_when=asyncio.FIRST_COMPLETED)
        if beginning.done() and acts:
            beginning.result()
        await asyncio.wait({commands})  # with nothing to say it waits for the end
    finally:
        for task in (beginning, commands):
            task.cancel()
        await asyncio.gather(beginning, commands, return_exceptions=True)
