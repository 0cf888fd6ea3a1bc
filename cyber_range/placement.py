"""Which machine gets a range. Pure: the caller reads the rows and the clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One machine as it stands now.

    `foreign` are ranges there that are nobody's row (warm ones, a command line's), `living` the rows placed there,
    whether its daemon counts them already or not: a launch just written takes its room at once."""

    host: int
    name: str
    open: bool  # gets new ranges
    heard: bool  # answers now
    awaited: bool  # silent, but not so long that it is lost (a restart), or never heard of yet
    capacity: int  # what its daemon carries
    most: int | None  # the administrator's quota, if any
    foreign: int
    living: int
    warm: int  # of `foreign`: ready ranges of the wanted scenario

    @property
    def limit(self) -> int:
        return self.capacity if self.most is None else min(self.capacity, self.most)

    @property
    def room(self) -> int:
        """A warm range of the wanted scenario is room: claiming it makes no further one."""
        return self.limit - self.living - self.foreign + self.warm


def choose(places: Iterable[Place]) -> Place | None:
    """The machine with a warm range waiting, then the one with most room; one that is only awaited when none is heard of
    with room and it has a place by what it last said. Names break ties, so that two askers choose alike."""
    fit = [place for place in places if place.open]
    heard = [place for place in fit if place.heard and place.room > 0]
    if heard:
        return min(heard, key=lambda place: (not place.warm, -place.room, place.name))
    awaited = [place for place in fit if place.awaited and not place.heard and (place.capacity == 0 or place.room > 0)]
    return min(awaited, key=lambda place: (-place.room, place.name)) if awaited else None
