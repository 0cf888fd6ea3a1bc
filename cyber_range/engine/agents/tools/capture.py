"""lb-capture: what passes this node's network cards, one readable line per packet, or as pcapng."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from cyber_range.engine.agents.context import Net
from cyber_range.engine.agents.tools.console import Ended, Out, Parser, has_files, say, why
from cyber_range.engine.sensor import pcapng
from cyber_range.engine.sensor.decode import ACK, FIN, RST, SYN, TCP, UDP, Arp, Packet, decode, dotted
from cyber_range.engine.sensor.protocols import modbus as modbus_tcp
from cyber_range.engine.sensor.protocols.message import Message

LARGEST_FILE = 12 * 1024 * 1024  # bytes; a node's store is 16 MiB


def parser(out: Out) -> Parser:
    top = Parser(
        out, prog="lb-capture",
        description="抓包：每个报文一行摘要，或存为 pcapng (capture: one line per packet, or a pcapng file)",
        epilog="例：\n  lb-capture --port 502 --seconds 10\n  lb-capture -i eth1 --host 10.1.2.3 -w /tmp/a.pcapng --seconds 30\n"
        "  lb-capture --modbus --writes --seconds 60      只看 Modbus 写操作\n  lb-capture -r /tmp/a.pcapng --summary",
    )  # fmt: skip
    top.add_argument("-i", "--interface", default="", help="网卡，不写为全部 (interface, default all)")
    top.add_argument("-w", "--write", default="", help="存为文件 (write a file)")
    top.add_argument("-r", "--read", default="", help="读文件而不是网卡 (read a file)")
    top.add_argument("-c", "--count", type=int, default=0, help="抓够这么多就停 (stop after so many)")
    top.add_argument("--seconds", type=float, default=0.0, help="抓这么多秒就停，默认 10,0 且有 -c 时不限 (duration)")
    top.add_argument("--host", default="", help="只看这个地址 (only this address)")
    top.add_argument("--port", type=int, default=0, help="只看这个端口 (only this port)")
    top.add_argument("--modbus", action="store_true", help="只看 Modbus 报文 (only Modbus)")
    top.add_argument("--writes", action="store_true", help="只看 Modbus 写操作 (only writes)")
    top.add_argument("--summary", action="store_true", help="只给出会话统计 (conversations only)")
    return top


async def main(argv: Sequence[str], net: Net, out: Out) -> int:
    try:
        options = parser(out).parse_args(list(argv))
    except Ended as end:
        return end.code
    if (options.write or options.read) and not has_files(out):
        say(out, "lb-capture: 这个节点没有文件系统，不能用 -w 和 -r")
        return 2
    report = Report(options, out)
    try:
        if options.read:
            report.take(read_capture(options.read))
        else:
            await live(net, options, report)
        if options.write:
            write_capture(options.write, options.interface or "any", report.kept)
            say(out, f"已存 {len(report.kept)} 个报文到 {options.write}")
    except (OSError, NotImplementedError, ValueError) as exc:
        say(out, f"lb-capture: {why(exc)}")
        return 1
    report.end()
    return 0


def read_capture(name: str) -> list[tuple[int, bytes]]:
    return pcapng.read(Path(name).read_bytes())


def write_capture(name: str, interface: str, frames: list[tuple[int, bytes]]) -> None:
    Path(name).write_bytes(pcapng.header(interface) + pcapng.packets(frames))


async def live(net: Net, options: argparse.Namespace, report: Report) -> None:
    names = [options.interface] if options.interface else [leg.name for leg in net.interfaces()]
    if not options.seconds and not options.count:
        options.seconds = 10.0
    taps = []
    try:
        for name in names:
            taps.append(await net.tap(name, report.take))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(report.full.wait(), options.seconds or None)
    finally:
        for tap in taps:
            tap.close()


class Report:
    """Filters, prints, counts and keeps."""

    def __init__(self, options: argparse.Namespace, out: Out) -> None:
        self._options, self._out = options, out
        self.kept: list[tuple[int, bytes]] = []
        self._bytes = self.seen = 0
        self.full = asyncio.Event()
        self._conversations: dict[tuple[str, str, int], list[int]] = {}

    def take(self, frames: list[tuple[int, bytes]]) -> None:
        options = self._options
        for at, frame in frames:
            if self.full.is_set():
                return
            packet = decode(frame)
            messages = modbus(packet) if isinstance(packet, Packet) else []
            if not self._wanted(packet, messages):
                continue
            self.seen += 1
            if options.write:
                self.kept.append((at, frame))
                self._bytes += len(frame)
            self._count(packet, messages)
            if not options.summary and not options.write:
                say(self._out, line(at, frame, packet, messages))
            if (options.count and self.seen >= options.count) or self._bytes >= LARGEST_FILE:
                self.full.set()

    def _wanted(self, packet: Packet | Arp | None, messages: list[Message]) -> bool:
        options = self._options
        if options.writes and not any(m.writes for m in messages):
            return False
        if options.modbus and not messages:
            return False
        if options.host:
            ends = {dotted(packet.src), dotted(packet.dst)} if isinstance(packet, Packet) else set()
            if isinstance(packet, Arp):
                ends = {dotted(packet.sender), dotted(packet.target)}
            if options.host not in ends:
                return False
        return not options.port or (isinstance(packet, Packet) and options.port in (packet.sport, packet.dport))

    def _count(self, packet: Packet | Arp | None, messages: list[Message]) -> None:
        if isinstance(packet, Packet):
            to_server = packet.dport <= packet.sport
            client, server = (packet.src, packet.dst) if to_server else (packet.dst, packet.src)
            key = (dotted(client), dotted(server), packet.dport if to_server else packet.sport)
            counts = self._conversations.setdefault(key, [0, 0])
            counts[0] += 1
            counts[1] += sum(1 for m in messages if m.writes and to_server)

    def end(self) -> None:
        if self._options.summary:
            for (client, server, port), (packets, writes) in sorted(
                self._conversations.items(), key=lambda i: -i[1][0]
            ):
                extra = f"，其中 Modbus 写请求 {writes}" if writes else ""
                say(self._out, f"{client} → {server}:{port}  {packets} 个报文{extra}")
        say(self._out, f"共 {self.seen} 个报文")


def modbus(packet: Packet) -> list[Message]:
    """The Modbus messages of one segment that starts with one (a display, not a reassembly)."""
    if packet.proto != TCP or 502 not in (packet.sport, packet.dport):
        return []
    return list(modbus_tcp.messages(packet.dport == 502, packet.payload))


def line(at: int, frame: bytes, packet: Packet | Arp | None, messages: list[Message]) -> str:
    stamp = time.strftime("%H:%M:%S", time.localtime(at // 1_000_000_000)) + f".{at // 1_000_000 % 1000:03d}"
    if isinstance(packet, Arp):
        asks = f"谁是 {dotted(packet.target)}?" if packet.asks else f"{dotted(packet.sender)} 是 {packet.mac.hex(':')}"
        return f"{stamp} ARP {dotted(packet.sender)}: {asks}"
    if packet is None:
        return f"{stamp} {len(frame)} 字节，非 IPv4"
    src, dst = dotted(packet.src), dotted(packet.dst)
    if packet.proto == TCP:
        flags = "".join(n for bit, n in ((SYN, "S"), (FIN, "F"), (RST, "R"), (ACK, ".")) if packet.flags & bit)
        text = " | ".join(map(worded, messages)) or f"[{flags}] {len(packet.payload)} 字节"
        return f"{stamp} TCP {src}:{packet.sport} → {dst}:{packet.dport} {text}"
    if packet.proto == UDP:
        return f"{stamp} UDP {src}:{packet.sport} → {dst}:{packet.dport} {len(packet.payload)} 字节"
    return f"{stamp} {'ICMP' if packet.proto == 1 else f'IP {packet.proto}'} {src} → {dst} {len(packet.payload)} 字节"


def worded(message: Message) -> str:
    name = message.name
    if message.error:
        return f"Modbus {name} 被拒绝，异常码 {message.error}"
    if message.writes and message.values:
        return f"Modbus {name} 地址 {message.address} ← {', '.join(map(str, message.values[:8]))}"
    if message.count:
        return f"Modbus {name} 地址 {message.address} 共 {message.count} 个"
    return f"Modbus {name}"
