"""Which messages of the script are due. Times are drill seconds, so pauses and speed need no thought here."""

from __future__ import annotations

from drills.domain.events import InjectSpec
from drills.domain.state import State

OVER = ("done", "blocked", "failed", "skipped")


def due_at(state: State, inject: InjectSpec) -> float | None:
    """The drill second at which it falls due; None while the step it waits for is not over."""
    if inject.after_step is None:
        return inject.at_s
    step = state.steps.get(inject.after_step)
    if step is None or step.state not in OVER or step.ended_at is None:
        return None
    return step.ended_at + inject.at_s


def due(state: State, at: float) -> list[InjectSpec]:
    """What must be sent now, earliest first. Nothing while the drill stands."""
    if state.phase != "running" or state.script is None:
        return []
    now = state.now(at)
    waiting = [(due_at(state, inject), inject) for inject in state.script.injects if inject.id not in state.injects]
    ready = [(when, inject) for when, inject in waiting if when is not None and when <= now]
    return [inject for _when, inject in sorted(ready, key=lambda pair: (pair[0], pair[1].id))]


def over_time(state: State, at: float) -> bool:
    """Whether the drill has used up its time."""
    return state.phase == "running" and state.now(at) >= state.duration_s > 0
