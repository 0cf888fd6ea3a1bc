"""The red seat: who may sit there, what it sees and may do, whose hand its deeds are, and who attacks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from cyber_range import hosts
from cyber_range import services as ranges
from cyber_range.engine.host.client import AsyncClient
from drills import log, services
from drills.domain import events as ev
from drills.domain.scoring import own_actions
from drills.domain.state import Entry, fold
from drills.domain.visibility import Viewer, project
from drills.models import Drill
from lms.accounts.models import User

from .conftest import Host, fresh, until

pytestmark = pytest.mark.django_db
Enter = Callable[[User], Client]
RED = Viewer("red", "red", "r", frozenset(("office",)))
BLUE = Viewer("blue", "blue", "b", frozenset(("office", "workshop")))
WATCHING = Viewer("observer", "observer", "o")
WHITE = Viewer("white", "white", "w")


def planned(people: dict[str, User], attack: str, scenario: str = "duel") -> Drill:
    drill = services.plan_drill(
        title="小对抗", organisation=people["white"].memberships.get().organisation, by=people["white"],
        scenario=scenario, scheduled_at=timezone.now(), scope="灌装车间", duration_minutes=30, seed="seed", attack=attack,
    )  # fmt: skip
    for name in ("white", "blue", "observer"):
        services.invite(drill=drill, user=people[name], seat=name, by=people["white"])
        services.take_seat(drill=drill, user=people[name])
    return drill


@pytest.fixture
def duel(people: dict[str, User], member: Callable[..., User]) -> Drill:
    people["red"] = member("learner", organisation=people["white"].memberships.get().organisation, name="红一")
    drill = planned(people, "person")
    services.invite(drill=drill, user=people["red"], seat="red", by=people["white"])
    services.take_seat(drill=drill, user=people["red"])
    return fresh(drill)


def said(kind: str, **data: Any) -> ev.Event:
    return ev.from_range(kind, range_id="0123456789ab", number=1, scenario_at=1, time=1, data=data)


# ---------------------------------------------------------------- who attacks


def test_a_drill_attacked_by_script_has_no_red_seat(people: dict[str, User], signed_in: Enter) -> None:
    drill = planned(people, "script")

    with pytest.raises(services.Refused, match="由脚本攻击"):
        services.invite(drill=drill, user=people["blue2"], seat="red", by=people["white"])

    page = signed_in(people["white"]).get(reverse("drills:lobby", args=[drill.pk])).content.decode()
    assert ("脚本自动（随演练开始）" in page, ">红队<" in page) == (True, False)


def test_script_and_red_together_need_a_red_seat(people: dict[str, User]) -> None:
    with pytest.raises(services.Refused, match="没有红队席位"):
        planned(people, "both", scenario="mini")

    assert log.full_state(planned(people, "both")).plan.attack == "both"  # type: ignore[union-attr]  # it was planned


@pytest.mark.parametrize(("attack", "runs"), [("script", True), ("both", True), ("person", False)])
def test_the_script_runs_as_planned_until_it_is_steered(attack: str, runs: bool) -> None:
    plan = ev.Planned(title="x", scenario="duel", form="practical", scope="x", type="special", incident_class="NA",
                      duration_s=60, report_limit_s=60, attack=attack)  # type: ignore[arg-type]  # one of three words  # fmt: skip
    entries = [Entry(1, 0.0, "", plan)]
    steered = [Entry(n, 0.0, "w", ev.CampaignSteered(action=action)) for n, action in ((2, "start"), (3, "stop"))]  # type: ignore[arg-type]  # two of three words

    assert fold(entries).script_attacks is runs
    assert fold([*entries, steered[0]]).script_attacks is True
    assert fold([*entries, *steered]).script_attacks is False


# ---------------------------------------------------------------- what red sees


@pytest.mark.parametrize(
    ("event", "seen"),
    [
        (said("step", step="overfill", state="done"), True),
        (said("hand", step="write", result="done"), True),
        (said("state", state="ready"), True),
        (said("console", action="opened", node="intruder", seat="red"), True),
        (said("console", action="opened", node="fw", seat="blue"), False),
        (said("submission", objective="name_it", right=True, value="10.0.0.7"), False),
        (said("objective", objective="setpoint", state="verified"), False),
        (said("hint", hint="look"), False),
        (said("alert", zone="office", text="x"), False),
        (said("asset", zone="office", ip="10.0.0.7"), False),
        (said("alarm", name="tray_level_high", state="on"), False),
        (said("production", alive=False), False),
        (ev.HintGiven(hint="look", objective="name_it", cost=5, text={"zh": "看告警"}), False),
        (ev.AlarmAcknowledged(name="tray_level_high"), False),
        (ev.CampaignSteered(action="start"), False),
        (
            ev.ReportSubmitted(
                number=1, seat="blue", recipients=("leader",), incident_class="NA", grade="一般", elapsed_s=1, limit_s=9
            ),
            False,
        ),
    ],
)
def test_red_sees_the_attack_and_nothing_of_the_defence(event: ev.Event, seen: bool) -> None:
    entry = Entry(1, 1.0, "", event)

    assert (project(entry, RED) is not None) is seen
    assert project(entry, WHITE) is not None


@pytest.mark.parametrize("viewer", [BLUE, WATCHING])
def test_nobody_else_sees_what_red_does(viewer: Viewer) -> None:
    for event in (said("hand", step="write", result="done"), said("step", step="overfill", state="done")):
        assert project(Entry(1, 1.0, "", event), viewer) is None


def test_the_script_of_red_holds_steps_and_no_questions(duel: Drill) -> None:
    told = {v.cell: log.read(duel, v)[0] for v in (RED, BLUE)}
    script = {cell: next(e for e in events if e.kind == "script.set").payload for cell, events in told.items()}

    assert [len(script["red"][key]) for key in ("steps", "objectives", "hints", "injects")] == [2, 0, 0, 0]
    assert [len(script["blue"][key]) for key in ("steps", "objectives", "hints", "injects")] == [0, 2, 1, 0]


# ---------------------------------------------------------------- what red may


def test_the_room_of_red_has_its_terminal_and_no_operators_screen(
    duel: Drill, people: dict[str, User], signed_in: Enter
) -> None:
    page = signed_in(people["red"]).get(reverse("drills:room", args=[duel.pk]))
    config = page.context["config"]

    body = page.content.decode()
    assert [one["node"] for one in config["consoles"]] == ["intruder"]
    assert {lane["name"] for lane in config["map"]["lanes"]} == {"office"}
    assert ['id="t-term"' in body, 'id="t-hmi"' in body, 'id="report-form"' in body, 'id="p-white"' in body] == [
        True, False, False, False,
    ]  # fmt: skip


def act(client: Client, drill: Drill, verb: str, **values: object) -> int:
    return client.post(reverse("drills:act", args=[drill.pk, verb]), values).status_code


def test_red_decides_its_own_card_and_answers_nothing_for_blue(
    duel: Drill, people: dict[str, User], signed_in: Enter
) -> None:
    with log.writing(duel.pk) as book:
        book.append(ev.Started())
    for inject in ("card", "call"):
        services.fire_inject(drill=duel, inject=inject, by=people["white"])
    red = signed_in(people["red"])

    assert act(red, duel, "decide", inject="card", option="quiet") == 200
    assert act(red, duel, "reply", inject="call", text="我是蓝队") == 409  # not addressed to red
    for verb in ("submit", "hint", "report", "fire", "campaign", "mark", "rate", "end"):
        assert act(red, duel, verb, objective="name_it", value="1", hint="look", inject="call") == 403
    assert {e.payload["inject"] for e in log.read(fresh(duel), RED)[0] if e.kind == "inject.fired"} == {"card"}
    assert {e.payload["inject"] for e in log.read(fresh(duel), BLUE)[0] if e.kind == "inject.fired"} == {"call"}


def test_a_terminal_is_for_the_own_machine(duel: Drill, people: dict[str, User], signed_in: Enter) -> None:
    ticket = reverse("drills:ticket", args=[duel.pk])

    for name, node in (
        ("red", "fw"),
        ("red", "ws"),
        ("blue", "intruder"),
        ("observer", "intruder"),
        ("white", "intruder"),
    ):
        assert signed_in(people[name]).post(ticket, {"node": node}).status_code == 403
    # The right seat is let through to the range, which is not there yet.
    assert signed_in(people["red"]).post(ticket, {"node": "intruder"}).status_code == 409


# ---------------------------------------------------------------- on a range


@pytest.fixture
def fought(duel: Drill, people: dict[str, User], range_host: Host) -> Iterator[Drill]:
    """Running, with a range, and a person for an attacker."""
    services.launch_range(drill=duel, by=people["white"])
    drill = fresh(duel)
    assert drill.instance is not None
    ranges.launch_now(drill.instance)
    services.follow(drill=fresh(drill))
    services.start(drill=fresh(drill), by=people["white"])
    services.follow(drill=fresh(drill))
    yield fresh(drill)
    with hosts.client(drill.instance.host) as client:
        for one in client.call("list")["ranges"]:
            client.call("destroy", range_id=one["range_id"])


def campaign(drill: Drill) -> tuple[bool, dict[str, str]]:
    status = ranges.status(drill.instance)
    return status["campaign_started"], {step["id"]: step["state"] for step in status["campaign"]}


def test_red_types_an_attack_and_the_log_says_whose_it_was(
    fought: Drill, people: dict[str, User], signed_in: Enter, range_host: Host
) -> None:
    assert campaign(fought) == (False, {"plugged_in": "waiting", "overfill": "waiting"})
    register = log.full_state(fought).spec_of_inject("card").body["zh"].split("寄存器 ")[1].rstrip("。")  # type: ignore[union-attr]  # it is there
    target = next(
        leg["ip"]
        for node in ranges.call(fought.instance, "topology")["nodes"]
        for leg in node["legs"]
        if node["name"] == "plc" and leg["zone"] == "workshop"
    )
    answer = signed_in(people["red"]).post(reverse("drills:ticket", args=[fought.pk]), {"node": "intruder"})
    about = {
        **json.loads(answer.content), "session": str(people["red"].pseudonym), "seat": "red", "node": "intruder",
        "columns": 120, "rows": 30,
    }  # fmt: skip

    async def typed() -> bytes:
        client, shown = AsyncClient(str(range_host.socket)), b""
        pty = await client.pty(**about)
        for line in (
            "lb-attack run foothold",
            f"lb-attack run write host={target} table=holding address={register} value=700",
        ):
            await pty.write(line.encode() + b"\r")
            wanted = shown.count("完成".encode()) + 1
            async with asyncio.timeout(150):
                while shown.count("完成".encode()) < wanted:
                    shown += await pty.read()
        await pty.close()
        await client.close()
        return shown

    shown = asyncio.run(typed())
    until(lambda: services.follow(drill=fresh(fought)) or _hands(fought) == 2, seconds=30)
    until(lambda: services.follow(drill=fresh(fought)) or "leak" in log.full_state(fresh(fought)).injects, seconds=30)

    drill, red = fresh(fought), str(people["red"].pseudonym)
    assert "完成".encode() in shown
    deeds = [e for e in log.read(drill, RED)[0] if e.kind == "range.hand"]
    assert [(e.actor, e.payload["data"]["step"], e.payload["data"]["script"]) for e in deeds] == [
        (red, "foothold", "plugged_in"), (red, "write", "overfill"),
    ]  # fmt: skip
    state = log.full_state(drill)
    assert [(a.what, a.ref) for a in own_actions(state, red)] == [("attack", "foothold"), ("attack", "write")]
    assert state.attack_at is not None
    assert {name: step.state for name, step in state.steps.items()} == {"plugged_in": "done", "overfill": "done"}
    assert "leak" in state.injects  # the message after the script's step went out
    for viewer in (BLUE, WATCHING):
        assert not [e for e in log.read(drill, viewer)[0] if e.kind in ("range.hand", "range.step")]


def _hands(drill: Drill) -> int:
    return sum(e.kind == "range.hand" for e in log.read(fresh(drill), WHITE)[0])


def test_the_white_cell_starts_and_stops_the_script_for_good(fought: Drill, people: dict[str, User]) -> None:
    services.steer_campaign(drill=fought, by=people["white"], action="start")
    services.follow(drill=fresh(fought))
    begun = campaign(fought)[0] or campaign(fought)[1]["plugged_in"] != "waiting"
    services.steer_campaign(drill=fresh(fought), by=people["white"], action="stop")
    services.follow(drill=fresh(fought))

    assert begun
    assert campaign(fought)[0] is False
    kinds = [e.payload["action"] for e in log.read(fresh(fought), WHITE)[0] if e.kind == "campaign.steered"]
    assert kinds == ["start", "stop"]
