"""validate, scenario new, schema."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from cyber_range.engine.cli.ranges import SCENARIOS, find
from cyber_range.engine.cli.words import tell
from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.lab.compile import Block, block_prefix, compile_range
from cyber_range.engine.scenario.load import digest
from cyber_range.engine.scenario.schema import json_schema

STARTER = Path(__file__).parent / "starter"
SEEDS = 20  # draws that have no room for everybody show up with other seeds


def add_to(commands: Any) -> None:
    validate = commands.add_parser("validate", help="检查场景 / check scenarios")
    validate.add_argument("scenarios", nargs="*", help="names or folders; all packaged ones when none is given")
    validate.set_defaults(run=_validate)
    scenario = commands.add_parser("scenario", help="新建场景 / scenarios").add_subparsers(dest="what", required=True)
    new = scenario.add_parser("new", help="在文件夹中新建一个可运行的场景 / start one that runs")
    new.add_argument("folder", type=Path)
    new.set_defaults(run=_new)
    scenario.add_parser("list", help="列出内置场景 / packaged ones").set_defaults(run=_list)
    schema = commands.add_parser("schema", help="输出 JSON Schema / print the JSON Schema")
    schema.add_argument("--out", type=Path)
    schema.set_defaults(run=_schema)


def _validate(options: argparse.Namespace) -> int:
    names = options.scenarios or sorted(path.parent.name for path in SCENARIOS.glob("*/scenario.yml"))
    wrong = 0
    for name in names:
        try:
            scenario = find(name)
            block = Block((int(Block("10.213.0.0/16").network_address), block_prefix(scenario)))
            for seed in range(SEEDS):
                compile_range(scenario, range_id="0" * 12, seed=str(seed), team="validate", block=block)
        except ScenarioError as exc:
            wrong += 1
            sys.stderr.write(f"{name}:\n{exc}\n")
            continue
        points = sum(objective.points for objective in scenario.objectives)
        tell(
            f"{name}: 正确 ({len(scenario.nodes)} 个节点, {len(scenario.objectives)} 个目标, {points} 分, {digest(scenario)[:12]})",
            f"{name}: fine ({len(scenario.nodes)} nodes, {len(scenario.objectives)} objectives, {points} points, "
            f"{digest(scenario)[:12]})",
        )
    return 3 if wrong else 0


def _new(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    name = re.sub(r"[^a-z0-9_-]+", "_", folder.name.lower())
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name):
        raise ScenarioError(f"{folder.name!r} gives no scenario id", remedy="Begin the folder's name with a letter a-z")
    if folder.exists() and any(folder.iterdir()):
        raise ScenarioError(f"{folder} is not empty", remedy="Choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(STARTER.iterdir()):
        text = source.read_text(encoding="utf-8").replace("SCENARIO_ID", name)
        (folder / source.name).write_text(text, encoding="utf-8")
    tell(
        f"已新建 {folder}。试运行: python -m cyber_range.engine solve {folder} --driver memory",
        f"{folder} is there. Try it: python -m cyber_range.engine solve {folder} --driver memory",
    )
    return 0


def _list(options: argparse.Namespace) -> int:
    for path in sorted(SCENARIOS.glob("*/scenario.yml")):
        scenario = find(path.parent.name)
        tell(
            f"{scenario.id:<20} {scenario.difficulty} {scenario.duration:g} 分钟  {scenario.title.zh}",
            f"{scenario.id:<20} {scenario.difficulty} {scenario.duration:g} min  {scenario.title.en or scenario.title.zh}",
        )
    return 0


def _schema(options: argparse.Namespace) -> int:
    text = json.dumps(json_schema(), ensure_ascii=False, indent=2) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0
