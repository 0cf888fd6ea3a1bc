"""The firewall: installs the scenario's rule set and tells what it counts and what was changed.

Spec: `rules` [context.FilterRule…], `default` ("drop"). Emits `counters` (packets per rule comment, `dropped`,
`accepted`) every two seconds and `ruleset` whenever somebody changed a rule. Command `rules` answers with the list,
`restore` brings the scenario's rule set back, `take_back` {rules} (of a snapshot) puts those in the place of what there is.
"""

from __future__ import annotations

import asyncio
from typing import Any

from cyber_range.engine.agents.context import FilterRule, Firewall, NodeContext, answer

REPORT_EVERY = 2.0  # s


def without_counters(rules: list[FilterRule]) -> list[dict[str, Any]]:
    return [{k: v for k, v in rule.items() if k not in ("packets", "bytes")} for rule in rules]


async def run(node: NodeContext) -> None:
    firewall: Firewall = node.net.firewall()
    wanted: list[FilterRule] = list(node.spec.get("rules", ()))
    await firewall.install(wanted, "accept" if node.spec.get("default") == "accept" else "drop")
    known: list[dict[str, Any]] | None = without_counters(await firewall.rules())

    async def report() -> None:
        nonlocal known
        while True:
            await asyncio.sleep(REPORT_EVERY)
            rules = await firewall.rules()
            try:
                default = await firewall.default()
            except LookupError:
                default = {"action": "accept", "packets": 0, "bytes": 0, "comment": "flushed"}
            now = without_counters(rules)
            if now != known:
                known = now
                node.emit("ruleset", rules=now, default=default["action"])
            values = {"dropped": 0, "accepted": 0}
            for rule in [*rules, default]:
                values["accepted" if rule["action"] == "accept" else "dropped"] += rule.get("packets", 0)
                if comment := rule.get("comment"):
                    values[comment] = values.get(comment, 0) + rule.get("packets", 0)
            node.emit("counters", values=values)

    async def rules(_: dict[str, Any]) -> dict[str, Any]:
        return {"rules": await firewall.rules(), "default": await firewall.default()}

    async def restore(_: dict[str, Any]) -> None:
        await firewall.restore()

    async def take_back(command: dict[str, Any]) -> None:
        """Rule by rule, so that what `restore` brings back stays the scenario's."""
        for old in await firewall.rules():
            await firewall.delete(old["handle"])
        for rule in without_counters(command["rules"]):
            rule.pop("handle", None)
            await firewall.add(rule)  # type: ignore[arg-type]  # checked by the firewall itself

    node.emit("ready")
    reporting = asyncio.ensure_future(report())
    try:
        await answer(node, {"rules": rules, "restore": restore, "take_back": take_back})
    finally:
        reporting.cancel()
