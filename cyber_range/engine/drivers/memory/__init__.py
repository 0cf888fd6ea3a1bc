"""The driver without a kernel; its class is what the registry loads."""

from cyber_range.engine.drivers.memory.driver import MemoryDriver

__all__ = ["MemoryDriver"]
