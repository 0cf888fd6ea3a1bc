"""What a command line in a memory node can say: the lb-* tools, run in this process, and a few words of a shell.

There is no operating system behind a memory node; whatever else is typed is answered with "not found" and the
list of what there is.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import importlib
import io
import os
import shlex
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from cyber_range.engine.drivers.memory.fabric import Leg
from cyber_range.engine.drivers.memory.net import MemoryNet

TOOLS = ("scan", "capture", "modbus", "plc", "fw", "ssh", "web", "arp", "attack")
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # what a shell answers
MORE_PINGS = 0.2  # seconds between two echoes: as fast as an ordinary user may


class Out(Protocol):
    def write(self, text: str) -> object: ...
    def flush(self) -> object: ...


Word = Callable[[Sequence[str], "Station", Out], Awaitable[int]]


class Station:
    """Where a command runs: a node's network and its folder."""

    def __init__(self, node: str, net: MemoryNet, store: Path) -> None:
        self.node = node
        self.net = net
        self.store = store

    def path(self, said: str) -> Path:
        """A path inside the node's folder; `/etc/hosts` is answered by `cat` itself."""
        base = self.store.resolve()
        found = (base / said.removeprefix(str(base)).lstrip("/")).resolve()
        if not found.is_relative_to(base):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), said)
        return found

    def hosts_file(self) -> str:
        return "".join(f"{ip}\t{name}\n" for name, ip in self.net.host.names.items())


async def run(argv: Sequence[str], station: Station, out: Out, err: Out) -> int:
    """Runs one command; its exit code. Understands `sh -c "…"` for one plain command."""
    argv = list(argv)
    if argv[:2] in (["sh", "-c"], ["bash", "-c"]) and len(argv) == 3:
        argv = shlex.split(argv[2])
    if not argv:
        return 0
    name = argv[0].rsplit("/", 1)[-1]
    if name.startswith("lb-") and name[3:] in TOOLS:
        return await run_tool(name[3:], argv[1:], station, out, err)
    word = WORDS.get(name)
    if word is None:
        err.write(f"{argv[0]}: not found (memory simulation; there is: {' '.join(known())})\n")
        return NOT_FOUND
    try:
        return await word(argv[1:], station, out)
    except OSError as exc:
        err.write(f"{name}: {exc.strerror or exc}{f': {exc.filename}' if exc.filename else ''}\n")
    except ValueError as exc:
        err.write(f"{name}: {exc}\n")
    return 1


async def run_tool(tool: str, argv: Sequence[str], station: Station, out: Out, err: Out) -> int:
    try:
        module = importlib.import_module(f"cyber_range.engine.agents.tools.{tool}")
    except ModuleNotFoundError as exc:
        err.write(f"lb-{tool}: {exc}\n")
        return NOT_EXECUTABLE
    code: Any = await module.main(list(argv), station.net, out)
    return int(code or 0)


def known() -> list[str]:
    return [*(f"lb-{tool}" for tool in TOOLS), *sorted(WORDS)]


async def echo(argv: Sequence[str], station: Station, out: Out) -> int:
    out.write(" ".join(argv) + "\n")
    return 0


async def true(argv: Sequence[str], station: Station, out: Out) -> int:
    return 0


async def false(argv: Sequence[str], station: Station, out: Out) -> int:
    return 1


async def sleep(argv: Sequence[str], station: Station, out: Out) -> int:
    await asyncio.sleep(float(argv[0]) if argv else 0)
    return 0


async def hostname(argv: Sequence[str], station: Station, out: Out) -> int:
    out.write(station.node + "\n")
    return 0


async def ident(argv: Sequence[str], station: Station, out: Out) -> int:
    out.write("uid=0(root) gid=0(root)\n")
    return 0


async def pwd(argv: Sequence[str], station: Station, out: Out) -> int:
    out.write("/\n")
    return 0


async def cat(argv: Sequence[str], station: Station, out: Out) -> int:
    for name in argv:
        if name == "/etc/hosts":
            out.write(station.hosts_file())
        elif name == "/etc/hostname":
            out.write(station.node + "\n")
        else:
            out.write(station.path(name).read_text(encoding="utf-8", errors="replace"))
    return 0


async def ls(argv: Sequence[str], station: Station, out: Out) -> int:
    for name in [item for item in argv if not item.startswith("-")] or ["."]:
        place = station.path(name)
        found = sorted(place.iterdir()) if place.is_dir() else [place.stat() and place]
        out.write("".join(f"{item.name}{'/' if item.is_dir() else ''}\n" for item in found))
    return 0


