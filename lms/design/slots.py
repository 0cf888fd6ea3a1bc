"""Named places on shared screens that apps fill from above: nothing looks up the stairs.

An app fills a slot in its wagtail_hooks with `@hooks.register("slot:learner_home", order=20)`; the function takes
(request, context) and returns safe markup, or "" when it has nothing to say to this person.

Slots: learner_home, learner_me, dossier, course_page, bureau_figures, doctor, range_home, range_scenario.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from wagtail import hooks


def fill(name: str, request: HttpRequest, context: dict[str, Any]) -> list[str]:
    """What the apps put into the slot, in their order, without the empty ones."""
    parts = [fn(request, context) for fn in hooks.get_hooks(f"slot:{name}")]
    return [part for part in parts if part]
