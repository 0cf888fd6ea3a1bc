"""A controller's tags and what a logic is.

A logic reads and writes tags (engineering values by name); the controller program maps tags to its protocol's objects
and to the fieldbus. Tags marked `operator` may be written from the network; the rest is overwritten by every scan, as
in a real controller.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, MutableMapping
from collections.abc import Mapping as ReadMapping
from dataclasses import dataclass
from typing import Literal, Protocol

Table = Literal["coil", "discrete", "input", "holding"]


@dataclass(frozen=True, slots=True)
class Tag:
    """One value of a controller. `scale` raw counts make one engineering unit (10: one decimal in the register)."""

    name: str
    table: Table
    zh: str
    unit: str = ""
    scale: float = 1
    start: float = 0

    @property
    def operator(self) -> bool:
        return self.table in ("coil", "holding")


class Logic(Protocol):
    """One controller's program."""

    @property
    def tags(self) -> tuple[Tag, ...]: ...

    def scan(self, tags: MutableMapping[str, float], inputs: ReadMapping[str, float]) -> dict[str, float]:
        """Updates the tags from the fieldbus inputs and returns the output image."""
        ...


def settle(tags: MutableMapping[str, float], declared: Iterable[Tag]) -> None:
    """What the network wrote, as a controller holds it: set-points in an INT, coils in a bit.

    An INT has 16 bits with sign (register 65356 at scale 10 is -18.0). A float that is no number (a client may write
    one over OPC UA) counts as the delivered value.
    """
    for tag in declared:
        if not tag.operator:
            continue
        raw = tags[tag.name] * tag.scale
        if tag.table == "coil":
            tags[tag.name] = float(bool(raw if math.isfinite(raw) else tag.start))
            continue
        if not math.isfinite(raw):
            tags[tag.name] = tag.start
        elif 32767 < raw < 65536:
            tags[tag.name] = (raw - 65536) / tag.scale
        else:
            tags[tag.name] = max(-32768.0, min(32767.0, raw)) / tag.scale


def take(tags: MutableMapping[str, float], inputs: ReadMapping[str, float], *names: str) -> None:
    """Copies inputs to the tags of the same name; an input that has not come yet reads 0."""
    for name in names:
        tags[name] = inputs.get(name, 0)
