"""attack coverage: techniques × steps × scenarios; attack steps: what each step is."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cyber_range.engine.attack.coverage import Covered, covered, layer, matrix
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.attack.techniques import NOTICE
from cyber_range.engine.cli.ranges import SCENARIOS, find
from cyber_range.engine.cli.words import say, tell
from cyber_range.engine.errors import ScenarioError


def add_to(commands: Any) -> None:
    attack = commands.add_parser("attack", help="攻击步骤与 ATT&CK 覆盖 / campaign steps and ATT&CK coverage")
    what = attack.add_subparsers(dest="what", required=True)
    coverage = what.add_parser("coverage", help="覆盖矩阵 / the matrix of what is covered")
    coverage.add_argument("--layer", type=Path, help="ATT&CK Navigator 图层文件 / write a Navigator layer here")
    coverage.set_defaults(run=_coverage)
    what.add_parser("steps", help="列出步骤 / list the steps").set_defaults(run=_steps)


def _used() -> dict[str, set[str]]:
    """Techniques of each packaged scenario's campaign; one that has mistakes is left out and named."""
    found: dict[str, set[str]] = {}
    for path in sorted(SCENARIOS.glob("*/scenario.yml")):
        try:
            found[path.parent.name] = {step.technique for step in find(path.parent.name).campaign}
        except ScenarioError as exc:
            tell(f"未计入 {path.parent.name}：{exc.what}", f"left out {path.parent.name}: {exc.what}")
    return found


def _coverage(options: argparse.Namespace) -> int:
    rows = covered(_used())
    for tactic, under in matrix(rows):
        out(f"\n{tactic.id} {say(tactic.zh, tactic.name)}")
        for row in under:
            out("  " + _line(row))
        if not under:
            out("  " + say("（无）", "(none)"))
    used = sum(1 for row in rows if row.scenarios)
    tell(
        f"\n共 {len(rows)} 项技术可以演练，{used} 项已用于内置场景（●），{len(STEPS)} 个步骤。\n{NOTICE}",
        f"\n{len(rows)} techniques can be exercised, {used} are used in packaged scenarios (●), {len(STEPS)} steps.\n{NOTICE}",
    )
    if options.layer:
        text = json.dumps(layer(rows), ensure_ascii=False, indent=1) + "\n"
        options.layer.write_text(text, encoding="utf-8")
        tell(f"已写入 {options.layer}", f"written: {options.layer}")
    return 0


def out(line: str) -> None:
    sys.stdout.write(line + "\n")


def _line(row: Covered) -> str:
    mark = "●" if row.scenarios else "○"
    where = f"  [{', '.join(row.scenarios)}]" if row.scenarios else ""
    return f"{mark} {row.technique.id} {say(row.technique.zh, row.technique.name)}: {', '.join(row.steps)}{where}"


def _steps(_: argparse.Namespace) -> int:
    for form in sorted(STEPS.values(), key=lambda form: form.name):
        out(f"{form.name:<20} {' '.join(form.techniques)}\n    {form.says}")
    return 0
