"""Laws that hold for every plant in the catalogue and every logic of its controllers."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.process import (
    cnc_workshop,
    cold_store,
    dyeing_vat,
    heat_treatment_furnace,
    injection_moulding,
    water_skid,
)
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.process.plant import SteppedPlant
from tests.cyber_range.engine.process.loop import WIRING, Loop

NEW = {
    "injection_moulding": injection_moulding.Parameters,
    "heat_treatment_furnace": heat_treatment_furnace.Parameters,
    "dyeing_vat": dyeing_vat.Parameters,
    "water_skid": water_skid.Parameters,
    "cnc_workshop": cnc_workshop.Parameters,
    "cold_store": cold_store.Parameters,
}
anything = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.floats(-50, 1500), st.sampled_from([0.0, 1.0, 100.0])
)


def outputs_of(model: str) -> dict[str, list[str]]:
    loop = Loop(model)
    return {name: sorted(loop.logics[name].scan(loop.tags[name], loop.plant.inputs(name))) for name in loop.logics}


def parameters_of(model: str) -> st.SearchStrategy[dict[str, float]]:
    ranges = {f.name: (f.metadata["low"], f.metadata["high"]) for f in fields(NEW[model])}
    return st.fixed_dictionaries({}, optional={name: st.floats(low, high) for name, (low, high) in ranges.items()})


@pytest.mark.parametrize("model", MODELS)
def test_every_variable_is_named_once_described_and_measured(model: str) -> None:
    plant = MODELS[model]({})

    variables = list(plant.variables())

    assert sorted(v.name for v in variables) == sorted(plant.values())
    for v in variables:
        assert v.zh
        assert v.en
        assert v.low < v.high
        for limit in (v.alarm_low, v.alarm_high):
            assert limit is None or v.low <= limit <= v.high, v.name


@pytest.mark.parametrize("model", MODELS)
def test_the_plant_and_its_logics_name_the_same_signals(model: str) -> None:
    loop = Loop(model)
    assert set(loop.plant.CONTROLLERS) == set(WIRING[model])

    for name, logic in loop.logics.items():
        names = [tag.name for tag in logic.tags]
        assert len(set(names)) == len(names)
        for tag in logic.tags:
            assert tag.zh, f"{name}.{tag.name} has no label"
            assert -32768 <= tag.start * tag.scale <= 32767, f"{name}.{tag.name} does not fit a register"
            assert not tag.name.endswith(("_high_limit", "_low_limit", "_alarm_off")), "the controller's own alarms"
        # an input tag that reads 0 although its plant says something else was spelt differently on one side
        image = loop.plant.inputs(name)
        logic.scan(loop.tags[name], image)
        computed = {
            "level_high", "level_low", "speed", "last_fill", "spill", "tray", "level", "inlet_flow", "outlet_flow",
            "valve", "tray_high", "tank_low",
        }  # fmt: skip
        for tag in logic.tags:
            if (
                tag.table == "input"
                and tag.name in image
                and tag.name not in computed
                and not tag.name.endswith("given")
            ):
                assert loop.tags[name][tag.name] == pytest.approx(image[tag.name]), f"{name}.{tag.name}"


def test_every_logic_belongs_to_a_plant() -> None:
    assert {logic for wiring in WIRING.values() for logic in wiring.values()} == set(LOGICS)
    assert set(WIRING) == set(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_an_unknown_controller_is_named(model: str) -> None:
    plant = MODELS[model]({})

    with pytest.raises(LookupError, match="no controller 'nobody'; there are: "):
        plant.inputs("nobody")
    with pytest.raises(LookupError, match="no controller 'nobody'; there are: "):
        plant.outputs("nobody", {})


@pytest.mark.parametrize("model", NEW)
def test_wrong_parameters_are_named(model: str) -> None:
    first = fields(NEW[model])[0]

    with pytest.raises(ValueError, match=r"has no parameter 'nonsense'; there are: "):
        MODELS[model]({"nonsense": 1})
    with pytest.raises(ValueError, match=rf"parameter '{first.name}' of the .* must be .* to .*, not -1000000000\.0"):
        MODELS[model]({first.name: -1e9})
    with pytest.raises(ValueError, match=rf"parameter '{first.name}' of the .* must be a number, not 'much'"):
        MODELS[model]({first.name: "much"})
    with pytest.raises(ValueError, match="must be"):
        MODELS[model]({first.name: math.nan})


@pytest.mark.parametrize("model", NEW)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_command_breaks_a_plant(model: str, data: Any) -> None:
    """Whatever comes over the wiring: values stay finite, counters only grow, alarms alternate."""
    names = OUTPUTS[model]
    plant = MODELS[model](data.draw(parameters_of(model)))
    counting = [v.name for v in plant.variables() if v.counts]
    before = plant.values()
    state: dict[str, str] = {}
    for _ in range(data.draw(st.integers(1, 5))):
        for controller, outputs in names.items():
            image = data.draw(st.none() | st.dictionaries(st.sampled_from(outputs), anything))
            plant.outputs(controller, image)
        for _ in range(3):
            plant.advance(data.draw(st.sampled_from([0.05, 1.0, 30.0])))
            now = plant.values()
            assert all(math.isfinite(value) for value in now.values()), now
            assert {n: now[n] for n in counting if now[n] < before[n] - 1e-9} == {}
            for kind, body in plant.events():
                if kind == "alarm":
                    assert state.get(body["name"], "off") != body["state"], body
                    state[body["name"]] = body["state"]
            before = now


OUTPUTS = {model: outputs_of(model) for model in NEW}


@pytest.mark.parametrize("model", NEW)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_no_write_from_the_network_breaks_a_controller(model: str, data: Any) -> None:
    """Any register value, any float: every scan gives finite outputs that the plant takes."""
    loop = Loop(model, scan=2.0)
    for _ in range(3):
        for name, logic in loop.logics.items():
            writable = [tag.name for tag in logic.tags if tag.operator]
            values = st.one_of(st.integers(0, 65535).map(float), st.floats(allow_nan=True, allow_infinity=True))
            loop.tags[name] |= data.draw(st.dictionaries(st.sampled_from(writable), values, max_size=6))
        loop.run(0.5)

        for name, logic in loop.logics.items():
            outputs = logic.scan(loop.tags[name], loop.plant.inputs(name))
            assert all(math.isfinite(value) for value in outputs.values()), outputs
        assert all(math.isfinite(value) for value in loop.plant.values().values())


@pytest.mark.parametrize("model", NEW)
def test_step_length_does_not_change_the_outcome(model: str) -> None:
    coarse, fine = MODELS[model]({}), MODELS[model]({})
    assert isinstance(coarse, SteppedPlant)
    loop = Loop(model)
    for name, logic in loop.logics.items():
        image = logic.scan(loop.tags[name], coarse.inputs(name))
        coarse.outputs(name, image)
        fine.outputs(name, image)

    for _ in range(60):
        coarse.advance(5.0)
    for _ in range(round(300 / (coarse.MAX_STEP / 4))):
        fine.advance(coarse.MAX_STEP / 4)

    spans = {v.name: (v.high - v.low, v.counts) for v in coarse.variables()}
    for name, value in coarse.values().items():
        span, counts = spans[name]
        allowed = max(2.0, 0.03 * abs(value)) if counts else 0.02 * span
        if "phase" not in name and "progress" not in name and name not in ("m1_clamp", "m2_clamp", "m3_clamp"):
            assert value == pytest.approx(fine.values()[name], abs=allowed), name


@pytest.mark.parametrize("model", NEW)
def test_a_step_that_is_too_long_is_refused(model: str) -> None:
    plant = MODELS[model]({})
    assert isinstance(plant, SteppedPlant)

    with pytest.raises(ValueError, match="a step is 0 to"):
        plant.piece(plant.MAX_STEP * 2)


@pytest.mark.parametrize("model", NEW)
def test_alarm_limits_are_those_of_the_controllers(model: str) -> None:
    """T0838 Modify Alarm Settings: every limit can be moved from the network, and then the alarm follows it."""
    loop = Loop(model)
    loop.run(0.1)
    assert isinstance(loop.plant, SteppedPlant)
    delivered = {v.name: (v.alarm_low, v.alarm_high) for v in MODELS[model]({}).variables()}
    assert {v.name: (v.alarm_low, v.alarm_high) for v in loop.plant.variables()} == delivered

    for controller, limits in loop.plant.LIMITS.items():
        for tag, (variable, side) in limits.items():
            loop.write(controller, **{tag: 123})
            loop.run(0.1)
            shown = {v.name: v for v in loop.plant.variables()}[variable]
            assert (shown.alarm_high if side == "high" else shown.alarm_low) == 123, (controller, tag)


@pytest.mark.parametrize("model", NEW)
def test_a_silenced_alarm_stays_silent(model: str) -> None:
    loop = Loop(model)
    loop.run(0.1)
    assert isinstance(loop.plant, SteppedPlant)
    controller, limits = next(iter(loop.plant.LIMITS.items()))
    tag, (variable, _) = next((tag, where) for tag, where in limits.items() if where[1] == "high")
    value = loop.plant.values()[variable]

    loop.write(controller, **{tag: value - 1})
    loop.run(0.1)
    rung = loop.events("alarm")
    loop.told.clear()
    loop.write(controller, **{tag: 3000})
    loop.run(0.1)

    assert f"{variable}_high:on" in rung
    assert loop.events("alarm") == [f"{variable}_high:off"]


@pytest.mark.parametrize("model", NEW)
def test_a_stopped_controller_is_said_once_and_again_when_it_runs(model: str) -> None:
    loop = Loop(model)
    loop.run(0.1)
    name = loop.plant.CONTROLLERS[0]

    loop.stopped.add(name)
    loop.run(0.2)
    loop.plant.outputs(name, None)
    loop.told += loop.plant.events()
    stopped = loop.events("crossing")
    loop.stopped.clear()
    loop.run(0.2)

    assert stopped.count(f"controller_{name}:") == 1
    assert loop.events("crossing").count(f"controller_{name}:") == 2
