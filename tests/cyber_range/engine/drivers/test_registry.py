"""Drivers by name: what exists, what `auto` takes, and that asking costs no import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cyber_range.engine.drivers import registry
from cyber_range.engine.drivers.base import Probe
from cyber_range.engine.errors import DriverUnavailable


def test_importing_the_registry_loads_no_driver_and_no_heavy_library() -> None:
    ask = (
        "import sys, cyber_range.engine.drivers.registry as r; r.names(); "
        "print([m for m in sys.modules if m.split('.')[0] in ('docker', 'scapy', 'pyroute2', 'asyncssh', 'django') "
        "or m.startswith('cyber_range.engine.drivers.') and m.rsplit('.', 1)[1] not in ('registry', 'base')])"
    )

    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"


def test_load_gives_the_class_that_bears_the_name() -> None:
    assert registry.load("memory").name == "memory"


def test_load_of_an_unknown_driver_names_those_there_are() -> None:
    with pytest.raises(DriverUnavailable) as caught:
        registry.load("vmware")

    assert caught.value.as_dict() == {
        "code": "driver_unavailable",
        "what": "There is no range driver 'vmware'",
        "remedy": "Choose one of: auto, docker, netns, memory, capsule",
        "detail": {"driver": "vmware"},
    }


def test_missing_module_is_told_as_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "DRIVERS", {"later": "cyber_range.engine.drivers.later:LaterDriver"})

    with pytest.raises(DriverUnavailable, match="choose another one"):
        registry.load("later")


@pytest.mark.parametrize(
    ("usable", "chosen"),
    [
        ({"docker", "netns", "memory"}, "docker"),
        ({"netns", "memory"}, "netns"),
        ({"memory"}, "memory"),
        (set(), "memory"),
    ],
)
async def test_auto_takes_the_best_that_works(monkeypatch: pytest.MonkeyPatch, usable: set[str], chosen: str) -> None:
    async def probe(name: str) -> Probe:
        return Probe(name in usable)

    monkeypatch.setattr(registry, "probe", probe)

    assert await registry.auto() == chosen


async def test_resolve_refuses_a_named_driver_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    async def probe(name: str) -> Probe:
        return Probe(False, "no engine answers", "dockerd &")

    monkeypatch.setattr(registry, "probe", probe)

    with pytest.raises(DriverUnavailable, match=r"no engine answers\. dockerd &"):
        await registry.resolve("docker")


async def test_probe_all_answers_for_every_driver() -> None:
    found = await registry.probe_all()

    assert set(found) == set(registry.names())
    assert found["memory"].usable
    assert all(probe.reason for probe in found.values() if not probe.usable)
