"""Plant models by the name a scenario gives them (`model:` of the plant program)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cyber_range.engine.process.cnc_workshop import CncWorkshop
from cyber_range.engine.process.cold_store import ColdStore
from cyber_range.engine.process.dyeing_vat import DyeingVat
from cyber_range.engine.process.filling_line import FillingLine
from cyber_range.engine.process.heat_treatment_furnace import HeatTreatmentFurnace
from cyber_range.engine.process.injection_moulding import InjectionMoulding
from cyber_range.engine.process.plant import Plant
from cyber_range.engine.process.water_skid import WaterSkid

MODELS: Mapping[str, Callable[[Mapping[str, Any]], Plant]] = {
    "filling_line": FillingLine.of,
    "injection_moulding": InjectionMoulding.of,
    "heat_treatment_furnace": HeatTreatmentFurnace.of,
    "dyeing_vat": DyeingVat.of,
    "water_skid": WaterSkid.of,
    "cnc_workshop": CncWorkshop.of,
    "cold_store": ColdStore.of,
}
