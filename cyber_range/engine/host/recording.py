"""Terminal recordings as asciicast v2: one JSON header, then [seconds, "o"|"i"|"r", text] a line."""

from __future__ import annotations

import codecs
import json
import re
import time
from pathlib import Path
from typing import Any

from cyber_range.engine.errors import RangeError

_NAME = re.compile(r"^\d{13}-[a-z][a-z0-9_-]{0,30}-[0-9a-f]{8}\.cast$")


class Recording:
    """Writes one terminal. Trainees were told that it is recorded."""

    def __init__(
        self, folder: Path, *, session: str, seat: str, node: str, terminal: str, columns: int, rows: int
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.name = f"{int(time.time() * 1000):013d}-{node}-{terminal[:8]}.cast"
        self._began = time.monotonic()
        self._decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in "io"}
        self._file = (folder / self.name).open("x", encoding="utf-8")
        self._file.write(
            json.dumps({
                "version": 2, "width": columns, "height": rows, "timestamp": int(time.time()),
                "title": node, "env": {"TERM": "xterm-256color"},
                "lianbing": {"session": session, "seat": seat, "node": node},
            }, ensure_ascii=False) + "\n"
        )  # fmt: skip
        self._file.flush()

    def add(self, kind: str, data: bytes) -> None:
        """`kind` is "o" (shown) or "i" (typed). A character torn between two reads is put together."""
        text = self._decoders[kind].decode(data)
        if text:
            self._write(kind, text)

    def resized(self, columns: int, rows: int) -> None:
        self._write("r", f"{columns}x{rows}")

    def _write(self, kind: str, text: str) -> None:
        stamp = round(time.monotonic() - self._began, 6)
        self._file.write(json.dumps([stamp, kind, text], ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def recordings(folder: Path) -> list[dict[str, Any]]:
    """Every recording of a range, oldest first."""
    found = []
    for path in sorted(folder.glob("*.cast")):
        with path.open(encoding="utf-8") as file:
            try:
                head = json.loads(file.readline())
            except ValueError:
                continue  # torn by a crash before its first line was whole
        about = head.get("lianbing", {})
        found.append({
            "name": path.name, "session": about.get("session", ""), "seat": about.get("seat", ""),
            "node": about.get("node", ""), "time": head.get("timestamp", 0), "bytes": path.stat().st_size,
        })  # fmt: skip
    return found


def recording_path(folder: Path, name: str) -> Path:
    path = folder / name
    if not _NAME.match(name) or not path.is_file():
        raise RangeError(f"there is no recording {name!r}", remedy="Choose one that `recordings` lists")
    return path
