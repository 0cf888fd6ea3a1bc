"""What the declaring process prints, and that the program process never meets scapy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cyber_range.engine.sensor import decode, pcapng
from cyber_range.engine.traffic.compiled import NotCompiled, compiled

MODULE = "cyber_range.engine.traffic.declared"
LEG = {"mac": "00:1b:21:aa:bb:cc", "ip": "10.1.2.5", "broadcast": "10.1.2.15", "host": "SC-PC-03"}


async def test_every_template_is_a_frame_of_the_leg_it_was_made_for() -> None:
    frames = await compiled(MODULE, {**LEG, "syslog": "10.1.2.7", "time": "10.1.2.7"})

    assert sorted(frames) == [
        "gratuitous_arp", "lease_inform", "log_line", "multicast_name", "name_query", "service_search", "time_query",
    ]  # fmt: skip
    for frame in frames.values():
        packet = decode.decode(frame)
        assert packet is not None
        assert packet.mac.hex(":") == LEG["mac"]


@pytest.mark.tshark
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is missing: apt-get install tshark")
async def test_tshark_finds_nothing_malformed_in_the_templates(tmp_path: Path) -> None:
    frames = await compiled(MODULE, {**LEG, "syslog": "10.1.2.7", "time": "10.1.2.7"})
    file = tmp_path / "chatter.pcapng"
    file.write_bytes(pcapng.header() + pcapng.packets([(10**18 + i, f) for i, f in enumerate(frames.values())]))

    def count(display_filter: str) -> int:
        command = ["tshark", "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-r", str(file)]
        out = subprocess.run([*command, "-Y", display_filter], capture_output=True, text=True, check=True).stdout
        return len(out.splitlines())

    assert count("frame") == len(frames)
    assert count('_ws.malformed || ip.checksum.status == "Bad" || udp.checksum.status == "Bad"') == 0
    assert [count(name) for name in ("arp", "nbns", "ssdp", "llmnr", "dhcp", "syslog", "ntp")] == [1] * 7


async def test_an_unknown_module_is_refused() -> None:
    with pytest.raises(NotCompiled, match="os declares no packets"):
        await compiled("os", {})


def test_node_programs_never_import_scapy() -> None:
    """Permissive libraries only in the preloaded process; scapy's licence stays in the declaring processes."""
    programs = ("attack traffic sensor plant modbus_plc modbus_hmi historian file_share mail_server office_pc jump_host "
                "firewall probe engineering_station runner kernel")  # fmt: skip
    code = (
        f"import importlib, sys\nfor name in {programs.split()!r}: importlib.import_module('cyber_range.engine.agents.' + name)\n"
        "print([m for m in ('scapy', 'django', 'docker') if m in sys.modules])"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert out.strip() == "[]"
