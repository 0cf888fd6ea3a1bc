"""The furnace keeps its energy, hardens ten bolts a minute, and ruins them or itself when it is told to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.process.heat_treatment_furnace import PARTS, Commands, Parameters, start, step
from tests.cyber_range.engine.process.drawn import parameters
from tests.cyber_range.engine.process.loop import Loop

percent = st.floats(0, 100)
commands = st.builds(
    Commands,
    valves_pct=st.tuples(percent, percent, percent),
    push=st.booleans(),
    push_interval_s=st.floats(0, 400),
    door_hold=st.booleans(),
    cooler_pct=percent,
    gas_permit=st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(parameters(Parameters), st.lists(st.tuples(commands, st.integers(1, 400)), min_size=1, max_size=5))
def test_energy_is_kept(p: Parameters, phases: list[tuple[Commands, int]]) -> None:
    before = s = start(p)
    for wanted, steps in phases:
        for _ in range(steps):
            s = step(s, wanted, p, 0.5)

    lining = (sum(s.zones_c) - sum(before.zones_c)) * p.lining_kj_k
    assert s.flue_kj + s.wall_kj + s.door_kj + s.load_kj + lining == pytest.approx(s.fuel_kj, abs=1e-3, rel=1e-9)
    # what the trays took stands in those on the way (they came in at room heat) or went into the oil
    pushed = (s.good + s.coarse + s.soft) // PARTS
    in_trays = sum(t.core_c for t in s.trays) - sum(t.core_c for t in before.trays)
    left = s.load_kj + pushed * p.tray_kj_k * p.ambient_c - in_trays * p.tray_kj_k  # core heat above 0 °C of what left
    oil = (s.oil_c - before.oil_c) * p.oil_kj_k
    assert oil + s.cooled_kj == pytest.approx(s.quenched_kj, abs=1e-3, rel=1e-9)
    if pushed == 0:
        assert s.quenched_kj == 0
        assert left == pytest.approx(0, abs=1e-3)
    assert len(s.trays) == 9
    assert s.muffle_h >= 0


@pytest.mark.parametrize("scan", [1, 10])
def test_nominal_production_is_ten_good_bolts_a_minute(scan: float) -> None:
    loop = Loop("heat_treatment_furnace", scan=scan)

    values = loop.run(60)

    assert values["parts_good"] == pytest.approx(600, abs=20)
    assert (values["parts_coarse"], values["parts_soft"], values["fuse_blown"]) == (0, 0, 0)
    assert [values[f"zone{n}"] for n in (1, 2, 3)] == pytest.approx([780, 860, 860], abs=5)
    assert values["oil"] == pytest.approx(60, abs=4)
    assert values["muffle_life"] == pytest.approx(1, abs=0.1)
    assert values["gas"] == pytest.approx(28, abs=3)
    assert loop.told == []


def test_raised_set_points_are_stopped_by_the_interlock() -> None:
    loop = Loop("heat_treatment_furnace")
    loop.write("furnace", zone2_setpoint=960, zone3_setpoint=960)

    values = loop.run(20)

    assert (values["furnace_tripped"], values["safety_tripped"], values["burner3"]) == (1, 0, 0)


def test_without_the_interlock_the_protection_of_its_own_shuts_the_gas() -> None:
    loop = Loop("heat_treatment_furnace")
    loop.write("furnace", zone2_setpoint=1000, zone3_setpoint=1000, interlock=0)

    values = loop.run(25)

    assert (values["furnace_tripped"], values["safety_tripped"], values["gas_permit"]) == (0, 1, 0)
    assert values["parts_coarse"] >= 60
    assert values["fuse_blown"] == 0
    assert values["muffle_life"] < 5


def test_with_the_protection_bypassed_the_muffle_ages_days_in_minutes_until_its_link_melts() -> None:
    """T0836, T0837: set-points up, interlock off, protection bypassed."""
    loop = Loop("heat_treatment_furnace")
    loop.write("furnace", auto=0, manual_valve=100, interlock=0)
    loop.write("safety", bypass=1)

    half = loop.run(20)
    end = loop.run(25)

    assert half["parts_coarse"] >= 80
    assert half["zone3"] > 960
    assert end["muffle_life"] > 48
    assert (end["fuse_blown"], end["gas_flow"]) == (1, 0)


def test_taking_the_attack_back_recovers_production() -> None:
    loop = Loop("heat_treatment_furnace")
    loop.write("furnace", zone2_setpoint=940, zone3_setpoint=940, interlock=0)
    loop.run(12)
    loop.write("furnace", zone2_setpoint=860, zone3_setpoint=860)
    loop.run(8)
    loop.write("furnace", interlock=1, reset=1)

    recovering = loop.run(24)
    recovered = loop.run(10)

    assert recovering["parts_coarse"] > 0
    assert recovered["parts_coarse"] == recovering["parts_coarse"]
    assert recovered["parts_good"] - recovering["parts_good"] == pytest.approx(100, abs=20)


@pytest.mark.parametrize(
    ("controller", "writes", "within"),
    [
        ("quench", {"push_interval": 50}, 8),
        ("quench", {"cooler_auto": 0, "interlock": 0}, 16),
        ("furnace", {"burners": 0}, 14),
        ("quench", {"door_hold": 1}, 10),
    ],
)
def test_what_makes_bolts_soft(controller: str, writes: dict[str, float], within: float) -> None:
    loop = Loop("heat_treatment_furnace")
    loop.run(2)

    loop.write(controller, **writes)
    values = loop.run(within)

    assert values["parts_soft"] >= 40
    assert values["parts_coarse"] == 0


def test_hot_oil_blocks_the_pusher_whatever_the_controllers_say() -> None:
    loop = Loop("heat_treatment_furnace")
    loop.write("quench", cooler_auto=0, interlock=0)

    values = loop.run(60)

    assert values["oil"] < 165
    assert loop.run(10)["parts_soft"] == values["parts_soft"]


def test_a_stopped_safety_controller_shuts_the_gas() -> None:
    loop = Loop("heat_treatment_furnace")
    loop.stopped.add("safety")

    values = loop.run(1)

    assert (values["gas_permit"], values["gas_flow"]) == (0, 0)
