"""The remote-access gateway (VPN of a factory's suppliers): authenticated tunnels to inside services, under terms.

A rootless node has no tunnel device, so the tunnel is SSH's own forwarding (RFC 4254, 7.2), as on the jump host, with what
a gateway for remote maintenance adds: an account may be *timed* (it gets in only while a work order is open, and is
thrown out when its time is over) and bound to the networks it may come from; every session and what it reached is logged.

Spec: that of the jump host, and per account `timed` (false), `sources` [network, …] (empty: from anywhere). Console,
besides the jump host's words: timed, open, shut, source. Minutes are the scenario's.
Command `account` {user, network?} is answered with {known, locked, timed, open, order, sessions, strangers}: how many
sessions the account has, and how many of them come from `network`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cyber_range.engine.agents.context import Handler, NodeContext, Peer
from cyber_range.engine.agents.jump_host import HELP, Account, JumpHost, Session, serve

LOOK_EVERY = 0.3  # s between looks at the clock
LONGEST = 480.0  # minutes of one work order
WORDS = (
    HELP.removesuffix("  help, exit\n")
    + """  timed 账号 on|off        on：只有开通时段内才能登录；off：随时可登录
  open 账号 分钟 [工单号]   开通一次，到时自动断开
  shut 账号                 立即收回，断开它的全部会话
  source 账号 网段|any      只许从这个网段登录
  help, exit
"""
)


@dataclass
class Terms:
    """Under which conditions an account gets in. `until`: scenario seconds; `order`: the work order it is open for."""

    timed: bool = False
    sources: tuple[ipaddress.IPv4Network, ...] = ()
    until: float = -1.0
    order: str = ""

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Terms:
        return cls(bool(spec.get("timed")), tuple(ipaddress.IPv4Network(s) for s in spec.get("sources", ())))

    def admits(self, host: str) -> bool:
        return not self.sources or any(ipaddress.IPv4Address(host) in network for network in self.sources)


class Gateway(JumpHost):
    prompt, about, words = "vpn> ", "远程接入网关管理控制台", WORDS

    def __init__(self, node: NodeContext) -> None:
        super().__init__(node)
        self.terms = {str(spec["user"]): Terms.of(spec) for spec in node.spec["accounts"]}

    def open(self, terms: Terms) -> bool:
        return not terms.timed or self.node.clock.now() < terms.until

    def objection(self, account: Account, peer: Peer) -> str:
        terms = self.terms[account.user]
        if why := super().objection(account, peer):
            return why
        if not terms.admits(peer[0]):
            return "来源不在许可网段"
        return "" if self.open(terms) else "不在开通时段"

    def reached(self, session: Session, target: str) -> None:
        self.note(session.user, f"从 {session.peer[0]} 连到 {target}")

    def note(self, user: str, text: str) -> None:
        self.log.add({"at": round(time.time(), 3), "user": user, "action": "note", "text": text})

    def throw_out(self, user: str, why: str) -> int:
        found = [session for session in self.sessions.values() if session.user == user]
        for session in found:
            session.connection.abort()
            self.note(user, f"来自 {session.peer[0]} 的会话被断开（{why}）")
        return len(found)

    async def keep_time(self) -> None:
        """A time that is over ends its sessions."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for user, terms in self.terms.items():
                if not self.open(terms) and self.throw_out(user, "不在开通时段"):
                    self.node.emit("account", by="clock", action="shut", user=user)

    def more(self, by: str, command: str, rest: list[str]) -> tuple[str, int] | None:
        if command not in ("timed", "open", "shut", "source") or not rest:
            return None
        user = rest[0]
        terms = self.terms.get(user)
        if terms is None:
            return f"没有账号 {user}\n", 1
        said, code = self._change(user, terms, command, rest[1:])
        if not code:
            self.note(by, said.strip())
            self.node.emit("account", by=by, action=command, user=user)
        return said, code

    def _change(self, user: str, terms: Terms, command: str, rest: list[str]) -> tuple[str, int]:
        match command, rest:
            case "timed", ["on" | "off" as word]:
                terms.timed = word == "on"
                return f"{user} 改为{'只在开通时段内' if terms.timed else '随时'}可登录\n", 0
            case "open", [minutes, *order]:
                if not minutes.isdigit() or not 0 < int(minutes) <= LONGEST:
                    return f"分钟数要在 1 到 {LONGEST:g} 之间\n", 1
                terms.until = self.node.clock.now() + 60.0 * int(minutes)
                terms.order = " ".join(order)
                return f"{user} 开通 {minutes} 分钟{f'，工单 {terms.order}' if terms.order else '，没有写工单号'}\n", 0
            case "shut", []:
                terms.until, terms.order = -1.0, ""
                return f"{user} 已收回，断开 {self.throw_out(user, '被收回')} 个会话\n", 0
            case "source", ["any"]:
                terms.sources = ()
                return f"{user} 不限来源\n", 0
            case "source", [network]:
                try:
                    terms.sources = (ipaddress.IPv4Network(network),)
                except ValueError:
                    return f"{network} 不是网段，写成 10.1.2.0/28 或一个地址\n", 1
                return f"{user} 只许从 {network} 登录\n", 0
        return f"写法不对，见 help\n{WORDS}", 2

    def _list_accounts(self) -> str:
        lines = []
        for line, terms in zip(super()._list_accounts().splitlines(), self.terms.values(), strict=True):
            left = max(0.0, terms.until - self.node.clock.now()) / 60
            when = f"开通中，还剩 {left:.0f} 分钟 {terms.order}".rstrip() if left else "未开通"
            sources = "、".join(map(str, terms.sources)) or "不限来源"
            lines.append(f"{line}  {when if terms.timed else '随时可登录'}  {sources}\n")
        return "".join(lines)

    def handlers(self) -> dict[str, Handler]:
        async def account(command: dict[str, Any]) -> dict[str, Any]:
            user = str(command["user"])
            known, terms = self.accounts.get(user), self.terms.get(user)
            if known is None or terms is None:
                return {"known": False}
            network = ipaddress.IPv4Network(str(command.get("network", "0.0.0.0/0")))
            peers = [session.peer[0] for session in self.sessions.values() if session.user == user]
            return {
                "known": True, "locked": known.locked, "timed": terms.timed, "open": self.open(terms),
                "order": terms.order, "sessions": len(peers),
                "strangers": sum(ipaddress.IPv4Address(peer) in network for peer in peers),
            }  # fmt: skip

        return {**super().handlers(), "account": account}


async def run(node: NodeContext) -> None:
    gateway = Gateway(node)
    keeping = asyncio.ensure_future(gateway.keep_time())
    try:
        await serve(node, gateway)
    finally:
        keeping.cancel()
