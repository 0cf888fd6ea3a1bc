"""Plant and controllers in closed loop, as the fieldbus ties them: an attacker or an operator writes tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS

# model -> {controller: logic}
WIRING: dict[str, dict[str, str]] = {
    "filling_line": {"tank": "tank", "filler": "filler"},
    "injection_moulding": dict.fromkeys(("press1", "press2", "press3"), "moulding_press"),
    "heat_treatment_furnace": {"furnace": "furnace", "quench": "quench", "safety": "furnace_safety"},
    "dyeing_vat": {"vat": "dyeing_vat", "dosing": "dye_dosing"},
    "water_skid": {"intake": "water_intake", "dosing": "chlorine_dosing", "wastewater": "neutralisation"},
    "cnc_workshop": {**dict.fromkeys(("cnc1", "cnc2", "cnc3", "cnc4"), "cnc_machine"), "coolant": "coolant_station"},
    "cold_store": {"rooms": "cold_rooms", "chiller": "glycol_chiller"},
}


class Loop:
    """`scan` is the seconds between two scans: 0.05 on the scenario's clock, more when a bot runs it faster."""

    def __init__(self, model: str, parameters: Mapping[str, Any] | None = None, *, scan: float = 2.0) -> None:
        self.plant = MODELS[model](parameters or {})
        self.logics = {name: LOGICS[logic]() for name, logic in WIRING[model].items()}
        self.tags = {name: {tag.name: float(tag.start) for tag in logic.tags} for name, logic in self.logics.items()}
        self.stopped: set[str] = set()
        self.forced: dict[str, dict[str, float]] = {}
        self.scan = scan
        self.minutes = 0.0
        self.told: list[tuple[str, dict[str, Any]]] = []

    def write(self, controller: str, **tags: float) -> None:
        unknown = set(tags) - {tag.name for tag in self.logics[controller].tags if tag.operator}
        assert not unknown, f"{controller} has no operator tags {unknown}"
        self.tags[controller] |= {name: float(value) for name, value in tags.items()}

    def force(self, controller: str, **outputs: float) -> None:
        """Outputs overridden past the logic (a downloaded block, an I/O force)."""
        self.forced[controller] = {name: float(value) for name, value in outputs.items()}

    def run(self, minutes: float) -> dict[str, float]:
        for _ in range(round(minutes * 60 / self.scan)):
            for name, logic in self.logics.items():
                image = logic.scan(self.tags[name], self.plant.inputs(name)) | self.forced.get(name, {})
                self.plant.outputs(name, dict.fromkeys(image, 0.0) if name in self.stopped else image)
            self.plant.advance(self.scan)
            self.told += self.plant.events()
        self.minutes += minutes
        return self.plant.values()

    def trace(self, minutes: float, names: Iterable[str]) -> list[dict[str, float]]:
        """One row a minute."""
        wanted = tuple(names)
        rows = []
        for _ in range(round(minutes)):
            values = self.run(1)
            rows.append({name: values[name] for name in wanted})
        return rows

    def events(self, kind: str) -> list[str]:
        return [f"{data['name']}:{data.get('state', '')}" for k, data in self.told if k == kind]
