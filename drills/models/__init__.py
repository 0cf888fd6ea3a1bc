from drills.models.followup import Finding
from drills.models.live import Drill, DrillEvent, EventText, FollowerLease, Seat, TerminalRecording
from drills.models.pages import DrillPage

__all__ = ["Drill", "DrillEvent", "DrillPage", "EventText", "Finding", "FollowerLease", "Seat", "TerminalRecording"]
