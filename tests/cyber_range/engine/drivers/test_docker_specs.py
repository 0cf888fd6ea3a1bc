"""What the docker driver asks of the engine, without an engine: fences, names, the guard's rules, the image's hash."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.drivers.docker_engine import guard, image, specs
from cyber_range.engine.drivers.docker_engine.driver import numbers
from cyber_range.engine.plan import InterfacePlan, Limits, NodePlan, ZonePlan

RANGE = "0123456789ab"
API = (1, 41)


def leg(zone: str, number: int, ip: str) -> InterfacePlan:
    return InterfacePlan(zone, f"eth{number}", ip, 24, "02:00:00:00:00:01")


def host_config(**node: object) -> dict[str, object]:
    made = NodePlan("n", (leg("it", 0, "10.0.0.5"),), (), **node)  # type: ignore[arg-type]
    return dict(specs.container(RANGE, "me", made, "image", Limits(), API)["host_config"])


@pytest.mark.parametrize("caps", [frozenset(), frozenset({"net_admin"}), frozenset({"net_raw"})])
@pytest.mark.parametrize("shell", [True, False])
@pytest.mark.parametrize("placement", ["node", "hub"])
def test_every_container_is_fenced(caps: frozenset[str], shell: bool, placement: str) -> None:
    config = host_config(caps=caps, shell=shell, placement=placement)

    assert config["CapDrop"] == ["ALL"]
    assert config["ReadonlyRootfs"] is True
    assert config["SecurityOpt"] == ["no-new-privileges:true"]
    assert config["LogConfig"] == {"Type": "none", "Config": {}}
    assert (config["Memory"], config["MemorySwap"], config["PidsLimit"]) == (256 << 20, 256 << 20, 96)
    assert not {"Privileged", "Binds", "Devices", "PidMode", "UsernsMode"} & {k for k, v in config.items() if v}
    assert list(config["Tmpfs"]) == ["/tmp", "/dev/shm"]  # type: ignore[call-overload]


def test_hub_has_net_raw_alone() -> None:
    assert host_config(placement="hub", caps=frozenset({"net_admin"}))["CapAdd"] == ["NET_RAW"]


def test_only_the_first_process_and_nodes_of_the_plan_hold_net_admin() -> None:
    """NET_ADMIN and SETPCAP are for the wiring; the argument tells process 1 whether to keep the former."""
    for caps, keeps in ((frozenset(), False), (frozenset({"net_admin"}), True)):
        node = NodePlan("n", (leg("it", 0, "10.0.0.5"),), (), caps=caps)

        assert json.loads(specs.init_argument(node))["keep_net_admin"] is keeps


def test_names_of_other_hosts_never_leave_through_dockers_resolver() -> None:
    assert host_config()["Dns"] == ["127.0.0.1"]


@given(prefix=st.integers(24, 30), taken=st.sets(st.integers(1, 254), max_size=40))
def test_dockers_own_address_is_never_a_nodes(prefix: int, taken: set[int]) -> None:
    zone = ZonePlan("z", f"10.0.0.0/{prefix}", "b", 1.0)
    hosts = [str(host) for host in ipaddress.IPv4Network(zone.subnet).hosts()]
    used = {f"10.0.0.{number}" for number in taken}

    if set(hosts) <= used:
        with pytest.raises(ValueError, match="no free address"):
            specs.unused_address(zone, used)
    else:
        assert specs.unused_address(zone, used) in set(hosts) - used


def test_networks_have_no_address_and_no_way_out() -> None:
    zone = ZonePlan("it", "10.0.0.0/28", "b0123456789ab00", 4.0)

    made = specs.network(RANGE, "me", zone, ["10.0.0.14"], (20, 10))

    assert made["options"] == {
        "com.docker.network.bridge.name": "b0123456789ab00",
        "com.docker.network.bridge.inhibit_ipv4": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
        "com.docker.network.bridge.enable_icc": "true",
    }
    assert made["ipam"]["Config"][0]["Gateway"] == "10.0.0.13"
    assert made["enable_ipv6"] is False
    assert made["labels"] == {
        "lianbing.range": RANGE,
        "lianbing.owner": "me",
        "lianbing.kind": "zone",
        "lianbing.name": "it",
        "lianbing.bridge": "b0123456789ab00",
        "lianbing.hidden": "false",
    }


def test_guard_replaces_its_own_table_alone() -> None:
    assert guard.rules(RANGE, ["b1", "b0"], both_ways=False) == (
        "table netdev lianbing_0123456789ab\n"
        "delete table netdev lianbing_0123456789ab\n"
        "table netdev lianbing_0123456789ab {\n"
        "  chain ingress {\n"
        '    type filter hook ingress devices = { "b0", "b1" } priority -300; policy drop;\n'
        "  }\n"
        "}\n"
    )


@pytest.mark.parametrize(
    ("said", "means"), [("20.10.24+dfsg1", (20, 10, 24)), ("1.41", (1, 41)), ("28.2.2", (28, 2, 2)), ("dev", ())]
)
def test_versions_are_read_as_far_as_they_are_numbers(said: str, means: tuple[int, ...]) -> None:
    assert numbers(said) == means


def test_hash_of_the_image_follows_its_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = tmp_path / "one.py"
    one.write_text("a = 1\n", encoding="ascii")
    monkeypatch.setattr(image, "sources", lambda: iter([("one.py", one)]))
    before = image.current_hash()

    same = image.current_hash()
    one.write_text("a = 2\n", encoding="ascii")
    other = image.current_hash()

    assert (before == same, before == other) == (True, False)


def test_image_carries_programs_and_tools_but_nothing_of_the_host() -> None:
    inside = {name for name, _ in image.sources()}

    assert {"init.py", "enter.py", "Dockerfile", "cyber_range/engine/agents/runner.py"} <= inside
    assert not [name for name in inside if name.startswith("cyber_range/engine/host")]
    # what a capsule runs inside, and none of those that speak to an engine
    assert {name.split("/")[3] for name in inside if name.startswith("cyber_range/engine/drivers/")} == {
        "__init__.py",
        "base.py",
        "netns",
        "stores.py",
    }


def test_every_library_of_a_node_is_pinned_with_a_hash() -> None:
    blocks = image.requirements().split("\n")

    assert [line.split("==")[0] for line in blocks if "==" in line] == image.listed("libraries.txt")
    assert sum("--hash=sha256:" in line for line in blocks) >= len(image.listed("libraries.txt"))
