"""Send rates on a veth of one's own, ours and tcpreplay's in turn. Run inside a new network namespace by `test_traffic`."""

from __future__ import annotations

import json
import re
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cyber_range.engine.traffic.compiled import pieces_now
from cyber_range.engine.traffic.flood import Flood
from cyber_range.engine.traffic.profiles import order
from cyber_range.engine.traffic.sender import FrameSender
from cyber_range.engine.traffic.templates import Endpoint, Flow

PACKETS = 600_000
ROUNDS = 5
SECONDS = 0.8  # of each of ours
ROWS = 2048
FLOWS = [
    Flow(
        Endpoint(f"10.0.{n}.1", f"02:00:00:00:{n:02x}:01", 40000 + n), Endpoint("10.0.0.2", "02:00:00:00:00:02", 502),
        n * 7919, n * 104729, n, n, 1, 2, 3, n,
    )
    for n in range(250)
]  # fmt: skip


class Rate(NamedTuple):
    """Packets per second of wall time and per second of processor time: a busy machine bends the first."""

    wall: float
    cpu: float


def tcpreplay(capture: Path, loops: int) -> Rate:
    """By the clock of tcpreplay itself; its processor time without that of starting up."""
    idle, _ = replayed(capture, 1)
    used, said = replayed(capture, loops)
    sent = re.search(r"Actual: (\d+) packets", said)
    wall = re.search(r"([\d.]+) pps", said)
    assert sent, said
    assert wall, said
    return Rate(float(wall[1]), int(sent[1]) / max(1e-6, used - idle))


def replayed(capture: Path, loops: int) -> tuple[float, str]:
    command = ["tcpreplay", "-K", "--topspeed", f"--loop={loops}", "-i", "bench0", str(capture)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, ran.stdout + ran.stderr


def rate(send: Callable[[], int]) -> Rate:
    """Frames the interface took, each of them seen by its counter."""
    counters = [Path(f"/sys/class/net/bench0/statistics/{name}") for name in ("tx_packets", "tx_dropped")]
    before, sent = sum(int(path.read_text()) for path in counters), 0
    began, busy = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < SECONDS:
        sent += send()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    assert sum(int(path.read_text()) for path in counters) - before >= sent
    return Rate(sent / seconds, sent / busy)


def inside(folder: Path) -> None:
    """Runs in a network namespace of its own: one veth, nobody listening, as the floor was measured."""
    subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)  # /sys shows the namespace it was mounted in
    for words in ("link add bench0 type veth peer name bench1", "link set bench0 up", "link set bench1 up"):
        subprocess.run(["ip", *words.split()], check=True)
    wanted = order("modbus_read", table="holding", address=0, count=10)
    piece = pieces_now([wanted])[wanted.key]
    size = len(piece.frames[0].data)
    capture = folder / "floor.pcap"
    found: dict[str, list[Rate]] = {"tcpreplay": [], "prebuilt": [], "patched": []}
    prebuilt, patched = (FrameSender("bench0", longest=size, slots=ROWS) for _ in range(2))
    flood = Flood(patched, piece, FLOWS)
    flood.patch()
    frames = flood.frames()
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    capture.write_bytes(head + b"".join(struct.pack("<IIII", 1, 0, size, size) + frame for frame in frames))
    prebuilt.load(frames)
    for _ in range(ROUNDS):
        found["tcpreplay"].append(tcpreplay(capture, PACKETS // len(frames)))
        found["prebuilt"].append(rate(prebuilt.go))
        found["patched"].append(rate(flood.run))
    sys.stdout.write(json.dumps({"size": size, **found}))


if __name__ == "__main__":
    inside(Path(sys.argv[1]))
