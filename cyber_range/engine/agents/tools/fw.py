"""lb-fw: lists and changes the forwarding rules of the firewall it runs on (real nftables on real drivers)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from cyber_range.engine.agents.context import FilterRule, Firewall, Net
from cyber_range.engine.agents.tools.console import Ended, Out, Parser, say, why, wide

WORDS = {"accept": "放行", "drop": "丢弃", "reject": "拒绝"}


def parser(out: Out) -> Parser:
    top = Parser(
        out, prog="lb-fw",
        description="查看和修改防火墙转发规则 (list and change forwarding rules)",
        epilog="例：\n  lb-fw list\n  lb-fw block 203.0.113.9                      立即切断这个来源，包括已建立的连接\n"
        "  lb-fw block 10.1.3.4 --dst 10.1.2.0/28 --port 502   只切断到工控网 502 端口\n"
        "  lb-fw allow 10.1.3.5 10.1.2.3 502            放行一条新连接\n  lb-fw delete 7        按句柄删除一条规则\n"
        "  lb-fw restore         恢复为演练开始时的规则",
    )  # fmt: skip
    commands = top.add_subparsers(dest="command", required=True, title="命令 (commands)")
    commands.add_parser("list", help="列出规则和命中计数 (rules and counters)")
    block = commands.add_parser("block", help="切断，连同已建立的连接 (cut, running connections too)")
    block.add_argument("src", help="来源地址或网段，any 为任意 (source)")
    block.add_argument("--dst", default="", help="目的地址或网段 (destination)")
    block.add_argument("--port", default="", help="目的端口，如 502 或 1-1024 (destination port)")
    block.add_argument("--udp", action="store_true", help="端口是 UDP 端口 (the port is a UDP port)")
    block.add_argument("--reject", action="store_true", help="回复拒绝而不是丢弃 (answer instead of silence)")
    allow = commands.add_parser("allow", help="放行 (allow)")
    allow.add_argument("src", help="来源 (source)")
    allow.add_argument("dst", help="目的 (destination)")
    allow.add_argument("port", nargs="?", default="", help="目的端口 (destination port)")
    allow.add_argument("--udp", action="store_true", help="UDP")
    add = commands.add_parser("add", help="添加任意规则 (any rule)")
    add.add_argument("action", choices=sorted(WORDS))
    for name in ("src", "dst", "dport", "iif", "oif"):
        add.add_argument(f"--{name}", default="")
    add.add_argument("--proto", choices=("tcp", "udp", "icmp"), default="")
    add.add_argument("--early", action="store_true", help="放在“已建立连接”之前 (before established connections)")
    add.add_argument("--first", action="store_true", help="放在最前 (at the front)")
    for command in (block, allow, add):
        command.add_argument("--comment", default="", help="备注 (comment)")
    delete = commands.add_parser("delete", help="删除 (delete)")
    delete.add_argument("handle", type=int, help="句柄 (handle)")
    commands.add_parser("restore", help="恢复初始规则 (restore the first rule set)")
    return top


async def main(argv: Sequence[str], net: Net, out: Out) -> int:
    try:
        options = parser(out).parse_args(list(argv))
    except Ended as end:
        return end.code
    try:
        return await act(net.firewall(), options, out)
    except (LookupError, ValueError) as exc:
        say(out, f"lb-fw: {exc.args[0] if exc.args else exc}")
    except (OSError, NotImplementedError) as exc:
        say(out, f"lb-fw: {why(exc)}")
    return 1


async def act(firewall: Firewall, options: argparse.Namespace, out: Out) -> int:
    if options.command == "list":
        for line in listing(await firewall.rules(), await firewall.default()):
            say(out, line)
    elif options.command == "delete":
        await firewall.delete(options.handle)
        say(out, f"已删除规则 {options.handle}")
    elif options.command == "restore":
        await firewall.restore()
        say(out, "已恢复为演练开始时的规则")
    else:
        rule, first = wanted(options)
        handle = await firewall.add(rule, first=first)
        say(out, f"已添加规则 {handle}: {describe(rule)}")
    return 0


def wanted(options: argparse.Namespace) -> tuple[FilterRule, bool]:
    """(rule, whether it goes to the front) of block, allow and add."""
    rule: dict[str, Any]
    if options.command == "add":
        keys = ("action", "src", "dst", "dport", "iif", "oif", "proto", "early", "comment")
        rule = {key: getattr(options, key) for key in keys if getattr(options, key)}
        first = bool(options.first)
    else:
        rule = {"src": any_empty(options.src), "dst": any_empty(options.dst)}
        if options.port:
            rule |= {"dport": options.port, "proto": "udp" if options.udp else "tcp"}
        if options.command == "block":
            rule |= {"action": "reject" if options.reject else "drop", "early": True}
        else:
            rule |= {"action": "accept"}
        if options.comment:
            rule["comment"] = options.comment
        rule = {key: value for key, value in rule.items() if value}
        first = True
    return rule, first  # type: ignore[return-value]  # checked by the firewall itself


def any_empty(text: str) -> str:
    return "" if text in ("any", "任意", "*") else text


def describe(rule: FilterRule) -> str:
    parts = [WORDS[rule["action"]]]
    for key, word in (
        ("iif", "入口"),
        ("oif", "出口"),
        ("src", "来自"),
        ("dst", "去往"),
        ("proto", ""),
        ("dport", "端口"),
    ):
        if value := rule.get(key):
            parts.append(f"{word} {value}".strip())
    if comment := rule.get("comment"):
        parts.append(f"# {comment}")
    return " ".join(parts)


def listing(rules: list[FilterRule], default: FilterRule) -> list[str]:
    """Rules in the order they are tried, the established rule and the default between them."""
    rows = [("句柄", "命中", "规则")]
    rows += [(str(r["handle"]), str(r.get("packets", 0)), describe(r)) for r in rules if r.get("early")]
    rows.append(("-", "-", "放行 已建立的连接"))
    rows += [(str(r["handle"]), str(r.get("packets", 0)), describe(r)) for r in rules if not r.get("early")]
    rows.append(("-", str(default.get("packets", 0)), f"其余一律{WORDS[default['action']]}"))
    return wide(rows)
