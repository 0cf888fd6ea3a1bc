"""Each plant with its controllers as real programs on sockets, on a clock as fast as bots run it."""

from __future__ import annotations

import pytest

from cyber_range.engine.agents.modbus_link import ModbusLink
from cyber_range.engine.process.controllers import LOGICS
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs
from tests.cyber_range.engine.agents.plans import tags
from tests.cyber_range.engine.process.loop import WIRING

# model -> what it makes, how much of it in ten minutes at least, and an alarm limit: controller, tag, variable
CASES = {
    "injection_moulding": ("parts_good", 160, ("press2", "limit_melt_high", "m2_melt")),
    "heat_treatment_furnace": ("parts_good", 80, ("furnace", "limit_zone2_high", "zone2")),
    "dyeing_vat": ("on_recipe", 350, ("vat", "limit_temp_high", "temp")),
    "water_skid": ("water_to_town", 8, ("dosing", "limit_residual_high", "residual")),
    "cnc_workshop": ("parts_good", 24, ("cnc3", "limit_wear_high", "c3_wear")),
    "cold_store": ("shipped", 160, ("rooms", "limit_freeze_high", "freeze_temp")),
}


@pytest.mark.parametrize(("number", "model"), list(enumerate(CASES, 60)))
async def test_a_plant_produces_under_its_real_controllers(number: int, model: str) -> None:
    counter, least, (controller, limit, variable) = CASES[model]
    address = {name: f"127.{number}.0.{10 + i}" for i, name in enumerate(WIRING[model])}
    line = Running("plant", "plant", f"127.{number}.0.2", {"model": model, "controllers": address})
    controllers = []
    for name, logic in WIRING[model].items():
        spec = {"logic": logic, "controller": name, "plant": f"127.{number}.0.2", "tags": tags(LOGICS[logic]())}
        controllers.append(Running(f"plc_{name}", "modbus_plc", address[name], spec))
    declared = next(tag for tag in LOGICS[WIRING[model][controller]]().tags if tag.name == limit)

    async with programs(line, *controllers):
        line.inbox.put_nowait({"kind": "clock", "speed": 60})
        made = await line.until(lambda m: m["kind"] == "telemetry" and m["values"][counter] >= least, timeout=90)
        place = tags(LOGICS[WIRING[model][controller]]())[limit]["address"]
        link = await ModbusLink.connect(LoopbackNet(f"127.{number}.0.9"), address[controller])
        await link.write("holding", place, [round(99 * declared.scale)])
        link.close()
        moved = await line.until(
            lambda m: (
                m["kind"] == "variables"
                and next(v for v in m["variables"] if v["name"] == variable)["alarm_high"] == 99
            ),
            timeout=60,
        )

    assert made["t"] <= 720
    assert moved["kind"] == "variables"
    assert line.of("trip") == []
