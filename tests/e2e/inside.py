"""What a browser test may know from inside the product: answers a clicking learner would have learned. Run as a script
in the product's own environment: `python tests/e2e/inside.py <question> [arguments]`, prints JSON."""

from __future__ import annotations

import json
import sys

import django

django.setup()

from courses import services as courses  # noqa: E402  apps must be ready first
from courses.models import ExamSession  # noqa: E402  apps must be ready first
from cyber_range import services as ranges  # noqa: E402  apps must be ready first
from drills.models import Drill  # noqa: E402  apps must be ready first


def exam_answers(username: str) -> dict[str, object]:
    """Question number → right answer in the running sitting's own option names."""
    session = ExamSession.objects.filter(user__username=username).latest("started_at")
    return {str(number): answer for number, answer in courses.right_answers(session).items()}


def solver() -> list[dict[str, object]]:
    """The scripted blue team of the newest drill's range."""
    return list(ranges.call(Drill.objects.latest("pk").instance, "solver")["actions"])


def campaign() -> dict[str, str]:
    """Attack step → state."""
    status = ranges.call(Drill.objects.latest("pk").instance, "status")
    return {step["id"]: step["state"] for step in status["campaign"]}


def hurry(speed: str) -> float:
    """The planned drill's scenario clock runs faster: plant, campaign and injects; protocols stay real."""
    Drill.objects.filter(phase="planned").update(speed=float(speed))
    return float(speed)


QUESTIONS = {"exam_answers": exam_answers, "solver": solver, "campaign": campaign, "hurry": hurry}
sys.stdout.write(json.dumps(QUESTIONS[sys.argv[1]](*sys.argv[2:])) + "\n")
