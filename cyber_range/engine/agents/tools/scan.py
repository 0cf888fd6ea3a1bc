"""lb-scan: which addresses answer, which ports are open, which of them speak Modbus."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

from cyber_range.engine.agents.context import Interface, Net
from cyber_range.engine.agents.modbus_link import ModbusError, ModbusLink
from cyber_range.engine.agents.tools.console import Ended, Out, Parser, say

AT_ONCE = 64  # connections being tried
MOST_TARGETS = 1024  # addresses of one run
SERVICES = {21: "ftp", 22: "ssh", 25: "smtp", 80: "http", 102: "s7", 443: "https", 445: "smb", 502: "modbus",
            8080: "http", 8086: "historian", 4840: "opc-ua", 44818: "ethernet/ip"}  # fmt: skip
USUAL = ",".join(map(str, SERVICES))


def parser(out: Out) -> Parser:
    top = Parser(
        out, prog="lb-scan",
        description="扫描地址和端口，识别 Modbus 设备 (scan addresses and ports, identify Modbus devices)",
        epilog="例：\n  lb-scan 10.1.2.0/28\n  lb-scan 10.1.2.3 --ports 1-1024\n  lb-scan 10.1.2.0/28 --ports 502 --modbus",
    )  # fmt: skip
    top.add_argument(
        "targets", nargs="*", help="地址、网段或 a.b.c.d-e；不写则扫描本机所在网段 (default: own segments)"
    )
    top.add_argument("--ports", "-p", default=USUAL, help="端口，如 22,502,1-100 (ports)")
    top.add_argument("--timeout", type=float, default=0.6, help="每个端口等待秒数 (seconds per port)")
    top.add_argument("--modbus", action="store_true", help="对开放的 502 端口读设备标识 (identify)")
    top.add_argument("--arp", action="store_true", help="只做本网段 ARP 探测 (ARP only)")
    return top


async def main(argv: Sequence[str], net: Net, out: Out) -> int:
    try:
        options = parser(out).parse_args(list(argv))
        own = net.interfaces()
        addresses = targets(options.targets or [f"{leg.ip}/{leg.prefix}" for leg in own])
        wanted = port_list(options.ports)
    except Ended as end:
        return end.code
    except ValueError as exc:
        say(out, f"lb-scan: {exc}")
        return 2
    mine = {leg.ip for leg in own}
    addresses = [address for address in addresses if address not in mine]
    macs = await arp_sweep(net, own, addresses, options.timeout)
    for address in sorted(macs, key=ipaddress.IPv4Address):
        say(out, f"{address}  {macs[address]}  (ARP)")
    if options.arp:
        return 0
    local = [ipaddress.IPv4Network(f"{leg.ip}/{leg.prefix}", strict=False) for leg in own]
    if macs:  # whoever in our own segments is silent to ARP cannot answer TCP either
        addresses = [a for a in addresses if a in macs or not any(ipaddress.IPv4Address(a) in n for n in local)]
    found = await tcp_sweep(net, addresses, wanted, options.timeout)
    open_ports = 0
    for address in addresses:
        states = found[address]
        for port in sorted(p for p, state in states.items() if state == "open"):
            open_ports += 1
            say(out, f"{address}:{port}  开放  {SERVICES.get(port, '')}".rstrip())
            if port == 502 and options.modbus:
                say(out, f"    {await identity(net, address)}")
        if "closed" in states.values() and "open" not in states.values():
            say(out, f"{address}  在线，所查端口都关闭")
    say(out, f"共扫描 {len(addresses)} 个地址、{len(wanted)} 个端口，开放 {open_ports} 个")
    return 0


def targets(texts: Sequence[str]) -> list[str]:
    """Addresses of networks, ranges and single addresses, in order, each once."""
    found: dict[str, None] = {}
    for text in texts:
        if "/" in text:
            network = ipaddress.IPv4Network(text, strict=False)
            if network.num_addresses > MOST_TARGETS:
                raise ValueError(f"{text} 太大，一次最多 {MOST_TARGETS} 个地址")
            several = [str(a) for a in network.hosts()]
        elif "-" in text:
            first, _, last = text.partition("-")
            base, _, low = first.rpartition(".")
            several = [f"{base}.{n}" for n in range(int(low), int(last) + 1)]
        else:
            several = [text]
        for address in several:
            found[str(ipaddress.IPv4Address(address))] = None
    return list(found)


def port_list(text: str) -> list[int]:
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    if not found or min(found) < 1 or max(found) > 65535:
        raise ValueError("端口在 1 到 65535 之间")
    return sorted(found)


async def arp_sweep(net: Net, own: Sequence[Interface], addresses: Sequence[str], wait: float) -> dict[str, str]:
    """MACs of the neighbours that answer; empty where raw frames are not allowed or nobody asked is a neighbour."""
    answers: dict[str, str] = {}

    def on_frames(frames: list[tuple[int, bytes]]) -> None:
        for _, frame in frames:
            if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02":
                answers[str(ipaddress.IPv4Address(frame[28:32]))] = frame[22:28].hex(":")

    asked: set[str] = set()
    for leg in own:
        network = ipaddress.IPv4Network(f"{leg.ip}/{leg.prefix}", strict=False)
        neighbours = [a for a in addresses if ipaddress.IPv4Address(a) in network]
        if not neighbours:
            continue
        try:
            tap = await net.tap(leg.name, on_frames)
        except (OSError, NotImplementedError):
            return {}
        try:
            mac, ip = bytes.fromhex(leg.mac.replace(":", "")), ipaddress.IPv4Address(leg.ip).packed
            for _ in range(2):  # a first request may be lost while the bridge learns
                net.send_frames(leg.name, [arp_request(mac, ip, a) for a in neighbours])
                await asyncio.sleep(wait / 2)
        except (OSError, NotImplementedError):
            return {}
        finally:
            tap.close()
        asked |= set(neighbours)
    return {address: mac for address, mac in answers.items() if address in asked}


def arp_request(mac: bytes, ip: bytes, target: str) -> bytes:
    head = b"\xff" * 6 + mac + b"\x08\x06" + b"\x00\x01\x08\x00\x06\x04\x00\x01"
    return (head + mac + ip + bytes(6) + ipaddress.IPv4Address(target).packed).ljust(60, b"\0")


async def tcp_sweep(net: Net, addresses: Sequence[str], ports: Sequence[int], wait: float) -> dict[str, dict[int, str]]:
    """Per address and port "open", "closed" or "filtered", by completing the handshake."""
    turn = asyncio.Semaphore(AT_ONCE)
    found: dict[str, dict[int, str]] = {address: {} for address in addresses}

    async def one(address: str, port: int) -> None:
        async with turn:
            try:
                sock = await net.connect(address, port, timeout=wait)
            except TimeoutError:
                found[address][port] = "filtered"
            except ConnectionRefusedError:
                found[address][port] = "closed"
            except OSError:
                found[address][port] = "unreachable"
            else:
                sock.close()
                found[address][port] = "open"

    await asyncio.gather(*(one(address, port) for port in ports for address in addresses))
    return found


async def identity(net: Net, address: str) -> str:
    try:
        link = await ModbusLink.connect(net, address)
    except (OSError, TimeoutError):
        return "（无法连接）"
    try:
        return " / ".join(value for _, value in sorted((await link.identify()).items()))
    except (ModbusError, OSError, TimeoutError) as exc:
        return f"（不回答设备标识：{exc}）"
    finally:
        link.close()
