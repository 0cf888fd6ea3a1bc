"""Scenario + seed + team + block -> plan, and converging."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.lab.compile import Block, block_prefix, compile_range
from cyber_range.engine.plan import (
    CreateNode,
    CreateZone,
    Observed,
    RemoveNode,
    RemoveZone,
    StartProgram,
    converge,
)
from cyber_range.engine.scenario.load import load

SCENARIO = load(Path(__file__).parents[1] / "scenarios" / "tiny")
BLOCK = Block("10.213.0.0/26")
RANGE = "0123456789ab"

ids = st.text("0123456789abcdef", min_size=12, max_size=12)


@settings(max_examples=30, deadline=None)
@given(seed=st.text(max_size=8), team=st.text(max_size=8), range_id=ids)
def test_plan_is_stable_and_sound(seed: str, team: str, range_id: str) -> None:
    one = compile_range(SCENARIO, range_id=range_id, seed=seed, team=team, block=BLOCK)
    two = compile_range(SCENARIO, range_id=range_id, seed=seed, team=team, block=BLOCK)

    assert one == two
    legs = [leg for node in one.plan.nodes for leg in node.interfaces]
    assert len({leg.ip for leg in legs}) == len(legs)
    assert len({leg.mac for leg in legs}) == len(legs)
    for leg in legs:
        subnet = ipaddress.IPv4Network(one.plan.zone(leg.zone).subnet)
        assert subnet.subnet_of(BLOCK)
        assert ipaddress.IPv4Address(leg.ip) in list(subnet.hosts())[1:]  # the first stays free
    assert all(len(zone.bridge) <= 15 and range_id in zone.bridge for zone in one.plan.zones)
    subnets = [ipaddress.IPv4Network(zone.subnet) for zone in one.plan.zones]
    assert not any(a.overlaps(b) for a in subnets for b in subnets if a is not b)


def test_block_is_as_small_as_the_zones_allow() -> None:
    assert block_prefix(SCENARIO) == 26  # three /28


def test_nodes_know_their_neighbours_routes_and_names() -> None:
    plan = compile_range(SCENARIO, range_id=RANGE, seed="s", team="t", block=BLOCK).plan
    hmi, plc, fw = plan.node("hmi"), plan.node("plc"), plan.node("fw")
    fw_leg = next(leg for leg in fw.interfaces if leg.zone == "workshop")

    assert hmi.routes == (("0.0.0.0/0", fw_leg.ip),)
    assert ("eth0", fw_leg.ip, fw_leg.mac) in hmi.neighbours
    assert [name for _, name in hmi.hosts] == ["plc", "plc2", "hmi", "fw", "fw", "ws", "intruder"]
    assert plc.interfaces[0].mac.startswith("00:0b:d9:")
    assert "plant" in [name for _, name in plc.hosts]  # it stands on the wiring itself


def test_hub_gets_the_bridges_and_tried_nodes_get_a_probe() -> None:
    plan = compile_range(SCENARIO, range_id=RANGE, seed="s", team="t", block=BLOCK).plan

    assert plan.node("sensor").programs[0].spec == {"taps": {"office": f"b{RANGE}00", "workshop": f"b{RANGE}01"}}
    assert [program.use for program in plan.node("intruder").programs] == ["probe"]


def test_references_reach_programs_objectives_and_injects() -> None:
    compiled = compile_range(SCENARIO, range_id=RANGE, seed="s", team="t", block=BLOCK)

    filler = compiled.plan.node("plc").programs[0].spec
    assert filler["tags"]["fill_setpoint"]["address"] == compiled.draws["setpoint_register"]
    assert filler["plant"] == compiled.address("plant")
    assert compiled.scenario.objective("name_it").checks[0].answer == compiled.address("intruder")
    assert compiled.scenario.injects[0].body.zh == f"质检反映液位偏高,请查看 **{compiled.address('plc')}**。"
    assert compiled.node_at(compiled.address("plc")) == "plc"


PLAN = compile_range(SCENARIO, range_id=RANGE, seed="s", team="t", block=BLOCK).plan
ZONES = [zone.name for zone in PLAN.zones]
NODES = [node.name for node in PLAN.nodes]
PROGRAMS = [(node.name, program.name) for node in PLAN.nodes for program in node.programs]


def done(observed: Observed, actions: list) -> Observed:
    """What is there after the actions (a removed node takes its programs along)."""
    zones, nodes, programs = set(observed.zones), set(observed.nodes), set(observed.programs)
    for action in actions:
        match action:
            case CreateZone(zone):
                zones.add(zone.name)
            case CreateNode(node):
                nodes.add(node.name)
                programs = {key for key in programs if key[0] != node.name}
            case StartProgram(node_name, program):
                assert node_name in nodes
                programs.add((node_name, program.name))
            case RemoveNode(name):
                nodes.remove(name)
                programs = {key for key in programs if key[0] != name}
            case RemoveZone(name):
                zones.remove(name)
    return Observed(frozenset(zones), frozenset(nodes), frozenset(programs))


@given(
    zones=st.frozensets(st.sampled_from([*ZONES, "old"])),
    nodes=st.frozensets(st.sampled_from([*NODES, "stranger"])),
    programs=st.frozensets(st.sampled_from(PROGRAMS)),
)
def test_converging_once_is_enough(zones: frozenset[str], nodes: frozenset[str], programs: frozenset) -> None:
    observed = Observed(zones, nodes, frozenset(key for key in programs if key[0] in nodes))

    after = done(observed, converge(PLAN, observed))

    assert after == Observed(frozenset(ZONES), frozenset(NODES), frozenset(PROGRAMS))
    assert converge(PLAN, after) == []
