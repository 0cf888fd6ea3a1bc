"""A snapshot brings back set-points, plant, rules, files, clock and score; it is named, counted, bounded and goes with
its range."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.drivers.base import Driver
from cyber_range.engine.drivers.registry import load as load_driver
from cyber_range.engine.errors import RangeError, Refused
from cyber_range.engine.lab import snapshots
from cyber_range.engine.lab.compile import Block
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.scenario.load import load
from tests.conftest import skip_or_fail

TINY = load(Path(__file__).parents[1] / "scenarios" / "tiny")
RANGE = "5a0000000001"
AGENTS = Path(snapshots.__file__).parents[1] / "agents"


@pytest.fixture(
    params=[
        "memory",
        pytest.param("netns", marks=pytest.mark.netns),
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow]),
    ]
)
async def driver(request: pytest.FixtureRequest) -> AsyncIterator[Driver]:
    kind = load_driver(request.param)
    probe = await kind.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    made = kind()
    yield made
    await made.aclose()


@pytest.fixture
async def lab(driver: Driver, tmp_path: Path) -> AsyncIterator[Lab]:
    lab = Lab(
        TINY, range_id=RANGE, seed="s", team="t", block=Block("10.214.0.0/26"), driver=driver, folder=tmp_path, speed=10
    )
    await lab.launch()
    yield lab
    await lab.destroy()
    await lab.spool.close()


async def until(holds: Any, seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - looks from outside, has no event to wait for
            await asyncio.sleep(0.05)


async def setpoint(lab: Lab) -> list[float]:
    reply = await lab.ask("plc", "modbus_plc", {"kind": "read", "tag": "fill_setpoint"}, 20)
    return reply["values"]  # type: ignore[no-any-return]


async def write_setpoint(lab: Lab, value: int) -> None:
    plc = next(node for node in lab.compiled.plan.nodes if node.name == "plc")
    address = str(plc.programs[0].spec["tags"]["fill_setpoint"]["address"])
    ip = next(leg.ip for leg in plc.interfaces if leg.zone == "workshop")
    done = await lab.exec("ws", ["lb-modbus", "write", ip, "holding", address, str(value)])
    assert done.code == 0, done


async def rules(lab: Lab) -> list[dict[str, Any]]:
    reply = await lab.ask("fw", "firewall", {"kind": "rules"}, 20)
    return [{k: v for k, v in rule.items() if k not in ("handle", "packets", "bytes")} for rule in reply["rules"]]


async def note(lab: Lab, text: str) -> None:
    """Writes a note in the workstation's home; what a memory node calls its folder has no shell."""
    if lab.driver.name == "memory":
        (lab.driver._ranges[RANGE].folder("ws") / "note").write_text(text)  # type: ignore[attr-defined]
    else:
        await lab.exec("ws", ["sh", "-c", f"cd && echo {text} > note; echo {text} > /tmp/{text}"])


async def noted(lab: Lab) -> str:
    words = ["cat", "note"] if lab.driver.name == "memory" else ["sh", "-c", "cd && cat note"]
    return (await lab.exec("ws", words)).stdout.decode().strip()


async def test_restore_brings_back_what_the_snapshot_holds(lab: Lab) -> None:
    lab.submit("tag", lab.objectives.answer_of("tag").answer, session="me", seat="blue")  # type: ignore[union-attr]
    await lab.evaluate("tag")
    await until(lambda: lab.plant.values.get("bottles_good", 0) >= 3)
    await write_setpoint(lab, 505)
    added = await lab.exec("fw", ["lb-fw", "block", "10.99.0.9", "--comment", "ours"])
    await note(lab, "before")
    about = await lab.snapshot("第一次处置")
    held = (await setpoint(lab), await rules(lab), await noted(lab))
    good, state = lab.plant.values["bottles_good"], lab.objectives.states["tag"].state

    await write_setpoint(lab, 470)
    await lab.exec("fw", ["lb-fw", "restore"])
    await lab.exec("fw", ["lb-fw", "block", "any", "--comment", "wreck"])
    await note(lab, "after")
    lab.hints_taken["x"] = {"session": "me", "seat": "blue"}
    await until(lambda: lab.clock.now() > about.at + 50)
    wrecked = (await setpoint(lab), await rules(lab), await noted(lab))
    await lab.restore("第一次处置")
    back = (await setpoint(lab), await rules(lab), await noted(lab))
    at = lab.clock.now()

    assert added.code == 0, added
    assert held[0] == [505]
    assert [one["comment"] for one in held[1]] == ["ours"]
    assert held[2] == "before"
    assert wrecked[0] != held[0]
    assert wrecked[1] != held[1]
    assert wrecked[2] == "after"
    assert back == held
    assert about.at <= at < about.at + 40
    await until(lambda: lab.plant.values.get("bottles_good", 0) > good)  # counts on from there
    assert lab.plant.values["bottles_good"] < good + 40
    assert (lab.objectives.states["tag"].state, lab.hints_taken) == (state, {})
    assert (lab.state, lab.reason) == ("ready", "restored to snapshot '第一次处置'")
    await until(lambda: lab.objectives.production_alive is True)


async def test_a_paused_range_gives_a_snapshot_and_stays_paused(lab: Lab) -> None:
    await lab.pause()

    about = await lab.snapshot("still")

    assert (lab.state, lab.clock.now()) == ("paused", about.at)
    await lab.restore("still")
    assert lab.state == "ready"


@pytest.mark.parametrize("driver", ["memory"], indirect=True)
async def test_snapshots_are_named_counted_bounded_and_go_with_the_range(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.snapshot("a")
    with pytest.raises(Refused, match="there is a snapshot 'a' already"):
        await lab.snapshot("a")
    for bad in ("../x", "", "a/b", ".hidden", "x" * 51):
        with pytest.raises(RangeError, match="is no name for a snapshot"):
            await lab.snapshot(bad)
    with pytest.raises(RangeError, match=r"there is no snapshot 'b'\. There is: 'a'"):
        await lab.restore("b")
    monkeypatch.setattr(snapshots, "LARGEST", 100)
    with pytest.raises(RangeError, match="snapshot 'big' would take"):
        await lab.snapshot("big")
    monkeypatch.undo()
    monkeypatch.setattr(snapshots, "MOST", 1)
    with pytest.raises(Refused, match="a range keeps 1 snapshots"):
        await lab.snapshot("c")
    (one,) = lab.snapshots.list()
    assert (one.name, one.bytes) == ("a", (tmp_path / "snapshots" / "a.snap").stat().st_size)
    assert lab.state == "ready"
    assert lab.clock.speed == 10

    await lab.destroy()

    assert lab.snapshots.list() == []
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_every_controller_is_known_to_keep_its_state() -> None:
    """Programs that run a Controller, told from their sources, so that a new one is not forgotten."""
    runs = re.compile(r"controller\.run\(", re.MULTILINE)
    found = {path.stem for path in AGENTS.glob("*.py") if runs.search(path.read_text(encoding="utf-8"))}

    assert found | {"plant"} == snapshots.STATEFUL
