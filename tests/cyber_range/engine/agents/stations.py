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


def outstation(plant: str = NO_PLANT, **more: Any) -> dict[str, Any]:
    """A tank behind a DNP3 outstation: link address 10."""
    tags = {
        "level_high": {"index": 0},
        "level_low": {"index": 1},
        "auto": {"index": 0},
        "interlock": {"index": 1},
        "level": {"index": 0},
        "inlet_flow": {"index": 1},
        "valve": {"index": 3},
        "level_setpoint": {"index": 0},
        "valve_manual": {"index": 1},
        "cpu_uptime": {"index": 0, "kind": "counter"},
    }
    identity = {"vendor": "Hengda Automation", "product": "HD-R20", "revision": "2.4", "serial": "20260713"}
    return {
        "logic": "tank", "controller": "tank", "plant": plant, "tags": tags, "identity": identity,
        "restart_seconds": 0.3, **more,
    }  # fmt: skip


def dnp3_master(host: str, *, device: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The master of `outstation`."""
    points = [
        {"tag": "level_high", "kind": "binary", "index": 0},
        {"tag": "auto", "kind": "output", "index": 0},
        {"tag": "level", "kind": "analog", "index": 0},
        {"tag": "level_setpoint", "kind": "setpoint", "index": 0},
        {"tag": "uptime", "kind": "counter", "index": 0},
    ]
    station = {"name": "station", "host": host, "points": points, **(device or {})}
    return {"devices": [station], "cycle": 0.2, "integrity_every": 30, "view_every": 0.2, **more}


def broker(**more: Any) -> dict[str, Any]:
    """A broker with three accounts; the visitor may only listen to one machine."""
    users = {"machine": "m-secret", "panel": "p-secret", "visitor": "v-secret"}
    acl = [
        {"user": "machine", "access": "readwrite", "topic": "factory/#"},
        {"user": "panel", "access": "readwrite", "topic": "#"},
        {"user": "panel", "access": "read", "topic": "$SYS/#"},
        {"user": "visitor", "access": "read", "topic": "factory/tank/tags/+"},
        {"access": "readwrite", "topic": "own/%u/#"},
    ]
    return {"users": users, "acl": acl, **more}


def mqtt_machine(host: str, plant: str = NO_PLANT, **more: Any) -> dict[str, Any]:
    tags: dict[str, Any] = {name: {} for name in ("level_setpoint", "valve_manual", "auto", "level", "level_high")}
    return {
        "logic": "tank", "controller": "tank", "plant": plant, "broker": host, "user": "machine",
        "password": "m-secret", "every": 0.3, "restart_seconds": 0.3,
        "tags": {**tags, "interlock": {"command": False}}, **more,
    }  # fmt: skip


def mqtt_panel(host: str, topic: str = "factory/tank") -> dict[str, Any]:
    device = {"name": "station", "topic": topic, "tags": ["level_setpoint", "auto", "level"]}
    return {"broker": host, "user": "panel", "password": "p-secret", "devices": [device], "view_every": 0.2}


def cold_store(plant: str = NO_PLANT, **more: Any) -> dict[str, Any]:
    """A controller as BACnet device 3401."""
    tags = {
        "level": {"object": 1},
        "valve": {"object": 2, "units": "percent"},
        "level_high": {"object": 1},
        "level_setpoint": {"object": 1},
        "valve_manual": {"object": 1, "type": "analog-output"},
        "auto": {"object": 1},
        "interlock": {"object": 1, "type": "binary-output"},
    }
    identity = {
        "vendor": "Hengda Automation", "vendor_id": 999, "product": "HD-CS12", "revision": "3.2.1",
        "application": "CS 1.8", "location": "Cold store 2", "serial": "B-4477",
    }  # fmt: skip
    return {
        "logic": "tank", "controller": "tank", "plant": plant, "tags": tags, "identity": identity, "instance": 3401,
        "name": "COLD-STORE-2", "password": "open sesame", "restart_seconds": 0.3, **more,
    }  # fmt: skip


def bms(host: str | None = None, **more: Any) -> dict[str, Any]:
    """The supervisor of `cold_store`."""
    points = [
        {"tag": "level", "object": "analog-input,1"},
        {"tag": "level_setpoint", "object": "analog-value,1"},
        {"tag": "auto", "object": "binary-value,1"},
    ]
    device: dict[str, Any] = {"name": "station", "instance": 3401, "points": points}
    if host is not None:
        device["host"] = host
    return {"devices": [device], "cycle": 0.3, "view_every": 0.2, "name": "BMS", **more}
