"""`python -m cyber_range.engine.agents.tools scan …`: one node tool on the kernel's network."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from typing import TextIO

from cyber_range.engine.agents.kernel import KernelNet

TOOLS = ("scan", "capture", "modbus", "plc", "fw", "ssh", "web", "arp", "attack")


class Terminal:
    """Standard output with the input beside it."""

    files = True

    def __init__(self, stdout: TextIO, stdin: TextIO) -> None:
        self._stdout = stdout
        self.stdin = stdin

    def write(self, text: str) -> object:
        return self._stdout.write(text)

    def flush(self) -> object:
        return self._stdout.flush()

    def isatty(self) -> bool:
        return self._stdout.isatty()


def main(argv: list[str]) -> int:
    if not argv or argv[0] not in TOOLS:
        sys.stderr.write(f"用法：python -m cyber_range.engine.agents.tools {{{','.join(TOOLS)}}} …\n")
        return 2
    for stream in (sys.stdout, sys.stdin):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # a text file has it
    tool = importlib.import_module(f"cyber_range.engine.agents.tools.{argv[0]}")
    try:
        return int(asyncio.run(tool.main(argv[1:], KernelNet(), Terminal(sys.stdout, sys.stdin))))
    except (KeyboardInterrupt, BrokenPipeError):
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
