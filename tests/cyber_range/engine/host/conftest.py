"""A range-host in this process, on the memory driver, and clients of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.host.client import AsyncClient
from cyber_range.engine.host.daemon import Daemon, Settings
from cyber_range.engine.host.server import Server, open_socket

SCENARIOS = Path(__file__).parents[1] / "scenarios"


@dataclass
class Running:
    daemon: Daemon
    server: Server
    client: AsyncClient
    socket: Path
    stop: Callable[[], Any]


async def start(folder: Path, state: Path | None = None, **settings: Any) -> Running:
    daemon = Daemon(Settings(state=state or folder / "state", scenarios=SCENARIOS, driver="memory", **settings))
    path = folder / "range.sock"
    daemon.lock()
    listener = open_socket(path)
    await daemon.start()
    server = Server(daemon)
    serving = asyncio.create_task(server.serve(listener))
    client = AsyncClient(path, timeout=20)

    async def stop() -> None:
        daemon.stopping.set()
        await serving
        await client.close()
        await daemon.close()

    return Running(daemon, server, client, path, stop)


@pytest.fixture
def folder() -> Any:
    with tempfile.TemporaryDirectory(prefix="lb-host-") as place:  # short: a socket's path has 107 bytes
        yield Path(place)


@pytest.fixture
async def host(folder: Path) -> AsyncIterator[Running]:
    running = await start(folder)
    yield running
    await running.stop()


@pytest.fixture
async def range_id(host: Running) -> str:
    status = await host.client.launch(scenario="tiny", seed="s", team="red pandas", speed=10)
    return str(status["range_id"])
