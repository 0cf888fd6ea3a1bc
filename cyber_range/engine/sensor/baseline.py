"""The learned allow-list: which client asks which server for which functions, of which units and addresses.

It learns for a stated time, then locks; whatever is outside from then on is a deviation. The list is plain data: it
can be read, kept in a scenario and given back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cyber_range.engine.sensor.protocols.message import Message

State = Literal["off", "learning", "locked"]
Pair = tuple[str, str, str]  # protocol, client, server
PAIR_LIMIT, USE_LIMIT = 2000, 500  # what a flood of made-up senders may fill while learning


@dataclass(frozen=True, slots=True)
class Deviation:
    """`kind`: pair (this client never asked this server), function, unit, range (addresses outside what was learned)."""

    kind: Literal["pair", "function", "unit", "range"]
    learned: str  # what would have been in order, for the text


class Baseline:
    def __init__(self, *, seconds: float | None = None, entries: Iterable[Mapping[str, Any]] | None = None) -> None:
        self.state: State = "off"
        self._seconds = seconds or 0.0
        self._until: float | None = None
        self._pairs: dict[Pair, dict[tuple[int, int | str], list[tuple[int, int]]]] = {}
        self.left_out = 0
        self.hosts: set[str] = set()  # addresses of a list that was given
        if entries is not None:
            self.load(entries)
        elif seconds:
            self.state = "learning"

    def load(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Takes a list as `entries` gives it, and locks."""
        self._pairs.clear()
        self.hosts.clear()
        for entry in entries:
            pair = (str(entry["proto"]), str(entry["client"]), str(entry["server"]))
            unit = entry.get("unit", "")
            self.hosts |= {pair[1], pair[2]}
            ranges = [(int(first), int(last)) for first, last in entry.get("addresses", ())]
            self._pairs.setdefault(pair, {})[int(entry["function"]), unit] = ranges
        self.state = "locked"

    def learn(self, seconds: float) -> None:
        """Begins anew; the time runs from the next frame."""
        self._pairs.clear()
        self._seconds, self._until, self.state = max(0.0, seconds), None, "learning"

    def lock(self) -> None:
        self.state = "locked"

    def off(self) -> None:
        self._pairs.clear()
        self.state = "off"

    def on_time(self, at: float) -> bool:
        """True when learning ended now."""
        if self.state != "learning":
            return False
        if self._until is None:
            self._until = at + self._seconds
        if at < self._until:
            return False
        self.state = "locked"
        return True

    def judge(self, client: str, server: str, message: Message) -> Deviation | None:
        """Learns while learning; afterwards says what is outside. One dictionary lookup each for what is inside."""
        if self.state == "off":
            return None
        uses = self._pairs.get((message.proto, client, server))
        key = (message.function, message.unit)
        first, last = message.address, message.address + max(message.count, 1) - 1
        if self.state == "learning":
            self._add(uses, message.proto, client, server, key, first, last)
            return None
        if uses is None:
            return Deviation("pair", "")
        ranges = uses.get(key)
        if ranges is None:
            units = sorted({str(unit) for function, unit in uses if function == message.function})
            if units:
                return Deviation("unit", ", ".join(units[:8]))
            return Deviation("function", ", ".join(str(f) for f in sorted({function for function, _ in uses})[:12]))
        if first >= 0 and not any(low <= first and last <= high for low, high in ranges):
            return Deviation("range", ", ".join(f"{low}~{high}" for low, high in ranges[:8]))
        return None

    def _add(
        self,
        uses: dict[tuple[int, int | str], list[tuple[int, int]]] | None,
        proto: str,
        client: str,
        server: str,
        key: tuple[int, int | str],
        first: int,
        last: int,
    ) -> None:
        if uses is None:
            if len(self._pairs) >= PAIR_LIMIT:
                self.left_out += 1
                return
            uses = self._pairs[proto, client, server] = {}
        ranges = uses.get(key)
        if ranges is None:
            if len(uses) >= USE_LIMIT:
                self.left_out += 1
                return
            ranges = uses[key] = []
        if first >= 0 and not any(low <= first and last <= high for low, high in ranges):
            uses[key] = merged([*ranges, (first, last)])

    def entries(self) -> list[dict[str, Any]]:
        return [
            {
                "proto": proto, "client": client, "server": server, "function": function, "unit": unit,
                "addresses": [list(part) for part in ranges],
            }
            for (proto, client, server), uses in sorted(self._pairs.items())
            for (function, unit), ranges in sorted(uses.items(), key=lambda item: (item[0][0], str(item[0][1])))
        ]  # fmt: skip


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Inclusive ranges, sorted; those that touch or overlap are one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found
