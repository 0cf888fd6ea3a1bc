"""Packets declared with scapy, compiled to bytes once, in a process of their own.

scapy is GPL-2.0 and builds a few thousand packets a second; node programs hold permissive libraries only and send
tens of thousands. So a declaring module (`engine.traffic.declaring`, `engine.attack.declared`) is run as its own
process: it reads one JSON object on stdin and prints one; the programs only ever see bytes.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from cyber_range.engine.errors import RangeError
from cyber_range.engine.traffic.profiles import Order
from cyber_range.engine.traffic.templates import Piece, piece_from

PIECES = "cyber_range.engine.traffic.declaring"
DECLARING = (PIECES, "cyber_range.engine.attack.declared")
PATIENCE = 60.0  # s; importing scapy takes about one second on an idle machine


class NotCompiled(RangeError):
    """A declaring process failed; its own words are in the sentence."""

    code = "not_compiled"


async def declared(module: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """What a declaring module prints."""
    if module not in DECLARING:
        raise NotCompiled(f"{module} declares no packets", remedy=f"Use one of {', '.join(DECLARING)}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(json.dumps(request).encode()), PATIENCE)
    except (TimeoutError, asyncio.CancelledError):
        process.kill()
        await process.wait()
        raise
    return understood(module, process.returncode, out, err)


def understood(module: str, code: int | None, out: bytes, err: bytes) -> dict[str, Any]:
    if code != 0:
        last = err.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise NotCompiled(
            f"packets of {module} could not be compiled: {last[0]}",
            remedy="See whether scapy is installed: lianbing doctor",
        )
    found: dict[str, Any] = json.loads(out)
    return found


async def compiled(module: str, request: Mapping[str, Any]) -> dict[str, bytes]:
    """The named frames of a module that prints {"name": "hex…"}."""
    return {name: bytes.fromhex(text) for name, text in (await declared(module, request)).items()}


def _request(orders: Iterable[Order]) -> dict[str, Any]:
    wanted = {order.key: {"make": order.make, "args": dict(order.args)} for order in orders}
    return {"orders": dict(sorted(wanted.items()))}


async def pieces(orders: Iterable[Order]) -> dict[str, Piece]:
    """Every ordered piece of conversation by its key."""
    found = await declared(PIECES, _request(orders))
    return {key: piece_from(key, said) for key, said in found.items()}


def pieces_now(orders: Iterable[Order]) -> dict[str, Piece]:
    """The same for callers without an event loop."""
    ran = subprocess.run(  # noqa: S603 - our own module, by our own interpreter
        [sys.executable, "-m", PIECES], input=json.dumps(_request(orders)).encode(), capture_output=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    found = understood(PIECES, ran.returncode, ran.stdout, ran.stderr)
    return {key: piece_from(key, said) for key, said in found.items()}
