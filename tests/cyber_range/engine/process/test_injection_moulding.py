"""The moulding cell keeps heat and resin, makes 54 good parts in three minutes, and spoils them when it is told to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.process.injection_moulding import CAVITIES, MachineCommands, Parameters, start, step
from tests.cyber_range.engine.process.drawn import parameters
from tests.cyber_range.engine.process.loop import Loop

percent = st.floats(0, 100)
commands = st.builds(
    MachineCommands,
    heat_pct=st.tuples(percent, percent, percent, percent),
    run=st.booleans(),
    clamp_kn=st.floats(0, 3000),
    injection_mpa=st.floats(0, 250),
    cooling_s=st.floats(0, 30),
    tripped=st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(parameters(Parameters), st.lists(st.tuples(commands, st.integers(1, 300)), min_size=1, max_size=5))
def test_heat_and_resin_are_kept(p: Parameters, phases: list[tuple[MachineCommands, int]]) -> None:
    before = state = start(p)
    for wanted, steps in phases:
        for _ in range(steps):
            state = step(state, (wanted,) * 3, p, 0.1)

    for old, new in zip(before, state, strict=True):
        stored = sum(b - a for a, b in zip(old.zones_c, new.zones_c, strict=True)) * p.zone_heat_kj_k
        assert stored + new.lost_kj + new.melt_kj == pytest.approx(new.heater_kj, abs=1e-6)
        held = new.melt_kg + new.cavity_kg - old.melt_kg - old.cavity_kg
        assert new.resin_kg - old.resin_kg == pytest.approx(new.moulded_kg + held, abs=1e-9)
        assert (new.good + new.scrap) % CAVITIES == 0
        assert new.clamp_kn <= p.clamp_max_kn + 1e-9
        assert new.pressure_mpa <= p.pressure_max_mpa + 1e-9


@settings(max_examples=15, deadline=None)
@given(parameters(Parameters), st.integers(100, 1500))
def test_no_controller_passes_the_thermostat(p: Parameters, steps: int) -> None:
    """Full power for as long as one likes: the hard-wired thermostat holds the barrel."""
    state, full = start(p), MachineCommands(heat_pct=(100.0,) * 4)
    for _ in range(steps):
        state = step(state, (full,) * 3, p, 0.1)

    assert max(state[0].zones_c) <= p.thermostat_c + 1


@pytest.mark.parametrize("scan", [1, 5, 10])
def test_nominal_production_is_eighteen_good_parts_a_minute_at_any_clock_speed(scan: float) -> None:
    loop = Loop("injection_moulding", scan=scan)

    values = loop.run(30)

    assert values["parts_good"] == pytest.approx(540, abs=8)
    assert (values["parts_scrap"], values["mould_damage"]) == (0, 0)
    assert values["m1_melt"] == pytest.approx(230, abs=3)
    assert values["m1_cycle"] == pytest.approx(20, abs=0.2)
    assert values["energy"] == pytest.approx(17.9, abs=1)
    assert loop.told == []


@pytest.mark.parametrize(
    ("writes", "fault", "within"),
    [
        ({"clamp_setpoint": 600}, "scrap_flash", 5),
        ({"injection_setpoint": 60}, "scrap_short", 5),
        ({"cooling_setpoint": 3}, "scrap_warped", 5),
        ({"zone2_setpoint": 280, "zone3_setpoint": 290, "nozzle_setpoint": 290, "interlock": 0}, "scrap_burnt", 10),
    ],
)
def test_a_wrong_set_point_makes_scrap_and_the_right_one_good_parts_again(
    writes: dict[str, float], fault: str, within: float
) -> None:
    loop = Loop("injection_moulding")
    usual = {name: loop.tags["press2"][name] for name in writes}
    loop.run(2)

    loop.write("press2", **writes)
    harmed = loop.run(within)
    loop.write("press2", **usual)
    loop.run(4)
    loop.write("press2", reset=1)  # a barrel that was still too hot has tripped the interlock
    recovering = loop.run(4)
    recovered = loop.run(5)

    assert harmed[fault] >= 10
    assert harmed["m1_scrap"] == harmed["m3_scrap"] == 0
    assert recovered["parts_scrap"] == recovering["parts_scrap"]
    assert recovered["m2_good"] - recovering["m2_good"] == pytest.approx(30, abs=3)


def test_the_interlock_stops_an_overheated_barrel_before_much_is_burnt() -> None:
    loop = Loop("injection_moulding")
    loop.write("press2", zone2_setpoint=290, zone3_setpoint=290, nozzle_setpoint=290)

    values = loop.run(12)

    assert values["m2_tripped"] == 1
    assert values["m2_scrap"] <= 20
    assert max(values["m2_zone3"], values["m2_nozzle"]) < 285
    assert loop.events("trip") == ["m2_tripped:"]


def test_too_much_clamp_force_wears_the_mould_and_spoils_nothing_else() -> None:
    loop = Loop("injection_moulding")
    loop.write("press1", clamp_setpoint=1250)

    values = loop.run(5)

    assert values["mould_damage"] == pytest.approx(15, abs=2)
    assert values["parts_scrap"] == 0
    assert "m1_clamp_set_high:on" in loop.events("alarm")


def test_a_cold_screw_trips_its_torque_limiter_even_with_the_interlock_off() -> None:
    loop = Loop("injection_moulding")
    loop.write("press3", heaters=0, interlock=0)

    cold = loop.run(30)
    loop.write("press3", heaters=1, interlock=1)
    loop.run(15)
    loop.write("press3", run=0)
    loop.run(0.2)
    loop.write("press3", run=1, reset=1)
    before = loop.run(2)
    warm = loop.run(3)

    assert cold["m3_tripped"] == 1
    assert cold["m3_scrap"] > 0
    assert (warm["m3_tripped"], warm["m3_good"] - before["m3_good"]) == (0, pytest.approx(18, abs=2))


def test_a_stopped_controller_lets_its_machine_stand_and_cool() -> None:
    loop = Loop("injection_moulding")
    loop.stopped.add("press1")

    values = loop.run(10)

    assert (values["m1_phase"], values["m1_clamp"]) == (0, 0)
    assert values["m1_nozzle"] < 170
    assert values["m2_good"] == pytest.approx(60, abs=3)
