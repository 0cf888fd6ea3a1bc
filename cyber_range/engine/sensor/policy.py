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

from cyber_range.engine.sensor.alerts import FRAMES_KEPT, Alerts, Item
from cyber_range.engine.sensor.baseline import Deviation
from cyber_range.engine.sensor.decode import dotted
from cyber_range.engine.sensor.protocols.message import Message
from cyber_range.engine.sensor.protocols.modbus import IDENTIFY, table

NOBODY = "0.0.0.0"  # noqa: S104 - the sender of an ARP probe, before it has an address
WINDOW = 10.0  # s of the scan and exception rules
SCAN_TARGETS = 12  # different (address, port) asked by SYN within the window
SWEEP_TARGETS = 10  # different addresses asked by ARP within the window
UNIT_TARGETS = 5  # different unit numbers of one server within the window
POINTS_WINDOW, POINTS = 60.0, 120  # s; different addresses of one table read by one client
EXCEPTIONS = 8  # exception answers to one client within the window
SILENCE = 5.0  # s without an answer from a polled server to an allowed master
STEADY = 8  # looks in a row with answers that make a master a poller; who only asks now and then is not missed
HOST_LIMIT, WINDOW_LIMIT = 20_000, 20_000  # what a flood of made-up senders may fill
LABELS = {
    "modbus": "Modbus", "s7comm": "S7", "enip": "EtherNet/IP", "iec104": "IEC 104", "dnp3": "DNP3", "bacnet": "BACnet",
    "opcua": "OPC UA", "mqtt": "MQTT",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Master:
    """An allowed master. Functions that are not listed are not allowed to write; `proto` as the decoders call it."""

    client: str
    server: str
    functions: frozenset[int]
    proto: str = "modbus"


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
                Master(m["client"], m["server"], frozenset(int(f) for f in m["functions"]), m.get("proto", "modbus"))
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
    """Distinct values of the last seconds, with the frames that brought the newest ones."""

    __slots__ = ("_frames", "_order", "_seconds", "_seen")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[Any, float] = {}
        self._order: deque[tuple[float, Any]] = deque()
        self._frames: deque[Item] = deque(maxlen=FRAMES_KEPT)

    def add(self, at: float, value: Any, frame: Item | None = None) -> int:
        if frame is not None:
            self._frames.append(frame)
        self._seen[value] = at
        self._order.append((at, value))
        while self._order and self._order[0][0] < at - self._seconds:
            then, old = self._order.popleft()
            if self._seen.get(old) == then:
                del self._seen[old]
        return len(self._seen)

    @property
    def newest(self) -> float:
        return self._order[-1][0] if self._order else 0.0

    @property
    def frames(self) -> list[Item]:
        return list(self._frames)


class Watch:
    """Judges facts as they come; what it finds it raises with `alerts`."""

    def __init__(self, policy: Policy, alerts: Alerts) -> None:
        self.policy = policy
        self.alerts = alerts
        self.counters = alerts.counters
        self._functions = {(m.proto, m.client, m.server): m.functions for m in policy.masters}
        self._mastered = {m.proto for m in policy.masters}  # without a master named for a protocol nobody is a stranger
        self._limits = {(x.server, x.table, x.address): x for x in policy.limits}
        self._windows: dict[tuple[Any, ...], Window] = {}
        self._macs: dict[tuple[str, str], tuple[str, Item | None]] = {}
        self._answered: dict[tuple[str, str, str], tuple[float, str]] = {}
        self._silent: set[tuple[str, str, str]] = set()
        self._steady: dict[tuple[str, str, str], int] = {}

    def _window(self, *key: Any, seconds: float = WINDOW) -> Window:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = Window(seconds)
        return window

    def name(self, address: str) -> str:
        known = self.policy.assets.get(address)
        return f"{known}（{address}）" if known else address

    def on_arp(self, at: float, zone: str, sender: str, mac: str, target: str, asks: bool) -> bool:
        """True for an address not seen in this zone before."""
        fresh = False
        if sender != NOBODY:
            before = self._macs.get((zone, sender))
            fresh = before is None
            current = self.alerts.current
            if before is not None and before[0] != mac:
                self.alerts.raise_alert(
                    "arp_spoof", 1, "T0830", at, zone, sender, mac,
                    f"{self.name(sender)} 的硬件地址由 {before[0]} 变为 {mac}，可能有人冒充",
                    frames=[frame for frame in (before[1], current) if frame is not None],
                )  # fmt: skip
            if fresh and len(self._macs) >= HOST_LIMIT:
                self._macs.clear()
            self._macs[zone, sender] = (mac, current)
        if asks and sender != target:
            window = self._window("arp", zone, sender)
            if window.add(at, target, self.alerts.current) >= SWEEP_TARGETS:
                self.alerts.raise_alert(
                    "arp_sweep", 2, "T0846", at, zone, sender, "",
                    f"{self.name(sender)} 在 {WINDOW:.0f} 秒内询问了 {SWEEP_TARGETS} 个以上的地址（地址扫描）", frames=window.frames,
                )  # fmt: skip
        return fresh

    def on_syn(self, at: float, zone: str, source: bytes, target: bytes, port: int) -> None:
        window = self._window("syn", zone, source)
        if window.add(at, (target, port), self.alerts.current) >= SCAN_TARGETS:
            src = dotted(source)
            self.alerts.raise_alert(
                "port_scan", 2, "T0846", at, zone, src, "",
                f"{self.name(src)} 在 {WINDOW:.0f} 秒内尝试了 {SCAN_TARGETS} 个以上的地址和端口（端口扫描）", frames=window.frames,
            )  # fmt: skip

    def on_established(self, at: float, zone: str, src: str, dst: str, port: int) -> None:
        if not self.policy.knows(src, dst, port):
            self.alerts.raise_alert(
                "unexpected_connection", 2, "T0886", at, zone, src, f"{dst}:{port}",
                f"网络图上没有的连接：{self.name(src)} → {self.name(dst)} 端口 {port}",
            )  # fmt: skip

    def on_request(self, at: float, zone: str, client: str, server: str, message: Message) -> bool:
        """True when the same request once more can raise nothing, so that nobody need look at it again."""
        found = self.alerts.counters["alerts"]
        proto, word = message.proto, message.name
        allowed = self._functions.get((proto, client, server))
        stranger = allowed is None and proto in self._mastered
        calm = not stranger
        if stranger:
            self.counters["rogue_requests"] += 1
            self.alerts.raise_alert(
                "rogue_master", 1, "T0848", at, zone, client, server,
                f"{self.name(client)} 不是 {self.name(server)} 的主站，却发来 {LABELS.get(proto, proto)} 请求（{word}）",
            )  # fmt: skip
        if message.writes and (stranger or (allowed is not None and message.function not in allowed)):
            calm = False
            self.counters["unauthorized_writes"] += 1
            self.alerts.raise_alert(
                "unauthorized_write", 1, _technique(message), at, zone, client, server,
                f"未授权写入：{self.name(client)} 向 {self.name(server)} {word}{_aim(message)}",
            )  # fmt: skip
        if message.proto == "modbus":
            calm = self._modbus(at, zone, client, server, message, stranger=stranger) and calm
        return calm and self.alerts.counters["alerts"] == found

    def _modbus(self, at: float, zone: str, client: str, server: str, message: Message, *, stranger: bool) -> bool:
        calm = not message.writes or self._check_limits(at, zone, client, server, message)
        if message.function == IDENTIFY:
            calm = False
            self.alerts.raise_alert(
                "device_identification", 2, "T0888", at, zone, client, server,
                f"{self.name(client)} 读取了 {self.name(server)} 的设备标识（型号、固件）",
            )  # fmt: skip
        units = self._window("unit", client, server)
        if units.add(at, message.unit, self.alerts.current) >= UNIT_TARGETS:
            self.alerts.raise_alert(
                "unit_scan", 2, "T0846", at, zone, client, server,
                f"{self.name(client)} 逐个试探 {self.name(server)} 的单元号", frames=units.frames,
            )  # fmt: skip
        if stranger and message.count and not message.writes:
            window = self._window("points", client, server, table(message.function), seconds=POINTS_WINDOW)
            seen = 0
            for address in range(message.address, message.address + min(message.count, 2000)):
                seen = window.add(at, address)
            if seen >= POINTS:
                self.alerts.raise_alert(
                    "point_sweep", 2, "T0861", at, zone, client, server,
                    f"{self.name(client)} 成片读取 {self.name(server)} 的点表（{seen} 个地址）",
                )  # fmt: skip
        return calm

    def _check_limits(self, at: float, zone: str, client: str, server: str, message: Message) -> bool:
        within = True
        for offset, value in enumerate(message.values):
            limit = self._limits.get((server, table(message.function), message.address + offset))
            if limit is not None and not limit.low <= value <= limit.high:
                within = False
                self.counters["out_of_limit_writes"] += 1
                self.alerts.raise_alert(
                    "value_out_of_limits", 1, "T0836", at, zone, client, server,
                    f"{limit.title}被写为 {value}，超出允许范围 {limit.low:g}~{limit.high:g}",
                )  # fmt: skip
        return within

    def on_refusal(self, at: float, zone: str, client: str, server: str, message: Message) -> None:
        window = self._window("exception", message.proto, client, server)
        if window.add(at, at, self.alerts.current) >= EXCEPTIONS:
            self.alerts.raise_alert(
                "exception_burst", 2, "T0861", at, zone, client, server,
                f"{self.name(server)} 连续拒绝 {self.name(client)} 的请求（异常码 {message.error}）", frames=window.frames,
            )  # fmt: skip

    def on_deviation(
        self, at: float, zone: str, client: str, server: str, message: Message, deviation: Deviation
    ) -> None:
        """Something outside of what was learned. A write is an order, so it weighs more than a read."""
        label = LABELS.get(message.proto, message.proto)
        who = f"{self.name(client)} → {self.name(server)}"
        severity = 1 if message.writes else 2
        technique = _technique(message) if message.writes else "T0861"
        if deviation.kind == "pair":
            rule, severity, technique = "new_master", 1, "T0848"
            text = f"学习期内没有的主站：{who} 发来 {label} 请求（{message.name}）"
        elif deviation.kind == "function":
            rule = "new_function"
            text = f"学习期内没有的功能：{who} {label} {message.name}{_aim(message)}，学到的功能码：{deviation.learned}"
        elif deviation.kind == "unit":
            rule = "new_unit"
            text = f"学习期内没有的对象：{who} {label} {message.name} 对象 {message.unit}，学到的：{deviation.learned}"
        else:
            rule = "new_address"
            last = message.address + max(message.count, 1) - 1
            text = f"学习期内没有的地址：{who} {label} {message.name} {message.address}~{last}，学到的：{deviation.learned}"
        self.counters["outside_baseline"] = self.counters.get("outside_baseline", 0) + 1
        self.alerts.raise_alert(rule, severity, technique, at, zone, client, server, text)

    def on_new_asset(self, at: float, zone: str, address: str, mac: str) -> None:
        self.alerts.raise_alert(
            "new_asset",
            2,
            "T0864",
            at,
            zone,
            address,
            "",
            f"学习期之后出现的新设备：{self.name(address)}，硬件地址 {mac}",
        )

    def answered(self, at: float, zone: str, client: str, server: str, proto: str) -> None:
        """A named master got answers, last at that time."""
        key = (proto, client, server)
        if key in self._functions:
            last, _ = self._answered.get(key, (0.0, zone))
            self._steady[key] = self._steady.get(key, 0) + 1 if at - last <= SILENCE else 1
            self._answered[key] = (at, zone)
            self._silent.discard(key)

    def on_time(self, at: float) -> None:
        """Called about once a second: what stopped happening, and what may be forgotten."""
        for (proto, client, server), (last, zone) in self._answered.items():
            key = (proto, client, server)
            if at - last > SILENCE and self._steady.get(key, 0) >= STEADY and key not in self._silent:
                self._silent.add(key)
                self.alerts.raise_alert(
                    "poll_lost", 1, "T0815", at, zone, server, client,
                    f"{self.name(client)} 已 {SILENCE:.0f} 秒收不到 {self.name(server)} 的应答，监视中断", frames=(),
                )  # fmt: skip
        if len(self._windows) > WINDOW_LIMIT:
            self._windows = {key: one for key, one in self._windows.items() if at - one.newest < POINTS_WINDOW}
            if len(self._windows) > WINDOW_LIMIT:
                self._windows.clear()


def _technique(message: Message) -> str:
    """Writes of single outputs are commands, those of values are parameters."""
    return "T0855" if message.proto != "modbus" or table(message.function) == "coil" else "T0836"


def _aim(message: Message) -> str:
    if message.proto == "modbus":
        if message.address < 0:
            return ""
        values = ", ".join(map(str, message.values[:4]))
        return f"，{'线圈' if table(message.function) == 'coil' else '寄存器'} {message.address} ← {values}"
    return f"，对象 {message.unit}" if message.unit != "" else ""
