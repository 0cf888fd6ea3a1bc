"""Chance that repeats: every number follows from the seed and the names on the way to it, on every machine.

No float and no library's generator is in it, so that a capture is the same byte for byte wherever it is made.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
BLOCK = 4096


class Dice:
    """A stream of bytes from SHAKE-256 over HMAC(seed, names)."""

    def __init__(self, seed: str, *names: object) -> None:
        # Lengths are written in front so that ("ab", "c") and ("a", "bc") never meet.
        parts = [str(name).encode() for name in names]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        self._key = hmac.new(seed.encode(), message, hashlib.sha256).digest()
        self._number = 0
        self._rest = b""

    def child(self, *names: object) -> Dice:
        """A stream of its own; drawing from it changes nothing here."""
        return Dice(self._key.hex(), *names)

    def take(self, count: int) -> bytes:
        if len(self._rest) < count:
            shake = hashlib.shake_256(self._key + self._number.to_bytes(8, "big"))
            self._number += 1
            self._rest += shake.digest(max(BLOCK, count))
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def below(self, bound: int) -> int:
        """0..bound-1. The bias of the modulus is below 2^-32 for every bound used here."""
        return int.from_bytes(self.take(8), "little") % max(1, bound)

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def chance(self, part: int, whole: int) -> bool:
        return self.below(whole) < part
