"""What the sensor calls suspicious, each rule with the ATT&CK for ICS technique it points at.

The policy is data (the sensor's spec): who may be a Modbus master of what, with which functions, which set-points
lie where, which connections the drawing of the network knows. Rules keep sliding windows in packet time, so a
replayed capture raises the same alerts as the live one.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cyber_range.engine.sensor.modbus import IDENTIFY, NAMES, Message

NOBODY = "0.0.0.0"  # noqa: S104 - the sender of an ARP probe, before it has an address
WINDOW = 10.0  # s of the scan and exception rules
SCAN_TARGETS = 12  # different (address, port) asked by SYN within the window
SWEEP_TARGETS = 10  # different addresses asked by ARP within the window
UNIT_TARGETS = 5  # different unit numbers of one server within the window
POINTS_WINDOW, POINTS = 60.0, 120  # s; different addresses of one table read by one client
EXCEPTIONS = 8  # exception answers to one client within the window
QUIET = 30.0  # s in which the same alert only counts
SILENCE = 5.0  # s without an answer from a polled server to an allowed master


@dataclass(frozen=True, slots=True)
class Master:
    """An allowed master. Functions that are not listed are not allowed."""

    client: str
    server: str
    functions: frozenset[int]


@dataclass(frozen=True, slots=True)
class Limit:
    """Raw limits of a written value."""

    server: str
    table: str
    address: int
    low: float
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """A connection that belongs here; port 0 = any."""

    src: ipaddress.IPv4Network
    dst: ipaddress.IPv4Network
    port: int


@dataclass
class Policy:
    """Checked form of the sensor's `policy`."""

    masters: tuple[Master, ...] = ()
    limits: tuple[Limit, ...] = ()
    connections: tuple[Allowed, ...] = ()
    assets: Mapping[str, str] = field(default_factory=dict)  # address -> name on the drawing

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Policy:
        return cls(
            masters=tuple(
                Master(m["client"], m["server"], frozenset(int(f) for f in m["functions"]))
                for m in spec.get("masters", ())
            ),
            limits=tuple(
                Limit(x["server"], x["table"], int(x["address"]), float(x["low"]), float(x["high"]), x["title"])
                for x in spec.get("limits", ())
            ),
            connections=tuple(
                Allowed(ipaddress.IPv4Network(c["src"]), ipaddress.IPv4Network(c["dst"]), int(c.get("port", 0)))
                for c in spec.get("connections", ())
            ),
            assets=dict(spec.get("assets", {})),
        )

    def knows(self, src: str, dst: str, port: int) -> bool:
        """Whether the drawing has this connection; without any drawn, everything is known."""
        if not self.connections:
            return True
        a, b = ipaddress.IPv4Address(src), ipaddress.IPv4Address(dst)
        return any(a in c.src and b in c.dst and c.port in (0, port) for c in self.connections)


class Window:
    """Distinct values of the last seconds."""

    __slots__ = ("_order", "_seconds", "_seen")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[Any, float] = {}
        self._order: deque[tuple[float, Any]] = deque()

    def add(self, at: float, value: Any) -> int:
        self._seen[value] = at
        self._order.append((at, value))
        while self._order and self._order[0][0] < at - self._seconds:
            then, old = self._order.popleft()
            if self._seen.get(old) == then:
                del self._seen[old]
        return len(self._seen)


@dataclass
class Alert:
    """One finding; repeats within QUIET only raise `packets`."""

    rule: str
    severity: int
    text: str
    src: str
    dst: str
    zone: str
    technique: str
    at: float
    packets: int = 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "rule": self.rule, "severity": self.severity, "text": self.text, "src": self.src, "dst": self.dst,
            "zone": self.zone, "technique": self.technique, "packets": self.packets,
        }  # fmt: skip


