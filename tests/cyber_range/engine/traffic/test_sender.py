"""The transmit ring on a real veth, in a network namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from cyber_range.engine.traffic.sender import FRAME_AT, slot_size
from tests.conftest import skip_or_fail

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def wire() -> dict[str, Any]:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        skip_or_fail("unshare and ip: apt-get install util-linux iproute2")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--net", sys.executable, "-m", "tests.cyber_range.engine.traffic.on_wire"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200)
    if ran.returncode != 0 and "unshare" in ran.stderr[:20]:
        skip_or_fail("a network namespace of one's own")
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_frames_arrive_as_they_were_in_their_order(wire: dict[str, Any]) -> None:
    assert (wire["sent"], wire["same"]) == (300, True)
    assert (wire["again"], wire["cycled"]) == (wire["slots"] + 5, True)


def test_a_rate_is_kept(wire: dict[str, Any]) -> None:
    assert wire["paced"] == 200
    assert wire["seconds"] >= 0.48  # 200 frames at 400 a second; a busy machine may take longer


def test_a_late_reader_sees_every_round_as_it_was_sent(wire: dict[str, Any]) -> None:
    """The kernel copies: patching the ring again does not reach into frames that wait at a sensor."""
    assert wire["patched"] == 3 * 512
    assert wire["whole"]
    for text in wire["frames"]:
        packet = Ether(bytes.fromhex(text))
        del packet[IP].chksum, packet[TCP].chksum
        assert bytes(packet).hex() == text


def test_what_cannot_be_sent_is_named(wire: dict[str, Any]) -> None:
    assert wire["long"] == "a frame of 9000 bytes does not fit into slots for 2006"
    assert wire["nowhere"] == "interface nowhere cannot be used: No such device"
    assert wire["down"] == "interface wire0 takes no frames: Network is down"


def test_slots_hold_the_longest_frame() -> None:
    assert [slot_size(longest) for longest in (60, 86, 87, 1514, 9000)] == [128, 128, 256, 2048, 16384]
    assert slot_size(1514) >= 1514 + FRAME_AT
