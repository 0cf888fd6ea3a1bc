"""What the sensor counted on the bridges, in windows of wall seconds: poll rates, flows, loads.

Every message holds counts since the message before, so a rate is a sum over a window divided by its length. Nothing here
asks a node: what a trainee does inside one cannot change these figures except by changing the traffic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

WINDOW = 30.0  # wall seconds kept

Pair = tuple[str, str, str, int]  # zone, client, server, port
FlowKey = tuple[str, str, str, str, int]  # zone, src, dst, proto, port


@dataclass(slots=True)
class _Series:
    """Counts with the time each came."""

    samples: deque[tuple[float, dict[str, int]]] = field(default_factory=deque)

    def add(self, time: float, counts: dict[str, int]) -> None:
        self.samples.append((time, counts))
        while self.samples and self.samples[0][0] < time - WINDOW:
            self.samples.popleft()

    def total(self, key: str, since: float) -> int:
        return sum(counts.get(key, 0) for time, counts in self.samples if time > since)


class BridgeFacts:
    """Fed with `polls`, `flows` and `counters` of hub programs."""

    def __init__(self) -> None:
        self._polls: dict[Pair, _Series] = {}
        self._flows: dict[FlowKey, _Series] = {}
        self._polls_said: deque[float] = deque(maxlen=256)  # when messages came: a window needs them
        self._flows_said: deque[float] = deque(maxlen=256)
        self._counters: dict[tuple[str, str], deque[tuple[float, int]]] = {}
        self.totals: dict[Pair, dict[str, int]] = {}

    def take_polls(self, polls: Iterable[Mapping[str, Any]], time: float) -> None:
        self._polls_said.append(time)
        for poll in polls:
            key = (str(poll["zone"]), str(poll["client"]), str(poll["server"]), int(poll["port"]))
            counts = {name: int(poll.get(name, 0)) for name in ("requests", "responses", "exceptions", "writes")}
            self._polls.setdefault(key, _Series()).add(time, counts)
            totals = self.totals.setdefault(key, dict.fromkeys(counts, 0))
            for name, count in counts.items():
                totals[name] += count

    def take_flows(self, flows: Iterable[Mapping[str, Any]], time: float) -> None:
        self._flows_said.append(time)
        for flow in flows:
            key = (
                str(flow["zone"]),
                str(flow["src"]),
                str(flow["dst"]),
                str(flow["proto"]),
                int(flow.get("port") or 0),
            )
            counts = {name: int(flow.get(name, 0)) for name in ("packets", "bytes", "established")}
            self._flows.setdefault(key, _Series()).add(time, counts)
        for key in [key for key, series in self._flows.items() if series.samples[-1][0] < time - WINDOW]:
            del self._flows[key]

    def take_counters(self, node: str, values: Mapping[str, Any], at: float) -> None:
        for name, value in values.items():
            if isinstance(value, int | float):
                self._counters.setdefault((node, name), deque(maxlen=6000)).append((at, int(value)))

    def poll_rate(
        self, zone: str, client: str, server: str, port: int, *, within: float, time: float
    ) -> dict[str, float] | None:
        """Answers and requests per second in the last `within` seconds.

        None while the sensor has not spoken over that whole window, or has fallen silent (then nothing is known).
        The window ends at the newest message, so the pace of messages makes no ripple.
        """
        if not self._polls_said or time - self._polls_said[-1] > max(3.0, within):
            return None
        newest = self._polls_said[-1]
        start = next((said for said in reversed(self._polls_said) if said <= newest - within), None)
        if start is None:
            return None
        series = self._polls.get((zone, client, server, port))
        span = newest - start
        total = series.total if series else (lambda key, since: 0)
        return {
            "responses": total("responses", start) / span,
            "requests": total("requests", start) / span,
            "exceptions": total("exceptions", start) / span,
            "seconds": span,
        }

    def established(self, zone: str, src: str, dst: str, port: int, *, since: float) -> int:
        """Handshakes src -> dst:port answered in that zone after `since`."""
        series = self._flows.get((zone, src, dst, "tcp", port))
        return series.total("established", since) if series else 0

    def answered(
        self, zone: str, clients: Iterable[str], server: str, port: int, *, within: float, time: float
    ) -> int | None:
        """Answered connections in the last `within` seconds; None while that was not watched whole or nobody speaks."""
        if not self._flows_said or time - self._flows_said[-1] > 3.0 or self._flows_said[0] > time - within:
            return None
        return sum(self.established(zone, client, server, port, since=time - within) for client in clients)

    def packets(self, zone: str, src: str, dst: str, port: int, *, since: float) -> int:
        series = self._flows.get((zone, src, dst, "tcp", port))
        return series.total("packets", since) if series else 0

    def counter_growth(self, node: str, name: str, *, within: float, at: float) -> int | None:
        """How much a counter grew in the last `within` scenario seconds; None when not watched that long."""
        samples = self._counters.get((node, name))
        if not samples or samples[0][0] > at - within:
            return None
        before = [value for when, value in samples if when <= at - within][-1]
        numbers = [before] + [value for when, value in samples if when > at - within]
        return sum(max(0, later - earlier) for earlier, later in pairwise(numbers))

    def counter(self, node: str, name: str) -> int | None:
        samples = self._counters.get((node, name))
        return samples[-1][1] if samples else None

    def loads(self, *, time: float, seconds: float = 5.0) -> dict[FlowKey, tuple[float, float]]:
        """packets/s and bytes/s of every flow seen in the last seconds."""
        since = time - seconds
        found = {}
        for key, series in self._flows.items():
            packets = series.total("packets", since)
            if packets:
                found[key] = (packets / seconds, series.total("bytes", since) / seconds)
        return found

    def forget_windows(self) -> None:
        """After a pause: windows may not reach over the gap."""
        self._polls.clear()
        self._flows.clear()
        self._polls_said.clear()
        self._flows_said.clear()
        self._counters.clear()
