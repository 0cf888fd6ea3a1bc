"""The terminal of a memory node: one line at a time, over the same words as `exec`, and it says what it is."""

from __future__ import annotations

import asyncio
import codecs
import shlex
from collections.abc import Awaitable, Callable

from cyber_range.engine.drivers.memory.words import Out, Station

Run = Callable[[list[str], Station, Out, Out], Awaitable[int]]
BANNER = "内存模拟: 本终端没有真实系统,只有 lb-* 工具和少量命令,输入 help 查看\r\n"
HISTORY = 200  # lines
QUEUE_LIMIT = 1024 * 1024  # bytes waiting for a slow reader before output is cut


class MemoryPty:
    """A `drivers.base.Pty`. Keys understood: printable text, Backspace, arrows up/down, ^C, ^D, ^U, ^L, Enter."""

    def __init__(self, station: Station, run: Run) -> None:
        self._station = station
        self._run = run
        self._out = bytearray()
        self._more = asyncio.Event()
        self._closed = False
        self._line = ""
        self._escape = ""
        self._typed_ahead: list[str] = []
        self._history: list[str] = []
        self._at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._command: asyncio.Task[None] | None = None
        self._say(BANNER)
        self._prompt()

    async def read(self, limit: int = 65536) -> bytes:
        while not self._out:
            if self._closed:
                return b""
            self._more.clear()
            await self._more.wait()
        data = bytes(self._out[:limit])
        del self._out[:limit]
        return data

    async def write(self, data: bytes) -> None:
        for key in self._decoder.decode(data):
            if self._closed:
                return
            if self._command is not None and key != "\x03":
                self._typed_ahead.append(key)
                continue
            self._key(key)

    async def resize(self, columns: int, rows: int) -> None:
        pass  # lines wrap in the terminal itself

    async def close(self) -> None:
        self._closed = True
        if self._command is not None:
            self._command.cancel()
        self._more.set()

    def _say(self, text: str) -> None:
        if len(self._out) < QUEUE_LIMIT:
            self._out += text.encode(errors="surrogateescape")
            self._more.set()

    def _prompt(self) -> None:
        self._say(f"\x1b[33m[内存模拟]\x1b[0m {self._station.node}# ")

    def _key(self, key: str) -> None:
        if self._escape or key == "\x1b":
            self._escape += key
            if len(self._escape) == 3 or (len(self._escape) == 2 and key not in "[O"):
                if self._escape in ("\x1b[A", "\x1b[B", "\x1bOA", "\x1bOB"):
                    self._recall(-1 if self._escape[2] == "A" else 1)
                self._escape = ""
        elif key in "\r\n":
            self._say("\r\n")
            line, self._line = self._line, ""
            self._enter(line)
        elif key in "\x7f\b":
            if self._line:
                wide = ord(self._line[-1]) >= 0x1100
                self._line = self._line[:-1]
                self._say("\b \b" * (2 if wide else 1))
        elif key == "\x03":
            if self._command is not None:
                self._command.cancel()
            else:
                self._line = ""
                self._say("^C\r\n")
                self._prompt()
        elif key == "\x04":
            if not self._line:
                self._leave()
        elif key == "\x15":
            self._replace("")
        elif key == "\x0c":
            self._say("\x1b[H\x1b[2J")
            self._prompt()
            self._say(self._line)
        elif key.isprintable() and len(self._line) < 4096:
            self._line += key
            self._say(key)

    def _replace(self, line: str) -> None:
        self._line = line
        self._say("\r\x1b[K")
        self._prompt()
        self._say(line)

    def _recall(self, step: int) -> None:
        self._at = min(max(self._at + step, 0), len(self._history))
        self._replace(self._history[self._at] if self._at < len(self._history) else "")

    def _leave(self) -> None:
        self._say("logout\r\n")
        self._closed = True
        self._more.set()

    def _enter(self, line: str) -> None:
        if line.strip():
            self._history = [*self._history, line][-HISTORY:]
        self._at = len(self._history)
        try:
            argv = shlex.split(line)
        except ValueError as exc:
            self._say(f"{exc}\r\n")
            argv = []
        if not argv:
            self._prompt()
        elif argv[0] in ("exit", "logout"):
            self._leave()
        elif argv[0] == "clear":
            self._say("\x1b[H\x1b[2J")
            self._prompt()
        else:
            self._command = asyncio.get_running_loop().create_task(self._perform(argv))

    async def _perform(self, argv: list[str]) -> None:
        out = Screen(self._say)
        try:
            await self._run(argv, self._station, out, out)
        except asyncio.CancelledError:
            self._say("^C\r\n")
        except Exception as exc:  # a tool that fails must not take the terminal with it
            self._say(f"{argv[0]}: {type(exc).__name__}: {exc}\r\n")
        self._command = None
        if self._closed:
            return
        self._prompt()
        ahead, self._typed_ahead = self._typed_ahead, []
        for at, key in enumerate(ahead):
            self._key(key)
            if self._command is not None:
                self._typed_ahead = ahead[at + 1 :]
                break


class Screen:
    """A text stream onto the terminal: newlines become what a terminal driver would send."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def write(self, text: str | bytes) -> int:
        said = text.decode(errors="replace") if isinstance(text, bytes) else text
        self._say(said.replace("\r\n", "\n").replace("\n", "\r\n"))
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True
