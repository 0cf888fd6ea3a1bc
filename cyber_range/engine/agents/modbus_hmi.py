"""The operator station under the name scenarios of Modbus lines know it by; see `hmi`."""

from __future__ import annotations

from cyber_range.engine.agents.hmi import run

__all__ = ["run"]
