"""What a scenario that was written in a browser may hold, and how it is read: texts only, nothing of this machine.

The same rules hold where it is edited and where range-host takes it in, because range-host trusts no sender: names of
files, sizes, no YAML aliases (a few lines of them unfold into gigabytes), programs of the catalogue alone, attacks fenced
into the range's own zones, scripts that type bundled tools alone. Everything else is the loader's.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.lab.campaign_rules import PROGRAM, campaign_faults
from cyber_range.engine.lab.compile import Block, block_prefix, compile_range
from cyber_range.engine.lab.vocabulary import TOOLS, USES
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.scenario.fill import lookup
from cyber_range.engine.scenario.load import Path_, Problem, bundle, load
from cyber_range.engine.scenario.model import Scenario, SolverExec

DIGEST = re.compile(r"[0-9a-f]{64}")
MAIN = "scenario.yml"
YAMLS = (MAIN, "story.yml", "process.yml")
BRIEF = "README.md"  # the instructor's
# nodes/share/配方.csv: no dots in front, no way up, nothing a shell or a file system reads in its own manner
_PART = r"[0-9A-Za-z_\-\u4e00-\u9fff（）()·][0-9A-Za-z_\-.\u4e00-\u9fff（）()·]{0,79}"
FILE_NAME = re.compile(rf"nodes(/{_PART}){{1,4}}")
MOST_FILES = 120
YAML_BYTES = 512 * 1024
TEXT_BYTES = 256 * 1024
ALL_BYTES = 1536 * 1024  # with JSON around it still one line of range-host's socket
MOST = {"zones": 12, "nodes": 40, "traffic": 40, "campaign": 120, "objectives": 40, "injects": 80, "seats": 20}
MOST_PROGRAMS = 6  # of one node

_OWN_NETWORK = re.compile(r"\$\{zone\.[a-z][a-z0-9_-]*\.subnet\}")
# Words by which a program is told about the machine it runs on; the engine alone says them.
_MACHINE_WORDS = {
    "store": "the folder of a program is the engine's",
    "taps": "which bridge is which zone is the engine's to say",
    "suricata": "a detection engine of the host itself is not started for a written scenario",
}
_BLOCK = int(Block("10.213.0.0/16").network_address)
Fault = tuple[Path_, str, str]


def canonical(files: Mapping[str, str]) -> bytes:
    """The one way these texts are written down; equal texts give equal bytes."""
    return json.dumps({"files": dict(files)}, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digest_of(files: Mapping[str, str]) -> str:
    """SHA-256 of the canonical form: the name of an immutable version."""
    return hashlib.sha256(canonical(files)).hexdigest()


def read(files: Mapping[str, str], *, seeds: Iterable[str] = ("1",)) -> Scenario:
    """The checked form of the texts. ScenarioError carries every mistake; `seeds`: draws that are tried for room."""
    problems = list(_text_faults(files))
    if problems:
        raise refusal(problems)
    with tempfile.TemporaryDirectory(prefix="lianbing-written-") as place:
        folder = Path(place)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
        scenario = load(folder, more=lambda form: [*campaign_faults(form), *written_faults(form)])
    try:
        json.dumps(bundle(scenario), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # "\ud800" in a quoted text: neither a hash nor a database takes it
        raise refusal([Problem(MAIN, 0, "a text holds half a character", "Write the character itself")]) from None
    block = Block((_BLOCK, block_prefix(scenario)))
    for seed in seeds:
        try:
            compile_range(scenario, range_id="0" * 12, seed=seed, team="written", block=block)
        except ScenarioError as exc:
            raise refusal([Problem(MAIN, 0, exc.what, exc.remedy)]) from exc
    return scenario


def refusal(problems: list[Problem]) -> ScenarioError:
    """The error that carries these mistakes, in the loader's own form."""
    first = problems[0]
    return ScenarioError(
        "\n".join(str(problem) for problem in problems),
        file=first.file,
        line=first.line,
        problems=[{"file": p.file, "line": p.line, "what": p.what, "remedy": p.remedy} for p in problems],
    )


def _text_faults(files: Mapping[str, str]) -> Iterator[Problem]:
    if MAIN not in files:
        yield Problem(MAIN, 0, "there is no scenario.yml", "Begin it with schema: 1")
    if len(files) > MOST_FILES:
        yield Problem(MAIN, 0, f"{len(files)} files are more than {MOST_FILES}", "Remove some")
    total = 0
    for name, text in files.items():
        if name not in (*YAMLS, BRIEF) and not FILE_NAME.fullmatch(name):
            yield Problem(
                name[:80],
                0,
                "this file name is not allowed",
                "Use scenario.yml, story.yml, process.yml, README.md or nodes/NAME",
            )
            continue
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            yield Problem(name, 0, "the file is not UTF-8 text", "Only text may stand in nodes/")
            continue
        total += size
        most = YAML_BYTES if name in YAMLS else TEXT_BYTES
        if size > most:
            yield Problem(name, 0, f"the file is larger than {most // 1024} KiB", "Make it smaller")
        elif "\0" in text:
            yield Problem(name, 0, "the file holds a zero byte", "Only text may stand in nodes/")
        elif name in YAMLS and (line := alias_line(text)):
            yield Problem(name, line, "YAML anchors and aliases are not allowed here", "Write the value out")
    if total > ALL_BYTES:
        yield Problem(MAIN, 0, f"all files together are larger than {ALL_BYTES // 1024} KiB", "Make them smaller")
    folders = {"/".join(name.split("/")[:end]) for name in files for end in range(1, name.count("/") + 1)}
    for name in sorted(folders & set(files)):
        yield Problem(name, 0, "a file and a folder have the same name", "Rename one of them")


