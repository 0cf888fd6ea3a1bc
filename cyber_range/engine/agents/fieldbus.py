"""The wiring between plant and controllers: I/O images as UDP datagrams on the hidden zone.

Plant -> controller: {"t": scenario seconds, "i": input image}; controller -> plant: {"c": controller, "o": output
image}. Values are engineering units by name; a lost datagram is made good by the next, 50 ms later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

PLANT_PORT = 47800
CONTROLLER_PORT = 47801


def pack(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def unpack(data: bytes) -> dict[str, Any]:
    """The message, or an empty one when the datagram is none of ours."""
    try:
        message = json.loads(data)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
