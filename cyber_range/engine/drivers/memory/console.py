"""The terminal of a memory node: one line at a time, over the same words as `exec`, and it says what it is."""

from __future__ import annotations

import asyncio
import codecs
import queue
import shlex
from collections.abc import Awaitable, Callable

from cyber_range.engine.drivers.memory.words import Out, Station

Run = Callable[[list[str], Station, Out, Out], Awaitable[int]]
BANNER = "内存模拟：本终端没有真实系统，只有 lb-* 工具和少量命令，输入 help 查看\r\n"
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
        self._stdin = TypedLines()
        self._history: list[str] = []
        self._at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._command: asyncio.Task[int] | None = None
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
            self._key(key)

    async def resize(self, columns: int, rows: int) -> None:
        pass  # lines wrap in the terminal itself

    async def close(self) -> None:
        self._closed = True
        self._stdin.end()
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
            if self._command is not None:
                self._stdin.put(line)
            else:
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
            if self._command is not None:
                self._stdin.end()
            elif not self._line:
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
            out = Screen(self._say, self._stdin)
            self._command = asyncio.ensure_future(self._run(argv, self._station, out, out))
            self._command.add_done_callback(lambda task: self._ended(argv[0], task))

    def _ended(self, name: str, command: asyncio.Task[int]) -> None:
        """The prompt again; lines that the command did not read are commands themselves."""
        self._command = None
        if command.cancelled():
            self._say("^C\r\n")
        elif (failure := command.exception()) is not None:
            self._say(f"{name}: {type(failure).__name__}: {failure}\r\n")
        unread, self._stdin = self._stdin.left(), TypedLines()
        if self._closed:
            return
        self._prompt()
        for at, line in enumerate(unread):
            self._say(line + "\r\n")
            self._enter(line)
            if self._command is not None:
                for later in unread[at + 1 :]:
                    self._stdin.put(later)
                break
        self._say(self._line)


class TypedLines:
    """Standard input of a running command: `readline` blocks in the tool's own thread until a line is typed."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def put(self, line: str) -> None:
        self._lines.put(line + "\n")

    def end(self) -> None:
        self._lines.put("")

    def readline(self) -> str:
        return self._lines.get()

    def left(self) -> list[str]:
        """Lines nobody has read; whoever still waits is told that there will be no more."""
        lines = []
        while not self._lines.empty():
            lines.append(self._lines.get().removesuffix("\n"))
        self.end()
        return [line for line in lines if line]


class Screen:
    """A text stream onto the terminal: newlines become what a terminal driver would send."""

    def __init__(self, say: Callable[[str], None], stdin: TypedLines) -> None:
        self._say = say
        self.stdin = stdin

    def write(self, text: str | bytes) -> int:
        said = text.decode(errors="replace") if isinstance(text, bytes) else text
        self._say(said.replace("\r\n", "\n").replace("\n", "\r\n"))
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True
