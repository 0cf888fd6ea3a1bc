"""What the drawing shows of a scenario: zones as lanes by Purdue level, nodes as cards in them. Pure.

From the data, not from the checked form: a draft with a mistake in it is drawn as far as it can be read.
"""

from __future__ import annotations

from typing import Any

from cyber_range.authoring.edits import called, use_of, zone_of
from cyber_range.authoring.text import dump
from cyber_range.drawing import ICONS
from cyber_range.engine.lab.vocabulary import USES
from cyber_range.engine.scenario.fill import references

TIED = "{draw}"  # stands for a host number that every team gets another of


def picture(data: Any) -> dict[str, Any]:
    """{"zones": […outermost first], "hubs": [node], "lost": [node without a zone that is there]}."""
    data = data if isinstance(data, dict) else {}
    zones = [_zone(one) for one in _mappings(data.get("zones"))]
    nodes = [_node(one) for one in _mappings(data.get("nodes"))]
    levels = {zone["name"]: zone["purdue"] for zone in zones}
    for node in nodes:
        own = [leg["zone"] for leg in node["legs"] if leg["zone"] in levels]
        # A node between zones stands in the outer one, as on the map of the drill room.
        node["home"] = max(own, key=lambda name: (levels[name], -own.index(name))) if own else ""
        node["also"] = [name for name in own if name != node["home"]]
    zones.sort(key=lambda zone: -zone["purdue"])
    for zone in zones:
        zone["nodes"] = [node for node in nodes if node["home"] == zone["name"] and not node["hub"]]
    return {
        "zones": zones,
        "hubs": [node for node in nodes if node["hub"]],
        "lost": [node for node in nodes if not node["hub"] and not node["home"]],
    }


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def title_of(value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        return {"zh": str(value.get("zh") or ""), "en": str(value.get("en") or "")}
    return {"zh": str(value or ""), "en": ""}


def _zone(one: dict[str, Any]) -> dict[str, Any]:
    level, prefix = one.get("purdue", 3), one.get("prefix", 28)
    return {
        "name": str(one.get("name") or ""),
        "title": title_of(one.get("title")),
        "purdue": level if isinstance(level, int | float) and not isinstance(level, bool) else 3,
        "prefix": prefix if isinstance(prefix, int) else 28,
        "hidden": one.get("hidden") is True,
        "arp": one.get("arp", "fixed"),
    }


def _node(one: dict[str, Any]) -> dict[str, Any]:
    role = str(one.get("role") or "other")
    legs = one.get("legs") if isinstance(one.get("legs"), list) else []
    programs = one.get("programs") if isinstance(one.get("programs"), list) else []
    return {
        "name": str(one.get("name") or ""),
        "title": title_of(one.get("title")),
        "role": role,
        "icon": ICONS.get(role, "point"),
        "legs": [{"zone": str(zone_of(leg)), "host": _host(leg)} for leg in legs or []],
        "programs": [_program(program) for program in programs or []],
        "gateway": str(one.get("gateway") or ""),
        "shell": one.get("shell") is True,
        "forwards": one.get("forwards") is True,
        "caps": [str(cap) for cap in one.get("caps") or []] if isinstance(one.get("caps"), list) else [],
        "oui": str(one.get("oui") or ""),
        "hub": one.get("placement") == "hub",
    }


def _host(leg: Any) -> str:
    """A fixed host number, TIED for a drawn one, "" for one that is given."""
    host = leg.get("host") if isinstance(leg, dict) else None
    if host is None:
        return ""
    return TIED if list(references(host)) else str(host)


def _program(program: Any) -> dict[str, Any]:
    use = str(use_of(program) or "")
    spec = program.get("with") if isinstance(program, dict) else None
    spec = spec if isinstance(spec, dict) else {}
    known = USES.get(use)
    port = spec.get("port")
    ports = [port] if isinstance(port, int) else list(known.ports if known else ())
    return {
        "name": str(called(program) or ""),
        "use": use,
        "zh": known.zh if known else use,
        "en": known.en if known else use,
        "speaks": known.speaks if known else "",
        "ports": ports,
        "with": dump(spec) if spec else "",
    }
