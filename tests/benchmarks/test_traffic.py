"""Sending beside tcpreplay on the same veth in the same minute, and the hour of a plant written to a labelled capture.

Not part of the suite: `make bench` prints the figures; nothing here asserts a time.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail


def test_sending_beside_tcpreplay(tmp_path: Path) -> None:
    for tool in ("tcpreplay", "unshare", "ip"):
        if shutil.which(tool) is None:
            skip_or_fail(f"{tool}: apt-get install tcpreplay util-linux iproute2")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--net", "--mount", sys.executable, "-m", "tests.benchmarks.on_veth", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    if ran.returncode != 0 and "unshare" in ran.stderr[:40]:
        skip_or_fail("a network namespace of one's own")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    load = Path("/proc/loadavg").read_text().split()[0]
    print(
        f"\nframes of {found['size']} bytes; load {load}; ratios to tcpreplay --topspeed, least to most of the rounds"
    )
    for number, clock in enumerate(("wall", "processor")):
        floor = [one[number] for one in found["tcpreplay"]]
        print(f"{clock} time: tcpreplay {statistics.median(floor) / 1e6:.2f} Mpps")
        for name in ("prebuilt", "patched"):
            ours = [one[number] for one in found[name]]
            ratios = [a / b for a, b in zip(ours, floor, strict=True)]
            print(f"  {name}: {statistics.median(ours) / 1e6:.2f} Mpps; ratio {statistics.median(ratios):.2f} "
                  f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


@pytest.mark.parametrize("scenario", ["filling_line"])
def test_an_hour_as_a_labelled_capture(scenario: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cyber_range.engine", "traffic", "pcap", "--scenario", scenario, "--duration", "1h",
               "--seed", "7", "--out", str(tmp_path)]  # fmt: skip
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    counts = manifest["counts"]
    print(f"\n{scenario}: an hour of {len(manifest['nodes'])} nodes in {seconds:.1f} s: {counts['packets']} packets, "
          f"{counts['bytes'] / 1e6:.0f} MB, {counts['flows']} flows")  # fmt: skip
