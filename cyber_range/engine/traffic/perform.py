"""Parts become a score: when each visit, event and exchange happens, drawn from the seed (numpy).

Times are integers all the way, so that no machine's idea of a logarithm changes a capture: visits of an hour are spread
evenly at random over it (as a Poisson process is, given their number) and thinned by the shift's share at their hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cyber_range.engine.traffic.cast import Part
from cyber_range.engine.traffic.dice import Dice
from cyber_range.engine.traffic.profiles import Order, Script
from cyber_range.engine.traffic.rows import Ints
from cyber_range.engine.traffic.score import Label, Score
from cyber_range.engine.traffic.shifts import FULL, share_at
from cyber_range.engine.traffic.templates import Endpoint, Flow, Piece

SECOND = 1_000_000_000
FIRST_PORT, LAST_PORT = 49152, 65535
QUIET = SECOND // 2  # nothing begins in the last half second
ANSWERS = {"open": "tcp_knock", "refused": "tcp_refused", "silent": "tcp_silent"}


class Performance:
    """`start`: nanoseconds since the epoch of the capture's first moment; `local`: the same in local seconds since 1970."""

    def __init__(self, pieces: Mapping[str, Piece], seed: Dice, start: int, local: int, seconds: float) -> None:
        self.score = Score(pieces)
        self._seed, self._start, self._local = seed, start, local
        self._end = start + int(seconds * SECOND)
        self._ports: dict[str, int] = {}
        self._clocks: dict[str, int] = {}
        self._fixed: set[tuple[str, ...]] = set()

    def play(self, parts: Iterable[Part]) -> Score:
        seen: dict[tuple[str, ...], int] = {}
        for part in parts:
            names = (part.act.profile.name, part.client_node, part.act.server.ip, part.zone, part.step, str(part.begin))
            seen[names] = seen.get(names, 0) + 1
            self._part(part, self._seed.child(*names, seen[names]))
        return self.score

    def _part(self, part: Part, dice: Dice) -> None:
        begin = self._start + int(part.begin * SECOND)
        end = min(self._end, self._start + int(part.end * SECOND))
        if end <= begin:
            return
        match part.act.profile.style:
            case "poll":
                self._poll(part, begin, end, dice)
            case "visit":
                self._visits(part, begin, end, dice)
            case "event":
                self._events(part, begin, end, dice)
            case "spread":
                self._spread(part, begin, dice)

    # ------------------------------------------------------------ styles

    def _poll(self, part: Part, begin: int, end: int, dice: Dice) -> None:
        """One session on a fixed grid: jitter moves an exchange, never the rate."""
        script, every = part.act.script, int(part.act.every * SECOND)
        opening, closing = self._numbers(script.opening), self._numbers(script.closing)
        first = begin + dice.below(min(2 * SECOND, max(1, (end - begin) // 8)))
        ready = first + self.score.seconds([order.key for order in script.opening])
        count = max(0, (end - QUIET - ready) // every)
        if count < 1 and not closing:
            return
        grid = ready + np.arange(count, dtype=np.int64) * every + self._jitter(dice, count, max(1, every // 10))
        cycle = self._numbers(script.cycle)
        pieces = np.concatenate((opening, np.resize(cycle, count), closing)).astype(np.int64)
        close_at = np.full(len(closing), end - QUIET, np.int64)
        times = np.concatenate((np.full(len(opening), first, np.int64), grid, close_at))
        flow = self._flow(part, part.act.client, part.act.server, dice)
        if flow is None:
            return
        if len(closing):
            self.score.play(flow, self._label(part), pieces, times, dice, len(opening), until=self._end - QUIET // 2)
        else:
            self.score.play(flow, self._label(part), pieces, times, dice, len(opening))

    def _visits(self, part: Part, begin: int, end: int, dice: Dice) -> None:
        for when in self._moments(part, begin, end, dice):
            orders, at = [], []
            time = when
            opening = list(part.act.script.opening)
            for order in opening:
                orders.append(order)
                at.append(time)
                time += self.score.span(order.key)
            for order, wait in turns(part.act.script, dice):
                time += wait * 1_000_000
                orders.append(order)
                at.append(time)
                time += self.score.span(order.key)
            for order in part.act.script.closing:
                orders.append(order)
                at.append(time)
                time += self.score.span(order.key)
            if time > self._end and part.act.profile.transport != "tcp":
                continue
            if time > self._end and not self._shortened(orders, at, len(opening), part.act.script):
                continue
            flow = self._flow(part, part.act.client, part.act.server, dice)
            if flow is None:
                return
            until = self._end if part.act.script.closing else None
            self.score.play(
                flow, self._label(part), self._numbers(orders), np.array(at, np.int64), dice, len(opening), until
            )

    def _shortened(self, orders: list[Order], at: list[int], opening: int, script: Script) -> bool:
        """Whether a visit that the end of the capture cuts short still holds its opening and its close."""
        needed = self.score.seconds([o.key for o in (*script.opening, *script.closing)])
        return len(script.closing) == 1 and at[0] + needed + QUIET < self._end and len(orders) > opening

    def _events(self, part: Part, begin: int, end: int, dice: Dice) -> None:
        """All of them are one flow: the same addresses and ports every time."""
        script = part.act.script
        pieces, at = [], []
        last = 0
        for when in self._moments(part, begin, end, dice):
            for order, _ in turns(script, dice):
                time = max(when, last)
                last = time + self.score.span(order.key)
                if last < self._end:
                    pieces.append(order)
                    at.append(time)
        if not pieces:
            return
        flow = self._flow(part, part.act.client, part.act.server, dice)
        if flow is not None:
            self.score.play(flow, self._label(part), self._numbers(pieces), np.array(at, np.int64), dice)

    def _spread(self, part: Part, begin: int, dice: Dice) -> None:
        gap = SECOND // part.act.profile.per_second
        order_of = {order.make: order for order in part.act.script.orders}
        for number, (target, answer) in enumerate(part.targets):
            when = begin + number * gap + dice.below(max(1, gap // 2))
            order = order_of.get(ANSWERS[answer]) or next(iter(order_of.values()))
            if when + self.score.span(order.key) >= self._end:
                return
            client = part.act.client
            flow = self._flow(part, client, target, dice)
            if flow is not None:
                self.score.play(flow, self._label(part), self._numbers([order]), np.array([when], np.int64), dice)

    # ------------------------------------------------------------ draws

    def _moments(self, part: Part, begin: int, end: int, dice: Dice) -> list[int]:
        """When visits or events begin."""
        act = part.act
        if part.limit == 1:
            return [begin + dice.below(max(1, min(end - begin, SECOND)))]
        if act.every <= 2.5 and act.shift == "always":  # machines keep time: a grid with jitter
            every = int(act.every * SECOND)
            first = begin + dice.below(every)
            count = max(0, (end - QUIET - first) // every)
            jitter = self._jitter(dice, count, max(1, every // 10))
            found: list[int] = (first + np.arange(count, dtype=np.int64) * every + jitter).tolist()
            return found
        span = end - QUIET - begin
        if span <= 0:
            return []
        millionths = int(span * 1_000_000 // int(act.every * SECOND))
        count = millionths // 1_000_000 + (dice.below(1_000_000) < millionths % 1_000_000)
        drawn = sorted(begin + dice.below(span) for _ in range(count))
        if part.act.profile.kind == "attack" and not drawn:
            drawn = [begin]
        return [when for when in drawn if dice.below(FULL) < self._share(act.shift, when)]

    def _share(self, shift: str, when: int) -> int:
        return share_at(shift, self._local + (when - self._start) // SECOND)

    @staticmethod
    def _jitter(dice: Dice, count: int, below: int) -> Ints:
        raw = np.frombuffer(dice.take(8 * count), "<u8") % np.uint64(below)
        return raw.astype(np.int64)

    def _numbers(self, orders: Sequence[Order]) -> Ints:
        return np.array([self.score.number[order.key] for order in orders], np.int64)

    def _clock(self, node: str) -> int:
        """A host's millisecond clock, the same for all its sessions."""
        if node not in self._clocks:
            self._clocks[node] = self._seed.child("clock", node).below(1 << 32)
        return self._clocks[node]

    def _port(self, client: str) -> int:
        """The next ephemeral port of a host; they are used in a circle."""
        port = self._ports.get(client)
        if port is None:
            port = FIRST_PORT + self._seed.child("ports", client).below(8000)
        self._ports[client] = port + 1 if port < LAST_PORT else FIRST_PORT
        return port

    def _flow(self, part: Part, client: Endpoint, server: Endpoint, dice: Dice) -> Flow | None:
        """None when a flow of the very same addresses is in the capture already: its packets could not be told apart."""
        profile = part.act.profile
        if profile.transport in ("tcp", "udp") and not client.port:
            client = replace(client, port=self._port(client.ip))
        if profile.transport in ("l2", "icmp") or profile.client_port:
            key = (part.zone, profile.transport, profile.protocol, client.ip, client.mac, str(client.port), server.ip,
                   server.mac, str(server.port))  # fmt: skip
            if key in self._fixed:
                return None
            self._fixed.add(key)
        return Flow(
            client, server, dice.below(1 << 32), dice.below(1 << 32), dice.below(1 << 16), dice.below(1 << 16),
            self._clock(client.ip), self._clock(server.ip), dice.below(1 << 32), dice.below(1 << 16),
        )  # fmt: skip

    def _label(self, part: Part) -> Label:
        profile = part.act.profile
        hostile = profile.kind == "attack" or bool(part.step)
        proto = profile.protocol if profile.transport == "l2" else profile.transport
        return Label(
            "attack" if hostile else "benign", profile.name, part.technique if hostile else "", part.step, proto,
            profile.protocol, part.zone, part.client_node, part.server_node,
        )  # fmt: skip


def turns(script: Script, dice: Dice) -> Iterator[tuple[Order, int]]:
    """(piece, milliseconds before it) of one visit."""
    for turn in script.turns:
        for _ in range(dice.between(*turn.times)):
            yield dice.choice(turn.choices), dice.between(*turn.wait)
