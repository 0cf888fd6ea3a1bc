"""What the tools share towards the person: argument parsing into their own output, Chinese first."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol, TextIO


class Out(Protocol):
    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class Ended(Exception):
    """The parser has said what there was to say."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(code)


class Parser(argparse.ArgumentParser):
    """argparse without sys.exit and sys.stdout: several tools run inside one process."""

    def __init__(self, out: Out, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)
        self.out = out
        self._positionals.title = "参数 (arguments)"
        self._optionals.title = "选项 (options)"

    def add_subparsers(self, **settings: Any) -> Any:
        out = self.out
        settings.setdefault("parser_class", lambda **given: Parser(out, **given))
        return super().add_subparsers(**settings)

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            self.out.write(message)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        if message:
            self.out.write(message)
        raise Ended(status)

    def error(self, message: str) -> NoReturn:
        self.out.write(f"{self.prog}: {message}\n看用法：{self.prog} --help\n")
        raise Ended(2)


def say(out: Out, line: str = "") -> None:
    out.write(line + "\n")
    out.flush()


def stdin_of(out: Out) -> TextIO | None:
    return getattr(out, "stdin", None)


def has_files(out: Out) -> bool:
    return bool(getattr(out, "files", False))


async def next_line(out: Out) -> str:
    """One line of input; empty at its end or where there is none."""
    stdin = stdin_of(out)
    if stdin is None:
        return ""
    return await asyncio.get_running_loop().run_in_executor(None, stdin.readline)


def why(exc: BaseException) -> str:
    """A failure in the words of the person at the terminal."""
    if isinstance(exc, TimeoutError):
        return "超时，没有应答（可能被防火墙丢弃，或地址不存在）"
    if isinstance(exc, ConnectionRefusedError):
        return "连接被拒绝（端口没有开放）"
    if isinstance(exc, PermissionError):
        return "没有权限（此节点不允许这个操作）"
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.strerror}"
    return str(exc) or type(exc).__name__


def wide(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as columns, Chinese characters counted as two."""
    widths = [max(columns(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [
        "  ".join(cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def columns(text: str) -> int:
    return sum(2 if ord(character) > 0x2E7F else 1 for character in text)
