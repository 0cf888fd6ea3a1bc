"""The drill: planned, launched, fought through real terminals by a scripted blue team, ended, and read again."""

from __future__ import annotations

import asyncio
import re
import shlex
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from certification.management.tour.steps import Diary, NotSo, must, wait_until
from certification.management.tour.wire import Reading, read_captures
from cyber_range import hosts
from cyber_range import services as ranges
from cyber_range.engine.errors import RangeError
from cyber_range.engine.host.client import AsyncClient
from cyber_range.models import Instance
from drills import log
from drills import services as drills
from drills.models import Drill, Seat
from lms.accounts.models import Organisation, User

SCENARIO = "filling_line"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|[\x00-\x08\r]")
PROMPT = re.compile(r"[#$>]\s*$")
QUIET_SECONDS = 0.4  # a terminal that shows its prompt and says nothing for so long has answered


@dataclass(slots=True)
class Team:
    """Who sits where. The learner types at the operator's terminals and hands in the analyst's findings, too."""

    white: User
    learner: User
    analyst: User


def plan_and_launch(diary: Diary, *, factory: Organisation, team: Team, speed: float, driver: str) -> Drill:
    with diary.step("演练：计划、邀请席位、开通靶场") as facts:
        drill = drills.plan_drill(
            title="灌装线工控安全实操演练（全程验证）", organisation=factory, by=team.white, scenario=SCENARIO,
            scheduled_at=timezone.now() + timedelta(minutes=1), scope="灌装车间", speed=speed,
            seats=[(team.white, "white"), (team.learner, "blue_operator"), (team.analyst, "blue_analyst")],
        )  # fmt: skip
        began = time.monotonic()
        job = drills.launch_range(drill=drill, by=team.white)
        wait_until(lambda: fresh(drill).phase == Drill.Phase.READY or failed(job), seconds=180, what="靶场就绪")
        drill = fresh(drill)
        must(drill.phase == Drill.Phase.READY and drill.instance, f"靶场没有就绪：{failed(job)}")
        instance = drill.instance
        if driver != "auto":
            must(instance.driver == driver, f"靶场用的是 {instance.driver}，不是 {driver}")
        topology = ranges.call(instance, "topology")
        facts["靶场"] = f"{instance.range_id}，驱动 {instance.driver}，{time.monotonic() - began:.1f} 秒就绪"
        facts["规模"] = f"{len(topology['nodes'])} 个节点，{len(topology['zones'])} 个网络区域"
        for user in (team.white, team.learner, team.analyst):
            drills.take_seat(drill=drill, user=user)
        drills.start(drill=drill, by=team.white)
    return fresh(drill)


def fresh(drill: Drill) -> Drill:
    return Drill.objects.select_related("instance__host", "organisation").get(pk=drill.pk)


def failed(job: Any) -> str:
    job.refresh_from_db()
    return f"{job.error.get('what', '')}" if job.state == job.State.FAILED else ""


def fight(diary: Diary, *, drill: Drill, team: Team) -> dict[str, Any]:
    """The scenario's scripted blue team, typed into the seats' own terminals. Returns the range's last words."""
    instance = drill.instance
    with diary.step("对抗：脚本蓝队在席位自己的终端里敲命令、提交判断") as facts:
        actions = ranges.call(instance, "solver")["actions"]
        typed = submitted = 0
        for action in actions:
            match action["do"]:
                case "exec":
                    who = operator(drill, team, action["node"])
                    answer = asyncio.run(type_line(drill, who, action["node"], shlex.join(action["argv"])))
                    diary.say(f"    {who.user.name}@{action['node']}$ {shlex.join(action['argv'])}")
                    for words in answered(answer)[-1:]:
                        diary.say(f"      {words[:110]}")
                    typed += 1
                case "submit":
                    seat = Seat.objects.select_related("user").get(drill=drill, user=team.learner)
                    right = drills.submit_objective(
                        drill=drill, seat=seat, objective=action["objective"], value=action["value"]
                    )
                    must(right.get("right"), f"提交 {action['objective']} 没有判对")
                    submitted += 1
                case "wait":
                    time.sleep(action["seconds"] / drill.speed)
                case "wait_step" | "wait_objective":
                    wait_for_range(instance, action)
        status = ranges.call(instance, "evaluate")
        states = {one["id"]: one["state"] for one in status["objectives"]}
        facts["蓝队"] = f"敲了 {typed} 条命令，提交 {submitted} 个判断"
        facts["目标"] = ",".join(f"{name} {state}" for name, state in states.items())
        must(set(states.values()) == {"verified"}, f"不是所有目标都核实：{states}")
        telemetry = ranges.call(instance, "telemetry")
    return {"objectives": status["objectives"], "telemetry": telemetry}


