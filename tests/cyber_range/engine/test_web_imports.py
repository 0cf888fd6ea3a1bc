"""What web processes load of the engine stays small: no docker, no scapy, no driver, no protocol server."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("docker", "scapy", "pyroute2", "pymodbus", "asyncssh", "django")


@pytest.mark.parametrize(
    "module",
    [
        "cyber_range.engine.host.client",
        "cyber_range.engine.lab.lab",
        "cyber_range.engine.lab.solver",
        "cyber_range.engine.host.server",
        "cyber_range.engine.drivers.registry",
        "cyber_range.engine.scenario.load",
        "cyber_range.engine.scenario.schema",
    ],
)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(set(sys.modules) & set({HEAVY!r}))))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []
