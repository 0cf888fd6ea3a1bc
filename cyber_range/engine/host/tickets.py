"""One-use tickets for terminals: the caller who may open one hands a ticket to the browser, nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from cyber_range.engine.errors import Refused

LONGEST = 300.0  # seconds a ticket may live


@dataclass(frozen=True, slots=True)
class Bound:
    """What a ticket is for."""

    range_id: str
    session: str
    seat: str
    node: str


class Tickets:
    """Tickets of one daemon. They do not survive it, on purpose."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._open: dict[str, tuple[Bound, float]] = {}

    def issue(self, bound: Bound, lifetime: float) -> tuple[str, float]:
        """(ticket, when it expires)."""
        self._open = {ticket: kept for ticket, kept in self._open.items() if kept[1] > self._now()}
        ticket = secrets.token_urlsafe(24)
        expires = self._now() + min(max(lifetime, 1.0), LONGEST)
        self._open[ticket] = (bound, expires)
        return ticket, expires

    def redeem(self, ticket: str, bound: Bound) -> None:
        """Uses a ticket up, whether it fits or not: who tries a stolen one elsewhere has burnt it."""
        found = self._open.pop(ticket, None)
        if found is None:
            raise Refused("this ticket was used already or never given", remedy="Open the terminal again")
        kept, expires = found
        if expires <= self._now():
            raise Refused("this ticket has expired", remedy="Open the terminal again")
        if kept != bound:
            raise Refused("this ticket is for another terminal", remedy="Open the terminal from your own seat")

    def void(self, *, range_id: str, session: str | None = None, seat: str | None = None) -> int:
        """Takes back the tickets of a range, a session or a seat."""
        gone = [
            ticket
            for ticket, (bound, _) in self._open.items()
            if bound.range_id == range_id
            and (session is None or bound.session == session)
            and (seat is None or bound.seat == seat)
        ]
        for ticket in gone:
            del self._open[ticket]
        return len(gone)