def operator(drill: Drill, team: Team, node: str) -> Seat:
    """The learner's seat where it has that console."""
    return Seat.objects.select_related("user").get(drill=drill, user=team.learner)


def wait_for_range(instance: Instance, action: dict[str, Any]) -> None:
    """Until the attack has come so far, or the fix holds."""

    def look() -> bool:
        status = ranges.call(instance, "status")
        if action["do"] == "wait_step":
            step = next(one for one in status["campaign"] if one["id"] == action["step"])
            if step["state"] in ("failed", "blocked", "skipped"):
                raise NotSo(f"攻击步骤 {step['id']} 没有发生：{step['state']}")
            return step["state"] == "done"
        objective = next(one for one in status["objectives"] if one["id"] == action["objective"])
        return objective["state"] == "verified"

    wait_until(look, seconds=300, what=str(action.get("step") or action.get("objective")))


async def type_line(drill: Drill, seat: Seat, node: str, line: str) -> str:
    """Opens the seat's terminal by a ticket, types the line, and returns what it answered."""
    opened = await asyncio.to_thread(drills.open_terminal, drill=drill, seat=seat, node=node)
    async with AsyncClient(hosts.socket_of(drill.instance.host)) as client:
        stream = await client.pty(
            ticket=opened["ticket"], range_id=opened["range_id"], session=str(seat.user.pseudonym), seat=seat.seat,
            node=node, columns=120, rows=30,
        )  # fmt: skip
        try:
            await listen(stream, patience=15.0)
            await stream.write(line.encode() + b"\r")
            return (await listen(stream, patience=40.0)).decode(errors="replace").strip()
        finally:
            await stream.close()


def answered(raw: str) -> list[str]:
    """The lines a person would read as the answer: no control sequences, no echo of the command, no prompt."""
    lines = [CONTROL.sub("", line).strip() for line in raw.splitlines()[1:]]
    return [line for line in lines if line and not PROMPT.search(line)]


async def listen(stream: Any, *, patience: float) -> bytes:
    """Everything until the shell shows its prompt again (and then says nothing more for a moment)."""
    heard = b""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        wait = QUIET_SECONDS if at_prompt(heard) else deadline - time.monotonic()
        try:
            piece = await asyncio.wait_for(stream.read(), max(0.05, wait))
        except TimeoutError:
            break
        if not piece:
            break
        heard += piece
    return heard


def at_prompt(heard: bytes) -> bool:
    lines = CONTROL.sub("", heard.decode(errors="replace")).splitlines()
    return bool(lines) and bool(PROMPT.search(lines[-1]))


