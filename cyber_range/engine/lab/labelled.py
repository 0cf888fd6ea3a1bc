"""A scenario's network on paper: its compiled plan, played offline into a labelled capture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cyber_range.engine.errors import RangeError
from cyber_range.engine.lab.compile import Block, block_prefix, compile_range
from cyber_range.engine.scenario.load import digest
from cyber_range.engine.scenario.model import Scenario
from cyber_range.engine.traffic.capture import write
from cyber_range.engine.traffic.cast import benign, places_of, wished
from cyber_range.engine.traffic.compiled import pieces_now
from cyber_range.engine.traffic.dice import Dice
from cyber_range.engine.traffic.hostile import hostile
from cyber_range.engine.traffic.perform import Performance
from cyber_range.engine.traffic.spec import local_seconds

CAPTURE, LABELS, MANIFEST = "capture.pcapng", "labels.csv", "manifest.json"
VERSION = 1


def record(
    scenario: Scenario, *, seconds: float, seed: str, team: str, out: Path, start: str, attack: bool = True,
    noise: bool = True, extra: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Writes capture, labels and manifest into `out`; returns the manifest. The same arguments give the same bytes."""
    moment = datetime.fromisoformat(start)
    if moment.tzinfo is None:
        raise RangeError(f"--start {start} has no time zone", remedy="Write it like 2026-03-09T08:00:00+08:00")
    out.mkdir(parents=True, exist_ok=True)
    range_id = hashlib.sha256(f"{scenario.id}|{seed}|{team}".encode()).hexdigest()[:12]
    block = Block((int(Block("10.213.0.0/16").network_address), block_prefix(scenario)))
    compiled = compile_range(scenario, range_id=range_id, seed=seed, team=team, block=block)
    places = places_of(compiled.plan, compiled.scenario)
    local = local_seconds(start)
    dice = Dice(seed, "traffic", scenario.id, team)
    parts = benign(places, compiled.scenario, seconds, local, noise)
    try:
        parts += [wished(places, words, seconds, local) for words in extra]
    except KeyError as exc:
        raise RangeError(
            f"there is no node {exc.args[0]!r}", remedy=f"Nodes: {', '.join(n.name for n in compiled.plan.nodes)}"
        ) from exc
    except ValueError as exc:
        raise RangeError(f"--profile {exc}") from exc
    if attack:
        parts += hostile(places, compiled.scenario, seconds, local, dice.child("campaign"))
    pieces = pieces_now(order for part in parts for order in part.act.script.orders)
    performance = Performance(pieces, dice, int(moment.timestamp()) * 1_000_000_000, local, seconds)
    score = performance.play(parts)
    written = write(score, places.zones, out / CAPTURE, out / LABELS, dice.child("bytes"))
    manifest = {
        "version": VERSION,
        "scenario": {"id": scenario.id, "version": scenario.version, "digest": digest(scenario)},
        "seed": seed, "team": team, "start": start, "seconds": seconds, "attack": attack, "noise": noise,
        "extra": list(extra),
        "nodes": {
            node.name: [{"zone": leg.zone, "ip": leg.ip, "mac": leg.mac} for leg in places.legs(node)]
            for node in compiled.plan.nodes
        },
        "counts": {
            "packets": written.packets, "bytes": written.bytes, "flows": written.flows, "attack_packets": written.attacks,
        },
        "sha256": {name: file_digest(out / name) for name in (CAPTURE, LABELS)},
    }  # fmt: skip
    (out / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return manifest


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
