"""Every step an intruder knows, by family. Importing this registers them all."""

from cyber_range.engine.attack.registry import STEPS
from cyber_range.engine.attack.steps import access, bacnet, data, discovery, iec104, lan, modbus, mqtt, s7

FAMILIES = (access, bacnet, data, discovery, iec104, lan, modbus, mqtt, s7)

__all__ = ["FAMILIES", "STEPS"]
