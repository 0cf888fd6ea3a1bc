"""Rolling captures: pcapng files per zone with a cap, written from the blocks the sensor sends.

A file is at most FILE_BYTES, a zone keeps at most its cap; the oldest file goes first. Every file is whole by itself
(section header and interface block in front), so a download never needs another one.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyber_range.engine.errors import RangeError

FILE_BYTES = 8 * 1024 * 1024
ZONE_BYTES = 64 * 1024 * 1024

_SECTION = 0x0A0D0D0A
_INTERFACE = 1
_ENHANCED = 6
_NAME = re.compile(r"^[a-z][a-z0-9_-]{0,30}-\d{6}\.pcapng$")


def _block(kind: int, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 4)
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def file_header(zone: str) -> bytes:
    """Section header and one Ethernet interface with nanosecond stamps."""
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _option(4, b"Lianbing range") + _option(0, b"")
    interface = struct.pack("<HHI", 1, 0, 0) + _option(2, zone.encode()) + _option(9, b"\x09") + _option(0, b"")
    return _block(_SECTION, section) + _block(_INTERFACE, interface)


def packet_block(time_ns: int, frame: bytes) -> bytes:
    """One enhanced packet block on interface 0."""
    body = struct.pack("<IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(frame), len(frame)) + frame
    return _block(_ENHANCED, body)


def packets_of(data: bytes) -> Iterable[tuple[int, bytes]]:
    """(time in ns, whole block) of the packet blocks in `data`; headers are passed over. ValueError when torn."""
    position = 0
    while position < len(data):
        if position + 12 > len(data):
            raise ValueError("a torn block")
        kind, length = struct.unpack_from("<II", data, position)
        end = position + length
        if length < 12 or length % 4 or end > len(data) or struct.unpack_from("<I", data, end - 4)[0] != length:
            raise ValueError("a block whose length is wrong")
        if kind == _ENHANCED:
            interface, high, low, captured = struct.unpack_from("<IIII", data, position + 8)
            if interface != 0 or captured > length - 32:
                raise ValueError("a packet block of another interface, or longer than itself")
            yield (high << 32) | low, data[position:end]
        elif kind not in (_SECTION, _INTERFACE, 3, 4, 5):
            raise ValueError(f"block type {kind}")
        position = end


@dataclass(slots=True)
class _File:
    path: Path
    zone: str
    size: int = 0
    packets: int = 0
    first_ns: int = 0
    last_ns: int = 0
    rolling: bool = True


class CaptureStore:
    """The captures of one range. `on_roll(zone, name, reason)` is told when a file is full or removed."""

    def __init__(
        self,
        folder: Path,
        *,
        file_bytes: int = FILE_BYTES,
        zone_bytes: int = ZONE_BYTES,
        on_roll: Callable[[str, str, str], None] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._file_bytes, self._zone_bytes = file_bytes, zone_bytes
        self._on_roll = on_roll or (lambda zone, name, reason: None)
        self._files: dict[str, list[_File]] = {}
        self._handles: dict[str, Any] = {}
        for path in sorted(folder.glob("*.pcapng")):
            if _NAME.match(path.name):
                self._files.setdefault(path.name[:-14], []).append(self._reread(path))

    def take(self, zone: str, message: dict[str, Any]) -> int:
        """Appends what a `pcap` message brings; returns how many packets. ValueError when it is damaged."""
        if "data" in message:
            blocks = list(packets_of(base64.b64decode(message["data"], validate=True)))
        else:
            blocks = []
            for time_ns, frame in message.get("packets", ()):
                blocks.append((int(time_ns), packet_block(int(time_ns), base64.b64decode(frame, validate=True))))
        for time_ns, block in blocks:
            file, handle = self._current(zone, len(block))
            handle.write(block)
            file.size += len(block)
            file.packets += 1
            file.first_ns = file.first_ns or time_ns
            file.last_ns = max(file.last_ns, time_ns)
        if zone in self._handles:
            self._handles[zone].flush()
        return len(blocks)

    def _current(self, zone: str, coming: int) -> tuple[_File, Any]:
        files = self._files.setdefault(zone, [])
        if files and files[-1].rolling and zone in self._handles and files[-1].size + coming <= self._file_bytes:
            return files[-1], self._handles[zone]
        if zone in self._handles:
            self._handles.pop(zone).close()
            files[-1].rolling = False
            self._on_roll(zone, files[-1].path.name, "rolled")
        while files and sum(file.size for file in files) + self._file_bytes > self._zone_bytes:
            oldest = files.pop(0)
            oldest.path.unlink(missing_ok=True)
            self._on_roll(zone, oldest.path.name, "limit")
        number = int(files[-1].path.stem[-6:]) + 1 if files else self._next_number(zone)
        path = self._folder / f"{zone}-{number:06d}.pcapng"
        handle = path.open("xb")
        header = file_header(zone)
        handle.write(header)
        self._handles[zone] = handle
        files.append(_File(path, zone, size=len(header)))
        return files[-1], handle

    def _next_number(self, zone: str) -> int:
        numbers = [int(path.stem[-6:]) for path in self._folder.glob(f"{zone}-??????.pcapng")]
        return max(numbers, default=0) + 1

    def _reread(self, path: Path) -> _File:
        """A file from before a restart. A torn last block is cut off, so it stays readable."""
        data = path.read_bytes()
        file = _File(path, path.name[:-14], rolling=False)
        position = 0
        while position + 12 <= len(data):
            kind, length = struct.unpack_from("<II", data, position)
            if length < 12 or position + length > len(data):
                break
            if kind == _ENHANCED:
                high, low = struct.unpack_from("<II", data, position + 12)
                stamp = (high << 32) | low
                file.packets += 1
                file.first_ns = file.first_ns or stamp
                file.last_ns = stamp
            position += length
        if position < len(data):
            with path.open("r+b") as handle:
                handle.truncate(position)
        file.size = position
        return file

    def list(self) -> list[dict[str, Any]]:
        return [
            {
                "name": file.path.name, "zone": zone, "bytes": file.size, "packets": file.packets,
                "from": file.first_ns / 1e9, "to": file.last_ns / 1e9, "rolling": file.rolling,
            }
            for zone, files in sorted(self._files.items())
            for file in files
        ]  # fmt: skip

    def path(self, name: str) -> Path:
        """The file of that name; RangeError when there is none (names are checked, never joined blindly)."""
        for files in self._files.values():
            for file in files:
                if file.path.name == name:
                    return file.path
        raise RangeError(
            f"there is no capture {name!r}", remedy="Choose one that `captures` lists; old ones are rolled away"
        )

    def close(self) -> None:
        for handle in self._handles.values():
            handle.close()
        self._handles.clear()
        for files in self._files.values():
            for file in files:
                file.rolling = False
