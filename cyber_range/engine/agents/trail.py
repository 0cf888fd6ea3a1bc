"""An audit trail whose rows are numbered and, when a collector is named, copied there as they happen.

Whoever wipes the trail leaves a hole: the numbers go on, and the collector has what was before (ATT&CK T0872). The copy
is syslog over UDP (RFC 5424, facility 13 "log audit"), one row of JSON each.
"""

from __future__ import annotations

import datetime
import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.agents.context import NodeContext, UdpSender

AUDIT_NOTICE = 13 * 8 + 5  # priority: facility and severity
PORT = 514


class Trail:
    """`kept` rows; `spec.collector` {host, port (514)}."""

    def __init__(self, node: NodeContext, app: str, kept: int) -> None:
        self._node, self._app = node, app
        self._collector: Mapping[str, Any] = node.spec.get("collector") or {}
        self._sender: UdpSender | None = None
        self.rows: deque[dict[str, Any]] = deque(maxlen=kept)
        self.written = 0

    async def open(self) -> None:
        if self._collector:
            self._sender = await self._node.net.udp(0)

    def add(self, row: Mapping[str, Any]) -> dict[str, Any]:
        self.written += 1
        numbered = {"no": self.written, **row}
        self.rows.append(numbered)
        if self._sender is not None:
            self._sender.send(
                syslog(self._node.name, self._app, numbered),
                str(self._collector["host"]),
                int(self._collector.get("port", PORT)),
            )
        return numbered

    def clear(self) -> int:
        """How many rows were lost."""
        count = len(self.rows)
        self.rows.clear()
        return count

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()


def syslog(host: str, app: str, row: Mapping[str, Any]) -> bytes:
    at = datetime.datetime.fromtimestamp(float(row.get("at", 0)), datetime.UTC).isoformat(timespec="milliseconds")
    text = json.dumps(row, ensure_ascii=False)
    return f"<{AUDIT_NOTICE}>1 {at} {host} {app} - - - {text}".encode()
