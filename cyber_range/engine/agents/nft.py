"""nftables by netlink, without the nft program: exactly the rules `context.Firewall` can say.

Everything lives in table `inet lianbing`, chain `forward` (hook forward, priority filter), so a real `nft list
ruleset` shows it in plain words, and rules a trainee adds there with a real nft are listed and deleted here too.
The layout of the messages is that of linux/netfilter/nf_tables.h; numbers in them are big-endian.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from cyber_range.engine.agents.context import FilterRule
from cyber_range.engine.agents.packet_filter import checked, ports

NETLINK_NETFILTER = 12
SUBSYS_NFTABLES = 10
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NEWTABLE, DELTABLE, NEWCHAIN, NEWRULE, GETRULE, DELRULE = 0, 2, 3, 6, 7, 8
REQUEST, ACK, DUMP, CREATE, APPEND = 0x1, 0x4, 0x300, 0x400, 0x800
ERROR, DONE = 0x2, 0x3
NESTED = 0x8000
INET, IPV4 = 1, 2
REG_VERDICT, REG_1 = 0, 1
NF_DROP, NF_ACCEPT = 0, 1
FORWARD_HOOK = 2
META_IIFNAME, META_OIFNAME, META_NFPROTO, META_L4PROTO = 6, 7, 15, 16
CT_STATE = 0
ESTABLISHED_OR_RELATED = 0x2 | 0x4
NETWORK, TRANSPORT = 1, 2
EQ, NEQ, LTE, GTE = 0, 1, 3, 5
ICMP_ADMIN_PROHIBITED = 13
PROTOCOL_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOL_NUMBERS.items()}
BASELINE = Path("/run/lianbing/forward.json")  # the last installed rule set, inside the firewall node
TABLE, CHAIN = "lianbing", "forward"
MARK_ESTABLISHED, MARK_DEFAULT = "lb:established", "lb:default"


class NftFirewall:
    """The node's real packet filter. Needs CAP_NET_ADMIN; every change is one kernel transaction."""

    async def install(self, rules: Sequence[FilterRule], default: Literal["accept", "drop"]) -> None:
        clean = [checked(rule) for rule in rules]
        hook = nested(4, be32(1, FORWARD_HOOK) + be32(2, 0))
        chain = text(1, TABLE) + text(3, CHAIN) + hook + be32(5, NF_ACCEPT if default == "accept" else NF_DROP)
        messages = [
            (NEWTABLE, CREATE, text(1, TABLE)),  # create, delete, create: the delete may not fail on a first install
            (DELTABLE, 0, text(1, TABLE)),
            (NEWTABLE, CREATE, text(1, TABLE)),
            (NEWCHAIN, CREATE, chain + text(7, "filter")),
        ]
        established = expression("ct", be32(1, REG_1) + be32(2, CT_STATE))
        established += bitwise(struct.pack("=I", ESTABLISHED_OR_RELATED)) + compare(NEQ, bytes(4))
        ordered = [encode(r) for r in clean if r.get("early")]
        ordered.append((established + counter() + verdict("accept"), MARK_ESTABLISHED))
        ordered += [encode(r) for r in clean if not r.get("early")]
        ordered.append((counter() + verdict(default), MARK_DEFAULT))
        messages += [(NEWRULE, CREATE | APPEND, rule_body(body, comment)) for body, comment in ordered]
        transact(messages)
        keep_baseline({"rules": clean, "default": default})

    async def restore(self) -> None:
        baseline = kept_baseline()
        await self.install(baseline["rules"], baseline["default"])

    async def rules(self) -> list[FilterRule]:
        return [rule for rule in dump() if rule.get("comment") not in (MARK_ESTABLISHED, MARK_DEFAULT)]

    async def default(self) -> FilterRule:
        for rule in dump():
            if rule.get("comment") == MARK_DEFAULT:
                return rule
        raise LookupError("the rule set of this firewall was flushed: table inet lianbing has no default rule")

    async def add(self, rule: FilterRule, *, first: bool = False) -> int:
        clean = checked(rule)
        before = {r["handle"]: r for r in dump()}
        marks = {r["comment"]: handle for handle, r in before.items() if r.get("comment", "").startswith("lb:")}
        if MARK_ESTABLISHED not in marks or MARK_DEFAULT not in marks:
            raise LookupError("the rule set of this firewall was flushed: bring it back with: lb-fw restore")
        # early: prepended, or right before the established rule; late: right after it, or right before the default
        where = (
            (0, None if first else marks[MARK_ESTABLISHED])
            if clean.get("early")
            else ((APPEND, marks[MARK_ESTABLISHED]) if first else (0, marks[MARK_DEFAULT]))
        )
        body, comment = encode(clean)
        position = b"" if where[1] is None else attribute(6, struct.pack(">Q", where[1]))
        transact([(NEWRULE, CREATE | where[0], rule_body(body, comment) + position)])
        return max(r["handle"] for r in dump() if r["handle"] not in before)

    async def delete(self, handle: int) -> None:
        try:
            transact([(DELRULE, 0, text(1, TABLE) + text(2, CHAIN) + attribute(3, struct.pack(">Q", handle)))])
        except FileNotFoundError as exc:
            raise LookupError(f"no rule has handle {handle}") from exc


