"""The skid keeps water, chlorine and charge, gives the town 50 m³/h in spec, and does not when it is told so."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.process.water_skid import Commands, Parameters, acidity, start, step
from tests.cyber_range.engine.process.drawn import parameters
from tests.cyber_range.engine.process.loop import Loop

percent = st.floats(0, 100)
commands = st.builds(
    Commands,
    river_valve_pct=percent,
    raw_pump_pct=percent,
    town_pump_pct=percent,
    backwash=st.booleans(),
    dosing_pct=percent,
    base_pct=percent,
    divert=st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(parameters(Parameters), st.lists(st.tuples(commands, st.integers(1, 500)), min_size=1, max_size=5))
def test_water_chlorine_and_base_are_kept(p: Parameters, phases: list[tuple[Commands, int]]) -> None:
    before = s = start(p)
    for wanted, steps in phases:
        for _ in range(steps):
            s = step(s, wanted, p, 0.5)
            assert 0 <= s.raw_m3 <= p.raw_m3 + 1e-9
            assert 0 <= s.clear_m3 <= p.clear_m3 + 1e-9
            assert min(s.cells_g) >= -1e-9

    raw = s.raw_m3 - before.raw_m3 + s.filtered + s.raw_over
    assert raw == pytest.approx(s.river_total, abs=1e-6)
    clear = s.clear_m3 - before.clear_m3 + s.town_total + s.washed + s.clear_over
    assert clear == pytest.approx(s.filtered, abs=1e-6)
    chlorine = sum(s.cells_g) - sum(before.cells_g) + s.consumed_g + s.decayed_g + s.delivered_g + s.wasted_g
    assert chlorine == pytest.approx(s.dosed_g, abs=1e-6)
    base = s.net_mol - before.net_mol + s.out_mol
    assert base == pytest.approx(s.base_mol - s.acid_mol, abs=1e-6)
    received = p.waste_m3_h * sum(steps for _, steps in phases) * 0.5 / 3600
    assert s.discharged + s.emergency_m3 == pytest.approx(received, abs=1e-6)
    assert s.emergency_m3 <= p.emergency_m3 + 1e-9


@settings(max_examples=60)
@given(st.floats(-30, 30), st.floats(0.01, 5))
def test_more_base_is_never_more_acid(net: float, more: float) -> None:
    assert 0 <= acidity(net) <= acidity(net + more) <= 14


def test_known_waters_have_their_known_ph() -> None:
    assert acidity(0, 0) == pytest.approx(7, abs=0.01)
    assert acidity(-10, 0) == pytest.approx(2, abs=0.01)  # 10 mmol/L of strong acid
    assert acidity(10, 0) == pytest.approx(12, abs=0.01)
    assert acidity(3.0, 3.0) == pytest.approx(8.3, abs=0.2)  # bicarbonate


@pytest.mark.parametrize("scan", [1, 10])
def test_the_town_gets_fifty_cubic_metres_an_hour_in_spec(scan: float) -> None:
    loop = Loop("water_skid", scan=scan)

    values = loop.run(90)

    assert values["water_to_town"] == pytest.approx(75, abs=1)
    assert (values["offspec"], values["waste_offspec"], values["overflow"]) == (0, 0, 0)
    assert values["shortage"] < 0.5
    assert values["residual"] == pytest.approx(0.6, abs=0.05)
    assert values["waste_ph"] == pytest.approx(7.5, abs=0.4)
    assert values["waste_discharged"] == pytest.approx(9, abs=0.2)
    assert loop.told == []


@pytest.mark.parametrize(
    ("controller", "writes", "number", "least", "within"),
    [
        ("dosing", {"residual_setpoint": 6, "interlock": 0}, "offspec", 5, 15),
        ("dosing", {"auto": 0, "dosing_manual": 0}, "offspec", 5, 20),
        ("dosing", {"run": 0}, "offspec", 5, 20),
        ("wastewater", {"auto": 0, "base_manual": 0, "interlock": 0}, "waste_offspec", 0.5, 10),
        ("wastewater", {"ph_setpoint": 12, "interlock": 0}, "waste_offspec", 0.5, 12),
        ("intake", {"town_setpoint": 10}, "shortage", 5, 10),
        ("intake", {"run": 0}, "shortage", 5, 10),
        ("intake", {"auto": 0, "raw_pump_manual": 100, "town_pump_manual": 60, "interlock": 0}, "overflow", 1, 20),
    ],
)
def test_what_an_attacker_writes_harms_and_taking_it_back_helps(
    controller: str, writes: dict[str, float], number: str, least: float, within: float
) -> None:
    loop = Loop("water_skid")
    usual = {name: loop.tags[controller][name] for name in writes}
    loop.run(2)

    loop.write(controller, **writes)
    harmed = loop.run(within)
    loop.write(controller, **usual)
    recovering = loop.run(40)
    recovered = loop.run(10)

    assert harmed[number] >= least
    assert recovered[number] - recovering[number] < 0.05
    assert recovered["water_to_town"] - recovering["water_to_town"] == pytest.approx(8.33, abs=0.3)


def test_the_interlocks_keep_most_of_it_away() -> None:
    loop = Loop("water_skid")
    loop.write("dosing", residual_setpoint=6)
    loop.write("wastewater", auto=0, base_manual=0)

    values = loop.run(30)

    assert values["residual"] < 2.6
    assert values["waste_offspec"] == 0
    assert values["divert"] == 1
    assert values["emergency_level"] > 5


def test_a_filter_that_is_never_washed_lets_turbidity_through() -> None:
    loop = Loop("water_skid")
    loop.write("intake", backwash_enable=0)

    values = loop.run(150)

    assert values["filter_dp"] > 75
    assert values["turbidity"] > 1
    assert values["offspec"] > 1


def test_a_stopped_intake_controller_drains_the_tanks_with_its_drives_held() -> None:
    loop = Loop("water_skid")
    loop.stopped.add("intake")

    soon = loop.run(10)
    late = loop.run(40)

    assert (soon["river_valve"], soon["town_flow"]) == (0, pytest.approx(50, abs=1))
    assert (late["raw_flow"], late["dosing_pump"]) == (0, 0)  # the dosing pump's contactor follows the raw pump
    assert late["raw_level"] >= 4
    assert late["shortage"] > 3


def test_a_stopped_dosing_controller_stops_its_pump() -> None:
    loop = Loop("water_skid")
    loop.stopped.add("dosing")

    assert loop.run(1)["dosing_pump"] == 0
