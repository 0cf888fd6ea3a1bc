"""A controller that is an OPC UA server (opc.tcp, binary, port 4840): its tags as variables with range and unit.

Spec: that of every controller (controller.py); each tag may have a `name` and a `range` [low, high]; `users` {name:
{password, role: viewer|operator|admin}}, `anonymous` (role of who brings no login, "viewer"; "" refuses them),
`identity` {vendor, product, version, build, name (of the device's object)}, `port` (4840).

Objects/<name>/Tags holds a variable per tag, Objects/<name>/Control the methods Start, Stop, Restart. Security policy
None only: its users are in clear on the wire, as in most plants that never made certificates.

It runs asyncua: about 1 s to import and 1.5 s to build, 50 MiB private (twice that without the trimming of
_opcua_space). Plan one or two per range, and give the node 128 MiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib

from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.controller import Controller


async def run(node: NodeContext) -> None:
    # in a thread: nodes of the memory driver share this loop
    library = await asyncio.to_thread(importlib.import_module, "cyber_range.engine.agents._opcua_space")
    controller = Controller(node)
    space = library.Space(node, controller)
    await space.build()
    await space.start()

    async def follow() -> None:
        while True:
            await space.follow()
            await asyncio.sleep(library.EVERY)

    following = asyncio.ensure_future(follow())
    serving = asyncio.ensure_future(controller.run(space.open))
    try:
        done, _ = await asyncio.wait({following, serving}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        following.cancel()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        await space.stop()