def keep_baseline(ruleset: dict[str, Any]) -> None:
    BASELINE.parent.mkdir(parents=True, exist_ok=True)
    BASELINE.write_text(json.dumps(ruleset, ensure_ascii=False), encoding="utf-8")


def kept_baseline() -> dict[str, Any]:
    try:
        ruleset: dict[str, Any] = json.loads(BASELINE.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise LookupError("no rule set was ever installed on this firewall") from exc
    return ruleset


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def nested(kind: int, value: bytes) -> bytes:
    return attribute(kind | NESTED, value)


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


def expression(name: str, data: bytes) -> bytes:
    return nested(1, text(1, name) + nested(2, data))


def payload(base: int, offset: int, length: int) -> bytes:
    return expression("payload", be32(1, REG_1) + be32(2, base) + be32(3, offset) + be32(4, length))


def compare(op: int, value: bytes) -> bytes:
    return expression("cmp", be32(1, REG_1) + be32(2, op) + nested(3, attribute(1, value)))


def meta(key: int) -> bytes:
    return expression("meta", be32(1, REG_1) + be32(2, key))


def bitwise(mask: bytes) -> bytes:
    xor = nested(5, attribute(1, bytes(len(mask))))
    return expression(
        "bitwise", be32(1, REG_1) + be32(2, REG_1) + be32(3, len(mask)) + nested(4, attribute(1, mask)) + xor
    )


def counter() -> bytes:
    return expression("counter", attribute(1, bytes(8)) + attribute(2, bytes(8)))


def verdict(action: str) -> bytes:
    if action == "reject":
        return expression("reject", be32(1, 0) + attribute(2, bytes([ICMP_ADMIN_PROHIBITED])))
    code = be32(1, NF_ACCEPT if action == "accept" else NF_DROP)
    return expression("immediate", be32(1, REG_VERDICT) + nested(2, nested(2, code)))


def encode(rule: FilterRule) -> tuple[bytes, str]:
    """(expressions, comment) of a checked rule. Matches come in the order nft itself writes them."""
    body = b""
    for key, name in ((META_IIFNAME, rule.get("iif")), (META_OIFNAME, rule.get("oif"))):
        if name:
            body += meta(key) + compare(EQ, name.encode().ljust(16, b"\0"))
    # an ICMP "administratively prohibited" exists for IPv4 only, so a reject names the family too
    if rule.get("src") or rule.get("dst") or rule["action"] == "reject":
        body += meta(META_NFPROTO) + compare(EQ, bytes([IPV4]))
    for offset, cidr in ((12, rule.get("src")), (16, rule.get("dst"))):
        if cidr:
            network = ipaddress.IPv4Network(cidr)
            body += payload(NETWORK, offset, 4)
            if network.prefixlen < 32:
                body += bitwise(network.netmask.packed)
            body += compare(EQ, network.network_address.packed)
    if proto := rule.get("proto"):
        body += meta(META_L4PROTO) + compare(EQ, bytes([PROTOCOL_NUMBERS[proto]]))
    if dport := rule.get("dport"):
        low, high = ports(dport)
        body += payload(TRANSPORT, 2, 2)
        if low == high:
            body += compare(EQ, struct.pack(">H", low))
        else:
            body += compare(GTE, struct.pack(">H", low)) + compare(LTE, struct.pack(">H", high))
    return body + counter() + verdict(rule["action"]), rule.get("comment", "")


def rule_body(expressions: bytes, comment: str) -> bytes:
    body = text(1, TABLE) + text(2, CHAIN) + nested(4, expressions)
    if comment:
        raw = comment.encode()[:250] + b"\0"
        body += attribute(7, bytes([0, len(raw)]) + raw)  # nft's own user data: type 0 = comment, length, text
    return body


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def decode(data: bytes) -> FilterRule:
    """One rule as the kernel tells it. Expressions this firewall never writes are named in the comment."""
    rule: FilterRule = {"action": "accept", "packets": 0, "bytes": 0}
    foreign: list[str] = []
    for kind, value in attributes(data):
        if kind == 3:
            rule["handle"] = int.from_bytes(value, "big")
        elif kind == 4:
            foreign = decode_expressions(value, rule)
        elif kind == 7 and len(value) > 2 and value[0] == 0:
            rule["comment"] = value[2 : 2 + value[1]].rstrip(b"\0").decode(errors="replace")
    if foreign and not rule.get("comment", "").startswith("lb:"):
        rule["comment"] = " ".join([rule.get("comment", ""), f"[+ {', '.join(foreign)}]"]).strip()
    return rule


def decode_expressions(data: bytes, rule: FilterRule) -> list[str]:
    loaded: tuple[Any, ...] = ()
    mask = b"\xff" * 4
    foreign = []
    for _, element in attributes(data):
        parts = dict(attributes(element))
        name = parts.get(1, b"").rstrip(b"\0").decode()
        fields = dict(attributes(parts.get(2, b"")))
        if name == "meta":
            loaded = ("meta", number(fields, 2))
        elif name == "payload":
            loaded, mask = ("payload", number(fields, 2), number(fields, 3), number(fields, 4)), b"\xff" * 4
        elif name == "bitwise":
            mask = dict(attributes(fields.get(4, b""))).get(1, b"")
        elif name == "cmp":
            value = dict(attributes(fields.get(3, b""))).get(1, b"")
            if not decode_match(rule, loaded, number(fields, 2), value, mask):
                foreign.append(" ".join(map(str, loaded)) or name)
        elif name == "counter":
            rule["bytes"], rule["packets"] = number(fields, 1), number(fields, 2)
        elif name == "reject":
            rule["action"] = "reject"
        elif name == "immediate":
            code = dict(attributes(dict(attributes(fields.get(2, b""))).get(2, b""))).get(1, b"\0\0\0\1")
            rule["action"] = "accept" if int.from_bytes(code, "big") == NF_ACCEPT else "drop"
        elif name == "ct":
            loaded = ("ct",)
        else:
            foreign.append(name)
    return foreign


def decode_match(rule: FilterRule, loaded: tuple[Any, ...], op: int, value: bytes, mask: bytes) -> bool:
    """Puts one comparison into the rule's words; False when it has no word for it."""
    if loaded == ("payload", TRANSPORT, 2, 2) and op in (EQ, GTE, LTE):
        port = str(int.from_bytes(value, "big"))
        rule["dport"] = f"{rule.get('dport', '')}-{port}" if op == LTE else port
        return True
    if op != EQ:
        return False
    if loaded in (("payload", NETWORK, 12, 4), ("payload", NETWORK, 16, 4)):
        prefix = int.from_bytes(mask, "big").bit_count()
        cidr = socket.inet_ntoa(value) + ("" if prefix == 32 else f"/{prefix}")
        rule["src" if loaded[2] == 12 else "dst"] = cidr
    elif loaded == ("meta", META_L4PROTO) and value[0] in PROTOCOL_NAMES:
        rule["proto"] = PROTOCOL_NAMES[value[0]]  # type: ignore[typeddict-item]  # the mapping holds the literals
    elif loaded in (("meta", META_IIFNAME), ("meta", META_OIFNAME)):
        rule["iif" if loaded[1] == META_IIFNAME else "oif"] = value.rstrip(b"\0").decode(errors="replace")
    elif loaded != ("meta", META_NFPROTO):
        return False
    return True


def number(fields: dict[int, bytes], key: int) -> int:
    return int.from_bytes(fields.get(key, b""), "big")


def message(kind: int, flags: int, sequence: int, body: bytes, family: int = INET, resource: int = 0) -> bytes:
    header = struct.pack("=IHHII", 20 + len(body), kind, flags, sequence, 0)
    return header + struct.pack(">BBH", family, 0, resource) + body


def opened() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    sock.bind((0, 0))
    sock.settimeout(2.0)
    return sock


def transact(commands: Sequence[tuple[int, int, bytes]]) -> None:
    """All commands or none; raises OSError with the kernel's number (PermissionError without NET_ADMIN)."""
    last = len(commands) + 1
    parts = [message(BATCH_BEGIN, REQUEST, 1, b"", 0, SUBSYS_NFTABLES)]
    for sequence, (kind, flags, body) in enumerate(commands, 2):
        acknowledged = ACK if sequence == last else 0
        parts.append(message((SUBSYS_NFTABLES << 8) | kind, REQUEST | flags | acknowledged, sequence, body))
    parts.append(message(BATCH_END, REQUEST, last + 1, b"", 0, SUBSYS_NFTABLES))
    with opened() as sock:
        sock.send(b"".join(parts))
        while True:
            for kind, sequence, body in messages(sock.recv(65536)):
                if kind != ERROR:
                    continue
                if code := -int.from_bytes(body[:4], "little" if struct.pack("=H", 1)[0] else "big", signed=True):
                    raise OSError(code, f"nftables: {os.strerror(code)}")
                if sequence == last:
                    return


def dump() -> list[FilterRule]:
    """Every rule of our chain in order; empty when the table is gone."""
    with opened() as sock:
        body = text(1, TABLE) + text(2, CHAIN)
        sock.send(message((SUBSYS_NFTABLES << 8) | GETRULE, REQUEST | DUMP, 1, body))
        found: list[FilterRule] = []
        while True:
            for kind, _, data in messages(sock.recv(262144)):
                if kind == DONE:
                    return in_parts(found)
                if kind == ERROR:
                    code = -struct.unpack("=i", data[:4])[0]
                    if code == errno.ENOENT:
                        return []
                    raise OSError(code, f"nftables: {os.strerror(code)}")
                found.append(decode(data[4:]))


def in_parts(rules: Iterable[FilterRule]) -> list[FilterRule]:
    """Marks the rules that stand before the established one as early."""
    found = list(rules)
    for index, rule in enumerate(found):
        if rule.get("comment") == MARK_ESTABLISHED:
            for early in found[:index]:
                early["early"] = True
    return found


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, at)
        if length < 16:
            return
        yield kind, sequence, data[at + 16 : at + length]
        at += (length + 3) & ~3