def alias_line(text: str) -> int:
    """Line of the first anchor or alias; 0 for none (and for what is no YAML: the loader says where)."""
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if getattr(event, "anchor", None) is not None:
                mark = event.start_mark
                return mark.line + 1 if mark else 1
    except (yaml.YAMLError, ValueError):
        return 0
    return 0


def written_faults(scenario: Scenario) -> Iterator[Fault]:
    """(place, what, remedy) of everything that only a packaged scenario may say."""
    for key, most in MOST.items():
        if len(getattr(scenario, key)) > most:
            yield (key,), f"{len(getattr(scenario, key))} are more than {most}", "Remove some"
    attackers: set[tuple[str, str]] = set()
    for i, node in enumerate(scenario.nodes):
        base: Path_ = ("nodes", i)
        if len(node.programs) > MOST_PROGRAMS:
            yield (*base, "programs"), f"{len(node.programs)} programs are more than {MOST_PROGRAMS}", "Use two nodes"
        if "net_admin" in node.caps and node.role not in ("firewall", "router"):
            yield (*base, "caps"), "only a firewall or router may have net_admin", "Remove it, or change the role"
        if node.placement == "hub" and any(program.use != "sensor" for program in node.programs):
            yield (
                (*base, "programs"),
                "only the sensor runs on the bridges",
                "Give the other programs a node of their own",
            )
        for j, program in enumerate(node.programs):
            if program.use == PROGRAM:
                attackers.add((node.name, program.name))
            yield from _program_faults((*base, "programs", j), program.use, program.spec, scenario)
            if program.use == "sensor" and node.placement != "hub":
                yield (*base, "placement"), "a sensor stands on the bridges", "Set placement: hub"
    for i, traffic in enumerate(scenario.traffic):
        if traffic.use != "traffic":
            yield ("traffic", i, "use"), f'"{traffic.use}" is no background traffic', "Use traffic"
        yield from _program_faults(("traffic", i), traffic.use, traffic.spec, scenario)
    known = {node.name: {program.name for program in node.programs} for node in scenario.nodes}
    for i, step in enumerate(scenario.campaign):
        if (step.node, step.program) not in attackers and step.program in known.get(step.node, ()):
            yield ("campaign", i, "program"), f'"{step.program}" does not carry out attacks', "Use the program attack"
    for key in ("solver", "plug"):
        for i, action in enumerate(getattr(scenario, key)):
            if isinstance(action, SolverExec) and action.argv[0] not in TOOLS:
                yield (key, i, "argv"), f'"{action.argv[0][:40]}" is no bundled tool', f"Use one of: {', '.join(TOOLS)}"


def _program_faults(base: Path_, use: str, spec: Mapping[str, Any], scenario: Scenario) -> Iterator[Fault]:
    if use not in USES:
        yield (*base, "use"), f'the catalogue has no program "{use}"', f"There is: {', '.join(sorted(USES))}"
        return
    for word, why in _MACHINE_WORDS.items():
        if word in spec:
            yield (*base, "with", word), f"{word} is not for a written scenario: {why}", "Remove it"
    lab = spec.get("lab")
    if lab is not None or use == PROGRAM:
        yield from _fence_faults((*base, "with", "lab"), lab)
    if use == "plant":
        yield from _choice((*base, "with", "model"), "plant model", spec.get("model"), MODELS, scenario)
    if "logic" in spec:
        yield from _choice((*base, "with", "logic"), "controller logic", spec["logic"], LOGICS, scenario)


def _fence_faults(path: Path_, lab: Any) -> Iterator[Fault]:
    remedy = 'Write lab: {range: "${range.id}", networks: ["${zone.NAME.subnet}"]}'
    networks = lab.get("networks") if isinstance(lab, Mapping) else None
    if not isinstance(lab, Mapping) or lab.get("range") != "${range.id}" or set(lab) != {"range", "networks"}:
        yield path, "an attack names its own range and its zones, and nothing else", remedy
    elif not isinstance(networks, list | tuple) or not networks:
        yield (*path, "networks"), "an attack needs the zones it may touch", remedy
    elif not all(isinstance(one, str) and _OWN_NETWORK.fullmatch(one) for one in networks):
        yield (*path, "networks"), "an attack may touch zones of its own range alone", remedy


def _choice(path: Path_, kind: str, value: Any, known: Iterable[str], scenario: Scenario) -> Iterator[Fault]:
    """The value, or what process.yml has for it, is one of `known`."""
    if isinstance(value, str) and value.startswith("${process.") and value.endswith("}"):
        try:
            value = lookup(value[len("${process.") : -1], scenario.process)
        except KeyError:
            return  # the loader has said so
    if not isinstance(value, str) or value not in known:
        yield path, f'there is no {kind} "{value}"', f"There is: {', '.join(sorted(known))}"
