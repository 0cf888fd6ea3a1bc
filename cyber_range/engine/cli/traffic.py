"""traffic pcap, traffic profiles: labelled captures of a scenario's network, written offline."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from cyber_range.engine.cli.ranges import find
from cyber_range.engine.cli.words import say, tell
from cyber_range.engine.errors import RangeError
from cyber_range.engine.traffic.profiles import CATALOGUE

START = "2026-03-09T08:00:00+08:00"  # a Monday morning in China
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = 7 * 86400


def seconds_of(text: str) -> float:
    """90s, 30m, 1.5h, 1d, or plain seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    seconds = float(found[1]) * UNITS[found[2] or "s"] if found else 0.0
    if not 1 <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r}: write 90s, 30m, 1h or 1d, from a second to seven days")
    return seconds


def add_to(commands: Any) -> None:
    traffic = commands.add_parser("traffic", help="离线生成带标签的抓包 / labelled captures").add_subparsers(
        dest="what", required=True
    )
    pcap = traffic.add_parser("pcap", help="按场景写出 pcapng 与标签 / write a scenario's capture")
    pcap.add_argument("--scenario", required=True, help="name or folder")
    pcap.add_argument("--duration", default="1h", type=seconds_of, help="90s, 30m, 1h, 1d")
    pcap.add_argument("--seed", default="1")
    pcap.add_argument("--team", default="capture")
    pcap.add_argument("--out", required=True, type=Path, help="folder; made when it is not there")
    pcap.add_argument("--start", default=START, help="local time of the first packet, ISO with zone")
    pcap.add_argument("--no-attack", action="store_true", help="benign traffic only")
    pcap.add_argument("--no-noise", action="store_true", help="no broadcasts beyond the scenario's own")
    pcap.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="USE:CLIENT:SERVER[:EVERY]",
        help="one more; see traffic profiles",
    )
    pcap.set_defaults(run=_pcap)
    traffic.add_parser("profiles", help="列出流量画像 / list the profiles").set_defaults(run=_profiles)


def _pcap(options: argparse.Namespace) -> int:
    # Here, not above: range-host starts by this same command line and shall not carry numpy.
    from cyber_range.engine.lab.labelled import record

    try:
        manifest = record(
            find(options.scenario), seconds=options.duration, seed=options.seed, team=options.team, out=options.out,
            start=options.start, attack=not options.no_attack, noise=not options.no_noise, extra=options.profile,
        )  # fmt: skip
    except OSError as exc:
        raise RangeError(
            f"the capture cannot be written to {options.out}: {exc.strerror}", remedy="Choose another folder with --out"
        ) from exc
    counts = manifest["counts"]
    tell(
        f"{options.out}: {counts['packets']} 个报文（攻击 {counts['attack_packets']}），{counts['flows']} 条流，"
        f"{counts['bytes'] / 1e6:.1f} MB",
        f"{options.out}: {counts['packets']} packets ({counts['attack_packets']} of attacks), {counts['flows']} flows, "
        f"{counts['bytes'] / 1e6:.1f} MB",
    )
    return 0


def _profiles(options: argparse.Namespace) -> int:
    for found in CATALOGUE.values():
        kind = say("攻击", "attack") if found.kind == "attack" else say("正常", "benign")
        where = f"{found.transport}/{found.port}" if found.port else found.transport
        sys.stdout.write(f"{found.name:<18} {kind:<7} {found.style:<7} {where:<10} {found.technique}\n")
    return 0
