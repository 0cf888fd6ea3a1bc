"""From a folder of YAML to the checked form; every mistake is `file:line: what. remedy`.

All mistakes that can be seen at once are reported at once.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.scenario.fill import references
from cyber_range.engine.scenario.model import (
    FileHashCheck,
    FlowAliveCheck,
    FlowBlockedCheck,
    HostDraw,
    LoginCheck,
    PlantBandCheck,
    PlantCountCheck,
    PollAliveCheck,
    RegisterValueCheck,
    Scenario,
    SolverExec,
    SolverSubmit,
    SolverWaitObjective,
    SolverWaitStep,
    StateCheck,
    ViewTrueCheck,
    draw_parts,
)

Path_ = tuple[str | int, ...]
# What those above know and this does not (the catalogue of campaign steps): (place in the document, what, remedy) each
MoreChecks = Callable[[Scenario], Iterable[tuple[Path_, str, str]]]

_FILE_LIMIT = 256 * 1024  # one file of nodes/; they travel inside program specs
_FILES_LIMIT = 2 * 1024 * 1024
_YAML_LIMIT = 1024 * 1024
_DEEPEST = 100  # levels that are read at all; the form takes 40
_FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `line` counts from 1; 0 where the document did not come from a file."""

    file: str
    line: int
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        sentence = f"{self.what}. {self.remedy}" if self.remedy else self.what
        return f"{self.file}:{self.line}: {sentence}" if self.line else f"{self.file}: {sentence}"


class _Places:
    """Where each value of a document was written, by its path."""

    def __init__(self) -> None:
        self._lines: dict[Path_, tuple[str, int]] = {}

    def note(self, path: Path_, file: str, line: int) -> None:
        self._lines.setdefault(path, (file, line))

    def of(self, path: Path_) -> tuple[str, int]:
        """The place of a path, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self._lines:
                return self._lines[path[:end]]
        return ("scenario.yml", 0)


def load(folder: Path, *, more: MoreChecks | None = None) -> Scenario:
    """The scenario of a folder. Raises ScenarioError with every mistake found, those that `more` finds among them."""
    main = folder / "scenario.yml"
    if not main.is_file():
        raise ScenarioError(
            f"{folder} holds no scenario.yml", remedy="Start one with: python -m cyber_range.engine scenario new PATH"
        )
    places = _Places()
    document = _read_yaml(main, places, ())
    if not isinstance(document, dict):
        raise _error([Problem("scenario.yml", 1, "the document is not a mapping", "Begin with schema: 1")])
    if (folder / "process.yml").is_file():
        document["process"] = _read_yaml(folder / "process.yml", places, ("process",)) or {}
    if (folder / "story.yml").is_file():
        story = _read_yaml(folder / "story.yml", places, ()) or {}
        for key in story:
            if key not in ("story", "injects"):
                file, line = places.of((key,))
                raise _error([Problem("story.yml", line, f'unknown key "{key}". Allowed: injects, story')])
            if key in document and key != "process":
                file, line = places.of((key,))
                raise _error(
                    [Problem(file, line, f"{key} stands in scenario.yml and in story.yml", "Keep one of them")]
                )
        document.update(story)
    document["files"] = _read_files(folder)
    return check(document, places=places, more=more)


def check(document: Mapping[str, Any], *, places: _Places | None = None, more: MoreChecks | None = None) -> Scenario:
    """The checked form of a whole document (as `bundle` gives it or a browser sends it)."""
    places = places or _Places()
    try:
        scenario = Scenario.model_validate(dict(document))
    except ValidationError as error:
        raise _error(_explain(error, document, places)) from None
    problems = list(_cross_check(scenario, places))
    for path, what, remedy in more(scenario) if more is not None else ():
        problems.append(Problem(*places.of(path), f"{_spoken(path)}: {what}", remedy))
    if problems:
        raise _error(problems)
    return scenario


def bundle(scenario: Scenario) -> dict[str, Any]:
    """The scenario as one JSON document that `check` takes again: how it travels to range-host."""
    return scenario.model_dump(mode="json", by_alias=True)


def digest(scenario: Scenario) -> str:
    """SHA-256 of the document: names an immutable version."""
    text = json.dumps(bundle(scenario), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _error(problems: list[Problem]) -> ScenarioError:
    problems = sorted(set(problems), key=lambda problem: (problem.file, problem.line, problem.what))
    first = problems[0]
    return ScenarioError(
        "\n".join(str(problem) for problem in problems),
        file=first.file,
        line=first.line,
        problems=[{"file": p.file, "line": p.line, "what": p.what, "remedy": p.remedy} for p in problems],
    )


# ---------------------------------------------------------------- reading


def _read_yaml(path: Path, places: _Places, root: Path_) -> Any:
    file = path.name
    if path.stat().st_size > _YAML_LIMIT:
        raise _error([Problem(file, 1, "the file is larger than 1 MiB", "Move data into process.yml or nodes/")])
    try:
        text = path.read_text(encoding="utf-8")
        node = _compose(text)
    except UnicodeDecodeError:
        raise _error([Problem(file, 1, "the file is not UTF-8", "Save it as UTF-8")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise _error([Problem(file, line, f"this is not YAML: {error.problem or error.context}")]) from None
    except yaml.YAMLError as error:
        raise _error([Problem(file, 1, f"this is not YAML: {error}")]) from None
    if node is None:
        return None
    return _construct(node, file, places, root, depth=0)


def _compose(text: str) -> yaml.Node | None:
    """By libyaml where it is there: the same lines, a fifth of the time. A mistake is told by the other one's words.

    libyaml's composer calls itself for each level, on the stack of C: what is nested too deep must not reach it.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_FAST):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _DEEPEST:
                    mark: Any = event.start_mark
                    raise yaml.MarkedYAMLError(problem=f"nested deeper than {_DEEPEST} levels", problem_mark=mark)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        return yaml.compose(text, Loader=_FAST)
    except (yaml.scanner.ScannerError, yaml.parser.ParserError, yaml.composer.ComposerError):
        return yaml.compose(text, Loader=yaml.SafeLoader)


