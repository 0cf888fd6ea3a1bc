"""Specs of controllers that speak the telecontrol and building protocols, for tests on the loopback and on every driver."""

from __future__ import annotations

from typing import Any

NO_PLANT = "127.0.0.1"  # the controller scans by itself


def rtu(plant: str = NO_PLANT, **more: Any) -> dict[str, Any]:
    """A tank behind an IEC 60870-5-104 station: common address 7, one of every kind of point."""
    tags = {
        "level_high": {"ioa": 1001},
        "level_low": {"ioa": 1002},
        "auto": {"ioa": 1003, "type": "M_DP_NA_1", "command": 6003},
        "interlock": {"ioa": 1004, "command": 6004},
        "level": {"ioa": 4001},
        "inlet_flow": {"ioa": 4002},
        "outlet_flow": {"ioa": 4003, "type": "M_ME_NA_1"},
        "valve": {"ioa": 4004},
        "level_setpoint": {"ioa": 4005, "type": "M_ME_NB_1", "command": 6005},
        "valve_manual": {"ioa": 4006, "command": 6006},
        "cpu_uptime": {"ioa": 5001, "type": "M_IT_NA_1"},
    }
    return {
        "logic": "tank", "controller": "tank", "plant": plant, "tags": tags, "common": 7, "cyclic": 1,
        "restart_seconds": 0.3, **more,
    }  # fmt: skip


def centre(host: str, **more: Any) -> dict[str, Any]:
    """The control centre of `rtu`."""
    points = [
        {"tag": "level_high", "ioa": 1001},
        {"tag": "auto", "ioa": 1003, "command": 6003, "type": "C_DC_NA_1"},
        {"tag": "level", "ioa": 4001},
        {"tag": "level_setpoint", "ioa": 4005, "command": 6005, "scale": 10},
        {"tag": "valve_manual", "ioa": 4006, "command": 6006},
        {"tag": "uptime", "ioa": 5001},
    ]
    device = {"name": "station", "host": host, "common": 7, "points": points}
    return {"devices": [device], "interrogate_every": 1, "clock_every": 60, "view_every": 0.2, **more}
