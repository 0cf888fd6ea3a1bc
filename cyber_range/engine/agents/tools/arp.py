"""lb-arp: the own node's neighbour table: who answered for which address, pinned against liars, cleared."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cyber_range.engine.agents.context import Net
from cyber_range.engine.agents.neighbours import Neighbour
from cyber_range.engine.agents.tools.console import Ended, Out, Parser, say, why, wide

STATES = {"permanent": "固定", "reachable": "有效", "stale": "待确认", "delay": "待确认", "probe": "待确认", "failed": "无应答", "incomplete": "询问中"}  # fmt: skip
MAC = re.compile(r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\Z", re.IGNORECASE)


def parser(out: Out) -> Parser:
    top = Parser(
        out, prog="lb-arp", description="本机的邻居（ARP）表 (the own node's neighbour table)",
        epilog="例：\n  lb-arp show\n  lb-arp pin 10.1.2.3 00:80:f4:12:34:56\n  lb-arp clear 10.1.2.3\n"
        "同一个 MAC 出现在两个地址上，多半有人在冒充。固定和清除需要网络管理权限（防火墙上有）。",
    )  # fmt: skip
    what = top.add_subparsers(dest="what", required=True, metavar="动作")
    what.add_parser("show", help="列出 (show)")
    pin = what.add_parser("pin", help="固定一个地址的 MAC (pin)")
    pin.add_argument("ip", metavar="地址")
    pin.add_argument("mac", metavar="MAC")
    clear = what.add_parser("clear", help="清除一个地址，不写则清除全部未固定的 (clear)")
    clear.add_argument("ip", metavar="地址", nargs="?")
    return top


async def main(argv: Sequence[str], net: Net, out: Out) -> int:
    try:
        options = parser(out).parse_args(list(argv))
    except Ended as end:
        return end.code
    table = net.neighbours()
    try:
        if options.what == "pin":
            if not MAC.match(options.mac):
                say(out, f"lb-arp: {options.mac} 不是 MAC 地址，要写成 00:80:f4:12:34:56")
                return 2
            table.pin(options.ip, options.mac.lower().replace("-", ":"))
            say(out, f"已固定 {options.ip} 为 {options.mac.lower().replace('-', ':')}")
        elif options.what == "clear":
            gone = [options.ip] if options.ip else [one.ip for one in table.all() if one.state != "permanent"]
            for ip in gone:
                table.forget(ip)
            say(out, f"已清除 {len(gone)} 项")
        else:
            show(table.all(), out)
    except (OSError, LookupError) as exc:
        say(out, f"lb-arp: {why(exc) if isinstance(exc, OSError) else exc.args[0]}")
        return 1
    return 0


def show(found: list[Neighbour], out: Out) -> None:
    owners: dict[str, list[str]] = {}
    for one in found:
        if one.mac:
            owners.setdefault(one.mac, []).append(one.ip)
    rows = [("地址", "MAC", "状态", "接口", "")]
    for one in found:
        others = [ip for ip in owners.get(one.mac, ()) if ip != one.ip]
        note = f"与 {'、'.join(others)} 相同" if others else ""
        rows.append((one.ip, one.mac or "-", STATES.get(one.state, one.state), one.ifname, note))
    for line in wide(rows):
        say(out, line)
