"""A Suricata beside the sensor, where one is installed: fed with the same frames, its alerts join ours.

It reads a pcap stream from a pipe and writes EVE lines into another, so it needs no interface, no privilege and no
disk, and works the same on every driver. One process serves all zones: each zone is a VLAN tag on the way in, which
Suricata keeps conversations apart by and gives back with every alert.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cyber_range.engine.sensor.alerts import Item
from cyber_range.engine.sensor.rules.header import VARIABLES
from cyber_range.engine.sensor.rules.keywords import TECHNIQUE
from cyber_range.engine.sensor.rules.rule import Rule

REMEDY = "apt-get install -t bookworm-backports suricata (Debian 12 has it in backports only)"
BACKLOG = 4 * 1024 * 1024  # bytes that wait for it; beyond, frames are not given to it, and counted
PIPE_BYTES = 1024 * 1024
F_SETPIPE_SZ = 1031
STOP_SECONDS = 5.0
LINE_LIMIT = 1024 * 1024
PCAP_HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
FIRST_VLAN = 2


@dataclass(frozen=True, slots=True)
class Found:
    """For `doctor`: whether it can run here, and what to do when not."""

    usable: bool
    version: str
    reason: str
    remedy: str


def probe(program: str = "suricata") -> Found:
    path = shutil.which(program)
    if path is None:
        return Found(False, "", "suricata is not installed", REMEDY)
    try:
        said = subprocess.run([path, "-V"], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603 - found on PATH
    except (OSError, subprocess.TimeoutExpired) as exc:
        return Found(False, "", f"suricata does not start: {exc}", "Try `suricata -V` by hand")
    version = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    if version is None:
        return Found(False, "", f"suricata -V says {said[:80]!r}", "Try `suricata -V` by hand")
    if int(version.group(1)) < 6:
        return Found(False, version.group(), "versions before 6 have no parsers for these protocols", REMEDY)
    return Found(True, version.group(), "", "")


def configuration(folder: Path, variables: Mapping[str, str]) -> str:
    """A whole suricata.yaml of our own: Debian's leaves modbus, dnp3 and enip switched off."""
    words = {**VARIABLES, **variables}
    ports = {name: value for name, value in words.items() if name.endswith("_PORTS")}
    addresses = {name: value for name, value in words.items() if name not in ports}
    lines = ["%YAML 1.1", "---", "vars:", "  address-groups:"]
    lines += [f"    {name}: {json.dumps(value)}" for name, value in addresses.items()]
    lines.append("  port-groups:")
    lines += [f"    {name}: {json.dumps(value)}" for name, value in ports.items()]
    apps = {
        "modbus": {"ports": "502"}, "dnp3": {"ports": "20000"}, "enip": {"ports": "44818"}, "mqtt": {}, "tls": {"ports": "443"},
        "ssh": {}, "dhcp": {}, "smb": {"ports": "139, 445"}, "ftp": {}, "smtp": {}, "http": {},
    }  # fmt: skip
    lines += [
        f"default-log-dir: {folder}", f"default-rule-path: {folder}", "rule-files:", "  - all.rules",
        f"classification-file: {folder}/classification.config", f"reference-config-file: {folder}/reference.config",
        "stats: {enabled: no}", "outputs:", "  - eve-log:", "      enabled: yes", "      filetype: regular",
        f"      filename: {folder}/eve.pipe", "      types:", "        - alert: {packet: yes, metadata: yes}",
        "logging:", "  default-log-level: warning", "  outputs:", "    - console: {enabled: yes}",
        "vlan: {use-for-tracking: true}", "stream: {midstream: true, memcap: 32mb, reassembly: {memcap: 64mb}}",
        "flow: {memcap: 32mb, hash-size: 8192, prealloc: 512}", "defrag: {memcap: 8mb, hash-size: 4096, trackers: 4096, prealloc: no}",
        "host: {hash-size: 1024, prealloc: 64, memcap: 8mb}", "max-pending-packets: 256", "app-layer:", "  protocols:",
    ]  # fmt: skip
    for name, more in apps.items():
        lines.append(f"    {name}:")
        lines.append("      enabled: yes")
        if more:
            lines += ["      detection-ports:", f"        dp: {more['ports']}"]
    lines += [
        "    dns:",
        "      tcp: {enabled: yes, detection-ports: {dp: 53}}",
        "      udp: {enabled: yes, detection-ports: {dp: 53}}",
    ]
    return "\n".join(lines) + "\n"


def rules_text(rules: Sequence[Rule]) -> str:
    """The rules it understands: those without keywords that only this engine has."""
    return "".join(f"{' '.join(rule.text.split())}\n" for rule in rules if not rule.foreign)


