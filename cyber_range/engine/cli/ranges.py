"""launch, solve, prove: ranges in this process, without range-host."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from cyber_range.engine.cli.words import tell, text_of
from cyber_range.engine.drivers import registry
from cyber_range.engine.lab.addresses import AddressPool
from cyber_range.engine.lab.bots import BOTS, prove
from cyber_range.engine.lab.campaign_rules import campaign_faults
from cyber_range.engine.lab.compile import block_prefix
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.lab.solver import Done, solve, unsolved
from cyber_range.engine.scenario.load import load, packaged
from cyber_range.engine.scenario.model import Scenario

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
TICK = 5.0


def add_to(commands: Any) -> None:
    launch = commands.add_parser("launch", help="启动一个靶场 / launch a range")
    solver = commands.add_parser("solve", help="启动靶场并由脚本蓝队完成 / launch and let the scripted blue team win")
    proof = commands.add_parser("prove", help="四个机器人验证场景 / four bots prove a scenario")
    proof.add_argument("--bots", nargs="+", choices=list(BOTS), default=list(BOTS))
    for command in (launch, solver, proof):
        command.add_argument("scenario", help="name of a packaged scenario, or a folder")
        command.add_argument("--driver", default="auto", choices=["auto", *registry.names()])
        command.add_argument("--seed", default="")
        command.add_argument("--team", default="cli")
        command.add_argument("--captures", type=Path, help="folder that gets the capture files at the end")
    launch.add_argument("--for", dest="seconds", type=float, default=0, help="seconds, then it ends; 0 = until Ctrl-C")
    launch.add_argument("--speed", type=float, default=1.0)
    launch.add_argument("--no-campaign", action="store_true", help="no attack")
    launch.set_defaults(run=lambda options: asyncio.run(_launch(options)))
    solver.add_argument("--speed", type=float, default=5.0)
    solver.set_defaults(run=lambda options: asyncio.run(_ending_cleanly(_solve(options))))
    proof.add_argument("--speed", type=float, default=12.0)
    proof.set_defaults(run=lambda options: asyncio.run(_ending_cleanly(_prove(options))))


def find(name: str) -> Scenario:
    """A folder, or the name of a packaged scenario."""
    folder = Path(name)
    return load(folder if folder.is_dir() or "/" in name else packaged(name, SCENARIOS), more=campaign_faults)


@contextlib.asynccontextmanager
async def one_range(options: argparse.Namespace, *, campaign: str) -> AsyncIterator[Lab]:
    """A launched range that is gone afterwards, whatever happens."""
    scenario = find(options.scenario)
    name, _ = await registry.resolve(options.driver)
    driver = registry.load(name)()
    range_id = secrets.token_hex(6)
    # Asked in this process only: two command lines at once choose by what the host shows.
    block = await asyncio.to_thread(AddressPool().take, range_id, block_prefix(scenario))
    with tempfile.TemporaryDirectory(prefix="lianbing-range-") as scratch:
        lab = Lab(
            scenario, range_id=range_id, seed=options.seed or secrets.token_hex(8), team=options.team, block=block,
            driver=driver, folder=Path(scratch), speed=options.speed, campaign=campaign,
        )  # fmt: skip
        try:
            began = time.monotonic()
            await lab.launch()
            seconds = time.monotonic() - began
            tell(
                f"靶场 {range_id} 就绪: {text_of(scenario.title.model_dump())}, 驱动 {name}, {seconds:.2f} 秒, 网段 {block}",
                f"range {range_id} is ready: {text_of(scenario.title.model_dump())}, driver {name}, {seconds:.2f} s, {block}",
            )
            yield lab
        finally:
            await lab.destroy("the command line ended")
            if options.captures:
                options.captures.mkdir(parents=True, exist_ok=True)
                for capture in lab.captures.list():
                    shutil.copy(lab.captures.path(capture["name"]), options.captures / capture["name"])
            await lab.spool.close()
            await driver.aclose()


async def _launch(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with one_range(options, campaign="manual" if options.no_campaign else "auto") as lab:
        _show_nodes(lab)
        told = 0
        end = time.monotonic() + options.seconds if options.seconds else float("inf")
        while not stop.is_set() and time.monotonic() < end and lab.state != "gone":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, min(TICK, end - time.monotonic())))
            told = _show_events(lab, told)
        await lab.spool.flush()
        _show_events(lab, told)
        _show_objectives(lab)
        _show_captures(lab)
        return 1 if lab.state == "ill" else 0


async def _solve(options: argparse.Namespace) -> int:
    async with one_range(options, campaign="auto") as lab:

        def report(done: Done) -> None:
            mark = "✓" if done.ok else "✗"
            first = done.said.splitlines()[0] if done.said else ""
            tell(f"{mark} {done.action.do}: {first}", f"{mark} {done.action.do}: {first}")

        done = await solve(lab, report)
        # What was handed in last is judged at the next look.
        await lab.evaluate()
        _show_objectives(lab)
        _show_captures(lab)
        left = unsolved(lab)
        if left:
            tell(f"未完成: {', '.join(left)}", f"not verified: {', '.join(left)}")
        return 1 if left or not all(one.ok for one in done) else 0


async def _ending_cleanly(work: Coroutine[Any, Any, int]) -> int:
    """SIGTERM ends a range as Ctrl-C does: what was launched is taken away first."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 143