def _construct(node: yaml.Node, file: str, places: _Places, path: Path_, depth: int) -> Any:
    line = node.start_mark.line + 1
    places.note(path, file, line)
    if depth > 40:
        raise _error([Problem(file, line, "nested deeper than 40 levels", "YAML anchors may not contain themselves")])
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            key = _scalar(key_node, file)
            if key in result:
                raise _error([Problem(file, key_line, f'"{key}" is written twice', "Keep one of them")])
            places.note((*path, key), file, key_line)
            result[key] = _construct(value_node, file, places, (*path, key), depth + 1)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, file, places, (*path, i), depth + 1) for i, item in enumerate(node.value)]
    return _scalar(node, file)


_CONSTRUCTOR = yaml.constructor.SafeConstructor()


def _scalar(node: yaml.Node, file: str) -> Any:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.ScalarNode):
        raise _error([Problem(file, line, "a key must be a plain word")])
    if node.tag in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:binary"):
        return node.value  # JSON has neither; the text is what was meant
    # Only yes/no/on/off written as such would surprise; true and false alone are booleans here.
    if node.tag == "tag:yaml.org,2002:bool" and node.value.lower() not in ("true", "false"):
        return node.value
    # 12:30:00 is a time of day for everybody but YAML 1.1.
    if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and ":" in node.value:
        return node.value
    try:
        return _CONSTRUCTOR.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        raise _error([Problem(file, line, f"this value cannot be read: {error}")]) from None


