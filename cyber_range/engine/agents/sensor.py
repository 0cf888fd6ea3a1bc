"""The network sensor on the bridges: decodes, judges, counts, captures.

Spec: `taps` {zone: bridge device}; `policy` (sensor.policy.Policy.of); `capture` (true); `rules` (text of own rules in
Suricata's notation), `shipped_rules` (true), `variables` {name: value} for rule headers; `learn` (seconds of allow-list
learning, 0 = none) or `baseline` (a learned list to start with); `suricata` (false: run one beside, where installed).

Emits once a second `polls`, `flows`, `counters` (`kernel_lost`: frames the kernel dropped before we could read them), and
as they come `alert`, `asset`, `pcap`; `lost` {zones, total} when the kernel dropped some; `rules` when some could not be read. Commands: `counters`, `inventory`, `rules`, `set_rules`, `baseline`, `learn`, `lock`, `unlock`, `suricata`.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.agents.context import NodeContext, answer
from cyber_range.engine.sensor import pcapng
from cyber_range.engine.sensor.alerts import Item
from cyber_range.engine.sensor.baseline import Baseline
from cyber_range.engine.sensor.monitor import Monitor
from cyber_range.engine.sensor.policy import Policy
from cyber_range.engine.sensor.rules.shipped import book_of
from cyber_range.engine.sensor.shedding import ALL, Shedding
from cyber_range.engine.sensor.suricata import Suricata, probe

REPORT_EVERY = 1.0  # s
ALERTS_EVERY = 0.2  # s
CHUNK = 192 * 1024  # bytes of one pcap message before base64
CAPTURE_RATE = 4 * 1024 * 1024  # bytes a second over all zones; above, frames are counted but not kept
PROBLEMS_TOLD = 50


class Sensor:
    """One running sensor: what is read from the spec, and what happens with each batch of frames."""

    def __init__(self, node: NodeContext) -> None:
        spec = node.spec
        self._node = node
        self._zones = list(spec["taps"])
        policy = Policy.of(spec.get("policy") or {})
        self._variables = variables_of(policy, spec.get("variables") or {})
        self._shipped = bool(spec.get("shipped_rules", True))
        book = book_of(str(spec.get("rules") or ""), shipped=self._shipped, variables=self._variables)
        baseline = Baseline(seconds=float(spec.get("learn") or 0) or None, entries=spec.get("baseline"))
        self.monitor = Monitor(policy, book=book, baseline=baseline)
        self._capture = bool(spec.get("capture", True))
        self._pending: dict[str, list[Item]] = {zone: [] for zone in self._zones}
        self._sizes = dict.fromkeys(self._zones, 0)
        self._budget = CAPTURE_RATE
        self._capture_lost = 0
        self.taps: dict[str, Any] = {}  # by zone; those of a kernel know what it dropped
        self._kernel_lost: dict[str, int] = {}
        self._shedding = Shedding()
        self._suricata: Suricata | None = None
        self._suricata_said = "off"

    def take(self, zone: str, frames: list[Item]) -> None:
        """One batch of a tap. The capture comes first: what is shed can still be looked at later."""
        if not frames:
            return
        if self._capture:
            self._keep(zone, frames)
        level = self._shedding.judge(time.time() - frames[0][0] / 1e9, len(frames))
        if level >= ALL:
            return
        self.monitor.shed = level
        self.monitor.feed(zone, frames)
        if self._suricata is not None:
            self._suricata.feed(zone, frames)

    def _keep(self, zone: str, frames: list[Item]) -> None:
        size = sum(len(frame) for _, frame in frames)
        if size > self._budget:
            self._capture_lost += len(frames)
            return
        self._budget -= size
        self._pending[zone] += frames
        self._sizes[zone] += size
        if self._sizes[zone] >= CHUNK:
            self.flush(zone)

    def flush(self, zone: str) -> None:
        if self._pending[zone]:
            data = base64.b64encode(pcapng.packets(self._pending[zone])).decode()
            self._node.emit("pcap", zone=zone, data=data)
            self._pending[zone], self._sizes[zone] = [], 0

    def flush_all(self) -> None:
        for zone in self._zones:
            self.flush(zone)

    def counted(self) -> dict[str, int]:
        beside = self._suricata.counters() if self._suricata is not None else {}
        return {
            **self.monitor.counters(), **self._shedding.counters(), "capture_lost": self._capture_lost,
            "kernel_lost": sum(self._kernel_lost.values()), **beside,
        }  # fmt: skip

    def tell_lost(self) -> None:
        """Asks the kernel; what it dropped is in no counter, flow, alert or capture, so it must be said."""
        now = {zone: tap.lost() for zone, tap in self.taps.items() if hasattr(tap, "lost")}
        grown = {zone: count - self._kernel_lost.get(zone, 0) for zone, count in now.items()}
        self._kernel_lost = now
        if any(grown.values()):
            fresh = {zone: count for zone, count in grown.items() if count}
            self._node.emit("lost", zones=fresh, total=sum(now.values()))

    def report(self) -> None:
        self._budget = CAPTURE_RATE
        facts = self.monitor.report(time.time())
        for asset in facts["assets"]:
            self._node.emit("asset", **asset)
        for alert in facts["alerts"]:
            self._node.emit("alert", **alert)
        self._node.emit("polls", polls=facts["polls"])
        self._node.emit("flows", flows=facts["flows"])
        self.tell_lost()
        self._node.emit("counters", values=self.counted())
        self.flush_all()

    def alarm(self) -> None:
        for alert in self.monitor.alerts.drain():
            self._node.emit("alert", **alert.as_dict())

    def tell_problems(self) -> None:
        book = self.monitor.book
        if book.problems:
            self._node.emit("rules", **self._rules_said())

    def _rules_said(self) -> dict[str, Any]:
        book = self.monitor.book
        told = [problem.as_dict() for problem in book.problems[:PROBLEMS_TOLD]]
        return {"loaded": len(book.rules), "left_out": len(book.problems), "problems": told}

    # ------------------------------------------------------------ Suricata

    async def start_suricata(self) -> None:
        found = await asyncio.to_thread(probe)
        if not found.usable:
            self._suricata_said = f"{found.reason}. {found.remedy}"
            self._node.emit("suricata", state="missing", what=found.reason, remedy=found.remedy)
            return
        self._suricata = Suricata(
            self._node.store / "suricata", self._zones, self.monitor.book.rules, self._variables,
            self._suricata_alert, self._suricata_ended,
        )  # fmt: skip
        try:
            await self._suricata.start()
        except OSError as exc:
            self._suricata = None
            self._suricata_ended(f"suricata could not be started: {exc}")
            return
        self._suricata_said = f"running, version {found.version}"
        self._node.emit("suricata", state="running", version=found.version)

    def _suricata_alert(self, said: dict[str, Any]) -> None:
        """Among our own, so that it too is said once and counted while it lasts."""
        self.monitor.alerts.raise_alert(
            said["rule"], said["severity"], said["technique"], said["seen"], said["zone"], said["src"], said["dst"],
            said["text"], source="suricata", frames=[(at, base64.b64decode(frame)) for at, frame in said["frames"]],
            more={key: said[key] for key in ("sid", "rev", "port") if key in said},
        )  # fmt: skip

    def _suricata_ended(self, why: str) -> None:
        self._suricata_said = why
        self._node.emit("suricata", state="ended", what=why, remedy="The sensor's own rules go on")

    async def stop_suricata(self) -> None:
        if self._suricata is not None:
            await self._suricata.stop()

    # ------------------------------------------------------------ commands

    async def on_counters(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"values": self.counted()}

    async def on_inventory(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"assets": self.monitor.inventory.all()}

    async def on_rules(self, _: dict[str, Any]) -> dict[str, Any]:
        return self._rules_said()

    async def on_set_rules(self, command: dict[str, Any]) -> dict[str, Any]:
        """Other own rules from now on; a Suricata beside keeps those it began with."""
        text = str(command.get("text", ""))
        book = await asyncio.to_thread(book_of, text, shipped=self._shipped, variables=self._variables)
        self.monitor.set_book(book)
        return self._rules_said()

    async def on_baseline(self, _: dict[str, Any]) -> dict[str, Any]:
        baseline = self.monitor.baseline
        return {"state": baseline.state, "entries": baseline.entries(), "left_out": baseline.left_out}

    async def on_learn(self, command: dict[str, Any]) -> dict[str, Any]:
        self.monitor.baseline.learn(float(command.get("seconds", 60)))
        self.monitor.take_back()
        return {"state": self.monitor.baseline.state}

    async def on_lock(self, _: dict[str, Any]) -> dict[str, Any]:
        self.monitor.baseline.lock()
        self.monitor.take_back()
        return await self.on_baseline({})

    async def on_unlock(self, _: dict[str, Any]) -> dict[str, Any]:
        self.monitor.baseline.off()
        self.monitor.take_back()
        return {"state": self.monitor.baseline.state}

    async def on_suricata(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"state": self._suricata_said}


def variables_of(policy: Policy, given: Mapping[str, Any]) -> dict[str, str]:
    """Who may order whom, for rule headers: from the policy where the spec does not say."""
    found = {}
    if policy.masters:
        found["MASTERS"] = f"[{','.join(sorted({master.client for master in policy.masters}))}]"
        found["KNOWN_MASTERS"] = found["MASTERS"]
        found["CONTROLLERS"] = f"[{','.join(sorted({master.server for master in policy.masters}))}]"
    return found | {str(name): str(value) for name, value in given.items()}


async def run(node: NodeContext) -> None:
    sensor = Sensor(node)

    async def every(seconds: float, act: Any) -> None:
        due = time.monotonic()
        while True:
            due += seconds
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            act()

    for zone in node.spec["taps"]:
        sensor.taps[zone] = await node.net.tap(zone, lambda frames, zone=zone: sensor.take(zone, frames))  # type: ignore[misc]
    work = [
        asyncio.ensure_future(every(REPORT_EVERY, sensor.report)),
        asyncio.ensure_future(every(ALERTS_EVERY, sensor.alarm)),
    ]
    sensor.tell_problems()
    node.emit("ready")
    if node.spec.get("suricata"):
        work.append(asyncio.ensure_future(sensor.start_suricata()))
    try:
        await answer(
            node,
            {name[3:]: getattr(sensor, name) for name in dir(sensor) if name.startswith("on_")},
        )
    finally:
        for task in work:
            task.cancel()
        for tap in sensor.taps.values():
            tap.close()
        sensor.flush_all()
        await sensor.stop_suricata()
