"""What form and drawing can do to a scenario: each edit takes the data of scenario.yml and gives the changed data. Pure.

An edit does what its name says and no more: removing a node leaves mentions of it elsewhere, and the loader then says
where they are. Renaming follows every mention, because there a person cannot have meant anything else.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

from django.utils.translation import gettext as _

from cyber_range.authoring.faults import in_chinese
from cyber_range.authoring.text import parse
from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.lab.vocabulary import USES
from cyber_range.engine.scenario.model import Role

Data = dict[str, Any]
NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
ROLES: tuple[str, ...] = get_args(Role)
# What a new machine of a role brings along, so that it does something from the start.
KIT = {
    "plant": "plant", "plc": "modbus_plc", "hmi": "modbus_hmi", "historian": "historian", "engineering": "engineering_station",
    "workstation": "office_pc", "share": "file_share", "mes": "business_app", "mail": "mail_server", "web": "business_app",
    "jump": "jump_host", "firewall": "firewall", "sensor": "sensor", "attacker": "attack", "internet": "internet_sink",
}  # fmt: skip
FIELDS = ("schema", "id", "version", "title", "summary", "difficulty", "duration", "incident_class", "requirements")


class EditRefused(Exception):
    """The edit cannot be done to this draft; the text says why and what to do, `field` in which control of the form."""

    def __init__(self, said: str, *, field: str | None = None) -> None:
        super().__init__(said)
        self.field = field


def apply(data: Any, edit: Data) -> Data:
    """The data after the edit. EditRefused when it makes no sense here."""
    if not isinstance(data, dict):
        raise EditRefused(_("scenario.yml 的最外层不是“键: 值”。请先在“文件”里改好。"))
    verb = EDITS.get(str(edit.get("do")))
    if verb is None:
        raise EditRefused(_("没有这个操作：%(do)s") % {"do": edit.get("do")})
    changed = copy.deepcopy(data)
    try:
        verb(changed, edit)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EditRefused(_("这处写法表单看不懂，请在“文件”里改：%(why)s") % {"why": error}) from error
    return changed


# ---------------------------------------------------------------- finding things


def _list(data: Data, key: str) -> list[Any]:
    value = data.setdefault(key, [])
    if not isinstance(value, list):
        raise EditRefused(_("%(key)s 不是列表。请先在“文件”里改好。") % {"key": key})
    return value


def _named(data: Data, key: str, name: Any) -> Data:
    for item in _list(data, key):
        if isinstance(item, dict) and item.get("name") == name:
            return item
    raise EditRefused(_("没有“%(name)s”，可能刚被改名或删除。") % {"name": name})


def _new_name(data: Data, key: str, wanted: Any, own: Any = None) -> str:
    name = str(wanted or "").strip()
    if not NAME.fullmatch(name):
        raise EditRefused(
            _("代号“%(name)s”不合要求：用小写字母开头，只含小写字母、数字、“_”“-”，最多 31 个字符。") % {"name": name}
        )
    if name != own and any(isinstance(one, dict) and one.get("name") == name for one in _list(data, key)):
        raise EditRefused(_("代号“%(name)s”已被使用，请换一个。") % {"name": name})
    return name


def free_name(taken: set[str], stem: str) -> str:
    """stem, stem2, stem3 …: the first that nobody has."""
    if stem not in taken:
        return stem
    return next(name for name in (f"{stem}{number}" for number in range(2, 1000)) if name not in taken)


def zone_of(leg: Any) -> Any:
    return leg.get("zone") if isinstance(leg, dict) else leg


def use_of(program: Any) -> Any:
    return program.get("use") if isinstance(program, dict) else program


def called(program: Any) -> Any:
    return (program.get("name") or program.get("use")) if isinstance(program, dict) else program


def _title(edit: Data, old: Any = None) -> Any:
    """Chinese and English as the form gave them; plain text where there is no English."""
    zh = str(edit.get("title") or "").strip()
    en = str(edit.get("title_en") or "").strip()
    if not zh:
        raise EditRefused(_("请填写名称。"))
    return {"zh": zh, "en": en} if en else ({"zh": zh} if isinstance(old, dict) else zh)


def _put(item: Data, key: str, value: Any, empty: Any = None) -> None:
    """Sets a key, or takes it away where it would only say what is the rule anyway."""
    if value == empty:
        item.pop(key, None)
    else:
        item[key] = value


# ---------------------------------------------------------------- zones


def zone_add(data: Data, edit: Data) -> None:
    zones = _list(data, "zones")
    name = edit.get("name") or free_name({one.get("name") for one in zones if isinstance(one, dict)}, "zone")
    zone = {"name": _new_name(data, "zones", name), "title": _title(edit), "purdue": _level(edit.get("purdue", 3))}
    _put(zone, "prefix", int(edit.get("prefix") or 28), 28)
    _put(zone, "hidden", bool(edit.get("hidden")), False)
    zones.append(zone)


def _level(value: Any) -> float | int:
    try:
        level = float(value)
    except (TypeError, ValueError):
        raise EditRefused(_("Purdue 层级要填 0 到 6 之间的数，例如 3 或 3.5。")) from None
    if not 0 <= level <= 6:
        raise EditRefused(_("Purdue 层级要填 0 到 6 之间的数，例如 3 或 3.5。"))
    return int(level) if level.is_integer() else level


def zone_set(data: Data, edit: Data) -> None:
    zone = _named(data, "zones", edit.get("zone"))
    new = _new_name(data, "zones", edit.get("name", zone["name"]), own=zone["name"])
    zone["title"] = _title(edit, zone.get("title"))
    zone["purdue"] = _level(edit.get("purdue", zone.get("purdue", 3)))
    _put(zone, "prefix", int(edit.get("prefix") or 28), 28)
    _put(zone, "hidden", bool(edit.get("hidden")), False)
    _put(zone, "arp", str(edit.get("arp") or "fixed"), "fixed")
    if new != zone["name"]:
        rename_zone(data, zone["name"], new)


def zone_remove(data: Data, edit: Data) -> None:
    zone = _named(data, "zones", edit.get("zone"))
    there = [node.get("name") for node in _list(data, "nodes") if zone["name"] in map(zone_of, node.get("legs") or [])]
    if there:
        raise EditRefused(_("分区里还有节点：%(nodes)s。请先移走或删除它们。") % {"nodes": "、".join(map(str, there))})
    _list(data, "zones").remove(zone)


# ---------------------------------------------------------------- nodes and their legs


def node_add(data: Data, edit: Data) -> None:
    role = str(edit.get("role") or "other")
    if role not in ROLES:
        raise EditRefused(_("没有这种角色：%(role)s") % {"role": role})
    nodes = _list(data, "nodes")
    taken = {str(one.get("name")) for one in nodes if isinstance(one, dict)}
    name = _new_name(data, "nodes", edit.get("name") or free_name(taken, "node" if role == "other" else role))
    node: Data = {"name": name, "title": _title(edit), "role": role}
    if role == "sensor":
        node["placement"] = "hub"
    else:
        zone = _named(data, "zones", edit.get("zone"))["name"]
        node["legs"] = [zone]
        if role in ("firewall", "router"):
            node |= {"forwards": True, "caps": ["net_admin", "net_raw"]}
        elif gateway := _gateway(data, zone):
            node["gateway"] = gateway
    if use := KIT.get(role):
        node["programs"] = [_program(data, use, node)]
    nodes.append(node)


def _gateway(data: Data, zone: str) -> str | None:
    for node in _list(data, "nodes"):
        if node.get("forwards") and zone in map(zone_of, node.get("legs") or []):
            return str(node["name"])
    return None


def node_set(data: Data, edit: Data) -> None:
    node = _named(data, "nodes", edit.get("node"))
    new = _new_name(data, "nodes", edit.get("name", node["name"]), own=node["name"])
    node["title"] = _title(edit, node.get("title"))
    if edit.get("role") not in ROLES:
        raise EditRefused(_("没有这种角色：%(role)s") % {"role": edit.get("role")})
    node["role"] = edit["role"]
    _put(node, "shell", bool(edit.get("shell")), False)
    _put(node, "forwards", bool(edit.get("forwards")), False)
    _put(node, "gateway", str(edit.get("gateway") or ""), "")
    _put(node, "oui", str(edit.get("oui") or "").strip().lower(), "")
    _put(node, "caps", [cap for cap in ("net_admin", "net_raw") if cap in (edit.get("caps") or [])], [])
    if new != node["name"]:
        rename_node(data, node["name"], new)


def node_remove(data: Data, edit: Data) -> None:
    _list(data, "nodes").remove(_named(data, "nodes", edit.get("node")))


def node_copy(data: Data, edit: Data) -> None:
    nodes = _list(data, "nodes")
    node = _named(data, "nodes", edit.get("node"))
    twin = copy.deepcopy(node)
    twin["name"] = free_name({str(one.get("name")) for one in nodes}, re.sub(r"\d+$", "", node["name"])[:26] or "node")
    twin["legs"] = [zone_of(leg) for leg in twin.get("legs") or []]  # a fixed host number is one machine's
    nodes.insert(nodes.index(node) + 1, twin)


def node_order(data: Data, edit: Data) -> None:
    """Left or right of its neighbours: nodes stand in the order of the file."""
    nodes = _list(data, "nodes")
    node = _named(data, "nodes", edit.get("node"))
    before = edit.get("before")
    nodes.remove(node)
    place = next((i for i, one in enumerate(nodes) if one.get("name") == before), len(nodes)) if before else len(nodes)
    nodes.insert(place, node)


def node_move(data: Data, edit: Data) -> None:
    """From one zone to another; a gateway that cannot be reached from there is changed for one that can."""
    node = _named(data, "nodes", edit.get("node"))
    to = _named(data, "zones", edit.get("to"))["name"]
    legs = node.setdefault("legs", [])
    places = [zone_of(leg) for leg in legs]
    if to in places:
        raise EditRefused(_("“%(node)s”已经接在这个分区。") % {"node": node["name"]})
    if node.get("placement") == "hub":
        raise EditRefused(_("探针立在所有网桥上，不接入某一个分区。"))
    start = edit.get("from") if edit.get("from") in places else (places[0] if places else None)
    if start is None:
        legs.append(to)
    else:
        legs[places.index(start)] = to
    if not node.get("forwards") and node.get("gateway"):
        gateway = next((one for one in _list(data, "nodes") if one.get("name") == node["gateway"]), None)
        own = set(map(zone_of, legs))
        if gateway is None or not own & set(map(zone_of, gateway.get("legs") or [])):
            _put(node, "gateway", _gateway(data, to) or "", "")


def leg_add(data: Data, edit: Data) -> None:
    node = _named(data, "nodes", edit.get("node"))
    to = _named(data, "zones", edit.get("zone"))["name"]
    if node.get("placement") == "hub":
        raise EditRefused(_("探针立在所有网桥上，不接入某一个分区。"))
    legs = node.setdefault("legs", [])
    if to in map(zone_of, legs):
        raise EditRefused(_("“%(node)s”已经接在这个分区。") % {"node": node["name"]})
    legs.append(to)


def leg_remove(data: Data, edit: Data) -> None:
    node = _named(data, "nodes", edit.get("node"))
    legs = node.get("legs") or []
    left = [leg for leg in legs if zone_of(leg) != edit.get("zone")]
    if not left:
        raise EditRefused(_("节点至少要接入一个分区。要拿走它，请删除节点。"))
    node["legs"] = left


# ---------------------------------------------------------------- services


def _program(data: Data, use: str, node: Data) -> Any:
    if use not in USES:
        raise EditRefused(_("程序目录里没有“%(use)s”。") % {"use": use})
    spec: Data = copy.deepcopy(dict(USES[use].spec))
    if use == "attack":
        zones = [one["name"] for one in _list(data, "zones") if not one.get("hidden")]
        spec["lab"] = {"range": "${range.id}", "networks": [f"${{zone.{name}.subnet}}" for name in zones]}
    if spec.get("controller") and (plant := _plant(data)):
        spec["plant"] = f"${{node.{plant}.ip}}"
    taken = {called(one) for one in node.get("programs") or []}
    program: Data = {"use": use}
    if use in taken:
        program["name"] = free_name(taken, use[:28])
    if spec:
        program["with"] = spec
    return program if len(program) > 1 else use


def _plant(data: Data) -> str:
    return next((str(node["name"]) for node in _list(data, "nodes") if node.get("role") == "plant"), "")


def program_add(data: Data, edit: Data) -> None:
    node = _named(data, "nodes", edit.get("node"))
    node.setdefault("programs", []).append(_program(data, str(edit.get("use")), node))


def program_set(data: Data, edit: Data) -> None:
    """The program's `with`, as the YAML the form shows."""
    node = _named(data, "nodes", edit.get("node"))
    programs = node.get("programs") or []
    place = _place(programs, edit)
    try:
        spec = parse(str(edit.get("with") or ""))
    except ScenarioError as error:
        raise EditRefused(_("参数不是正确的 YAML，第 %(line)s 行：%(why)s") % {
            "line": error.detail["line"], "why": in_chinese(str(error.detail["problems"][0]["what"]))  # type: ignore[index]
        }) from error  # fmt: skip
    if spec is not None and not isinstance(spec, dict):
        raise EditRefused(_("参数要写成“键: 值”。"))
    program = programs[place]
    program = {"use": program} if isinstance(program, str) else program
    _put(program, "with", spec or {}, {})
    programs[place] = program["use"] if set(program) == {"use"} else program


