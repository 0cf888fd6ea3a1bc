"""Captures: what is written is read back, by us and by tshark."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.sensor import pcapng
from tests.cyber_range.engine.sensor.talk import Talk, Wire, read, values


@given(st.lists(st.tuples(st.integers(0, 2**63), st.binary(min_size=1, max_size=100))))
@settings(deadline=None)
def test_packets_come_back_as_they_were(frames: list[tuple[int, bytes]]) -> None:
    assert pcapng.read(pcapng.header("workshop") + pcapng.packets(frames)) == frames


def test_a_damaged_capture_says_where() -> None:
    data = pcapng.header() + pcapng.packets([(1, b"abc")])

    with pytest.raises(ValueError, match="damaged capture: block at byte"):
        pcapng.read(data[:-6])


@pytest.mark.tshark
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is missing: apt-get install tshark")
def test_tshark_reads_every_modbus_packet_and_finds_nothing_malformed(tmp_path: Path) -> None:
    wire = Wire()
    talk = Talk(wire, "10.0.2.5", "10.0.2.9").open()
    for _ in range(20):
        talk.ask(read(), values())
    talk.close()
    file = tmp_path / "a.pcapng"
    file.write_bytes(pcapng.header("workshop") + pcapng.packets(wire.frames))

    def lines(display_filter: str) -> list[str]:
        command = ["tshark", "-r", str(file), "-Y", display_filter, "-T", "fields", "-e", "frame.time_epoch"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    assert len(lines("modbus")) == 40
    assert lines("_ws.malformed || tcp.analysis.flags || ip.checksum.status == 0") == []
    assert lines("frame.number == 1") == [f"{wire.frames[0][0] // 10**9}.{wire.frames[0][0] % 10**9:09d}"]
