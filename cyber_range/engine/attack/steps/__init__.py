"""Every step an intruder knows, by family. Importing this registers them all."""

from cyber_range.engine.attack.registry import STEPS
from cyber_range.engine.attack.steps import (
    access,
    bacnet,
    data,
    discovery,
    dnp3,
    enip,
    floods,
    host,
    iec104,
    lan,
    modbus,
    modbus_more,
    mqtt,
    opcua,
    s7,
)

FAMILIES = (
    access,
    bacnet,
    data,
    discovery,
    dnp3,
    enip,
    floods,
    host,
    iec104,
    lan,
    modbus,
    modbus_more,
    mqtt,
    opcua,
    s7,
)

__all__ = ["FAMILIES", "STEPS"]
