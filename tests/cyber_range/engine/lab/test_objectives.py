"""Objectives: what is measured, production always with it, hold times, unknown never passes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.agents.context import Clock
from cyber_range.engine.errors import Refused
from cyber_range.engine.lab.bridge import BridgeFacts
from cyber_range.engine.lab.checks import Measuring
from cyber_range.engine.lab.compile import Block, compile_range
from cyber_range.engine.lab.objectives import Objectives
from cyber_range.engine.lab.plant import PlantView
from cyber_range.engine.lab.submissions import is_right
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import SubmissionCheck

COMPILED = compile_range(
    load(Path(__file__).parents[1] / "scenarios" / "tiny"),
    range_id="0123456789ab", seed="s", team="t", block=Block("10.213.0.0/26"),
)  # fmt: skip
HMI, PLC, INTRUDER = (COMPILED.address(name) for name in ("hmi", "plc", "intruder"))


class Range:
    """A range of figures: time is moved by hand, the plant and the bridge say what they are told to."""

    def __init__(self) -> None:
        self.wall = 1000.0
        self.clock = Clock(speed=0.0)
        self.plant, self.bridge = PlantView(), BridgeFacts()
        self.open = True
        self.register = 500
        self.told: list[tuple[str, str]] = []
        self.bottles = 0.0
        self.measuring = Measuring(COMPILED, self.plant, self.bridge, self.clock, self.ask, lambda: self.wall)
        scenario = COMPILED.scenario
        self.objectives = Objectives(
            scenario.objectives, scenario.production, self.measuring, self.clock, dict,
            lambda state: self.told.append((state.objective.id, state.state)), lambda alive, evidence: None,
            lambda what, remedy: None,
        )  # fmt: skip

    async def ask(self, node: str, program: str, command: dict[str, Any], seconds: float) -> dict[str, Any]:
        if command["kind"] == "try_connect":
            return {"open": self.open}
        return {"values": [self.register]}

    def pass_time(self, seconds: int, *, answers: int = 5, bottles: float = 1.0, setpoint: float = 500.0) -> None:
        """Second by second: the sensor counts answers, the plant counts bottles."""
        for _ in range(seconds):
            self.wall += 1
            self.clock.set(at=self.clock.now() + 1)
            self.bottles += bottles
            self.plant.take(
                {"bottles_good": self.bottles, "fill_setpoint": setpoint}, at=self.clock.now(), time=self.wall
            )
            poll = {"zone": "workshop", "client": HMI, "server": PLC, "port": 502, "requests": 5, "responses": answers}
            self.bridge.take_polls([poll], self.wall)
            for check in COMPILED.scenario.production.polls:
                self.measuring.learn(check)

    async def look(self, objective: str = "setpoint") -> str:
        await self.objectives.measure_production()
        return (await self.objectives.evaluate(objective, fresh=True)).state


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for the sensor's word is real time; here the sensor is us."""
    real = asyncio.sleep
    monkeypatch.setattr("cyber_range.engine.lab.checks.asyncio.sleep", lambda seconds: real(0))


async def test_a_fix_with_production_alive_is_verified() -> None:
    lab = Range()
    lab.pass_time(30)

    assert await lab.look() == "verified"
    assert lab.objectives.production_alive is True
    assert [(one.check, one.holds) for one in lab.objectives.states["setpoint"].evidence] == [
        ("plant_band", True), ("register_value", True), ("poll_alive", True), ("plant_count", True),
    ]  # fmt: skip


async def test_pulling_the_plug_scores_nothing() -> None:
    lab = Range()
    lab.pass_time(30, setpoint=700)
    assert await lab.look() == "open"

    lab.pass_time(30, answers=0, bottles=0)  # the set-point is back, and nothing moves

    assert await lab.look() == "open"
    assert lab.objectives.production_alive is False


async def test_a_slower_master_is_not_alive() -> None:
    lab = Range()
    lab.pass_time(30)
    await lab.look()

    lab.pass_time(20, answers=4)

    await lab.look()
    measured = lab.objectives.production_evidence[0]
    assert (measured.holds, measured.measured, measured.facts["normal"]) == (False, 4.0, 5.0)


async def test_before_anything_is_known_nothing_passes() -> None:
    lab = Range()

    assert await lab.look() == "open"
    assert lab.objectives.production_alive is None


async def test_a_silent_sensor_or_plant_is_unknown_and_not_alive() -> None:
    lab = Range()
    lab.pass_time(30)
    await lab.look("block")
    lab.open = False

    lab.wall += 60  # nobody says anything for a minute

    assert await lab.look("block") == "open"
    assert lab.objectives.production_alive is None


@pytest.mark.usefixtures("quick")
async def test_holding_takes_its_time_and_a_break_starts_anew() -> None:
    lab = Range()
    lab.pass_time(30)
    lab.open = False
    assert await lab.look("block") == "holding"
    lab.pass_time(3)
    lab.open = True
    assert await lab.look("block") == "open"
    lab.open = False
    assert await lab.look("block") == "holding"
    lab.pass_time(3)
    assert await lab.look("block") == "holding"
    lab.pass_time(3)

    assert await lab.look("block") == "verified"


