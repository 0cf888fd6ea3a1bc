"""Packets declared with scapy, compiled to bytes once, in a process of their own.

scapy is GPL-2.0 and builds a few thousand packets a second; node programs hold permissive libraries only and send
tens of thousands. So a declaring module (`engine.traffic.declared`, `engine.attack.declared`) is run as its own
process: it reads one JSON object on stdin and prints {"name": "hex…"}; the programs only ever see bytes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.errors import RangeError

DECLARING = ("cyber_range.engine.traffic.declared", "cyber_range.engine.attack.declared")
PATIENCE = 60.0  # s; importing scapy takes about one second on an idle machine


class NotCompiled(RangeError):
    """A declaring process failed; its own words are in the sentence."""

    code = "not_compiled"


async def compiled(module: str, request: Mapping[str, Any]) -> dict[str, bytes]:
    """The named frames of a declaring module."""
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
    if process.returncode != 0:
        last = err.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise NotCompiled(
            f"packets of {module} could not be compiled: {last[0]}",
            remedy="See whether scapy is installed: lianbing doctor",
        )
    return {name: bytes.fromhex(text) for name, text in json.loads(out).items()}
