"""The engineering station: keeps the controllers' project and compares it with what is in the controllers.

Spec: `project` {name, controllers: [{name, host, unit?, points: [{tag, table, address, value}]}]}, `every` (s between
two comparisons, 60). The project lies in the store as project.json; emits `compared` {controller, differences} when the
outcome changed. Commands: `hash` {path} -> sha256, `compare`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

from cyber_range.engine.agents.context import NodeContext, answer
from cyber_range.engine.agents.modbus_link import ModbusError, ModbusLink

FILE = "project.json"


async def run(node: NodeContext) -> None:
    project = node.spec["project"]
    path = node.store / FILE
    path.write_text(json.dumps(project, ensure_ascii=False, indent=1, sort_keys=True), encoding="utf-8")
    node.emit("project", name=project["name"], sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    known: dict[str, Any] = {}

    async def compare_one(controller: dict[str, Any]) -> dict[str, Any]:
        """{"reached", "differences": [{tag, address, project, controller}]}"""
        differences = []
        try:
            link = await ModbusLink.connect(node.net, str(controller["host"]))
        except (OSError, TimeoutError):
            return {"reached": False, "differences": []}
        try:
            for point in controller["points"]:
                unit = int(controller.get("unit", 1))
                value = (await link.read(str(point["table"]), int(point["address"]), 1, unit=unit))[0]
                if value != int(point["value"]):
                    differences.append(
                        {
                            "tag": point["tag"],
                            "address": point["address"],
                            "project": point["value"],
                            "controller": value,
                        }
                    )
        except (ModbusError, OSError, TimeoutError):
            return {"reached": False, "differences": differences}
        finally:
            link.close()
        return {"reached": True, "differences": differences}

    async def compare(_: dict[str, Any] | None = None) -> dict[str, Any]:
        outcome = {c["name"]: await compare_one(c) for c in project["controllers"]}
        for name, result in outcome.items():
            if known.get(name) != result:
                known[name] = result
                node.emit("compared", controller=name, **result)
        return {"controllers": outcome}

    async def now_and_then() -> None:
        while True:
            await compare()
            await asyncio.sleep(float(node.spec.get("every", 60)))

    async def digest(command: dict[str, Any]) -> dict[str, Any]:
        asked = node.store / str(command.get("path", FILE)).lstrip("/")
        inside = asked.resolve().is_relative_to(node.store.resolve()) and asked.is_file()
        return {"sha256": hashlib.sha256(asked.read_bytes()).hexdigest() if inside else None}

    node.emit("ready")
    comparing = asyncio.ensure_future(now_and_then())
    try:
        await answer(node, {"hash": digest, "compare": compare})
    finally:
        comparing.cancel()
