"""The vat keeps water, heat and every gram, dyes a batch on shade in 22 minutes, and misses it when told to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.process.dyeing_vat import Commands, Parameters, State, acidity, heat_kj_k, step
from tests.cyber_range.engine.process.drawn import parameters
from tests.cyber_range.engine.process.loop import Loop

flags = st.tuples(st.booleans(), st.booleans(), st.booleans())
commands = st.builds(
    Commands,
    fill=st.booleans(),
    fill_to_l=st.floats(0, 2000),
    drain=st.booleans(),
    steam_pct=st.floats(0, 100),
    cooling_pct=st.floats(0, 100),
    pump=st.booleans(),
    change=st.booleans(),
    wanted=flags,
    dose_g=st.tuples(st.floats(0, 40_000), st.floats(0, 3000), st.floats(0, 20_000)),
    dose_g_s=st.tuples(st.floats(0, 500), st.floats(0, 50), st.floats(0, 200)),
)


@settings(max_examples=25, deadline=None)
@given(parameters(Parameters), st.lists(st.tuples(commands, st.integers(1, 400)), min_size=1, max_size=6))
def test_water_heat_and_every_gram_are_kept(p: Parameters, phases: list[tuple[Commands, int]]) -> None:
    before = s = State(level_l=0.0, temp_c=p.water_c)
    for wanted, steps in phases:
        for _ in range(steps):
            s = step(s, wanted, p, 0.5)
            assert -1e-9 <= s.level_l <= p.vat_l + 1e-6
            assert s.temp_c <= 100.0

    assert s.level_l + s.drained_l + s.spilled_l == pytest.approx(s.filled_l, abs=1e-6)
    dye = s.bath_g + s.fibre_g + s.fixed_g + s.hydrolysed_g + s.drained_dye_g + s.taken_g
    assert dye == pytest.approx(s.dosed_g[1], abs=1e-6)
    assert s.salt_g + s.drained_salt_g == pytest.approx(s.dosed_g[0], abs=1e-6)
    assert s.alkali_g + s.drained_alkali_g == pytest.approx(s.dosed_g[2], abs=1e-6)
    stored = heat_kj_k(s.level_l, p) * s.temp_c - heat_kj_k(before.level_l, p) * before.temp_c
    given_kj = s.steam_kj + s.filled_kj
    assert stored + s.cooled_kj + s.lost_kj + s.carried_kj == pytest.approx(given_kj, abs=1e-3, rel=1e-9)


def test_alkali_makes_the_bath_basic() -> None:
    assert acidity(0, 480) == 7
    assert acidity(9600, 480) == pytest.approx(11, abs=0.05)


@pytest.mark.parametrize("scan", [1, 5, 10])
def test_the_recipe_gives_three_batches_on_shade_in_seventy_minutes(scan: float) -> None:
    loop = Loop("dyeing_vat", scan=scan)

    values = loop.run(70)

    assert (values["batches"], values["kg_good"], values["kg_rework"]) == (3, 180, 0)
    assert values["last_delta_e"] < 0.6
    assert values["on_recipe"] > 2700
    assert values["off_recipe"] < 60
    assert values["spill"] == 0
    assert loop.told == []


@pytest.mark.parametrize(
    ("controller", "writes"),
    [
        ("vat", {"temp_setpoint": 80, "interlock": 0}),
        ("vat", {"gradient": 15}),
        ("vat", {"hold_minutes": 0.5}),
        ("dosing", {"dye_dose": 1400}),
        ("dosing", {"dye_dose": 1000}),
        ("dosing", {"salt_dose": 5}),
        ("dosing", {"alkali_dose": 1}),
    ],
)
def test_a_changed_recipe_misses_the_shade_and_the_right_one_meets_it_again(
    controller: str, writes: dict[str, float]
) -> None:
    loop = Loop("dyeing_vat")
    usual = {name: loop.tags[controller][name] for name in writes}
    loop.write(controller, **writes)

    spoiled = loop.run(26)
    loop.write(controller, **usual)
    later = loop.run(44)

    assert (spoiled["kg_good"], spoiled["kg_rework"]) == (0, 60)
    assert spoiled["last_delta_e"] > 1
    assert later["kg_good"] >= 60


def test_a_hot_bath_is_seen_at_once_as_time_off_the_recipe() -> None:
    loop = Loop("dyeing_vat")
    loop.write("vat", temp_setpoint=80, interlock=0)

    values = loop.run(13)

    assert values["off_recipe"] > 100
    assert values["curve_deviation"] > 15
    assert "temp_high:on" in loop.events("alarm")
    assert "curve_deviation:" in loop.events("crossing")


def test_the_interlock_cuts_the_steam_of_a_hot_bath() -> None:
    loop = Loop("dyeing_vat")
    loop.write("vat", temp_setpoint=95)

    values = loop.run(14)

    assert values["tripped"] == 1
    assert values["temp"] < 76


def test_the_thermostat_holds_when_everything_else_is_off() -> None:
    loop = Loop("dyeing_vat")
    loop.run(4)
    loop.write("vat", auto=0, manual_pump=1, manual_steam=100, interlock=0)

    assert loop.run(25)["temp"] <= 98.5


def test_water_left_open_spills_dye_liquor() -> None:
    loop = Loop("dyeing_vat")
    loop.run(5)
    loop.write("vat", auto=0, manual_fill=1, interlock=0)

    values = loop.run(5)

    assert values["spill"] > 1500
    assert "level_high:on" in loop.events("alarm")


def test_a_stopped_controller_loses_the_batch_but_goes_on_with_it() -> None:
    loop = Loop("dyeing_vat")
    loop.run(7)
    loop.stopped.add("vat")
    stopped = loop.run(12)
    loop.stopped.clear()

    values = loop.run(16)

    assert (stopped["circulating"], stopped["steam"], stopped["off_recipe"]) == (0, 0, pytest.approx(720, abs=10))
    assert (values["batches"], values["kg_rework"]) == (1, 60)
