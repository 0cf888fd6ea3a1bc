"""The forwarding rules as a pure object: what a node's firewall is where there is no kernel to ask (memory driver).

Same order and words as the nftables one (`context.Firewall`), so lb-fw, the firewall program and the objectives
cannot tell them apart. The memory driver asks `decide` for every segment its relay carries across the node.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Literal

from cyber_range.engine.agents.context import FilterRule

Verdict = Literal["accept", "drop", "reject"]
ACTIONS = ("accept", "drop", "reject")
PROTOCOLS = ("tcp", "udp", "icmp")


def checked(rule: FilterRule) -> FilterRule:
    """The rule in canonical form (networks normalised, empty matches gone); ValueError says what is wrong with it."""
    action = rule.get("action")
    if action not in ACTIONS:
        raise ValueError(f"action is one of {', '.join(ACTIONS)}, not {action!r}")
    proto = rule.get("proto") or ""
    if proto and proto not in PROTOCOLS:
        raise ValueError(f"proto is one of {', '.join(PROTOCOLS)}, not {proto!r}")
    clean: FilterRule = {"action": action}
    if src := rule.get("src"):
        clean["src"] = network(src)
    if dst := rule.get("dst"):
        clean["dst"] = network(dst)
    if proto:
        clean["proto"] = proto
    if dport := rule.get("dport"):
        if proto not in ("tcp", "udp"):
            raise ValueError("dport needs proto tcp or udp")
        low, high = ports(dport)
        clean["dport"] = str(low) if low == high else f"{low}-{high}"
    if iif := rule.get("iif"):
        clean["iif"] = interface(iif)
    if oif := rule.get("oif"):
        clean["oif"] = interface(oif)
    if comment := rule.get("comment"):
        clean["comment"] = comment[:60]
    if rule.get("early"):
        clean["early"] = True
    return clean


def network(text: str) -> str:
    try:
        found = ipaddress.IPv4Network(text, strict=False)
    except ValueError as exc:
        raise ValueError(f"{text!r} is no IPv4 address or network") from exc
    return str(found.network_address) if found.prefixlen == 32 else str(found)


def interface(name: str) -> str:
    if len(name) > 15 or not name.isprintable():
        raise ValueError(f"{name!r} is not an interface name")
    return name


def ports(text: str) -> tuple[int, int]:
    """ "502" -> (502, 502), "1000-2000" -> (1000, 2000)."""
    low, _, high = text.partition("-")
    pair = int(low), int(high or low)
    if not 0 < pair[0] <= pair[1] < 65536:
        raise ValueError(f"{text!r} is no port or port range between 1 and 65535")
    return pair


class PacketFilter:
    """Rules with counters. Methods are coroutines because the kernel's twin is asked the same way."""

    def __init__(self) -> None:
        self._rules: list[FilterRule] = []
        self._default: FilterRule = {"action": "accept", "packets": 0, "bytes": 0}
        self._established: FilterRule = {"action": "accept", "packets": 0, "bytes": 0}
        self._handle = 0
        self._installed: tuple[list[FilterRule], Literal["accept", "drop"]] | None = None
        self.generation = 0  # rises with every change, so a relay may cache its decisions per connection

    def _admit(self, rule: FilterRule) -> FilterRule:
        self._handle += 1
        self.generation += 1
        return {**checked(rule), "handle": self._handle, "packets": 0, "bytes": 0}

    async def install(self, rules: Sequence[FilterRule], default: Literal["accept", "drop"]) -> None:
        wanted = [self._admit(rule) for rule in rules]
        self._rules = [r for r in wanted if r.get("early")] + [r for r in wanted if not r.get("early")]
        self._default = {"action": default, "packets": 0, "bytes": 0}
        self._installed = [checked(rule) for rule in rules], default

    async def restore(self) -> None:
        if self._installed is None:
            raise LookupError("no rule set was ever installed on this firewall")
        await self.install(*self._installed)

    async def rules(self) -> list[FilterRule]:
        return [rule.copy() for rule in self._rules]

    async def default(self) -> FilterRule:
        return self._default.copy()

    async def add(self, rule: FilterRule, *, first: bool = False) -> int:
        new = self._admit(rule)
        early = sum(1 for r in self._rules if r.get("early"))
        at = (0 if first else early) if new.get("early") else (early if first else len(self._rules))
        self._rules.insert(at, new)
        return new["handle"]

    async def delete(self, handle: int) -> None:
        for rule in self._rules:
            if rule["handle"] == handle:
                self._rules.remove(rule)
                self.generation += 1
                return
        raise LookupError(f"no rule has handle {handle}")

    def decide(
        self,
        *,
        src: str,
        dst: str,
        proto: str,
        dport: int = 0,
        iif: str = "",
        oif: str = "",
        established: bool = False,
        size: int = 0,
    ) -> Verdict:
        """What happens to one packet of `size` bytes; the rule that decided counts it.

        `established`: the packet belongs to a connection that was let through before (either direction; a reply
        is asked with its own src and dst). Early rules see it first, late rules never do.
        """
        for rule in self._rules:
            if established and not rule.get("early"):
                break
            if matches(rule, src=src, dst=dst, proto=proto, dport=dport, iif=iif, oif=oif):
                return counted(rule, size)
        return counted(self._established if established else self._default, size)


def counted(rule: FilterRule, size: int) -> Verdict:
    rule["packets"] = rule.get("packets", 0) + 1
    rule["bytes"] = rule.get("bytes", 0) + size
    return rule["action"]


def matches(rule: FilterRule, *, src: str, dst: str, proto: str, dport: int, iif: str, oif: str) -> bool:
    """Whether every condition the rule names holds."""
    if (spoken := rule.get("proto")) and spoken != proto:
        return False
    if (text := rule.get("dport")) and not ports(text)[0] <= dport <= ports(text)[1]:
        return False
    if (wanted := rule.get("src")) and not inside(src, wanted):
        return False
    if (wanted := rule.get("dst")) and not inside(dst, wanted):
        return False
    return rule.get("iif", iif) == iif and rule.get("oif", oif) == oif


def inside(address: str, network: str) -> bool:
    return address == network or ipaddress.IPv4Address(address) in ipaddress.IPv4Network(network, strict=False)