class Rules:
    """Judges facts as they come. `drain` gives the new alerts, and once per QUIET the repeats of a running one."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.counters: dict[str, int] = {
            "alerts": 0,
            "unauthorized_writes": 0,
            "rogue_requests": 0,
            "out_of_limit_writes": 0,
        }
        self._functions = {(m.client, m.server): m.functions for m in policy.masters}
        self._limits = {(x.server, x.table, x.address): x for x in policy.limits}
        self._windows: dict[tuple[Any, ...], Window] = {}
        self._running: dict[tuple[str, str, str, str], Alert] = {}
        self._new: list[Alert] = []
        self._macs: dict[tuple[str, str], str] = {}
        self._answered: dict[tuple[str, str], tuple[float, str]] = {}
        self._silent: set[tuple[str, str]] = set()

    def raise_alert(
        self, rule: str, severity: int, technique: str, at: float, zone: str, src: str, dst: str, text: str
    ) -> None:
        key = (rule, zone, src, dst)
        running = self._running.get(key)
        if running is not None and at - running.at < QUIET:
            running.packets += 1
            return
        alert = Alert(rule, severity, text, src, dst, zone, technique, at)
        self._running[key] = alert
        self._new.append(alert)
        self.counters["alerts"] += 1

    def drain(self) -> list[Alert]:
        new, self._new = self._new, []
        return new

    def _window(self, *key: Any, seconds: float = WINDOW) -> Window:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = Window(seconds)
        return window

    def name(self, address: str) -> str:
        known = self.policy.assets.get(address)
        return f"{known}({address})" if known else address

    def on_arp(self, at: float, zone: str, sender: str, mac: str, target: str, asks: bool) -> bool:
        """True for an address not seen in this zone before."""
        fresh = False
        if sender != NOBODY:
            before = self._macs.get((zone, sender))
            fresh = before is None
            if before is not None and before != mac:
                self.raise_alert(
                    "arp_spoof", 1, "T0830", at, zone, sender, mac,
                    f"{self.name(sender)} 的硬件地址由 {before} 变为 {mac}，可能有人冒充",
                )  # fmt: skip
            self._macs[zone, sender] = mac
        if asks and sender != target and self._window("arp", zone, sender).add(at, target) >= SWEEP_TARGETS:
            self.raise_alert(
                "arp_sweep", 2, "T0846", at, zone, sender, "",
                f"{self.name(sender)} 在 {WINDOW:.0f} 秒内询问了 {SWEEP_TARGETS} 个以上的地址(地址扫描)",
            )  # fmt: skip
        return fresh

    def on_syn(self, at: float, zone: str, src: str, dst: str, port: int) -> None:
        if self._window("syn", zone, src).add(at, (dst, port)) >= SCAN_TARGETS:
            self.raise_alert(
                "port_scan", 2, "T0846", at, zone, src, "",
                f"{self.name(src)} 在 {WINDOW:.0f} 秒内尝试了 {SCAN_TARGETS} 个以上的地址和端口(端口扫描)",
            )  # fmt: skip

    def on_established(self, at: float, zone: str, src: str, dst: str, port: int) -> None:
        if not self.policy.knows(src, dst, port):
            self.raise_alert(
                "unexpected_connection", 2, "T0886", at, zone, src, f"{dst}:{port}",
                f"网络图上没有的连接: {self.name(src)} → {self.name(dst)} 端口 {port}",
            )  # fmt: skip

    def on_request(self, at: float, zone: str, client: str, server: str, message: Message) -> None:
        allowed = self._functions.get((client, server))
        word = NAMES.get(message.function, f"功能码 {message.function}")
        if allowed is None:
            self.counters["rogue_requests"] += 1
            self.raise_alert(
                "rogue_master", 1, "T0848", at, zone, client, server,
                f"{self.name(client)} 不是 {self.name(server)} 的主站，却发来 Modbus 请求({word})",
            )  # fmt: skip
        if message.writes and (allowed is None or message.function not in allowed):
            self.counters["unauthorized_writes"] += 1
            what = f"{'线圈' if message.table == 'coil' else '寄存器'} {message.address}"
            values = ", ".join(map(str, message.values[:4]))
            technique = "T0855" if message.table == "coil" else "T0836"
            self.raise_alert(
                "unauthorized_write", 1, technique, at, zone, client, server,
                f"未授权写入: {self.name(client)} 向 {self.name(server)} {word}，{what} ← {values}",
            )  # fmt: skip
        if message.writes:
            self._check_limits(at, zone, client, server, message)
        if message.function == IDENTIFY:
            self.raise_alert(
                "device_identification", 2, "T0888", at, zone, client, server,
                f"{self.name(client)} 读取了 {self.name(server)} 的设备标识(型号、固件)",
            )  # fmt: skip
        if self._window("unit", client, server).add(at, message.unit) >= UNIT_TARGETS:
            self.raise_alert(
                "unit_scan", 2, "T0846", at, zone, client, server,
                f"{self.name(client)} 逐个试探 {self.name(server)} 的单元号",
            )  # fmt: skip
        if allowed is None and message.count and not message.writes:
            window = self._window("points", client, server, message.table, seconds=POINTS_WINDOW)
            seen = 0
            for address in range(message.address, message.address + min(message.count, 2000)):
                seen = window.add(at, address)
            if seen >= POINTS:
                self.raise_alert(
                    "point_sweep", 2, "T0861", at, zone, client, server,
                    f"{self.name(client)} 成片读取 {self.name(server)} 的点表({seen} 个地址)",
                )  # fmt: skip

    def _check_limits(self, at: float, zone: str, client: str, server: str, message: Message) -> None:
        for offset, value in enumerate(message.values):
            limit = self._limits.get((server, message.table, message.address + offset))
            if limit is not None and not limit.low <= value <= limit.high:
                self.counters["out_of_limit_writes"] += 1
                self.raise_alert(
                    "value_out_of_limits", 1, "T0836", at, zone, client, server,
                    f"{limit.title}被写为 {value}，超出允许范围 {limit.low:g}~{limit.high:g}",
                )  # fmt: skip

    def on_answer(self, at: float, zone: str, client: str, server: str, message: Message) -> None:
        if message.exception:
            window = self._window("exception", client, server)
            if window.add(at, (message.transaction, at)) >= EXCEPTIONS:
                self.raise_alert(
                    "exception_burst", 2, "T0861", at, zone, client, server,
                    f"{self.name(server)} 连续拒绝 {self.name(client)} 的请求(异常码 {message.exception})",
                )  # fmt: skip
            return
        if (client, server) in self._functions:
            self._answered[client, server] = (at, zone)
            self._silent.discard((client, server))

    def on_time(self, at: float) -> None:
        """Called about once a second: what stopped happening."""
        for (client, server), (last, zone) in self._answered.items():
            if at - last > SILENCE and (client, server) not in self._silent:
                self._silent.add((client, server))
                self.raise_alert(
                    "poll_lost", 1, "T0815", at, zone, server, client,
                    f"{self.name(client)} 已 {SILENCE:.0f} 秒收不到 {self.name(server)} 的应答，监视中断",
                )  # fmt: skip