def reread(diary: Diary, *, drill: Drill, last: dict[str, Any]) -> dict[str, Reading]:
    """The capture and the plant say it again: the overfill's write, the fix's write, silence after the cut, bottles filled."""
    instance = drill.instance
    with diary.step("复核：不看靶场自己的记录，从抓包和产线状态重新取证") as facts:
        topology = ranges.call(instance, "topology")
        address = {node["name"]: {leg["zone"]: leg["ip"] for leg in node["legs"]} for node in topology["nodes"]}
        readings = {}
        for zone in sorted({row["zone"] for row in ranges.captures(instance)}):
            files = [
                b"".join(ranges.pieces(instance, row["name"]))
                for row in ranges.captures(instance)
                if row["zone"] == zone
            ]
            readings[zone] = read_captures(files)
        workshop = readings["workshop"]
        facts["抓包"] = "、".join(f"{zone} {one.packets} 包" for zone, one in readings.items())
        facts["车间 Modbus"] = f"{workshop.modbus} 包，历时 {workshop.last - workshop.first:.0f} 秒"
        must(workshop.modbus >= 500, f"车间抓包里只有 {workshop.modbus} 个 Modbus 包")
        plc, blue = address["plc_filler"]["workshop"], set(address["secops"].values())
        fixed = 0.0
        jump = set(address["jump"].values()) | set(address["attacker"].values())
        attack = [w for w in workshop.writes if w.target == plc and w.source in jump]
        must(any(w.point[0] for w in attack), "抓包里找不到攻击者改写 PLC 设定值寄存器的请求")
        for point, last_hit in {w.point: w for w in attack}.items():
            kind = "设定值寄存器" if point[0] else "线圈"
            first_hit = next(w for w in attack if w.point == point)
            fixes = [w for w in workshop.writes if w.target == plc and w.source in blue and w.point == point]
            must(fixes and fixes[-1].at > last_hit.at, f"抓包里找不到蓝队在攻击之后对{kind} {point[1]} 的恢复写入")
            facts[f"{kind} {point[1]}"] = (
                f"{last_hit.source} 写入 {last_hit.value}（功能码 {last_hit.function}），"
                f"{fixes[-1].at - first_hit.at:.0f} 秒后由 {fixes[-1].source} 写回 {fixes[-1].value}"
            )
            fixed = max(fixed, fixes[-1].at)
        late = [
            at for (source, target), times in workshop.to_modbus.items() if source in jump for at in times if at > fixed
        ]
        must(not late, f"切断之后车间里仍有 {len(late)} 个来自跳板的请求")
        hmi = set(address["hmi"].values())
        polls = [at for (source, _), times in workshop.to_modbus.items() if source in hmi for at in times if at > fixed]
        must(polls, "切断之后 HMI 不再轮询：生产停了")
        facts["切断之后"] = f"跳板 0 个请求，HMI 仍有 {len(polls)} 次轮询"
        values = {one["name"]: one for one in last["telemetry"]["variables"]}
        facts["产线"] = "、".join(
            f"{one['title'].get('zh', name)} {one['value']:.6g} {one['unit']}" for name, one in list(values.items())[:6]
        )
    return readings


def finish(diary: Diary, *, drill: Drill, team: Team) -> dict[str, Any]:
    with diary.step("收尾：导调结束演练，从日志折算成绩与个人证据") as facts:
        drills.end(drill=drill, by=team.white)
        drill = fresh(drill)
        evidence = drills.seat_evidence(team.learner, drill)
        numbers = list(drill.events.order_by("seq").values_list("seq", flat=True))
        must(numbers == list(range(1, len(numbers) + 1)), "演练日志有缺号")
        state = log.full_state(drill)
        must(state.ended_at is not None, "演练没有结束")
        facts["日志"] = f"{len(numbers)} 条，序号连续"
        facts["成绩"] = f"{evidence['score']} 分（{evidence['points']}/{evidence['possible']}）"
        facts["席位与本人动作"] = f"在席 {evidence['held_share']:.0%}，本人核实动作 {len(evidence['actions'])} 项"
        must(evidence["actions"], "没有一项属于学员本人的核实动作")
        wait_until(lambda: fresh(drill).instance.state == Instance.State.GONE, seconds=120, what="靶场回收")
        facts["靶场"] = "文件已保存，靶场已回收"
    return evidence


__all__ = ["RangeError", "Team", "fight", "finish", "plan_and_launch", "reread"]