@pytest.mark.usefixtures("quick")
async def test_a_connection_seen_on_the_bridge_beats_what_the_prober_says() -> None:
    lab = Range()
    lab.pass_time(30)
    lab.open = False
    lab.bridge.take_flows(
        [
            {
                "zone": "workshop",
                "src": INTRUDER,
                "dst": PLC,
                "proto": "tcp",
                "port": 502,
                "packets": 3,
                "established": 1,
            }
        ],
        lab.wall + 0.5,
    )

    assert await lab.look("block") == "open"
    assert lab.objectives.states["block"].evidence[0].facts["handshakes"] == 1


async def test_a_defence_that_falls_again_is_lost_and_keeps_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyber_range.engine.lab.objectives.LOST_AFTER", 0.0)
    lab = Range()
    lab.pass_time(30)
    await lab.look()
    verified = lab.objectives.states["setpoint"].verified_at

    lab.pass_time(2, setpoint=700)

    assert await lab.look() == "lost"
    assert lab.objectives.states["setpoint"].verified_at == verified
    assert lab.told[-2:] == [("setpoint", "verified"), ("setpoint", "lost")]


async def test_one_late_poll_is_no_loss() -> None:
    lab = Range()
    lab.pass_time(30)
    assert await lab.look() == "verified"
    lab.pass_time(5, answers=4)

    assert await lab.look() == "verified"
    assert lab.objectives.production_alive is False


async def test_answers_are_judged_counted_and_refused_when_used_up() -> None:
    lab = Range()

    assert [lab.objectives.submit("name_it", wrong, session="p", seat="blue") for wrong in ("10.0.0.1", "?")] == [
        False,
        False,
    ]
    assert lab.objectives.submit("name_it", f" {INTRUDER} ", session="p", seat="blue") is True
    assert await lab.look("name_it") == "verified"
    with pytest.raises(Refused) as caught:
        lab.objectives.submit("name_it", INTRUDER, session="p", seat="blue")
    assert str(caught.value) == "objective name_it is answered. Nothing more is needed here"


async def test_no_tries_are_left_after_the_last() -> None:
    lab = Range()
    for _ in range(3):
        lab.objectives.submit("name_it", "no", session="p", seat="blue")

    with pytest.raises(Refused) as caught:
        lab.objectives.submit("name_it", INTRUDER, session="p", seat="blue")

    assert str(caught.value) == "no tries are left for objective name_it. Ask the white cell"


@pytest.mark.parametrize(
    ("match", "answer", "value", "right"),
    [
        ("text", "Admin-01", "ａｄｍｉｎ－０１ ", True),
        ("text", ["a", "b"], "B", True),
        ("text", "a", "ab", False),
        ("ip", "10.1.2.3", "１０．１．２．３", True),
        ("ip", "10.1.2.3", "10.1.2.30", False),
        ("ip", "10.1.2.3", "workstation", False),
        ("number", 512, "512.4", True),
        ("number", 512, "513", False),
        ("number", 512, "五百", False),
        ("set", ["plc1", "plc2"], "PLC2、plc1", True),
        ("set", ["plc1", "plc2"], "plc1", False),
    ],
)
def test_submissions_forgive_typing_and_nothing_else(match: str, answer: Any, value: str, right: bool) -> None:
    form = {"kind": "submission", "prompt": "?", "answer": answer, "match": match, "tolerance": 0.5}

    assert is_right(SubmissionCheck.model_validate(form), value) is right


def test_counter_growth_needs_its_whole_window_and_survives_a_restart_of_the_plant() -> None:
    plant = PlantView()
    for second in range(10):
        plant.take({"bottles": second}, at=float(second), time=float(second))
    assert plant.growth("bottles", 20) is None
    assert plant.growth("bottles", 5) == (5.0, 5.0)

    for second in range(10, 15):
        plant.take({"bottles": second - 10}, at=float(second), time=float(second))

    assert plant.growth("bottles", 9)[0] == 8.0  # 5..9 is four, the fall counts nothing, 0..4 is four


def test_history_is_thinned_by_step() -> None:
    plant = PlantView()
    for tick in range(100):
        plant.take({"v": tick}, at=tick / 10, time=tick / 10)

    shown = plant.as_dict(history=2.0, step=0.5)["history"]

    assert shown == {"t": [7.9, 8.4, 8.9, 9.4, 9.9], "values": {"v": [79.0, 84.0, 89.0, 94.0, 99.0]}}


def test_answered_connections_are_counted_over_a_whole_window() -> None:
    bridge = BridgeFacts()
    flow = {
        "zone": "dmz",
        "src": "10.0.0.2",
        "dst": "10.0.0.9",
        "proto": "tcp",
        "port": 8900,
        "packets": 6,
        "established": 1,
    }
    for second in range(1, 8):
        bridge.take_flows([flow], float(second))
    about = {"zone": "dmz", "clients": ["10.0.0.2"], "server": "10.0.0.9", "port": 8900}

    assert bridge.answered(**about, within=5, time=7.0) == 5
    assert bridge.answered(**about, within=10, time=7.0) is None  # not watched that long
    assert bridge.answered(**about, within=5, time=20.0) is None  # the sensor is silent
