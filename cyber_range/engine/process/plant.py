"""The door of every plant model: what the plant program asks of it, and the part that is the same for all.

A model is a pure function `step(state, commands, parameters, dt)` over frozen dataclasses; the class behind this door
holds the newest state, takes output images, gives input images, and tells variables and events.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol

from cyber_range.engine.process.image import Image
from cyber_range.engine.process.variable import Variable
from cyber_range.engine.process.watch import Event, Watch


class Plant(Protocol):
    """What agents/plant.py steps."""

    CONTROLLERS: ClassVar[tuple[str, ...]]

    def advance(self, seconds: float) -> None: ...

    def inputs(self, controller: str) -> dict[str, float]:
        """The input image of one controller, engineering units. LookupError for a name it does not know."""
        ...

    def outputs(self, controller: str, image: Mapping[str, float] | None) -> None:
        """Takes a controller's output image; None when it went silent."""
        ...

    def values(self) -> dict[str, float]: ...

    def variables(self) -> Sequence[Variable]:
        """Named and described; alarm limits are those set in the controllers now."""
        ...

    def events(self) -> list[Event]:
        """(kind, data) since the last call; kind is alarm, crossing or trip."""
        ...


class SteppedPlant(ABC):
    """A plant in pieces of at most MAX_STEP seconds. `TITLES` are the controllers' names on alarms.

    A logic that runs puts `alive` = 1 into its image; a stopped or silent controller's outputs are all zero, which is
    why 0 must be the de-energised state of every output. Such a controller's alarm limits stay as they were.
    LIMITS: controller -> {output: (variable, "low" | "high")}.
    """

    NAME: ClassVar[str]
    MAX_STEP: ClassVar[float]
    TITLES: ClassVar[Mapping[str, str]]
    CONTROLLERS: ClassVar[tuple[str, ...]]
    LIMITS: ClassVar[Mapping[str, Mapping[str, tuple[str, str]]]]

    def __init__(self, described: Sequence[Variable], watch: Watch) -> None:
        self._variables = list(described)
        self._watch = watch
        self._limits: dict[tuple[str, str], float] = {}
        self._alive: dict[str, bool] = {}
        self.clock_s = 0.0  # since the model was made

    # ------------------------------------------------------------ what each plant says

    @abstractmethod
    def piece(self, dt: float) -> None:
        """One step of `dt` seconds."""

    @abstractmethod
    def wired_inputs(self, controller: str) -> dict[str, float]: ...

    @abstractmethod
    def wired_outputs(self, controller: str, image: Image) -> None: ...

    @abstractmethod
    def values(self) -> dict[str, float]: ...

    def quiet(self, values: Mapping[str, float]) -> set[str]:
        """Variables whose alarms mean nothing at the moment."""
        return set()

    # ------------------------------------------------------------ what all do alike

    def advance(self, seconds: float) -> None:
        while seconds > 1e-9:
            dt = min(self.MAX_STEP, seconds)
            self.piece(dt)
            self.clock_s += dt
            seconds -= dt

    def inputs(self, controller: str) -> dict[str, float]:
        """Numbers and switches (0/1) of one controller, and the plant's clock for its timers."""
        self._known(controller)
        return {"clock_s": round(self.clock_s, 3), **self.wired_inputs(controller)}

    def outputs(self, controller: str, image: Mapping[str, Any] | None) -> None:
        self._known(controller)
        read = Image(image)
        self._alive[controller] = read.flag("alive")
        if self._alive[controller]:
            for output, (variable, side) in self.LIMITS.get(controller, {}).items():
                limit = read.given(output)
                if limit is not None and self._limits.get((variable, side)) != limit:
                    self._limits[variable, side] = limit
                    self._move_limit(variable, side, limit)
        self.wired_outputs(controller, read)

    def variables(self) -> Sequence[Variable]:
        return self._variables

    def events(self) -> list[Event]:
        values = self.values()
        stopped = {name: self.TITLES[name] for name, alive in self._alive.items() if not alive}
        return self._watch.events(values, self._variables, stopped, self.quiet(values))

    def _move_limit(self, variable: str, side: str, limit: float) -> None:
        for index, each in enumerate(self._variables):
            if each.name == variable:
                moved = replace(each, alarm_low=limit) if side == "low" else replace(each, alarm_high=limit)
                self._variables[index] = moved

    def _known(self, controller: str) -> None:
        if controller not in self.TITLES:
            raise LookupError(f"the {self.NAME} has no controller {controller!r}; there are: {', '.join(self.TITLES)}")