async def _prove(options: argparse.Namespace) -> int:
    scenario = find(options.scenario)
    name, _ = await registry.resolve(options.driver)
    driver = registry.load(name)()
    with tempfile.TemporaryDirectory(prefix="lianbing-range-") as scratch:
        try:
            outcomes = await prove(
                scenario, driver, Path(scratch), speed=options.speed, seed=options.seed or secrets.token_hex(8),
                bots=tuple(options.bots),
            )  # fmt: skip
        finally:
            await driver.aclose()
    for one in outcomes.values():
        mark = "✗" if one.faults else "✓"
        tell(
            f"{mark} {one.bot}: {one.points}/{one.possible} 分, 防护目标 {len(one.defences)} 项, 抄袭告警 {one.cheats} 次, {one.seconds:.0f} 秒",
            f"{mark} {one.bot}: {one.points}/{one.possible} points, {len(one.defences)} defences, {one.cheats} cheat alarms, {one.seconds:.0f} s",
        )
        for fault in one.faults:
            tell(f"    {fault}", f"    {fault}")
    return 1 if any(one.faults for one in outcomes.values()) else 0


def _show_nodes(lab: Lab) -> None:
    for node in lab.compiled.plan.nodes:
        legs = "  ".join(f"{leg.zone} {leg.ip}" for leg in node.interfaces)
        tell(f"  {node.name:<14} {legs}", f"  {node.name:<14} {legs}")


def _show_events(lab: Lab, after: int) -> int:
    for event in lab.spool.read(after=after, limit=1000):
        after = event.number
        if event.kind not in ("program", "asset"):
            short = {key: value for key, value in event.data.items() if key not in ("evidence", "title", "reply")}
            tell(f"[{event.at:8.1f}] {event.kind}: {short}", f"[{event.at:8.1f}] {event.kind}: {short}")
    return after


def _show_objectives(lab: Lab) -> None:
    for state in lab.status()["objectives"]:
        tell(
            f"目标 {state['id']}: {state['state']} ({state['points']} 分)",
            f"objective {state['id']}: {state['state']} ({state['points']} points)",
        )
        for one in state["evidence"]:
            tell(
                f"    {one['check']}: 实测 {one['measured']}, 要求 {one['wanted']} @ {one['where']}, {one['at']} 秒",
                f"    {one['check']}: measured {one['measured']}, wanted {one['wanted']} @ {one['where']}, at {one['at']} s",
            )


def _show_captures(lab: Lab) -> None:
    for one in lab.captures.list():
        tell(
            f"抓包 {one['name']}: {one['packets']} 个数据包, {one['bytes']} 字节",
            f"capture {one['name']}: {one['packets']} packets, {one['bytes']} bytes",
        )