async def sha256sum(argv: Sequence[str], station: Station, out: Out) -> int:
    for name in argv:
        out.write(f"{hashlib.sha256(station.path(name).read_bytes()).hexdigest()}  {name}\n")
    return 0


async def ip(argv: Sequence[str], station: Station, out: Out) -> int:
    words = [word for word in argv if not word.startswith("-")]
    topic = words[0] if words else ""
    host = station.net.host
    if topic and "address".startswith(topic):
        for number, leg in enumerate(host.legs, 2):
            out.write(
                f"{link_line(number, leg)}    inet {leg.ip}/{leg.plan.prefix} brd {leg.network.broadcast_address} "
                f"scope global {leg.plan.ifname}\n"
            )
    elif topic and "link".startswith(topic):
        for number, leg in enumerate(host.legs, 2):
            out.write(link_line(number, leg))
    elif topic and "route".startswith(topic):
        for network, gateway in reversed(host.routes):
            out.write(f"{'default' if network.prefixlen == 0 else network} via {gateway}\n")
        for leg in host.legs:
            out.write(f"{leg.network} dev {leg.plan.ifname} scope link src {leg.ip}\n")
    elif topic and "neighbour".startswith(topic.replace("neighbor", "neighbour")):
        for address, mac in host.permanent.items():
            out.write(f"{address} lladdr {mac} PERMANENT\n")
        for address, (mac, _) in host.neighbours.items():
            out.write(f"{address} lladdr {mac} REACHABLE\n")
    else:
        raise ValueError("this simulation knows: ip addr, ip link, ip route, ip neigh")
    return 0


def link_line(number: int, leg: Leg) -> str:
    return f"{number}: {leg.plan.ifname}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500\n    link/ether {leg.mac}\n"


async def ping(argv: Sequence[str], station: Station, out: Out) -> int:
    """ping [-c COUNT] [-W SECONDS] HOST"""
    count, wait, targets, words = 4, 1.0, [], list(argv)
    while words:
        word = words.pop(0)
        if word in ("-c", "-W"):
            if not words:
                raise ValueError(f"option {word} needs a number")
            count, wait = (int(words.pop(0)), wait) if word == "-c" else (count, float(words.pop(0)))
        elif word != "-n":
            targets.append(word)
    if len(targets) != 1:
        raise ValueError("usage: ping [-c COUNT] [-W SECONDS] HOST")
    address = station.net.resolve(targets[0])
    out.write(f"PING {targets[0]} ({address}) 56(84) bytes of data.\n")
    heard = 0
    for number in range(1, count + 1):
        try:
            seconds = await station.net.ping(address, number, wait)
        except OSError as exc:
            out.write(f"From {station.node} icmp_seq={number} {exc}\n")
            seconds = None
        if seconds is not None:
            heard += 1
            out.write(f"64 bytes from {address}: icmp_seq={number} ttl=64 time={seconds * 1000:.3f} ms\n")
        out.flush()
        if number < count:
            await asyncio.sleep(MORE_PINGS)
    out.write(f"{count} packets transmitted, {heard} received, {100 * (count - heard) // max(count, 1)}% packet loss\n")
    return 0 if heard else 1


async def helped(argv: Sequence[str], station: Station, out: Out) -> int:
    out.write(f"{' '.join(known())} exit\n")
    return 0


WORDS: dict[str, Word] = {
    "echo": echo,
    "true": true,
    "false": false,
    "sleep": sleep,
    "hostname": hostname,
    "id": ident,
    "pwd": pwd,
    "cat": cat,
    "ls": ls,
    "sha256sum": sha256sum,
    "ip": ip,
    "ping": ping,
    "help": helped,
}


class Collected:
    """Output of a command that is read when it has ended; stops growing at a limit."""

    LIMIT = 4 * 1024 * 1024  # bytes

    def __init__(self, stdin: bytes = b"") -> None:
        self._bytes = io.BytesIO()
        if stdin:
            self.stdin = io.StringIO(stdin.decode(errors="replace"))

    def write(self, text: str | bytes) -> int:
        data = text.encode(errors="surrogateescape") if isinstance(text, str) else text
        self._bytes.write(data[: max(0, self.LIMIT - self._bytes.tell())])
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False

    def value(self) -> bytes:
        return self._bytes.getvalue()
