"""Every step an intruder knows, by family. Importing this registers them all."""

from cyber_range.engine.attack.registry import STEPS
from cyber_range.engine.attack.steps import access, data, discovery, modbus

FAMILIES = (access, data, discovery, modbus)

__all__ = ["FAMILIES", "STEPS"]