def program_remove(data: Data, edit: Data) -> None:
    node = _named(data, "nodes", edit.get("node"))
    programs = node.get("programs") or []
    programs.pop(_place(programs, edit))
    _put(node, "programs", programs, [])


def _place(programs: list[Any], edit: Data) -> int:
    for place, one in enumerate(programs):
        if called(one) == edit.get("program"):
            return place
    raise EditRefused(_("没有程序“%(name)s”，可能刚被删除。") % {"name": edit.get("program")})


# ---------------------------------------------------------------- the whole


def scenario_set(data: Data, edit: Data) -> None:
    values = edit.get("values") or {}
    data["title"] = _title(values, data.get("title"))
    summary = str(values.get("summary") or "").strip()
    if not summary:
        raise EditRefused(_("请填写一句话简介。"))
    old = data.get("summary")
    data["summary"] = {**old, "zh": summary} if isinstance(old, dict) else summary
    for key in ("difficulty", "incident_class"):
        data[key] = str(values.get(key) or "").strip()
    try:
        duration = float(values.get("duration") or 0)
    except (TypeError, ValueError):
        raise EditRefused(_("时长要填分钟数。")) from None
    data["duration"] = int(duration) if duration.is_integer() else duration
    data["requirements"] = [word for word in re.split(r"[\s,，、;；]+", str(values.get("requirements") or "")) if word]