def _read_files(folder: Path) -> dict[str, str]:
    base = folder / "nodes"
    files: dict[str, str] = {}
    total = 0
    if not base.is_dir():
        return files
    for path in sorted(base.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise _error([Problem(name, 0, "links are not allowed in a scenario", "Put the file itself there")])
        if not path.is_file():
            continue
        size = path.stat().st_size
        total += size
        if size > _FILE_LIMIT or total > _FILES_LIMIT:
            raise _error(
                [Problem(name, 0, "nodes/ may hold 256 KiB a file and 2 MiB in all", "Make the files smaller")]
            )
        try:
            files[name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise _error([Problem(name, 0, "the file is not UTF-8 text", "Only text may stand in nodes/")]) from None
    return files


# ---------------------------------------------------------------- explaining pydantic


def _explain(error: ValidationError, document: Mapping[str, Any], places: _Places) -> list[Problem]:
    found: list[tuple[Path_, Problem]] = []
    for item in error.errors(include_url=False):
        path = _path_in_document(item["loc"], document)
        kind, context = item["type"], item.get("ctx", {})
        where = _spoken(path)
        remedy = ""
        if kind == "unknown_key":
            file, line = places.of((*path, context["first"]))
            what = f"{where}: {item['msg']}" if where else item["msg"]
        elif kind == "missing":
            file, line = places.of(path)
            what = f"{where}: {item['loc'][-1]} is missing" if where else f"{item['loc'][-1]} is missing"
            remedy = "Add it"
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            tag = str(context.get("discriminator", "")).strip("'")
            file, line = places.of((*path, tag))
            expected = str(context.get("expected_tags", "")).replace("'", "")
            if kind == "union_tag_invalid":
                what = f'{where}: {tag} "{context.get("tag")}" is not known. Allowed: {expected}'
            else:
                what, remedy = f"{where}: {tag} is missing", "Add it"
        else:
            file, line = places.of(path)
            what = f"{where}: {_plain(item)}" if where else _plain(item)
        found.append((path, Problem(file, line, what, remedy)))
    # A list whose item failed is also reported as too short; only the inner mistake is one.
    paths = [path for path, _ in found]
    inner = [
        problem
        for path, problem in found
        if not any(len(other) > len(path) and other[: len(path)] == path for other in paths)
        or "missing" in problem.what
        or "unknown key" in problem.what
    ]
    return _merge_unions(inner)


def _merge_unions(problems: list[Problem]) -> list[Problem]:
    """One sentence where a value fits none of several types (`int | float | reference`)."""
    merged: dict[tuple[str, int, str], list[Problem]] = {}
    for problem in problems:
        head = problem.what.split(":", 1)[0]
        merged.setdefault((problem.file, problem.line, head), []).append(problem)
    result = []
    for (file, line, head), group in merged.items():
        if len(group) > 1 and all(p.what.startswith(f"{head}: must be") for p in group):
            options = dict.fromkeys(p.what.split("must be ", 1)[1] for p in group)
            result.append(Problem(file, line, f"{head}: must be {' or '.join(options)}", group[0].remedy))
        else:
            result.extend(group)
    return result


def _path_in_document(loc: tuple[int | str, ...], document: Any) -> Path_:
    """Pydantic's location without the tags of unions, which the document does not have."""
    path: list[str | int] = []
    here = document
    for item in loc:
        in_mapping = isinstance(here, Mapping) and item in here
        in_list = isinstance(here, list | tuple) and isinstance(item, int) and item < len(here)
        if in_mapping or in_list:
            here = here[item]
            path.append(item)
    return tuple(path)


def _spoken(path: Path_) -> str:
    text = ""
    for item in path:
        text += f"[{item}]" if isinstance(item, int) else (f".{item}" if text else str(item))
    return text


def _plain(item: Any) -> str:
    kind, context = item["type"], item.get("ctx", {})
    value = json.dumps(item["input"], ensure_ascii=False, default=str)
    value = value if len(value) <= 60 else value[:57] + "…"
    if kind == "literal_error":
        return f"{value} is not allowed. Allowed: {str(context['expected']).replace(chr(39), '')}"
    if kind == "string_pattern_mismatch":
        if context["pattern"].startswith(r"^\$"):
            return "must be a reference like ${draw.name}"
        return f"{value} does not have the form {context['pattern']}"
    if kind in ("int_type", "int_parsing", "int_from_float"):
        return "must be a whole number"
    if kind in ("float_type", "float_parsing"):
        return "must be a number"
    if kind in ("tuple_type", "list_type"):
        return "must be a list"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return "must be a mapping"
    if kind == "string_type":
        return "must be text"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return str(item["msg"]).replace("Input should be", "must be")
    return str(item["msg"])


# ---------------------------------------------------------------- cross references


def _cross_check(scenario: Scenario, places: _Places) -> Iterator[Problem]:
    zones = {zone.name: zone for zone in scenario.zones}
    nodes = {node.name: node for node in scenario.nodes}
    draws = scenario.draws
    steps = {step.id: step for step in scenario.campaign}
    objectives = {objective.id: objective for objective in scenario.objectives}
    seats = {seat.id: seat for seat in scenario.seats}

    def problem(path: Path_, what: str, remedy: str = "") -> Problem:
        file, line = places.of(path)
        return Problem(file, line, f"{_spoken(path)}: {what}", remedy)

    def unknown(path: Path_, kind: str, name: str, known: Any) -> Problem:
        close = difflib.get_close_matches(name, list(known), n=1)
        remedy = f'Did you mean "{close[0]}"?' if close else f"There is: {', '.join(sorted(known)) or 'none'}"
        return problem(path, f'there is no {kind} "{name}"', remedy)

    for key, items, attribute in (
        ("zones", scenario.zones, "name"),
        ("nodes", scenario.nodes, "name"),
        ("traffic", scenario.traffic, "name"),
        ("campaign", scenario.campaign, "id"),
        ("objectives", scenario.objectives, "id"),
        ("hints", scenario.hints, "id"),
        ("seats", scenario.seats, "id"),
        ("injects", scenario.injects, "id"),
    ):
        seen: set[str] = set()
        for i, item in enumerate(items):
            name = getattr(item, attribute)
            if name in seen:
                yield problem((key, i, attribute), f'"{name}" is used twice', "Give every one a name of its own")
            seen.add(name)

    # Nodes: legs, gateways, routes, programs.
    for i, node in enumerate(scenario.nodes):
        base: Path_ = ("nodes", i)
        own_zones = [leg.zone for leg in node.legs]
        if node.placement == "hub":
            if node.legs:
                yield problem((*base, "legs"), "a hub stands on the bridges and has no legs", "Remove them")
            if node.shell:
                yield problem((*base, "shell"), "nobody gets a shell on a hub", "Remove shell")
        elif not node.legs:
            yield problem(base, "a node needs a leg in a zone", "Add legs: [zone]")
        for j, leg in enumerate(node.legs):
            if leg.zone not in zones:
                yield unknown((*base, "legs", j), "zone", leg.zone, zones)
            elif isinstance(leg.host, int):
                last = 2 ** (32 - zones[leg.zone].prefix) - 2
                if not 2 <= leg.host <= last:
                    yield problem(
                        (*base, "legs", j), f"host {leg.host} is outside 2..{last} of zone {leg.zone}",
                        "Number 1 stays free; choose another or give the zone a smaller prefix",
                    )  # fmt: skip
            elif isinstance(leg.host, str):
                name = leg.host[2:-1].strip().removeprefix("draw.")
                draw = draws.get(name)
                if not isinstance(draw, HostDraw) or draw.zone != leg.zone:
                    yield problem(
                        (*base, "legs", j), f"{leg.host} is not a draw of kind host for zone {leg.zone}",
                        f"Add draws.{name}: {{kind: host, zone: {leg.zone}}}",
                    )  # fmt: skip
            if own_zones.count(leg.zone) > 1 and own_zones.index(leg.zone) != j:
                yield problem((*base, "legs", j), f"two legs in zone {leg.zone}", "A node has one leg in a zone")
        for key, via in [
            ("gateway", node.gateway),
            *[(f"routes.{r}", route.via) for r, route in enumerate(node.routes)],
        ]:
            if via is None:
                continue
            where: Path_ = (*base, key) if key == "gateway" else (*base, "routes", int(key.split(".")[1]))
            if via not in nodes:
                yield unknown(where, "node", via, nodes)
            elif not set(own_zones) & {leg.zone for leg in nodes[via].legs}:
                yield problem(
                    where, f"{node.name} and {via} share no zone", "A gateway must stand in one of the node's zones"
                )
            elif not nodes[via].forwards:
                yield problem(where, f"{via} does not forward", f"Set forwards: true on {via}")
        for j, route in enumerate(node.routes):
            if route.to not in zones:
                yield unknown((*base, "routes", j, "to"), "zone", route.to, zones)
        names = [program.name for program in node.programs] + [t.name for t in scenario.traffic if t.node == node.name]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield problem(
                (*base, "programs"), f'two programs are called "{name}"', "Give one of them a name: of its own"
            )
        for j, leg in enumerate(node.legs):
            if node.shell and leg.zone in zones and zones[leg.zone].hidden:
                yield problem(
                    (*base, "legs", j),
                    f"a node with a shell may not stand in hidden zone {leg.zone}",
                    "Trainees never reach the wiring of the plant",
                )
    for i, zone in enumerate(scenario.zones):
        used = sum(1 for node in scenario.nodes for leg in node.legs if leg.zone == zone.name)
        room = 2 ** (32 - zone.prefix) - 3
        if used > room:
            yield problem(
                ("zones", i, "prefix"),
                f"{used} nodes do not fit into /{zone.prefix} ({room} do)",
                "Give the zone a smaller prefix",
            )
    for key, draw in draws.items():
        if isinstance(draw, HostDraw) and draw.zone not in zones:
            yield unknown(("draws", key, "zone"), "zone", draw.zone, zones)
    for i, traffic in enumerate(scenario.traffic):
        if traffic.node not in nodes:
            yield unknown(("traffic", i, "node"), "node", traffic.node, nodes)

    # Campaign.
    for i, step in enumerate(scenario.campaign):
        base = ("campaign", i)
        if step.node not in nodes:
            yield unknown((*base, "node"), "node", step.node, nodes)
        elif step.program not in {program.name for program in nodes[step.node].programs}:
            yield unknown(
                (*base, "program"), f"program of {step.node}", step.program, {p.name for p in nodes[step.node].programs}
            )
        for j, other in enumerate(step.after):
            if other not in steps:
                yield unknown((*base, "after", j), "campaign step", other, steps)
        if step.on_blocked is not None and step.on_blocked not in steps:
            yield unknown((*base, "on_blocked"), "campaign step", step.on_blocked, steps)
    for i in _in_circles(scenario):
        yield problem(
            ("campaign", i),
            f'step "{scenario.campaign[i].id}" waits for itself',
            "Break the circle of after and on_blocked",
        )

    # Objectives.
    if any(objective.kind == "defence" for objective in scenario.objectives) and scenario.production is None:
        first = next(i for i, objective in enumerate(scenario.objectives) if objective.kind == "defence")
        yield problem(
            ("objectives", first), "a defence objective needs production",
            "Say under production: which polls and which output mean that the plant is alive",
        )  # fmt: skip
    checks: list[tuple[Path_, Any]] = [
        (("objectives", i, "checks", j), c) for i, o in enumerate(scenario.objectives) for j, c in enumerate(o.checks)
    ]
    if scenario.production:
        checks += [(("production", "polls", j), c) for j, c in enumerate(scenario.production.polls)]
        checks += [(("production", "produces", j), c) for j, c in enumerate(scenario.production.produces)]
    for path, one in checks:
        yield from _check_check(path, one, nodes, zones, problem, unknown)
    for i, objective in enumerate(scenario.objectives):
        for j, other in enumerate(objective.opens_after):
            if other not in steps:
                yield unknown(("objectives", i, "opens_after", j), "campaign step", other, steps)
        for j, seat in enumerate(objective.credit):
            if seat not in seats:
                yield unknown(("objectives", i, "credit", j), "seat", seat, seats)
        if objective.kind == "defence" and all(c.kind == "submission" for c in objective.checks):
            yield problem(
                ("objectives", i),
                "a defence objective cannot rest on submissions alone",
                "Add a check of the plant or the network",
            )
        if sum(c.kind == "submission" for c in objective.checks) > 1:
            yield problem(("objectives", i), "an objective takes one submission", "Split it")
    for i, hint in enumerate(scenario.hints):
        if hint.objective not in objectives:
            yield unknown(("hints", i, "objective"), "objective", hint.objective, objectives)

    # Seats and injects.
    for i, seat_form in enumerate(scenario.seats):
        for j, name in enumerate(seat_form.consoles):
            if name not in nodes:
                yield unknown(("seats", i, "consoles", j), "node", name, nodes)
            elif not nodes[name].shell:
                yield problem(("seats", i, "consoles", j), f"{name} has no shell", f"Set shell: true on {name}")
            elif nodes[name].role == "attacker" and seat_form.cell not in ("red", "white"):
                yield problem(
                    ("seats", i, "consoles", j),
                    f"{name} is the attacker's; a {seat_form.cell} seat may not open it",
                    "Give it to a red seat",
                )
        for j, zone_name in enumerate(seat_form.sees):
            if zone_name != "*" and zone_name not in zones:
                yield unknown(("seats", i, "sees", j), "zone", zone_name, zones)
    for i, inject in enumerate(scenario.injects):
        for j, seat in enumerate(inject.to):
            if seat not in seats:
                yield unknown(("injects", i, "to", j), "seat", seat, seats)
        if inject.after_step is not None and inject.after_step not in steps:
            yield unknown(("injects", i, "after_step"), "campaign step", inject.after_step, steps)

    # The scripted blue team and the plug-puller.
    for base, action in [(("solver", i), one) for i, one in enumerate(scenario.solver)] + [
        (("plug", i), one) for i, one in enumerate(scenario.plug)
    ]:
        if isinstance(action, SolverExec):
            if action.node not in nodes:
                yield unknown((*base, "node"), "node", action.node, nodes)
            elif not nodes[action.node].shell:
                yield problem((*base, "node"), f"{action.node} has no shell", "The solver does only what a trainee can")
        elif isinstance(action, SolverSubmit | SolverWaitObjective):
            if action.objective not in objectives:
                yield unknown((*base, "objective"), "objective", action.objective, objectives)
        elif isinstance(action, SolverWaitStep) and action.step not in steps:
            yield unknown((*base, "step"), "campaign step", action.step, steps)

    # References.
    for path, text in _texts(bundle(scenario), ()):
        if path and path[0] == "files":
            continue
        for reference in references(text):
            fault = _bad_reference(reference, scenario, nodes, zones)
            if fault:
                yield problem(path, f"${{{reference}}} has no value: {fault[0]}", fault[1])


def _check_check(path: Path_, one: Any, nodes: Any, zones: Any, problem: Any, unknown: Any) -> Iterator[Problem]:
    if isinstance(one, FlowBlockedCheck | LoginCheck):
        for key, name in (("from", one.source), ("to", one.target)):
            if name not in nodes:
                yield unknown((*path, key), "node", name, nodes)
        if one.source in nodes and nodes[one.source].shell:
            yield problem((*path, "from"), f"{one.source} has a trainee's shell", "Measure from a node nobody holds")
    if isinstance(one, PollAliveCheck | FlowAliveCheck):
        for key, name in (("client", one.client), ("server", one.server)):
            if name not in nodes:
                yield unknown((*path, key), "node", name, nodes)
    if (
        isinstance(one, FlowBlockedCheck | PollAliveCheck | FlowAliveCheck)
        and one.zone is not None
        and one.zone not in zones
    ):
        yield unknown((*path, "zone"), "zone", one.zone, zones)
    if isinstance(one, RegisterValueCheck | FileHashCheck | StateCheck):
        if one.node not in nodes:
            yield unknown((*path, "node"), "node", one.node, nodes)
        elif nodes[one.node].shell:
            yield problem(
                (*path, "node"), f"{one.node} has a trainee's shell", "Measure where nobody but the lab writes"
            )
        elif one.program is not None and one.program not in {p.name for p in nodes[one.node].programs}:
            yield unknown(
                (*path, "program"), f"program of {one.node}", one.program, {p.name for p in nodes[one.node].programs}
            )
    if isinstance(one, ViewTrueCheck):
        yield from _check_view(path, one, nodes, problem, unknown)
    if isinstance(one, PlantBandCheck) and one.low is None and one.high is None:
        yield problem(path, "plant_band needs low or high", "Add one")
    if isinstance(one, PlantCountCheck) and one.at_least is None and one.at_most is None:
        yield problem(path, "plant_count needs at_least or at_most", "Add one")
    if isinstance(one, RegisterValueCheck):
        if one.equals is None and one.low is None and one.high is None:
            yield problem(path, "register_value needs equals, low or high", "Add one")
        if (one.tag is None) == (one.address is None):
            yield problem(
                path, "register_value needs either tag or address",
                "Name the controller's tag (in engineering units), or the table and address of a Modbus register",
            )  # fmt: skip
    if isinstance(one, FileHashCheck) and (one.sha256 is None) == (one.content is None):
        yield problem(path, "file_hash needs either sha256 or content", "Give one of them")


def _check_view(path: Path_, one: ViewTrueCheck, nodes: Any, problem: Any, unknown: Any) -> Iterator[Problem]:
    """The picture must be one that a program of that node keeps, of a tag that it shows."""
    if one.node not in nodes:
        yield unknown((*path, "node"), "node", one.node, nodes)
        return
    if nodes[one.node].shell:
        yield problem((*path, "node"), f"{one.node} has a trainee's shell", "Name an operator station nobody holds")
    shown: dict[str, set[str]] = {}
    for program in nodes[one.node].programs:
        for device in program.spec.get("devices", ()):
            if isinstance(device, Mapping) and "name" in device:
                tags = (tag.get("name") or tag.get("tag") if isinstance(tag, Mapping) else tag for tag in
                        (*device.get("tags", ()), *device.get("points", ())))  # fmt: skip
                shown[str(device["name"])] = {str(tag) for tag in tags}
    if one.device not in shown:
        yield unknown((*path, "device"), f"device shown by {one.node}", one.device, shown)
    elif one.tag not in shown[one.device]:
        yield unknown((*path, "tag"), f"tag of {one.device}", one.tag, shown[one.device])


def _in_circles(scenario: Scenario) -> Iterator[int]:
    """Steps that wait for themselves, over `after` (and what may replace that) or over what they replace."""
    replacement = {step.id: step.on_blocked for step in scenario.campaign if step.on_blocked}
    waits: dict[str, set[str]] = {}
    for step in scenario.campaign:
        replaced: set[str] = set()
        front = {step.id}
        while front:
            front = {name for name, other in replacement.items() if other in front} - replaced
            replaced |= front
        needed = set(replaced)
        for other in step.after:
            if other in replaced:
                continue
            chain: str | None = other
            while chain is not None and chain not in needed:
                needed.add(chain)
                chain = replacement.get(chain)
        waits[step.id] = needed
    for i, step in enumerate(scenario.campaign):
        seen: set[str] = set()
        front = set(waits[step.id])
        while front:
            if step.id in front:
                yield i
                break
            seen |= front
            front = {after for name in front for after in waits.get(name, ())} - seen


def _texts(value: Any, path: Path_) -> Iterator[tuple[Path_, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _texts(inner, (*path, i))


_RANGE_KEYS = ("id", "seed", "team", "zones", "nodes", "duration")


def _bad_reference(reference: str, scenario: Scenario, nodes: Any, zones: Any) -> tuple[str, str] | None:
    """Why a reference cannot be filled, and the remedy; None when it can."""
    head, _, rest = reference.partition(".")
    if head == "draw":
        if rest in scenario.draws:
            return None
        name, dot, part = rest.partition(".")
        if dot and name in scenario.draws:
            parts = draw_parts(scenario.draws[name])
            if part in parts:
                return None
            return f'the draw "{name}" has no part "{part}"', (
                f"It has: {', '.join(parts)}" if parts else "It is one plain value"
            )
        close = difflib.get_close_matches(rest, list(scenario.draws), n=1)
        return f'there is no draw "{rest}"', (f'Did you mean "{close[0]}"?' if close else f"Add draws.{rest}")
    if head == "node":
        name, _, key = rest.partition(".")
        if name not in nodes:
            close = difflib.get_close_matches(name, list(nodes), n=1)
            return f'there is no node "{name}"', (f'Did you mean "{close[0]}"?' if close else "Add the node")
        attribute, _, zone = key.partition(".")
        legs = [leg.zone for leg in nodes[name].legs]
        if attribute == "name" and not zone:
            return None
        if attribute not in ("ip", "mac", "ifname"):
            return f'a node has no "{attribute}"', "Use ip, mac, ifname or name"
        if (zone and zone not in legs) or not legs:
            return f"{name} has no leg in {zone or 'any zone'}", f"It has legs in: {', '.join(legs) or 'none'}"
        return None
    if head == "zone":
        name, _, key = rest.partition(".")
        if name not in zones:
            close = difflib.get_close_matches(name, list(zones), n=1)
            return f'there is no zone "{name}"', (f'Did you mean "{close[0]}"?' if close else "Add the zone")
        if key not in ("subnet", "first", "last", "broadcast", "prefix", "bridge", "network"):
            return f'a zone has no "{key}"', "Use subnet, network, first, last, broadcast, prefix or bridge"
        return None
    if head == "file":
        return None if rest in scenario.files else (f"the folder has no file {rest}", "Put it under nodes/")
    if head == "range":
        return None if rest in _RANGE_KEYS else (f'a range has no "{rest}"', f"Use {', '.join(_RANGE_KEYS)}")
    if head == "process":
        here: Any = scenario.process
        for part in rest.split(".") if rest else []:
            if not isinstance(here, Mapping) or part not in here:
                return f"process.yml has no {rest}", "Check the spelling"
            here = here[part]
        return None
    return f'"{head}" is not a kind of reference', "Use draw, node, zone, file, range or process"


def packaged(name: str, root: Path) -> Path:
    """The folder of a scenario that comes with the product; ScenarioError lists what there is."""
    if re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name) and (root / name / "scenario.yml").is_file():
        return root / name
    there = sorted(path.parent.name for path in root.glob("*/scenario.yml")) if root.is_dir() else []
    raise ScenarioError(
        f'there is no scenario "{name}"',
        remedy=f"Choose one of: {', '.join(there) or 'none is installed'}",
        scenario=name,
    )
