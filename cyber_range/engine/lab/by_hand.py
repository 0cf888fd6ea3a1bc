"""A person at the intruder's terminal did a step: which step of the script that was.

A script's step that red has done by hand need not be done again, what waits for it may begin, objectives about it open and
messages after it go out. It is the same step when it is the same deed on the same target, whatever value was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.lab.campaign import StepState

# What a deed is aimed at. Values, counts and times are how it was done; a person may choose others.
AIMS = ("host", "resolver", "domain", "table", "address", "node", "tag", "object", "folder", "account", "machine")
MODBUS_POINT = frozenset({"write", "interlock_off", "suppress_alarm", "alarm_limit", "scan_task", "modbus_mode"})


def step_done(states: Iterable[StepState], *, node: str, program: str, step: str, args: Mapping[str, Any]) -> str:
    """Id of the script's step that this was, the first that still waits; "" when it is none of them."""
    for state in states:
        form = state.step
        ours = (form.node, form.program) == (node, program) and state.state in ("waiting", "blocked", "skipped")
        if ours and same_deed(form.step, form.args, step, args):
            return form.id
    return ""


def same_deed(wanted: str, wanted_args: Mapping[str, Any], done: str, args: Mapping[str, Any]) -> bool:
    if wanted != done and not {wanted, done} <= MODBUS_POINT:
        return False
    if wanted != done and not all("address" in one and "host" in one for one in (wanted_args, args)):
        return False  # another way to write a point is the same deed only when it is the same point
    if topics(wanted_args) != topics(args):
        return False
    return all(str(wanted_args[aim]) == str(args[aim]) for aim in AIMS if aim in wanted_args and aim in args)


def topics(args: Mapping[str, Any]) -> set[str]:
    """Topics of orders or reports; none when the step has none."""
    several = [one for key in ("orders", "reports") for one in args.get(key) or () if isinstance(one, Mapping)]
    return {str(one["topic"]) for one in (*several, args) if "topic" in one}


def techniques_of(step: str) -> list[str]:
    form = STEPS.get(step)
    return list(form.techniques) if form else []
