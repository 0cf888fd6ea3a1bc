"""Plant models by the name a scenario gives them (`model:` of the plant program)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cyber_range.engine.process.filling_line import FillingLine

MODELS: Mapping[str, Callable[[Mapping[str, Any]], FillingLine]] = {"filling_line": FillingLine.of}
