"""What a seat may see of the log. Pure: (event, viewer) -> the event as that seat sees it, or None.

White sees everything. Blue, red and observers see their side: no attacker steps, no script, no messages to others, no
alerts of zones they do not see. Red sees the attack (its own and the script's) and nothing of what the defenders know,
answer, ask for or report, nor the operator's alarms. Once the drill is ended everybody who took part sees everything (复盘).
"""

from __future__ import annotations

from dataclasses import dataclass

from drills.domain import events as ev
from drills.domain.state import Entry

# What range-host says to everyone who has a seat.
OPEN_RANGE = frozenset(["range.state", "range.clock", "range.node", "range.submission", "range.hint", "range.alarm", "range.crossing", "range.trip", "range.production", "range.console", "range.extended"])  # fmt: skip
ZONED_RANGE = frozenset(("range.alert", "range.asset", "range.capture"))
# An objective that opens would tell that the step before it has been done; that it holds or was lost is the team's own.
TEAM_OBJECTIVE_STATES = frozenset(("holding", "verified", "lost"))


# Of the range red learns only that it stands, how its clock goes, its own consoles, and the attack.
RED_RANGE = frozenset(("range.state", "range.clock", "range.node", "range.extended", "range.hand", "range.step"))
# What defenders do among themselves.
DEFENDERS = (ev.HintGiven, ev.ReportSubmitted, ev.AlarmAcknowledged)


@dataclass(frozen=True, slots=True)
class Viewer:
    """A seat looking at the log; `who` matters for words that are his own."""

    cell: str
    seat: str
    who: str
    sees: frozenset[str] = frozenset(("*",))
    everything: bool = False

    @classmethod
    def reviewing(cls) -> Viewer:
        return cls("review", "", "", everything=True)

    @property
    def all(self) -> bool:
        return self.everything or self.cell == "white"

    def zone(self, name: object) -> bool:
        return "*" in self.sees or str(name) in self.sees

    @property
    def operates(self) -> bool:
        """Whether the operator's screen is shown: attackers do not get it."""
        return self.everything or self.cell in ("white", "blue", "observer")


def project(entry: Entry, viewer: Viewer) -> ev.Event | None:
    """The event as the viewer sees it."""
    event = entry.event
    if viewer.all:
        return event
    kind = event.kind
    if isinstance(event, ev.ScriptSet):
        if viewer.cell == "red":  # what is asked of the defenders tells what they look for
            return event.model_copy(update={"injects": (), "objectives": (), "hints": ()})
        return event.model_copy(update={"injects": (), "steps": ()})
    if viewer.cell == "red" and isinstance(event, DEFENDERS):
        return None
    if isinstance(event, ev.InjectFired):
        if viewer.seat not in event.to and viewer.cell != "observer":
            return None
        if event.spec is None:
            return event
        # What each option is worth is learned by choosing.
        options = tuple(option.model_copy(update={"points": 0}) for option in event.spec.options)
        return event.model_copy(update={"spec": event.spec.model_copy(update={"options": options})})
    if isinstance(event, ev.InjectRead | ev.InjectReplied | ev.InjectDecided):
        mine = event.seat == viewer.seat or entry.actor == viewer.who or viewer.cell == "observer"
        return event if mine else None
    if isinstance(event, ev.NoteAdded):
        return event if event.scope == "all" or (event.scope == "team" and event.cell == viewer.cell) else None
    if isinstance(event, ev.RatingGiven | ev.InjectMarked | ev.LabCaptured | ev.FindingAdded | ev.CampaignSteered):
        return None  # the white cell's sheet is closed until the drill is ended
    if viewer.cell == "red" and isinstance(event, ev.FromRange):
        own = kind == "range.console" and event.data.get("seat") == viewer.seat
        return event if own or kind in RED_RANGE else None
    if kind == "range.objective":
        assert isinstance(event, ev.FromRange)
        return event if event.data.get("state") in TEAM_OBJECTIVE_STATES else None
    if kind in ZONED_RANGE:
        assert isinstance(event, ev.FromRange)
        return event if viewer.zone(event.data.get("zone")) else None
    if kind.startswith("range."):
        return event if kind in OPEN_RANGE else None
    return event
