"""Specs of the same tank controller behind each plant protocol, and of an operator station that polls them."""

from __future__ import annotations

from typing import Any

from cyber_range.engine.process.controllers import TankLogic

NO_PLANT = "127.0.0.1"  # the controller scans by itself
S7_TAGS = {
    "level_setpoint": {"address": "DB1.DBD0"}, "valve_manual": {"address": "DB1.DBD4"},
    "auto": {"address": "DB1.DBX8.0"}, "interlock": {"address": "DB1.DBX8.1"},
    "level": {"address": "DB2.DBD0"}, "inlet_flow": {"address": "DB2.DBD4"}, "outlet_flow": {"address": "DB2.DBD8"},
    "valve": {"address": "DB2.DBW12"}, "level_high": {"address": "M10.0"}, "level_low": {"address": "M10.1"},
}  # fmt: skip
S7_IO = {
    "inputs": {"level_pct": {"address": "IW64", "scale": 100}},
    "outputs": {"inlet_valve_pct": {"address": "QW80", "scale": 100}},
}
OPC_USERS = {"op": {"password": "secret"}, "boss": {"password": "b", "role": "admin"}}


def base(plant: str = NO_PLANT, **more: Any) -> dict[str, Any]:
    return {"logic": "tank", "controller": "tank", "plant": plant, "restart_seconds": 0.3, **more}


def s7(plant: str = NO_PLANT, **more: Any) -> dict[str, Any]:
    return base(plant, **{"tags": S7_TAGS, "io": S7_IO, **more})


def enip(plant: str = NO_PLANT, **more: Any) -> dict[str, Any]:
    spec = {
        "tags": {"level_setpoint": {"name": "Level_SP"}},
        "io": {"outputs": {"inlet_valve_pct": {"name": "O_Valve"}}, "inputs": {"level_pct": {"name": "I_Level"}}},
        "arrays": {"Recipe": {"type": "REAL", "size": 1500}, "Codes": {"type": "DINT", "size": 4}},
    }
    return base(plant, **{**spec, **more})


def opcua(plant: str = NO_PLANT, **more: Any) -> dict[str, Any]:
    spec = {"tags": {"level_setpoint": {"name": "Level_SP", "range": [0, 100]}}, "users": OPC_USERS}
    return base(plant, **{**spec, **more})


def modbus(plant: str = NO_PLANT, **more: Any) -> dict[str, Any]:
    tags = {tag.name: {"address": index} for index, tag in enumerate(TankLogic().tags)}
    identity = {"vendor": "Hengda Automation", "code": "HD-C310", "revision": "V2.08", "product": "Compact Controller"}
    return base(plant, **{"tags": tags, "identity": identity, **more})


def hmi(hosts: dict[str, str], **more: Any) -> dict[str, Any]:
    """Polls the set-point and the automatic switch of the named protocols."""
    faces: dict[str, dict[str, Any]] = {
        "modbus": {
            "blocks": [{"table": "holding", "address": 0, "count": 2}, {"table": "coil", "address": 0, "count": 8}],
            "tags": [
                {"name": "setpoint", "table": "holding", "address": 0, "scale": 10},
                {"name": "auto", "table": "coil", "address": 2},
            ],
        },
        "s7": {"tags": [{"name": "setpoint", "address": "DB1.DBD0"}, {"name": "auto", "address": "DB1.DBX8.0"}]},
        "enip": {"tags": [{"name": "setpoint", "tag": "Level_SP"}, {"name": "auto"}]},
        "opcua": {
            "user": "op", "password": "secret",
            "tags": [
                {"name": "setpoint", "node": "ns=2;s=Line1.Level_SP"}, {"name": "auto", "node": "ns=2;s=Line1.auto"},
            ],
        },
    }  # fmt: skip
    devices = [{"name": kind, "protocol": kind, "host": host, **faces[kind]} for kind, host in hosts.items()]
    return {"cycle": 0.2, "view_every": 0.2, "devices": devices, **more}