# ---------------------------------------------------------------- renaming

# Keys whose value is a node's name, wherever they stand; `from`, `to` and `seats` are told apart below.
_NODE_KEYS = ("gateway", "via", "node", "client", "server")


def followed(text: str, edit: Data) -> str:
    """Another text of the folder (story.yml) after the edit: references to what was renamed have its new name."""
    if edit.get("do") == "node.set" and edit.get("name", edit.get("node")) != edit.get("node"):
        return _node_mentions(str(edit["node"]), str(edit["name"]))(text)
    if edit.get("do") == "zone.set" and edit.get("name", edit.get("zone")) != edit.get("zone"):
        return _zone_mentions(str(edit["zone"]), str(edit["name"]))(text)
    return text


def _node_mentions(old: str, new: str) -> Callable[[str], str]:
    pattern = re.compile(rf"(\$\{{\s*node\.){re.escape(old)}(?=[.\s}}])")
    return lambda text: pattern.sub(rf"\g<1>{new}", text)


def _zone_mentions(old: str, new: str) -> Callable[[str], str]:
    head = re.compile(rf"(\$\{{\s*zone\.){re.escape(old)}(?=[.\s}}])")
    tail = re.compile(rf"(\$\{{\s*node\.[a-z0-9_-]+\.(?:ip|mac|ifname)\.){re.escape(old)}(?=[\s}}])")
    return lambda text: tail.sub(rf"\g<1>{new}", head.sub(rf"\g<1>{new}", text))


