"""Draws: the values an answer depends on, each from HMAC-SHA256(seed, team, key), so teams cannot copy.

Pure and stable: the same seed, team and key give the same value on every machine and version of schema 1.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any

from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.scenario.model import (
    ChoiceDraw,
    Draw,
    FloatDraw,
    HexDraw,
    HostDraw,
    IntDraw,
    PasswordDraw,
    RecordsDraw,
    Scenario,
)
from cyber_range.engine.scenario.records import table

_PASSWORD_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # noqa: S105 - an alphabet; nothing that looks like 0, 1, l, I or O
_SYLLABLES = (  # noqa: SIM905 - a hundred words read better as text
    "an bai bei bo cai chang chen chun dan dong feng fu gang guang hai han he hong hua huan jia jian jin jing kai "
    "lan lei li lian lin ling long mei ming nan ning peng ping qi qing rong rui shan sheng shi shu song tai tian tong "
    "wan wei wen xi xia xin xing xue yan yang yi ying yong yu yuan yun ze zhao zhen zhi zhong zhou zhu zi"
).split()


class Stream:
    """Endless pseudo-random bytes of one (seed, team, key); numbers from it are unbiased."""

    def __init__(self, seed: str, team: str, key: str) -> None:
        # Lengths are written in front so that ("ab", "c") and ("a", "bc") never meet.
        parts = [team.encode(), key.encode()]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        self._key = hmac.new(seed.encode(), message, sha256).digest()
        self._block = 0
        self._rest = b""

    def take(self, count: int) -> bytes:
        while len(self._rest) < count:
            self._rest += hmac.new(self._key, self._block.to_bytes(8, "big"), sha256).digest()
            self._block += 1
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def below(self, bound: int) -> int:
        """A number 0..bound-1, every one equally likely (rejection)."""
        width = max(1, (bound.bit_length() + 7) // 8)
        limit = (256**width // bound) * bound
        while True:
            number = int.from_bytes(self.take(width), "big")
            if number < limit:
                return number % bound


def draw_value(
    draw: Draw, *, seed: str, team: str, key: str, taken: frozenset[int] = frozenset(), highest: int = 0
) -> Any:
    """The team's value. For a host draw `taken` are used host numbers and `highest` the zone's last one."""
    stream = Stream(seed, team, key)
    if isinstance(draw, IntDraw):
        return draw.low + draw.step * stream.below((draw.high - draw.low) // draw.step + 1)
    if isinstance(draw, FloatDraw):
        scale = 10**draw.decimals
        low, high = round(draw.low * scale), round(draw.high * scale)
        return float(Decimal(low + stream.below(high - low + 1)) / scale)
    if isinstance(draw, ChoiceDraw):
        return draw.values[stream.below(len(draw.values))]
    if isinstance(draw, HostDraw):
        last = min(draw.high or highest, highest)
        free = [number for number in range(draw.low, last + 1) if number not in taken]
        if not free:
            raise ScenarioError(
                f"draw {key}: no free host number {draw.low}..{last} in zone {draw.zone}",
                remedy="Widen low..high of the draw, or give the zone a smaller prefix",
                draw=key,
            )
        return free[stream.below(len(free))]
    if isinstance(draw, PasswordDraw):
        return "".join(_PASSWORD_ALPHABET[stream.below(len(_PASSWORD_ALPHABET))] for _ in range(draw.length))
    if isinstance(draw, HexDraw):
        return stream.take(draw.bytes).hex()
    if isinstance(draw, RecordsDraw):
        count = draw.low + stream.below(draw.high - draw.low + 1)
        csv = table(stream.below, count, draw.columns)
        column = list(draw.columns.values()).index("code")
        row = 1 + stream.below(count)
        return {"csv": csv, "count": count, "canary": csv.splitlines()[row].split(",")[column]}
    words = ["".join(_SYLLABLES[stream.below(len(_SYLLABLES))] for _ in range(2)) for _ in range(draw.count)]
    return draw.separator.join(words)


def draw_all(
    scenario: Scenario, *, seed: str, team: str, fixed_hosts: Mapping[str, frozenset[int]], highest: Mapping[str, int]
) -> dict[str, Any]:
    """Every draw of a scenario, in the order written; two host draws of one zone never meet."""
    taken = {zone: set(numbers) for zone, numbers in fixed_hosts.items()}
    values: dict[str, Any] = {}
    for key, draw in scenario.draws.items():
        if isinstance(draw, HostDraw):
            used = taken.setdefault(draw.zone, set())
            value = draw_value(draw, seed=seed, team=team, key=key, taken=frozenset(used), highest=highest[draw.zone])
            used.add(value)
        else:
            value = draw_value(draw, seed=seed, team=team, key=key)
        values[key] = value
    return values
