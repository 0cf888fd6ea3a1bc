"""Addresses and specs of a small filling line on the loopback, for tests of programs together."""

from __future__ import annotations

from typing import Any

from cyber_range.engine.process.controllers import FillerLogic, Logic, TankLogic
from tests.cyber_range.engine.agents.loopback import Running

IDENTITY = {"vendor": "Hengda Automation", "code": "HD-F520", "revision": "V3.11", "product": "Filling Controller"}


def tags(logic: Logic, base: int = 0) -> dict[str, dict[str, int]]:
    """Every tag at the next free address of its table."""
    following = dict.fromkeys(("coil", "discrete", "input", "holding"), base)
    placed = {}
    for tag in logic.tags:
        placed[tag.name] = {"address": following[tag.table]}
        following[tag.table] += 1
    return placed


def filler(net: int, base: int = 0, **more: Any) -> Running:
    spec = {
        "logic": "filler", "controller": "filler", "plant": f"127.{net}.0.2", "tags": tags(FillerLogic(), base),
        "identity": IDENTITY, **more,
    }  # fmt: skip
    return Running("plc_filler", "modbus_plc", f"127.{net}.0.4", spec)


def tank(net: int, **more: Any) -> Running:
    spec = {"logic": "tank", "controller": "tank", "plant": f"127.{net}.0.2", "tags": tags(TankLogic()), **more}
    return Running("plc_tank", "modbus_plc", f"127.{net}.0.3", spec)


def plant(net: int) -> Running:
    controllers = {"tank": f"127.{net}.0.3", "filler": f"127.{net}.0.4"}
    return Running("plant", "plant", f"127.{net}.0.2", {"model": "filling_line", "controllers": controllers})


def hmi(net: int, **more: Any) -> Running:
    device = {
        "name": "filler", "host": f"127.{net}.0.4",
        "blocks": [{"table": "holding", "address": 0, "count": 10}, {"table": "input", "address": 0, "count": 7}],
        "tags": [
            {"name": "fill_setpoint", "table": "holding", "address": 0},
            {"name": "speed", "table": "input", "address": 0, "scale": 10},
            {"name": "good", "table": "input", "address": 2},
        ],
    }  # fmt: skip
    spec = {"cycle": 0.2, "view_every": 0.2, "devices": [device], **more}
    return Running("hmi", "modbus_hmi", f"127.{net}.0.5", spec)
