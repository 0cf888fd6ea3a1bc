"""What screens are shown of a range: status, topology, script. JSON forms as host/README.md lists them."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any, Protocol

from cyber_range.engine.agents.context import Clock
from cyber_range.engine.drivers.base import Driver
from cyber_range.engine.lab.bridge import BridgeFacts
from cyber_range.engine.lab.campaign import Campaign
from cyber_range.engine.lab.compile import Compiled
from cyber_range.engine.lab.health import Health
from cyber_range.engine.lab.objectives import Objectives
from cyber_range.engine.lab.spool import Spool
from cyber_range.engine.scenario.model import Scenario


class Lab(Protocol):
    """What a picture needs of a range."""

    range_id: str
    state: str
    reason: str
    team: str
    digest: str
    speed: float
    started: float
    expires: float
    labels: dict[str, str]
    counts: dict[str, int]
    alerts_of: dict[str, int]
    hints_taken: dict[str, dict[str, str]]
    source: Scenario
    compiled: Compiled
    driver: Driver
    clock: Clock
    health: Health
    objectives: Objectives
    campaign: Campaign
    bridge: BridgeFacts
    spool: Spool


def blue_seats(scenario: Scenario) -> list[str]:
    return [seat.id for seat in scenario.seats if seat.cell == "blue"]


def brief(lab: Lab) -> dict[str, Any]:
    """One line of `list`."""
    return {
        "range_id": lab.range_id, "state": lab.state, "scenario": lab.source.id, "team": lab.team,
        "driver": lab.driver.name, "labels": lab.labels,
    }  # fmt: skip


def status(lab: Lab) -> dict[str, Any]:
    scenario = lab.compiled.scenario
    now = lab.clock.now()
    blue = blue_seats(scenario)
    states = list(lab.objectives.states.values())
    return {
        "range_id": lab.range_id, "state": lab.state, "reason": lab.reason, "driver": lab.driver.name, "team": lab.team,
        "labels": lab.labels,
        "scenario": {
            "id": scenario.id, "version": scenario.version, "digest": lab.digest,
            "title": scenario.title.model_dump(), "duration": scenario.duration,
        },
        "clock": {
            "at": round(now, 3), "speed": lab.speed, "paused": lab.clock.speed == 0, "started": lab.started,
            "duration": scenario.duration * 60,
        },
        "expires": lab.expires, "health": lab.health.as_dict(),
        "production": {
            "alive": lab.objectives.production_alive,
            "evidence": [one.as_dict() for one in lab.objectives.production_evidence],
        },
        "objectives": [state.as_dict(now, blue) for state in states],
        "campaign": [state.as_dict() for state in lab.campaign.states.values()],
        "campaign_started": lab.campaign.started or any(s.state != "waiting" for s in lab.campaign.states.values()),
        "seats": [seat.model_dump() for seat in scenario.seats],
        "hints": [
            {"id": hint.id, "objective": hint.objective, "cost": hint.cost, "taken": lab.hints_taken.get(hint.id)}
            for hint in scenario.hints
        ],
        "score": {
            "points": sum(state.objective.points for state in states if state.verified_at is not None),
            "possible": sum(state.objective.points for state in states),
            "hints": sum(hint.cost for hint in scenario.hints if hint.id in lab.hints_taken),
        },
        "events": {"last": lab.spool.durable, "acked": lab.spool.acked},
        "counts": dict(lab.counts),
    }  # fmt: skip


def topology(lab: Lab) -> dict[str, Any]:
    scenario, plan = lab.compiled.scenario, lab.compiled.plan
    now = time.time()
    zone_load: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    node_load: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    links: dict[tuple[str, str, str, str, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for (zone, src, dst, proto, port), load in lab.bridge.loads(time=now).items():
        source, target = lab.compiled.node_at(src), lab.compiled.node_at(dst)
        for sums in (
            zone_load[zone], links[source or src, target or dst, zone, proto, port],
            *(node_load[node] for node in {source, target} if node is not None),
        ):  # fmt: skip
            sums[0] += load[0]
            sums[1] += load[1]

    def loads(sums: list[float]) -> dict[str, float]:
        return {"packets_s": round(sums[0], 2), "bytes_s": round(sums[1], 1)}

    return {
        "zones": [
            {
                "name": zone.name, "title": zone.title.model_dump(), "purdue": zone.purdue, "hidden": zone.hidden,
                "subnet": plan.zone(zone.name).subnet, **loads(zone_load[zone.name]),
            }
            for zone in scenario.zones
        ],
        "nodes": [
            {
                "name": node.name, "title": node.title.model_dump(), "role": node.role, "placement": node.placement,
                "shell": node.shell, "forwards": node.forwards, "health": lab.health.of_node(node.name),
                "legs": [
                    {"zone": leg.zone, "ip": leg.ip, "mac": leg.mac, "ifname": leg.ifname}
                    for leg in plan.node(node.name).interfaces
                ],
                **loads(node_load[node.name]), "alerts": lab.alerts_of.get(node.name, 0),
            }
            for node in scenario.nodes
        ],
        "links": [
            {"source": source, "target": target, "zone": zone, "proto": proto, "port": port, **loads(sums)}
            for (source, target, zone, proto, port), sums in sorted(links.items(), key=lambda item: -item[1][0])
        ],
        "at": round(lab.clock.now(), 3), "time": now,
    }  # fmt: skip


def script(lab: Lab) -> dict[str, Any]:
    """The team's own values are filled in; answers, evidence (it may tell answers) and hint texts are not in it."""
    scenario = lab.compiled.scenario
    blue = blue_seats(scenario)
    objectives = [state.as_dict(lab.clock.now(), blue) for state in lab.objectives.states.values()]
    return {
        "story": scenario.story.model_dump() if scenario.story else None,
        "injects": [inject.model_dump() for inject in scenario.injects],
        "objectives": [{**objective, "evidence": []} for objective in objectives],
        "hints": [{"id": hint.id, "objective": hint.objective, "cost": hint.cost} for hint in scenario.hints],
        "seats": [seat.model_dump() for seat in scenario.seats],
    }
