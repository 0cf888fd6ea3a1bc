"""Job dispatch (DNC): keeps the machines' controllers in work from what the MES plans and the share holds.

Every round it reads a machine's `job_quantity`; below `ahead` parts it asks the MES for the machine's work order
(GET /jobs, then the document: JSON {"program": 1001, "file": "/CNC程序/O1001.nc"}), takes the program's text from the
share, and writes program number, checksum and quantity over Modbus. Without MES or program nothing is written: the
machine works off what it has and then waits (ATT&CK T0828).

Spec: `mes`, `share` {host, port, user, password}, `machines` {name as the MES has it: {host, port?, address: of
job_program; job_checksum and job_quantity follow}}, `ahead` (parts, 12), `every` (wall s, 1).
Emits `dispatched` and `dispatch_failed` (when the reason changes) and counters `dispatched`, `dispatch_failures`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.agents.context import NodeContext, answer
from cyber_range.engine.agents.http_door import fetch
from cyber_range.engine.agents.modbus_link import ModbusError, ModbusLink
from cyber_range.engine.process.cnc_workshop import checksum


class NoJob(Exception):
    """Why a machine gets nothing new."""


class Dispatch:
    def __init__(self, node: NodeContext) -> None:
        spec = node.spec
        self._node = node
        self._mes, self._share = dict(spec["mes"]), dict(spec["share"])
        self._machines: dict[str, dict[str, Any]] = {str(k): dict(v) for k, v in dict(spec["machines"]).items()}
        self._ahead = int(spec.get("ahead", 12))
        self._links: dict[str, ModbusLink] = {}
        self._why: dict[str, str] = {}
        self.counts = {"dispatched": 0, "dispatch_failures": 0}

    async def round(self) -> None:
        for name in self._machines:
            try:
                await self._serve(name)
                self._why.pop(name, None)
            except (NoJob, ModbusError, OSError, TimeoutError) as exc:
                why = str(exc) or type(exc).__name__
                self.counts["dispatch_failures"] += 1
                if self._why.get(name) != why:
                    self._why[name] = why
                    self._node.emit("dispatch_failed", machine=name, why=why)

    async def _serve(self, name: str) -> None:
        link, first = await self._link(name), int(self._machines[name]["address"])
        (left,) = await link.read("holding", first + 2)
        if left >= self._ahead:
            return
        program, text = await self._order(name)
        await link.write("holding", first, [program, checksum(text), self._ahead])
        self.counts["dispatched"] += 1
        self._node.emit("dispatched", machine=name, program=program, left=left, quantity=self._ahead)

    async def _link(self, name: str) -> ModbusLink:
        link = self._links.get(name)
        if link is None or not link.open:
            machine = self._machines[name]
            link = await ModbusLink.connect(self._node.net, str(machine["host"]), int(machine.get("port", 502)))
            self._links[name] = link
        return link

    async def _order(self, name: str) -> tuple[int, str]:
        """Program number and text of the machine's work order."""
        try:
            document = json.loads(await self._get(self._mes, "/jobs", "MES")).get(name)
            if not document:
                raise NoJob(f"the MES plans nothing for {name}")
            order = json.loads(await self._get(self._mes, f"/docs{document}", "MES"))
            number, path = int(order["program"]), str(order["file"])
        except (ValueError, KeyError, AttributeError) as exc:
            raise NoJob(f"the work order of {name} cannot be read ({type(exc).__name__})") from exc
        return number, await self._get(self._share, path, "share")

    async def _get(self, where: Mapping[str, Any], path: str, called: str) -> str:
        login = str(where["user"]), str(where["password"])
        status, body = await fetch(self._node.net, str(where["host"]), int(where["port"]), path, login=login)
        if status != 200:
            raise NoJob(f"{called} answered {status} for {path}")
        return body.decode("utf-8", "replace")

    def close(self) -> None:
        for link in self._links.values():
            link.close()


async def run(node: NodeContext) -> None:
    dispatch = Dispatch(node)

    async def work() -> None:
        while True:
            await dispatch.round()
            node.emit("counters", values=dict(dispatch.counts))
            await asyncio.sleep(float(node.spec.get("every", 1)))

    node.emit("ready")
    working = asyncio.ensure_future(work())
    try:
        await answer(node, {})
    finally:
        working.cancel()
        dispatch.close()
