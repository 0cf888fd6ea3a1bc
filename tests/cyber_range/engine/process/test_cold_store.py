"""The store keeps its heat and its goods, ships 32 kg a minute, and spoils them when it is told to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.process.cold_store import GLYCOL_KJ_K, LOTS, Commands, Parameters, start, step
from tests.cyber_range.engine.process.drawn import parameters
from tests.cyber_range.engine.process.loop import Loop

percent = st.floats(0, 100)
commands = st.builds(
    Commands,
    chill_valve_pct=percent,
    chill_fan=st.booleans(),
    freeze_pct=percent,
    freeze_fan=st.booleans(),
    defrost=st.booleans(),
    hold_chill_door=st.booleans(),
    hold_freeze_door=st.booleans(),
    receive=st.booleans(),
    chiller_pct=percent,
    chiller_fan=st.booleans(),
    glycol_pump=st.booleans(),
    chiller_reset=st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(parameters(Parameters), st.lists(st.tuples(commands, st.integers(1, 600)), min_size=1, max_size=5))
def test_heat_and_goods_are_kept(p: Parameters, phases: list[tuple[Commands, int]]) -> None:
    before = s = start(p)
    for wanted, steps in phases:
        for _ in range(steps):
            s = step(s, wanted, p, 1.0)

    for old, new, air_kj_k in (
        (before.chill, s.chill, p.chill_air_kj_k),
        (before.freeze, s.freeze, p.freeze_air_kj_k),
    ):
        stored = (new.air_c - old.air_c) * air_kj_k
        assert stored + new.taken_kj == pytest.approx(new.gained_kj + new.goods_kj, abs=1e-3, rel=1e-9)
        assert len(new.lots) == LOTS
        assert new.received_kg == pytest.approx(new.shipped_kg + new.discarded_kg)
        assert new.spoiled_kg >= new.discarded_kg - 1e-9
    assert s.loop_kj - s.chilled_kj == pytest.approx((s.glycol_c - before.glycol_c) * GLYCOL_KJ_K, abs=1e-3, rel=1e-9)
    ice = before.frost_kg + s.frost_in_kg - s.melted_kg
    assert s.frost_kg == pytest.approx(ice, abs=1e-9)
    assert s.frost_kg >= 0


@pytest.mark.parametrize("scan", [1, 10])
def test_the_store_ships_thirty_two_kilograms_a_minute_and_spoils_none(scan: float) -> None:
    loop = Loop("cold_store", scan=scan)

    values = loop.run(120)

    assert values["shipped"] == pytest.approx(3840, abs=160)
    assert (values["spoiled"], values["short_cycles"], values["head_tripped"]) == (0, 0, 0)
    assert values["chill_temp"] == pytest.approx(2, abs=1)
    assert values["freeze_temp"] == pytest.approx(-18.5, abs=1.5)
    assert values["glycol"] == pytest.approx(-6, abs=0.5)
    assert loop.told == []


@pytest.mark.parametrize(
    ("controller", "writes", "least", "within"),
    [
        ("rooms", {"chill_setpoint": 20, "freeze_setpoint": 5}, 80, 36),
        ("rooms", {"chill_run": 0, "freeze_run": 0, "interlock": 0}, 160, 36),
        ("rooms", {"freeze_setpoint": 65356 / 10}, 0, 5),  # -18.0 as its register: no harm
        ("rooms", {"defrost_now": 1}, 80, 36),
        ("chiller", {"run": 0}, 80, 45),
        ("chiller", {"fan": 0}, 80, 46),
        ("chiller", {"pump": 0}, 80, 46),
    ],
)
def test_goods_spoil_within_the_hour_and_recover_when_it_is_cold_again(
    controller: str, writes: dict[str, float], least: float, within: float
) -> None:
    loop = Loop("cold_store", scan=1)
    usual = {name: loop.tags[controller][name] for name in writes}
    loop.run(2)

    loop.write(controller, **writes)
    harmed = loop.run(within)
    loop.write(controller, **usual)
    if controller == "chiller":
        loop.write("chiller", reset=1)
    recovering = loop.run(45)
    recovered = loop.run(12)

    assert harmed["spoiled"] >= least
    assert recovered["spoiled"] == recovering["spoiled"]
    assert recovered["shipped"] - recovering["shipped"] >= 240
    assert recovered["chill_temp"] < 4
    assert recovered["freeze_temp"] < -14


def test_too_cold_a_set_point_freezes_what_should_only_be_chilled() -> None:
    loop = Loop("cold_store", scan=1)
    loop.write("chiller", glycol_setpoint=-13)
    loop.write("rooms", chill_setpoint=-10)

    values = loop.run(50)

    assert values["chill_coldest"] < -0.5
    assert values["spoiled"] >= 80


def test_switching_the_compressor_without_rest_is_counted() -> None:
    loop = Loop("cold_store")
    loop.write("chiller", rest=0)
    loop.run(1)

    for _ in range(5):
        loop.write("chiller", run=0)
        loop.run(0.5)
        loop.write("chiller", run=1)
        loop.run(0.5)

    assert loop.plant.values()["short_cycles"] == 5


def test_without_its_fan_the_chiller_trips_and_stays_so_until_reset() -> None:
    loop = Loop("cold_store")
    loop.write("chiller", fan=0)
    tripped = loop.run(5)
    loop.write("chiller", fan=1)
    still = loop.run(5)
    loop.write("chiller", reset=1)
    values = loop.run(5)

    assert [v["head_tripped"] for v in (tripped, still, values)] == [1, 1, 0]
    assert (still["chiller_load"], values["chiller_load"] > 30) == (0, True)


def test_an_open_door_ices_the_evaporator() -> None:
    loop = Loop("cold_store", scan=1)
    loop.write("rooms", hold_freeze_door=1, defrost_frost=50)

    values = loop.run(30)

    assert values["frost"] > 6
    assert "frost_high:on" in loop.events("alarm")


def test_stopped_controllers_let_both_rooms_warm() -> None:
    loop = Loop("cold_store", scan=1)
    loop.stopped |= {"rooms", "chiller"}

    values = loop.run(45)

    assert values["chill_temp"] > 8
    assert values["freeze_temp"] > -10
    assert values["spoiled"] > 0
    assert values["shipped"] == 0
