"""A range-host in this process and a scenario of the ten nodes, for what is measured from the request and not from the driver."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cyber_range.engine.drivers.registry import load as driver_class
from cyber_range.engine.host.daemon import Daemon, Settings
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.scenario.load import check
from cyber_range.engine.scenario.model import Scenario
from tests.benchmarks.ten_nodes import ZONES
from tests.conftest import skip_or_fail

SECONDS = 120.0


def ten_node_scenario() -> Scenario:
    """`ten_nodes.ten_nodes` as a scenario: ten pymodbus controllers in three zones and nothing else."""
    tags = {tag.name: {"address": index} for index, tag in enumerate(LOGICS["tank"].tags)}
    spec = {"logic": "tank", "controller": "tank", "plant": "127.0.0.1", "tags": tags}

    def words(text: str) -> dict[str, str]:
        return {"zh": text, "en": text}

    return check(
        {
            "schema": 1, "id": "ten_nodes", "version": "1.0.0", "title": words("ten nodes"), "summary": words("ten nodes"),
            "difficulty": "入门", "duration": 10, "incident_class": "NAEXPLOIT", "requirements": ["R1.2"],
            "zones": [{"name": zone, "title": words(zone), "purdue": at} for at, zone in enumerate(ZONES)],
            "nodes": [
                {
                    "name": f"plc{at}", "title": words(f"plc{at}"), "role": "plc", "legs": [ZONES[at % 3]],
                    "programs": [{"use": "modbus_plc", "with": spec}],
                }
                for at in range(10)
            ],
            "objectives": [
                {
                    "id": "answer", "title": words("answer"), "kind": "report", "points": 10,
                    "checks": [{"kind": "submission", "prompt": "?", "answer": "7"}],
                }
            ],
            "seats": [
                {"id": "white", "cell": "white", "title": "白"},
                {"id": "blue", "cell": "blue", "title": "蓝", "max": 1, "consoles": []},
            ],
            "solver": [{"do": "submit", "objective": "answer", "value": "7"}],
        }
    )  # fmt: skip


@asynccontextmanager
async def range_host(driver: str, **settings: Any) -> AsyncIterator[Daemon]:
    probe = await driver_class(driver).probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    with tempfile.TemporaryDirectory(prefix="lb-bench-") as folder:
        daemon = Daemon(Settings(state=Path(folder, "state"), scenarios=Path(folder), driver=driver, **settings))
        daemon.lock()
        await daemon.start()
        try:
            yield daemon
        finally:
            await daemon.close()


async def all_answer(lab: Lab) -> None:
    """Every controller has answered a question."""
    question = {"kind": "read", "table": "holding", "address": 0, "count": 1}
    programs = [(node.name, one.name) for node in lab.compiled.plan.nodes for one in node.programs]
    await asyncio.gather(*(lab.ask(node, name, dict(question), SECONDS) for node, name in programs))


async def timed(what: Any) -> tuple[float, Any]:
    """Seconds until that coroutine has returned, and what it returned."""
    began = time.perf_counter()
    found = await what
    return time.perf_counter() - began, found
