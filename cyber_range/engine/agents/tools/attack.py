"""lb-attack: the red seat performs campaign steps by hand, with the attack program of its own node, inside a lab only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cyber_range.engine.agents.attack_door import order
from cyber_range.engine.agents.context import Net
from cyber_range.engine.agents.tools.console import Ended, Out, Parser, say, why, wide
from cyber_range.engine.attack.fence import Fence
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.attack.techniques import TECHNIQUES
from cyber_range.engine.errors import Refused

OUTSIDE = "lb-attack: 拒绝运行：这里不是靶场中带攻击程序的节点（只能在靶场自己的网络里使用）"


def parser(out: Out) -> Parser:
    top = Parser(
        out, prog="lb-attack", description="红队：手动执行攻击步骤，只在靶场内有效 (perform campaign steps by hand)",
        epilog="例：\n  lb-attack steps\n  lb-attack steps s7_write\n  lb-attack run foothold\n"
        "  lb-attack run scan hosts=[\"10.1.2.0/28\"] ports=[502,102]\n"
        "  lb-attack run write --args '{\"host\": \"10.1.2.4\", \"table\": \"holding\", \"address\": 40, \"value\": 640}'\n"
        "  lb-attack state\n  lb-attack undo",
    )  # fmt: skip
    what = top.add_subparsers(dest="what", required=True, metavar="动作")
    steps = what.add_parser("steps", help="列出步骤，或说明一个步骤 (list or explain steps)")
    steps.add_argument("name", nargs="?", metavar="步骤")
    run = what.add_parser("run", help="执行一个步骤 (run a step)")
    run.add_argument("name", metavar="步骤")
    run.add_argument("pairs", nargs="*", metavar="参数=值", help="值可以是 JSON (value may be JSON)")
    run.add_argument("--args", default="{}", help="全部参数，JSON (all arguments as JSON)")
    what.add_parser("state", help="已掌握的入口、主机和数据 (what was gained)")
    what.add_parser("undo", help="恢复所有改动并离开 (put everything back)")
    return top


async def main(argv: Sequence[str], net: Net, out: Out) -> int:
    try:
        options = parser(out).parse_args(list(argv))
    except Ended as end:
        return end.code
    try:
        Fence((await order(net, {"do": "lab"}, 5)).get("lab"), [leg.ip for leg in net.interfaces()])
    except Refused as exc:
        say(out, f"{OUTSIDE}：{exc.what}")
        return 3
    except (OSError, TimeoutError, ValueError):
        say(out, OUTSIDE)
        return 3
    if options.what == "steps":
        return explain(options.name, out)
    try:
        if options.what == "state":
            say(out, json.dumps(await order(net, {"do": "state"}), ensure_ascii=False, indent=1))
            return 0
        name = "undo" if options.what == "undo" else options.name
        if name not in STEPS:
            say(out, f"lb-attack: 没有步骤 {name}，用 lb-attack steps 查看")
            return 2
        args = {} if options.what == "undo" else arguments(options.args, options.pairs)
        return told(await order(net, {"step": name, "args": args}), out)
    except ValueError as exc:
        say(out, f"lb-attack: 参数不对：{exc}")
        return 2
    except (OSError, TimeoutError) as exc:
        say(out, f"lb-attack: 攻击程序没有应答：{why(exc)}")
        return 1


def arguments(whole: str, pairs: Sequence[str]) -> dict[str, Any]:
    found = json.loads(whole)
    if not isinstance(found, dict):
        raise ValueError("--args 要写成 JSON 对象")
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair} 要写成 参数=值")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def told(answer: Mapping[str, Any], out: Out) -> int:
    if answer.get("error"):
        say(out, f"lb-attack: {answer['error']}")
        return 2
    done = answer.get("result") == "done"
    say(out, "完成" if done else f"受阻：{answer.get('reason', '')}")
    facts = {key: value for key, value in answer.items() if key not in ("result", "reason", "started", "ended")}
    say(out, json.dumps(facts, ensure_ascii=False, indent=1))
    return 0 if done else 1


def explain(name: str | None, out: Out) -> int:
    if name is None:
        for line in wide(
            [(form.name, " ".join(form.techniques)) for form in sorted(STEPS.values(), key=lambda f: f.name)]
        ):
            say(out, line)
        return 0
    form = STEPS.get(name)
    if form is None:
        say(out, f"lb-attack: 没有步骤 {name}")
        return 2
    say(out, name)
    say(out, (form.action.__doc__ or "").strip())
    for technique in form.techniques:
        say(out, f"  {technique} {TECHNIQUES[technique].zh} ({TECHNIQUES[technique].name})")
    say(out, f"前提：{'、'.join(sorted(form.needs)) or '无'}  得到：{'、'.join(sorted(form.gains)) or '无'}")
    return 0
