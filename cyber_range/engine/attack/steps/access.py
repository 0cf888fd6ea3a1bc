"""Ways in, and leaving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.ways import Blocked, Evidence


@step("login", "T0812", "T0859", "T0822", "T0886", "T0891", gains=("session",))
async def login(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Accounts left at their default password, tried one after another. Gains a session."""
    host, port = intruder.fence.check(str(args["host"])), int(args.get("port", 22))
    tried: list[str] = []
    for credential in args["credentials"]:
        user, password = str(credential["user"]), str(credential["password"])
        tried.append(user)
        try:
            way = await intruder.toolbox.log_in(host, port, user, password)
        except PermissionError:
            continue
        except (TimeoutError, OSError) as exc:
            evidence.facts |= {"target": host, "port": port, "tried": tried}
            raise Blocked(f"{host}:{port} cannot be reached ({type(exc).__name__})") from exc
        intruder.enter(way, (host, port, user, password))
        evidence.facts |= {"target": host, "port": port, "user": user, "tried": tried}
        return
    evidence.facts |= {"target": host, "port": port, "tried": tried}
    raise Blocked(f"{host} refused every known password")


@step("foothold", "T0864", "T0863", "T0862", "T0883", gains=("session",))
async def foothold(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """The intruder's program runs on a machine that stands inside: its own connections are the way."""
    intruder.enter(intruder.toolbox.direct())
    evidence.facts |= {"how": str(args.get("how", ""))}


@step("undo")
async def undo(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Puts everything back that was changed, and leaves."""
    evidence.facts["restored"] = await intruder.undo_all(evidence)
    intruder.close()
