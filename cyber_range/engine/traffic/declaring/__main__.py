"""Reads {"orders": {key: {"make": name, "args": {…}}}} on stdin, prints {key: piece}."""

from __future__ import annotations

import json
import sys

from cyber_range.engine.traffic.declaring import hostile, industrial, noise, office, opcua, transport
from cyber_range.engine.traffic.templates import Maker, piece_as

MAKERS: dict[str, Maker] = {
    **transport.MAKERS,
    **noise.MAKERS,
    **office.MAKERS,
    **industrial.MAKERS,
    **opcua.MAKERS,
    **hostile.MAKERS,
}


def main() -> None:
    request = json.load(sys.stdin)
    if request.get("list"):
        json.dump(sorted(MAKERS), sys.stdout)
        return
    made = {}
    for key, order in request["orders"].items():
        maker = MAKERS.get(order["make"])
        if maker is None:
            sys.exit(f"nobody declares {order['make']!r}; there are: {', '.join(sorted(MAKERS))}")
        made[key] = piece_as(maker(key, **order.get("args", {})))
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