def rename_node(data: Data, old: str, new: str) -> None:
    _replace(data, _node_mentions(old, new))
    _named(data, "nodes", old)["name"] = new
    for item in _mappings({key: value for key, value in data.items() if key not in ("zones", "draws", "injects")}):
        for key in _NODE_KEYS:
            if item.get(key) == old:
                item[key] = new
        if item.get("kind") in ("flow_blocked", "login_fails", "login_works"):
            for key in ("from", "to"):
                if item.get(key) == old:
                    item[key] = new
        if isinstance(item.get("consoles"), list):
            item["consoles"] = [new if one == old else one for one in item["consoles"]]


def rename_zone(data: Data, old: str, new: str) -> None:
    _replace(data, _zone_mentions(old, new))
    _named(data, "zones", old)["name"] = new
    for node in _list(data, "nodes"):
        node["legs"] = [new if leg == old else leg for leg in node.get("legs") or []]
        if not node["legs"]:
            del node["legs"]
        for route in node.get("routes") or []:
            if route.get("to") == old:
                route["to"] = new
    for item in _mappings({key: value for key, value in data.items() if key != "zones"}):
        if item.get("zone") == old:
            item["zone"] = new
        if isinstance(item.get("sees"), list):
            item["sees"] = [new if one == old else one for one in item["sees"]]


def _mappings(value: Any) -> Iterator[Data]:
    """Every mapping of the scenario's own form; what stands under `with` and `args` is the programs' language."""
    if isinstance(value, dict):
        yield value
        for key, inner in value.items():
            if key not in ("with", "args"):
                yield from _mappings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _mappings(inner)


def _replace(value: Any, change: Callable[[str], str]) -> Any:
    """Every text of a structure changed in place, keys too."""
    if isinstance(value, dict):
        for key in list(value):
            inner = _replace(value.pop(key), change)
            value[change(key) if isinstance(key, str) else key] = inner
        return value
    if isinstance(value, list):
        value[:] = [_replace(one, change) for one in value]
        return value
    return change(value) if isinstance(value, str) else value


EDITS: dict[str, Callable[[Data, Data], None]] = {
    "zone.add": zone_add, "zone.set": zone_set, "zone.remove": zone_remove,
    "node.add": node_add, "node.set": node_set, "node.remove": node_remove, "node.copy": node_copy,
    "node.move": node_move, "node.order": node_order, "leg.add": leg_add, "leg.remove": leg_remove,
    "program.add": program_add, "program.set": program_set, "program.remove": program_remove,
    "scenario.set": scenario_set,
}  # fmt: skip
