"""The logics of all plants by the name a scenario gives them (`logic:` of a controller)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cyber_range.engine.process.logic.cnc_workshop import CncMachineLogic, CoolantStationLogic
from cyber_range.engine.process.logic.cold_store import ColdRoomsLogic, GlycolChillerLogic
from cyber_range.engine.process.logic.dyeing_vat import DyeDosingLogic, DyeingVatLogic
from cyber_range.engine.process.logic.filling_line import FillerLogic, TankLogic
from cyber_range.engine.process.logic.heat_treatment_furnace import FurnaceLogic, FurnaceSafetyLogic, QuenchLogic
from cyber_range.engine.process.logic.injection_moulding import MouldingPressLogic
from cyber_range.engine.process.logic.water_skid import ChlorineDosingLogic, NeutralisationLogic, WaterIntakeLogic
from cyber_range.engine.process.tag import Logic, Table, Tag

__all__ = ["LOGICS", "FillerLogic", "Logic", "Table", "Tag", "TankLogic"]

LOGICS: Mapping[str, Callable[[], Logic]] = {
    "tank": TankLogic,
    "filler": FillerLogic,
    "moulding_press": MouldingPressLogic,
    "furnace": FurnaceLogic,
    "quench": QuenchLogic,
    "furnace_safety": FurnaceSafetyLogic,
    "dyeing_vat": DyeingVatLogic,
    "dye_dosing": DyeDosingLogic,
    "water_intake": WaterIntakeLogic,
    "chlorine_dosing": ChlorineDosingLogic,
    "neutralisation": NeutralisationLogic,
    "cnc_machine": CncMachineLogic,
    "coolant_station": CoolantStationLogic,
    "cold_rooms": ColdRoomsLogic,
    "glycol_chiller": GlycolChillerLogic,
}
