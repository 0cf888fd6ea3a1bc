"""Every write of a drill is a verb here: keyword-only, atomic, no request. Views, commands, tasks and tests call the same."""

from drills.services.acting import (
    acknowledge_alarm,
    decide,
    erase_words,
    mark_inject_read,
    note,
    reply_inject,
    submit_objective,
    submit_report,
    take_hint,
)
from drills.services.evidence import drill_range_evidence, seat_evidence
from drills.services.following import copy_range_events
from drills.services.planning import change_plan, plan_drill
from drills.services.ranges import (
    attach_range,
    launch_range,
    open_terminal,
    relaunch_range,
    terminal_closed,
    terminal_opened,
)
from drills.services.refusal import Refused
from drills.services.reviewing import add_finding, close_drill, close_finding, finish_finding, write_lessons
from drills.services.running import (
    end,
    extend,
    fire_inject,
    mark_inject,
    pause,
    rate,
    resume,
    send_adhoc,
    set_speed,
    start,
    steer_campaign,
)
from drills.services.seats import invite, leave_seat, remove_from_seat, take_seat
from drills.services.ticking import clear_up, follow, follow_range

__all__ = [
    "Refused", "acknowledge_alarm", "add_finding", "attach_range", "change_plan", "clear_up", "close_drill", "close_finding",
    "copy_range_events", "decide", "drill_range_evidence", "end", "erase_words", "extend", "finish_finding", "fire_inject",
    "follow", "follow_range", "invite", "launch_range", "leave_seat", "mark_inject", "mark_inject_read", "note", "open_terminal", "pause",
    "plan_drill", "rate", "relaunch_range", "remove_from_seat", "reply_inject", "resume", "seat_evidence", "send_adhoc",
    "set_speed", "start", "steer_campaign", "submit_objective", "submit_report", "take_hint", "take_seat",
    "terminal_closed", "terminal_opened", "write_lessons",
]  # fmt: skip
