"""Rolling captures: pcapng files per zone and per node with a cap each, written from the blocks the sensor sends.

A file is at most FILE_BYTES, a zone keeps at most its cap; the oldest file goes first. Every file is whole by itself
(section header and interface block in front), so a download never needs another one.

A node's ring holds what its legs sent and got, whatever zone; a neighbour that floods the zone's ring does not roll the
node's away. `cut` makes a file of its own of any stretch of time of a zone or a node: what an alert points at.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyber_range.engine.errors import RangeError

FILE_BYTES = 8 * 1024 * 1024
ZONE_BYTES = 64 * 1024 * 1024
NODE_FILE_BYTES = 2 * 1024 * 1024
NODE_BYTES = 8 * 1024 * 1024
SLICES_KEPT = 8  # files that `cut` made; the oldest goes first
NODE = "node."  # in front of a node's name, where a zone's name would stand; no zone's name has a dot

_SECTION = 0x0A0D0D0A
_INTERFACE = 1
_ENHANCED = 6
_NAME = re.compile(r"^(?:node\.)?[a-z][a-z0-9_-]{0,30}-\d{6}\.pcapng$")
_SLICE = re.compile(r"^slice-[a-z0-9_.-]{1,60}-[0-9a-f]{12}\.pcapng$")
_MACS = 28  # where the frame begins in a packet block: target and source hardware address


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


def _blocks(path: Path, length: int) -> Iterator[tuple[int, bytes]]:
    """(time in ns, whole block) of the packets in the first `length` bytes of a file of ours, one at a time."""
    with path.open("rb") as file:
        position = 0
        while position + 12 <= length:
            head = file.read(8)
            if len(head) < 8:
                return
            kind, size = struct.unpack("<II", head)
            if size < 12 or position + size > length:
                return
            block = head + file.read(size - 8)
            position += size
            if kind == _ENHANCED and len(block) == size:
                high, low = struct.unpack_from("<II", block, 12)
                yield (high << 32) | low, block


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
        nodes: Mapping[str, str] | None = None,
        node_file_bytes: int = NODE_FILE_BYTES,
        node_bytes: int = NODE_BYTES,
    ) -> None:
        """`nodes`: hardware address ("02:00:…") -> node, of every leg; without it there are no rings per node."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._file_bytes, self._zone_bytes = file_bytes, zone_bytes
        self._node_file_bytes, self._node_bytes = node_file_bytes, node_bytes
        self._nodes = {bytes.fromhex(mac.replace(":", "")): NODE + name for mac, name in (nodes or {}).items()}
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
        written = {zone}
        for time_ns, block in blocks:
            self._append(zone, time_ns, block)
            if self._nodes:
                ends = (self._nodes.get(block[_MACS : _MACS + 6]), self._nodes.get(block[_MACS + 6 : _MACS + 12]))
                for node in {end for end in ends if end is not None}:
                    self._append(node, time_ns, block)
                    written.add(node)
        for ring in written:
            if ring in self._handles:
                self._handles[ring].flush()
        return len(blocks)

    def _append(self, ring: str, time_ns: int, block: bytes) -> None:
        file, handle = self._current(ring, len(block))
        handle.write(block)
        file.size += len(block)
        file.packets += 1
        file.first_ns = file.first_ns or time_ns
        file.last_ns = max(file.last_ns, time_ns)

    def _current(self, zone: str, coming: int) -> tuple[_File, Any]:
        """The file of a ring (zone or node) that has room. Only zones' rolling is told: events belong to zones."""
        files = self._files.setdefault(zone, [])
        of_node = zone.startswith(NODE)
        file_bytes, most = (
            (self._node_file_bytes, self._node_bytes) if of_node else (self._file_bytes, self._zone_bytes)
        )
        if files and files[-1].rolling and zone in self._handles and files[-1].size + coming <= file_bytes:
            return files[-1], self._handles[zone]
        if zone in self._handles:
            self._handles.pop(zone).close()
            files[-1].rolling = False
            if not of_node:
                self._on_roll(zone, files[-1].path.name, "rolled")
        while files and sum(file.size for file in files) + file_bytes > most:
            oldest = files.pop(0)
            oldest.path.unlink(missing_ok=True)
            if not of_node:
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

    def list(self, *, nodes: bool = False) -> list[dict[str, Any]]:
        """Files of the zones; with `nodes` those of the nodes too, which have `node` and no `zone`."""
        return [
            {
                "name": file.path.name, "zone": "" if ring.startswith(NODE) else ring, "bytes": file.size,
                "packets": file.packets, "from": file.first_ns / 1e9, "to": file.last_ns / 1e9, "rolling": file.rolling,
                **({"node": ring[len(NODE) :]} if ring.startswith(NODE) else {}),
            }
            for ring, files in sorted(self._files.items())
            if nodes or not ring.startswith(NODE)
            for file in files
        ]  # fmt: skip

    def cut(
        self, *, zone: str | None = None, node: str | None = None, start: float | None = None, end: float | None = None
    ) -> dict[str, Any]:
        """Writes the packets of a zone or node from `start` to `end` (unix s, both included) into a file of their own.

        The file is downloaded by its name like any other, and the newest few are kept. RangeError when there is no such
        ring, or nothing in that time.
        """
        if (zone is None) == (node is None):
            raise RangeError("a slice is of one zone or of one node", remedy="Give either zone or node")
        ring = zone if zone is not None else f"{NODE}{node}"
        first = 0 if start is None else int(start * 1e9)
        last = (1 << 63) - 1 if end is None else int(end * 1e9) + 1  # float seconds are no exact nanoseconds
        packets, size, seen = 0, 0, [0, 0]
        # what is written meanwhile does not belong to this slice
        files = [
            (file.path, file.size)
            for file in self._files.get(str(ring), ())
            if file.last_ns >= first and file.first_ns <= last
        ]
        word = f"{ring} {first} {last} {[(path.name, size) for path, size in files]}"
        name = f"slice-{ring}-{hashlib.sha256(word.encode()).hexdigest()[:12]}.pcapng"
        if not _SLICE.match(name) or not files:
            raise self._nothing(str(ring))
        path = self._folder / name
        with path.open("wb") as out:
            size += out.write(file_header(str(ring)))
            for source, length in files:
                with contextlib.suppress(FileNotFoundError):  # rolled away meanwhile
                    for time_ns, block in _blocks(source, length):
                        if first <= time_ns <= last:
                            size += out.write(block)
                            packets += 1
                            seen = [seen[0] or time_ns, max(seen[1], time_ns)]
        if not packets:
            path.unlink()
            raise self._nothing(str(ring))
        self._forget_slices(keep=path)
        return {
            "name": name, "zone": zone or "", "node": node or "", "bytes": size, "packets": packets,
            "from": seen[0] / 1e9, "to": seen[1] / 1e9,
        }  # fmt: skip

    def _nothing(self, ring: str) -> RangeError:
        files = self._files.get(ring)
        if not files:
            have = ", ".join(sorted(self._files)) or "none yet"
            return RangeError(f"there is no capture of {ring!r}", remedy=f"There are captures of: {have}")
        kept = f"{files[0].first_ns / 1e9:.3f} to {files[-1].last_ns / 1e9:.3f}"
        return RangeError(f"the capture of {ring!r} has no packet in that time", remedy=f"It holds unix times {kept}")

    def _forget_slices(self, keep: Path) -> None:
        slices = sorted(
            (path for path in self._folder.glob("slice-*.pcapng") if path != keep),
            key=lambda path: path.stat().st_mtime,
        )
        for path in slices[: max(0, len(slices) + 1 - SLICES_KEPT)]:
            path.unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """The file of that name; RangeError when there is none (names are checked, never joined blindly)."""
        for files in self._files.values():
            for file in files:
                if file.path.name == name:
                    return file.path
        if _SLICE.match(name) and (self._folder / name).is_file():
            return self._folder / name
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
