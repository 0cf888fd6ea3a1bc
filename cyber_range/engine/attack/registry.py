"""Campaign steps by name: what each is in ATT&CK for ICS, what it needs, what it gains, what it does to the plant.

A step is a coroutine of (intruder, args, evidence). It raises `Blocked` when the defenders stopped it, and leaves its
undoing with `intruder.undo_with` when it changed something. Modules of `attack.steps` register theirs by the decorator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyber_range.engine.attack.intruder import Intruder
    from cyber_range.engine.attack.ways import Evidence

Action = Callable[["Intruder", Mapping[str, Any], "Evidence"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class StepForm:
    """`techniques`: ATT&CK for ICS v18.1 ids it can carry out; `needs`/`gains`: words of the intruder's knowledge."""

    name: str
    techniques: tuple[str, ...]
    action: Action
    needs: frozenset[str] = frozenset()
    gains: frozenset[str] = frozenset()

    @property
    def says(self) -> str:
        return (self.action.__doc__ or "").strip().splitlines()[0]


STEPS: dict[str, StepForm] = {}


def step(
    name: str, *techniques: str, needs: tuple[str, ...] = (), gains: tuple[str, ...] = ()
) -> Callable[[Action], Action]:
    """Registers a step under the name scenarios use for it."""

    def register(action: Action) -> Action:
        if name in STEPS:
            raise ValueError(f"two steps are called {name!r}")
        STEPS[name] = StepForm(name, techniques, action, frozenset(needs), frozenset(gains))
        return action

    return register
