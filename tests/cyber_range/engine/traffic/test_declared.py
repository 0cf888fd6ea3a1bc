"""What the declaring process prints, and that the program process never meets scapy or numpy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cyber_range.engine.traffic.compiled import NotCompiled, compiled, declared, pieces
from cyber_range.engine.traffic.profiles import CATALOGUE, order
from cyber_range.engine.traffic.templates import TCP_PAYLOAD, piece_as, piece_from
from tests.cyber_range.engine.traffic.stage import NEEDS_TSHARK, everything, recorded, tshark

SECONDS = 60.0


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every profile of the catalogue in one minute."""
    folder = tmp_path_factory.mktemp("all")
    recorded(folder, everything(SECONDS), SECONDS)
    return folder / "capture.pcapng"


async def test_a_piece_comes_back_as_it_was_declared() -> None:
    wanted = order("modbus_write", table="coil", address=12, value=1)

    found = (await pieces([wanted]))[wanted.key]

    assert piece_from(wanted.key, piece_as(found)) == found
    assert [frame.data[TCP_PAYLOAD:].hex() for frame in found.frames] == [
        "0000000000060105000cff00",
        "0000000000060105000cff00",
        "",
    ]
    assert [(frame.from_client, frame.seq, frame.ack) for frame in found.frames] == [
        (True, 0, 0),
        (False, 0, 12),
        (True, 12, 12),
    ]
    assert (found.client_bytes, found.server_bytes) == (12, 12)


async def test_an_unknown_module_and_an_unknown_maker_are_refused() -> None:
    with pytest.raises(NotCompiled, match="os declares no packets"):
        await compiled("os", {})
    with pytest.raises(NotCompiled, match="nobody declares 'telepathy'; there are: arp_claim"):
        await pieces([order("telepathy")])


async def test_every_declared_piece_is_used_by_a_profile() -> None:
    makers = set(await declared("cyber_range.engine.traffic.declaring", {"list": True}))
    used = {o.make for profile in CATALOGUE.values() for o in profile.write({}).orders}

    assert used - makers == set()
    assert makers - used == {"text_lines"}  # for programs that bring their own words


@pytest.mark.tshark
@NEEDS_TSHARK
def test_tshark_dissects_every_profile_without_a_complaint(capture: Path) -> None:
    complaints = [
        line.split(maxsplit=3) for line in section(tshark(capture, "-q", "-z", "expert"), ("Errors", "Warns"))
    ]

    # A scan meets closed doors, and a host asks the same mDNS question again.
    assert {text[3] for text in complaints if "Connection reset" not in text[3] and text[2] != "mDNS"} == set()
    bad = "_ws.malformed || " + " || ".join(f'{p}.checksum.status == "Bad"' for p in ("ip", "tcp", "udp", "icmp"))
    assert tshark(capture, "-Y", bad) == []
    assert tshark(capture, "-Y", 'dnp3 && frame contains "incorrect"') == []


def section(lines: list[str], wanted: tuple[str, ...]) -> list[str]:
    """The rows of some severities of tshark's expert report."""
    found, inside = [], False
    for line in lines:
        if line[:1].isalpha():
            inside = line.startswith(wanted)
        elif inside and line.strip()[:1].isdigit():
            found.append(line)
    return found


@pytest.mark.tshark
@NEEDS_TSHARK
def test_every_profile_is_dissected_as_what_it_is(capture: Path) -> None:
    protocols = {word for line in tshark(capture, "-T", "fields", "-e", "frame.protocols") for word in line.split(":")}

    assert protocols >= {
        "modbus", "s7comm", "enip", "cip", "opcua", "iec60870_104", "iec60870_asdu", "dnp3", "bacapp", "mqtt", "http", "smtp",
        "tls", "ssh", "dns", "mdns", "llmnr", "nbns", "ssdp", "dhcp", "ntp", "syslog", "lldp", "arp", "pn_dcp", "icmp",
    }  # fmt: skip


@pytest.mark.tshark
@NEEDS_TSHARK
def test_every_benign_stream_is_whole(capture: Path) -> None:
    """Handshake, data in both directions, FIN both ways; tshark's own analysis finds nothing lost or sent again."""
    assert tshark(capture, "-Y", "tcp.analysis.flags") == []
    # 1 SYN, 2 SYN-ACK, 4 ACK, 8 data, 16 FIN, 32 RST; known only when the file has been read once (-2)
    broken = "tcp.flags.syn == 1 && tcp.flags.ack == 0 && tcp.completeness != 31"
    scanned = {int(port) for port in tshark(capture, "-2", "-Y", broken, "-T", "fields", "-e", "tcp.dstport")}
    assert scanned == set(range(80, 80 + 120))  # scans and floods, which knock and go


def test_node_programs_never_import_scapy() -> None:
    """Permissive libraries only in the preloaded process; scapy's licence stays in the declaring processes."""
    programs = ("attack traffic sensor plant modbus_plc modbus_hmi historian file_share mail_server office_pc jump_host "
                "firewall probe engineering_station runner kernel")  # fmt: skip
    code = (
        f"import importlib, sys\nfor name in {programs.split()!r}: importlib.import_module('cyber_range.engine.agents.' + name)\n"
        "print([m for m in ('scapy', 'django', 'docker', 'numpy') if m in sys.modules])"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert out.strip() == "[]"
