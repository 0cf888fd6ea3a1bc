"""The plant: steps its physical model on the scenario's clock, 20 times a second, and trades I/O with the controllers.

Spec: `model` (name in process.catalogue), `parameters` (process.yml), `controllers` {name: address on the fieldbus}.
Commands: `values`; `keep` -> {kept}, and `take_back` {kept}: the model's state for a snapshot.
A controller that is silent for `SILENT` seconds is taken as failed: its outputs fall to the safe state.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from cyber_range.engine.agents.context import NodeContext, Peer, answer
from cyber_range.engine.agents.fieldbus import CONTROLLER_PORT, PLANT_PORT, pack, unpack
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.keeping import keep, take_back
from cyber_range.engine.process.variable import Variable

TICK = 0.05  # s of wall time
TELEMETRY_EVERY = 2  # ticks: 10 Hz
SILENT = 2.0  # s of wall time
LONGEST_JUMP = 30.0  # scenario s stepped at once after the machine was asleep or the clock was set forward


async def run(node: NodeContext) -> None:
    model = MODELS[str(node.spec["model"])](node.spec.get("parameters") or {})
    controllers: dict[str, str] = dict(node.spec["controllers"])
    heard: dict[str, float] = {}
    then = node.clock.now()  # up to where the model was stepped

    def on_datagram(data: bytes, peer: Peer) -> None:
        message = unpack(data)
        name = message.get("c")
        if name in controllers and controllers[name] == peer[0] and isinstance(message.get("o"), dict):
            heard[name] = time.monotonic()
            model.outputs(name, message["o"])

    bus = await node.net.udp(PLANT_PORT, on_datagram)

    async def read_values(_: dict[str, Any]) -> dict[str, Any]:
        return {"t": round(node.clock.now(), 3), "values": model.values()}

    async def keep_state(_: dict[str, Any]) -> dict[str, Any]:
        return {"kept": keep(model)}

    async def take_state_back(command: dict[str, Any]) -> None:
        nonlocal then
        take_back(command["kept"], model)
        then = node.clock.now()  # the clock was set with it: nothing has passed

    described: list[Variable] = []

    def describe() -> None:
        """Says what the variables are, and again when an alarm limit was moved in a controller."""
        now = list(model.variables())
        if now != described:
            described[:] = now
            node.emit("variables", variables=[variable.as_dict() for variable in now])

    async def tick() -> None:
        nonlocal then
        describe()
        then, number = node.clock.now(), 0
        begun = time.monotonic()
        while True:
            for name, address in controllers.items():
                bus.send(pack({"t": round(then, 3), "i": model.inputs(name)}), address, CONTROLLER_PORT)
            number += 1
            await asyncio.sleep(max(0.0, begun + number * TICK - time.monotonic()))
            if time.monotonic() - begun - number * TICK > 1.0:  # we were held up: go on from here, do not race
                begun, number = time.monotonic() - TICK, 1
            now = node.clock.now()
            for name in controllers:
                if time.monotonic() - heard.get(name, begun) > SILENT:
                    model.outputs(name, None)
            model.advance(max(0.0, min(LONGEST_JUMP, now - then)))
            then = now
            for kind, data in model.events():
                node.emit(kind, t=round(now, 3), **data)
            if number % TELEMETRY_EVERY == 0:
                describe()
                node.emit("telemetry", t=round(now, 3), values=model.values())

    commands_of_ours = {"values": read_values, "keep": keep_state, "take_back": take_state_back}
    node.emit("ready")
    stepping = asyncio.ensure_future(tick())
    commands = asyncio.ensure_future(answer(node, commands_of_ours))
    try:
        done, _ = await asyncio.wait({stepping, commands}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        stepping.cancel()
        commands.cancel()
        bus.close()
