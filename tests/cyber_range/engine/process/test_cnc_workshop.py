"""The workshop keeps its blanks and its coolant, makes what the MES wants, and scraps or crashes when told to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.process.cnc_workshop import (
    BREAK_PCT,
    Commands,
    MachineCommands,
    Parameters,
    checksum,
    start,
    step,
)
from tests.cyber_range.engine.process.drawn import parameters
from tests.cyber_range.engine.process.loop import Loop

machine = st.builds(
    MachineCommands,
    start=st.booleans(),
    run=st.booleans(),
    program=st.sampled_from([0, 1001, 1002, 1003, 77]),
    checksum=st.sampled_from([0, 23117, 12961, 5309]),
    feed_pct=st.floats(0, 200),
    speed_pct=st.floats(0, 150),
    offset_um=st.sampled_from([0.0, 20.0, -2000.0]),
    change_tool=st.booleans(),
    reset=st.booleans(),
)
commands = st.builds(
    Commands,
    machines=st.tuples(machine, machine, machine, machine),
    pump=st.booleans(),
    pressure_bar=st.floats(0, 100),
    topup=st.booleans(),
    chiller_pct=st.floats(0, 100),
)
NUMBERS = range(1, 5)


@settings(max_examples=25, deadline=None)
@given(parameters(Parameters), st.lists(st.tuples(commands, st.integers(1, 600)), min_size=1, max_size=5))
def test_blanks_and_coolant_are_kept(p: Parameters, phases: list[tuple[Commands, int]]) -> None:
    before = s = start(p)
    for wanted, steps in phases:
        for _ in range(steps):
            s = step(s, wanted, p, 0.25)

    for m in s.machines:
        assert m.loaded in (0, 1)
        assert m.blanks == m.good + m.scrap + m.loaded
        assert m.wear_pct <= BREAK_PCT + 1
    assert before.coolant_l + s.topped_l == pytest.approx(s.coolant_l + s.carried_l + s.over_l, abs=1e-6)
    assert 0 <= s.coolant_l <= p.coolant_l + 1e-9


def test_a_programs_checksum_is_sixteen_bits_of_its_text() -> None:
    assert checksum("O1001\nG21\nM30\n") == checksum("O1001\nG21\nM30\n")
    assert checksum("O1001\nG21\nM30\n") != checksum("O1001\nG20\nM30\n")
    assert 0 <= checksum("") <= 0xFFFF


@pytest.mark.parametrize("scan", [1, 10])
def test_four_machines_make_three_good_parts_a_minute(scan: float) -> None:
    loop = Loop("cnc_workshop", scan=scan)

    values = loop.run(40)

    assert values["parts_good"] == pytest.approx(116, abs=6)
    assert [values[n] for n in ("parts_scrap", "tool_breaks", "crashes", "overloads")] == [0, 0, 0, 0]
    assert values["coolant_level"] == pytest.approx(69, abs=4)
    assert values["waiting"] < 2
    assert values["c1_left"] == pytest.approx(500 - values["c1_good"], abs=1)
    assert loop.told == []


def test_every_program_can_be_made_for_an_hour() -> None:
    loop = Loop("cnc_workshop", scan=2)
    loop.write("cnc2", job_program=1002, job_checksum=12961)
    loop.write("cnc3", job_program=1003, job_checksum=5309)

    values = loop.run(60)

    assert values["parts_scrap"] == 0
    assert (values["c2_program"], values["c3_program"]) == (1002, 1003)
    assert values["c3_good"] > values["c1_good"] > values["c2_good"] > 25


def test_without_orders_from_the_mes_the_machines_wait() -> None:
    loop = Loop("cnc_workshop")
    for n in NUMBERS:
        loop.write(f"cnc{n}", job_quantity=3)

    before = loop.run(6)
    standing = loop.run(10)
    for n in NUMBERS:
        loop.write(f"cnc{n}", job_quantity=50)
    again = loop.run(5)

    assert before["parts_good"] == standing["parts_good"] == 12
    assert standing["waiting"] - before["waiting"] == pytest.approx(40, abs=1)
    assert again["parts_good"] >= 20


def test_a_tampered_program_is_refused_and_cut_when_nobody_verifies() -> None:
    loop = Loop("cnc_workshop")
    loop.write("cnc1", job_checksum=4711)

    refused = loop.run(5)
    loop.write("cnc1", verify=0)
    scrapped = loop.run(10)
    loop.write("cnc1", verify=1, job_checksum=23117)
    loop.run(2)
    before = loop.run(1)
    mended = loop.run(10)

    assert (refused["c1_good"] + refused["c1_scrap"], loop.tags["cnc1"]["refused"]) == (0, 0)
    assert scrapped["c1_scrap"] >= 6
    assert mended["c1_scrap"] == before["c1_scrap"]
    assert mended["c1_good"] - before["c1_good"] >= 6


@pytest.mark.parametrize(
    ("writes", "number", "least", "within"),
    [
        ({"tool_offset": 30}, "parts_scrap", 5, 8),
        ({"tool_offset": 2000}, "crashes", 1, 2),
        ({"feed_override": 190}, "overloads", 1, 2),
        ({"speed_override": 150, "tool_limit": 300}, "tool_breaks", 1, 20),
    ],
)
def test_what_an_attacker_writes_to_a_machine(
    writes: dict[str, float], number: str, least: float, within: float
) -> None:
    loop = Loop("cnc_workshop")
    usual = {name: loop.tags["cnc1"][name] for name in writes}
    loop.run(1)

    loop.write("cnc1", **writes)
    harmed = loop.run(within)
    loop.write("cnc1", **usual, reset=1)
    before = loop.run(9)
    after = loop.run(8)

    assert harmed[number] >= least
    assert after[number] == before[number]
    assert after["c1_good"] - before["c1_good"] == pytest.approx(6, abs=1)


def test_dry_machines_stop_unless_their_interlock_is_off() -> None:
    safe, dry = Loop("cnc_workshop"), Loop("cnc_workshop")
    for loop in (safe, dry):
        loop.write("coolant", pump_run=0)
    for n in NUMBERS:
        dry.write(f"cnc{n}", interlock=0)

    stopped, spoiled = safe.run(25), dry.run(25)

    assert stopped["parts_scrap"] == 0
    assert stopped["parts_good"] <= 8
    assert spoiled["parts_scrap"] >= 20


def test_a_stopped_controller_holds_the_feed_and_harms_no_part() -> None:
    loop = Loop("cnc_workshop")
    loop.run(2)
    loop.stopped.add("cnc1")
    held = loop.run(5)
    loop.stopped.clear()

    values = loop.run(5)

    assert held["c1_rpm"] == 0
    assert values["c1_good"] >= held["c1_good"] + 3
    assert values["c1_scrap"] == 0