class Suricata:
    """`on_alert` gets the fields of an `alert` message; `on_end` is told when the process ends by itself."""

    def __init__(
        self,
        folder: Path,
        zones: Sequence[str],
        rules: Sequence[Rule],
        variables: Mapping[str, str],
        on_alert: Callable[[dict[str, Any]], None],
        on_end: Callable[[str], None],
        program: str = "suricata",
    ) -> None:
        self._folder = folder
        self._tags = {zone: struct.pack(">HH", 0x8100, FIRST_VLAN + index) for index, zone in enumerate(zones)}
        self._zones = {FIRST_VLAN + index: zone for index, zone in enumerate(zones)}
        self._rules, self._variables, self._program = rules, variables, program
        self._on_alert, self._on_end = on_alert, on_end
        self._process: asyncio.subprocess.Process | None = None
        self._pipe = -1
        self._backlog = bytearray()
        self._waiting = False
        self._tasks: list[asyncio.Task[None]] = []
        self._reader: asyncio.ReadTransport | None = None
        self._said: list[str] = []
        self.given = self.lost = self.alerts = 0

    async def start(self) -> None:
        self._write_files()
        loop = asyncio.get_running_loop()
        into, out = self._folder / "frames.pipe", self._folder / "eve.pipe"
        for path in (into, out):
            path.unlink(missing_ok=True)
            os.mkfifo(path, 0o600)
        # Opened for reading and writing, so that neither side waits for the other; Linux allows it.
        self._pipe = os.open(into, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._pipe, F_SETPIPE_SZ, PIPE_BYTES)
        lines = asyncio.StreamReader(limit=LINE_LIMIT)
        eve = os.fdopen(os.open(out, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)
        self._reader, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), eve)
        self._process = await asyncio.create_subprocess_exec(
            self._program, "-c", str(self._folder / "suricata.yaml"), "-r", str(into), "-l", str(self._folder),
            "--runmode", "single", "-k", "none", "--pidfile", str(self._folder / "suricata.pid"),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._tasks = [loop.create_task(self._read(lines)), loop.create_task(self._watch())]
        self._send(PCAP_HEAD)

    def _write_files(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        names = sorted({rule.classtype for rule in self._rules if rule.classtype})
        severities = {rule.classtype: rule.severity for rule in self._rules}
        classes = "".join(f"config classification: {name},{name},{severities[name]}\n" for name in names)
        references = "config reference: url http://\nconfig reference: cve https://www.cve.org/CVERecord?id=\n"
        for name, content in {
            "suricata.yaml": configuration(self._folder, self._variables), "all.rules": rules_text(self._rules),
            "classification.config": classes, "reference.config": references,
        }.items():  # fmt: skip
            (self._folder / name).write_text(content, encoding="utf-8")

    def feed(self, zone: str, frames: Sequence[Item]) -> None:
        """Never blocks: what it cannot take in time is not given to it."""
        tag = self._tags.get(zone)
        if tag is None or self._pipe < 0:
            return
        if len(self._backlog) > BACKLOG:
            self.lost += len(frames)
            return
        parts = []
        for at, frame in frames:
            size = len(frame) + 4
            parts.append(struct.pack("<IIII", at // 1_000_000_000, at // 1000 % 1_000_000, size, size))
            parts += (frame[:12], tag, frame[12:])
        self.given += len(frames)
        self._send(b"".join(parts))

    def _send(self, data: bytes) -> None:
        if self._backlog:
            self._backlog += data
            return
        try:
            sent = os.write(self._pipe, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        if sent < len(data):
            self._backlog += data[sent:]
            self._waiting = True
            asyncio.get_running_loop().add_writer(self._pipe, self._more)

    def _more(self) -> None:
        try:
            sent = os.write(self._pipe, self._backlog[:PIPE_BYTES])
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._backlog)
        del self._backlog[:sent]
        if not self._backlog:
            self._waiting = False
            asyncio.get_running_loop().remove_writer(self._pipe)

    async def _read(self, lines: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await lines.readline()
            except ValueError:  # longer than any alert
                continue
            if not line:
                return
            found = alert_of(line, self._zones)
            if found is not None:
                self.alerts += 1
                self._on_alert(found)

    async def _watch(self) -> None:
        process = self._process
        assert process is not None
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self._said = [*self._said[-8:], line.decode(errors="replace").strip()]
        code = await process.wait()
        if self._pipe >= 0:
            self._on_end(f"suricata ended with code {code}: {' | '.join(self._said[-3:])}")

    def counters(self) -> dict[str, int]:
        return {"suricata_given": self.given, "suricata_lost": self.lost, "suricata_alerts": self.alerts}

    async def stop(self) -> None:
        """Lets it read what it was given, then ends it."""
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            if self._waiting:
                asyncio.get_running_loop().remove_writer(pipe)
            os.close(pipe)
        process = self._process
        if process is not None and process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        await asyncio.sleep(0)  # lines that are in the pipe are read in the same turn
        if self._reader is not None:
            self._reader.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def alert_of(line: bytes, zones: Mapping[int, str]) -> dict[str, Any] | None:
    """The fields of an `alert` message out of one EVE line; None for other events and for what is unreadable."""
    try:
        event = json.loads(line)
        if not isinstance(event, dict) or event.get("event_type") != "alert":
            return None
        said = event["alert"]
        tags = event.get("vlan") or [0]
        zone = zones.get(int(tags[0]), "")
        at = datetime.fromisoformat(event["timestamp"]).timestamp()
        technique = TECHNIQUE.search(json.dumps(said.get("metadata", {})))
        found = {
            "rule": f"suricata:{int(said['signature_id'])}", "severity": max(1, min(3, int(said.get("severity", 3)))),
            "text": str(said.get("signature", ""))[:300], "src": str(event.get("src_ip", "")),
            "dst": str(event.get("dest_ip", "")), "zone": zone, "technique": technique.group() if technique else "",
            "packets": 1, "source": "suricata", "sid": int(said["signature_id"]), "rev": int(said.get("rev", 0)),
            "seen": at, "capture": {"zone": zone, "from": at - 1.0, "to": at + 1.0}, "frames": [],
        }  # fmt: skip
        frame = base64.b64decode(event.get("packet", ""))
        if len(frame) > 18 and frame[12:14] == b"\x81\x00":
            frame = frame[:12] + frame[16:]  # our own tag
        if frame:
            found["frames"] = [[int(at * 1e9), base64.b64encode(frame[:8192]).decode()]]
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    if "dest_port" in event:
        found["port"] = event["dest_port"]
    return found
