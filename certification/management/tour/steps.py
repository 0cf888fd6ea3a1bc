"""What a step of the tour is: it happened, with figures, or the tour has failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


class NotSo(Exception):
    """Something the tour looked for is not so; its words say what."""


@dataclass(slots=True)
class Step:
    name: str
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Diary:
    """Prints steps as they go and keeps them."""

    say: Callable[[str], None]
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """`with diary.step("…") as facts:` – the facts put in are printed; an exception ends the tour."""
        step = Step(name)
        began = time.monotonic()
        self.say(f"▸ {name}")
        yield step.facts
        step.seconds = round(time.monotonic() - began, 2)
        self.steps.append(step)
        for key, value in step.facts.items():
            self.say(f"    {key}: {value}")
        self.say(f"  ✓ {step.seconds:.1f} 秒")


def must(condition: object, words: str) -> None:
    if not condition:
        raise NotSo(words)


def wait_until(look: Callable[[], Any], *, seconds: float, what: str, every: float = 0.3) -> Any:
    """The first true value of `look()`; NotSo with `what` when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise NotSo(f"{what}（{seconds:.0f} 秒内没有发生）")
        time.sleep(every)
