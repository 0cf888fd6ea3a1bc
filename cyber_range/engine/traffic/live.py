"""Playing profiles on a running segment: one frame after the other, from one node, on the scenario's clock.

Sessions are played between *ghosts*: machines of the segment that are no nodes of the lab. This node writes both halves
of what they say. A real node is never half of a session here: its kernel would answer a stranger's segments with RST, and
a bridge that hears its MAC at two ports would send its real traffic astray.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from cyber_range.engine.traffic.dice import Dice
from cyber_range.engine.traffic.patch import patched, played
from cyber_range.engine.traffic.profiles import Order, Script
from cyber_range.engine.traffic.shifts import FULL, share_at
from cyber_range.engine.traffic.spec import Act
from cyber_range.engine.traffic.templates import Flow, Moment, Piece

TOGETHER = 1_000_000  # ns: frames closer than this leave in one go
EPHEMERAL = (49152, 65535)


class Stage:
    """`send` takes frames and says how many left; `now` and `sleep` are the scenario's clock."""

    def __init__(
        self, pieces: Mapping[str, Piece], send: Callable[[Sequence[bytes]], int], now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]], dice: Dice,
    ) -> None:  # fmt: skip
        self._pieces, self._send, self._now, self._sleep, self._dice = pieces, send, now, sleep, dice
        self.sent: dict[str, int] = {}

    async def perform(self, act: Act) -> None:
        """For ever."""
        dice = self._dice.child(act.profile.name, act.client.ip, act.server.ip)
        await self._sleep(min(act.every, 5.0) * dice.below(1000) / 1000)
        flow = self._flow(act, dice)
        moment = Moment(0, dice=dice)
        while True:
            if dice.chance(share_at(act.shift, act.starts + int(self._now())), FULL):
                if act.profile.style == "poll":
                    await self._poll(act, self._flow(act, dice), dice)
                    continue
                if act.profile.style == "event":
                    for order in self._turns(act.script, dice):
                        moment = await self._piece(act, flow, order.key, moment)
                    moment.number += 1
                else:
                    await self._visit(act, self._flow(act, dice), dice)
            await self._sleep(act.every * dice.between(700, 1300) / 1000)

    def _flow(self, act: Act, dice: Dice) -> Flow:
        port = act.client.port or dice.between(*EPHEMERAL)
        isn, there, clock, other, token = (dice.below(1 << 32) for _ in range(5))
        first_id, their_id, base = (dice.below(1 << 16) for _ in range(3))
        client = replace(act.client, port=port)
        return Flow(client, act.server, isn, there, first_id, their_id, clock, other, token, base)

    def _turns(self, script: Script, dice: Dice) -> Iterator[Order]:
        for turn in script.turns:
            for _ in range(dice.between(*turn.times)):
                yield dice.choice(turn.choices)

    async def _visit(self, act: Act, flow: Flow, dice: Dice) -> None:
        moment = Moment(0, dice=dice)
        for order in act.script.opening:
            moment = await self._piece(act, flow, order.key, moment)
        for turn in act.script.turns:
            for _ in range(dice.between(*turn.times)):
                await self._sleep(dice.between(*turn.wait) / 1000)
                moment = await self._piece(act, flow, dice.choice(turn.choices).key, moment)
                moment.number += 1
        for order in act.script.closing:
            moment = await self._piece(act, flow, order.key, moment)

    async def _poll(self, act: Act, flow: Flow, dice: Dice) -> None:
        """A session of some thousand exchanges; then it is closed and opened anew, as devices do."""
        moment = Moment(0, dice=dice)
        for order in act.script.opening:
            moment = await self._piece(act, flow, order.key, moment)
        begun = self._now()
        for number in range(dice.between(2000, 6000)):
            due = begun + (number + dice.below(100) / 1000) * act.every
            await self._sleep(max(0.0, due - self._now()))
            moment.number = number
            moment = await self._piece(act, flow, act.script.cycle[number % len(act.script.cycle)].key, moment)
        for order in act.script.closing:
            moment = await self._piece(act, flow, order.key, moment)

    async def _piece(self, act: Act, flow: Flow, key: str, moment: Moment) -> Moment:
        """Its frames at their times (wall time: protocols stay real); a pause holds only what has not begun."""
        piece = self._pieces[key]
        now = time.time_ns()
        moment.time, moment.pace = max(now, moment.time + 1000), moment.dice.between(200, 330)
        waiting: list[bytes] = []
        since = moment.time
        for at, frame in patched(piece, flow, moment):
            if at - since > TOGETHER and waiting:
                self._out(act, waiting)
                waiting = []
                await asyncio.sleep(max(0.0, (at - time.time_ns()) / 1e9))
                since = at
            waiting.append(frame)
        self._out(act, waiting)
        return played(moment, piece)

    def _out(self, act: Act, frames: list[bytes]) -> None:
        name = act.profile.name
        self.sent[name] = self.sent.get(name, 0) + self._send(frames)
