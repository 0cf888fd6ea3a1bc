"""The demo's standard and its rule. No certificate is made up: each one in the demo is earned in it."""

from __future__ import annotations

from certification import services
from lms.accounts.demo import Demo

ORDER = 40
COURSE, SCENARIO = "ics-security-basics", "filling_line"


def load(demo: Demo) -> None:
    """Loads the standards and ties the first level to the course and the scenario; again changes nothing."""
    standards = services.load_standards()
    level = next(s for s in standards if s.code == "ics-ops").levels.get(rank=1)
    services.set_rule(
        level=level,
        data={
            "hours": float(level.min_hours),
            "course": COURSE,
            "exam": float(level.theory_pass),
            "drill": {"scenario": SCENARIO, "score": float(level.practice_pass), "held": 0.7, "own_actions": 1},
        },
        assessed_by=demo.organisations["assessment"],
    )
    demo.say(f"岗位标准 {len(standards)} 部、授予规则 1 条")
