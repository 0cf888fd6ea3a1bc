"""A remote terminal unit: a controller that reports to its control centre by IEC 60870-5-104.

Spec: that of every controller (controller.py); each tag that is reported has an `ioa` and more (iec104_station.py);
`common` (common address, 1), `port` (2404), `select` (commands need a selection first, false), `cyclic` (s between
transmissions of all measured values, 5; 0: never), `timed` (spontaneous changes carry a time tag, true), `timing`
{t1, t2, t3, k, w}, `masters` [addresses that may connect; default any], `utc_offset` (h of its clock, 8).

Up to 8 masters at once; each gets every spontaneous change once it has started data transfer. Clock synchronisation
shifts the time tags of later events only, never the scenario's clock. C_RP_NA_1 restarts the controller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.agents.iec104_frames import FrameError
from cyber_range.engine.agents.iec104_link import Link, Timing, factory
from cyber_range.engine.agents.iec104_station import Station, initialized

LOOK_EVERY = 0.1  # s between looks for changes
MAX_MASTERS = 8


class Rtu:
    """The station's connections and its clock."""

    def __init__(self, node: NodeContext, controller: Controller) -> None:
        spec = node.spec
        self._node = node
        self._controller = controller
        self.station = Station(
            controller,
            controller.tag_list,
            {name: where for name, where in (spec.get("tags") or {}).items() if "ioa" in (where or {})},
            common=int(spec.get("common", 1)),
            select=bool(spec.get("select", False)),
        )
        self.timing = Timing(**(spec.get("timing") or {}))
        self._masters = frozenset(spec.get("masters") or ())
        self._cyclic, self._timed = float(spec.get("cyclic", 5)), bool(spec.get("timed", True))
        self._shift = float(spec.get("utc_offset", 8)) * 3600_000  # ms between the world's clock and ours
        self._restarts = controller.restarts
        self.links: set[Link] = set()

    def now(self) -> int:
        return int(time.time() * 1000 + self._shift)

    # the connections' owner

    def link_opened(self, link: Link) -> None:
        self.links.add(link)
        if len(self.links) > MAX_MASTERS or (self._masters and link.peer not in self._masters):
            link.close()

    def link_started(self, link: Link, started: bool) -> None:
        self._node.emit("master", address=link.peer, started=started)
        if started and self._controller.restarts != self._restarts:
            self._restarts = self._controller.restarts
            link.send(initialized(self.station.common))

    def link_asdu(self, link: Link, data: bytes) -> None:
        try:
            answers, done = self.station.answer(data, link, time.monotonic())
        except FrameError:
            link.close()
            return
        for answer in answers:
            link.send(answer)
        for tag, value, address in done.writes:
            self._controller.told({"tag": tag, "value": value, "ioa": address, "source": link.peer})
        if done.clock is not None:
            self._shift += done.clock - self.now()
            self._node.emit("clock_set", source=link.peer, shift=round(self._shift / 1000, 3))
        if done.restart:
            self._controller.restart(link.peer)

    def link_closed(self, link: Link) -> None:
        self.links.discard(link)
        self.station.forget(link)

    # telling

    async def tell(self) -> None:
        """Changes at once, everything measured now and then."""
        due = time.monotonic() + self._cyclic
        while True:
            await asyncio.sleep(LOOK_EVERY)
            asdus = self.station.changes(self.now(), timed=self._timed)
            if self._cyclic and time.monotonic() >= due:
                due = time.monotonic() + self._cyclic
                asdus += self.station.cyclic()
            for link in [link for link in self.links if link.started]:
                for asdu in asdus:
                    link.send(asdu)


async def run(node: NodeContext) -> None:
    controller = Controller(node)
    rtu = Rtu(node, controller)

    async def open_door() -> Callable[[], None]:
        make = factory(rtu, controlling=False, timing=rtu.timing)
        listener = await node.net.create_server(make, int(node.spec.get("port", 2404)))
        telling = asyncio.ensure_future(rtu.tell())

        def close() -> None:
            telling.cancel()
            listener.close()
            for link in list(rtu.links):
                link.close()

        return close

    async def points(_: dict[str, Any]) -> dict[str, Any]:
        return {"points": {point.tag.name: point.address for point in rtu.station.points}}

    await controller.run(open_door, {"points": points})
