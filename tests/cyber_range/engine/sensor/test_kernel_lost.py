"""Frames that the kernel drops because the sensor is late are counted and said."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.agents import kernel
from cyber_range.engine.agents.kernel import KernelNet
from cyber_range.engine.agents.sensor import Sensor
from tests.conftest import skip_or_fail


class Listening:
    """As much of a node as the sensor asks for."""

    store = Path("/nowhere")

    def __init__(self) -> None:
        self.spec: dict[str, Any] = {"taps": {"shop": "lo"}, "capture": False}
        self.said: list[dict[str, Any]] = []

    def emit(self, kind: str, **data: Any) -> None:
        self.said.append({"kind": kind, **data})


async def test_what_the_kernel_dropped_is_counted_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        skip_or_fail("root, to open a packet socket")
    monkeypatch.setattr(kernel, "TAP_BUFFER", 8192)
    node = Listening()
    sensor = Sensor(node)  # type: ignore[arg-type]
    sensor.taps["shop"] = tap = await KernelNet().tap("lo", lambda frames: sensor.take("shop", frames))
    sensor.report()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(400):
                sender.sendto(bytes(1000), ("127.0.0.1", 9))
        time.sleep(0.01)  # nobody reads meanwhile: that is the point
        sensor.report()
        sensor.tell_lost()
        await asyncio.sleep(0.05)
    finally:
        tap.close()

    lost = [one for one in node.said if one["kind"] == "lost"]
    counters = [one["values"]["kernel_lost"] for one in node.said if one["kind"] == "counters"]
    assert len(lost) >= 1
    assert lost[0]["zones"]["shop"] == lost[0]["total"] > 100
    assert counters[0] == 0
    assert counters[1] == lost[0]["total"]
