"""range-host over its socket, whole ranges on the memory driver."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import stat
from pathlib import Path
from typing import Any

import dpkt
import pytest

from cyber_range.engine.errors import RangeError, Refused, ScenarioError, UnknownRange
from cyber_range.engine.host.client import AsyncClient
from cyber_range.engine.host.wire import BadRequest, HostUnreachable
from cyber_range.engine.scenario.load import bundle, load
from tests.cyber_range.engine.host.conftest import SCENARIOS, Running, start


async def until(look: Any, seconds: float = 30) -> Any:
    """The first true answer of an async function."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):  # noqa: ASYNC110 - looks from outside, has no event to wait for
            await asyncio.sleep(0.1)
    return found


async def objective(host: Running, range_id: str, name: str) -> dict[str, Any]:
    status = await host.client.status(range_id=range_id)
    return next(one for one in status["objectives"] if one["id"] == name)


async def test_the_socket_is_for_its_owner_alone(host: Running) -> None:
    assert stat.S_IMODE(os.stat(host.socket).st_mode) == 0o600
    said = await host.client.ping()
    assert {key: said[key] for key in ("version", "pid", "driver", "ranges")} == {
        "version": 1, "pid": os.getpid(), "driver": "memory", "ranges": 0,
    }  # fmt: skip


async def test_a_second_host_on_the_same_state_is_refused(host: Running, folder: Path) -> None:
    with pytest.raises(Refused) as caught:
        await start(folder)

    assert str(caught.value) == (
        f"another range-host (process {os.getpid()}) owns {folder / 'state'}. "
        "Stop it first, or give this one another --state"
    )
    assert (await host.client.ping())["ranges"] == 0  # the first one was not disturbed


async def test_launching_twice_with_one_id_gives_one_range(host: Running) -> None:
    ask = {"scenario": "tiny", "seed": "s", "team": "t", "range_id": "00000000000a"}

    first, second = await asyncio.gather(host.client.launch(**ask), host.client.launch(**ask))

    assert (first["range_id"], first["state"]) == (second["range_id"], second["state"]) == ("00000000000a", "ready")
    assert (await host.client.capacity())["ranges"] == 1
    assert {one["state"] for one in first["health"].values()} == {"ok"}


async def test_two_ranges_at_once_have_blocks_of_their_own_and_do_not_meet(host: Running) -> None:
    one, two = await asyncio.gather(
        host.client.launch(scenario="tiny", seed="s", team="a"), host.client.launch(scenario="tiny", seed="s", team="b")
    )
    shown = [await host.client.topology(range_id=lab["range_id"]) for lab in (one, two)]
    subnets = [{zone["subnet"] for zone in picture["zones"]} for picture in shown]
    other_plc = next(node for node in shown[1]["nodes"] if node["name"] == "plc")["legs"][0]["ip"]

    there = await host.client.exec(
        range_id=one["range_id"], node="ws", argv=["lb-modbus", "read", other_plc, "input", "1"]
    )
    here = await host.client.exec(
        range_id=one["range_id"], node="ws",
        argv=["lb-modbus", "read", next(n for n in shown[0]["nodes"] if n["name"] == "plc")["legs"][0]["ip"], "input", "1"],
    )  # fmt: skip

    assert subnets[0] & subnets[1] == set()
    assert (there["code"] != 0, here["code"]) == (True, 0)


async def test_the_scripted_blue_team_wins_over_the_socket(host: Running, range_id: str) -> None:
    # Production must have been seen before it can be said to be alive.
    await until(lambda: _alive(host, range_id))
    for action in (await host.client.solver(range_id=range_id))["actions"]:
        if action["do"] == "exec":
            done = await host.client.exec(range_id=range_id, node=action["node"], argv=action["argv"])
            assert done["code"] == 0, done
        elif action["do"] == "submit":
            judged = await host.client.submit(
                range_id=range_id,
                objective=action["objective"],
                value=action["value"],
                session="p1",
                seat=action["seat"],
            )
            assert judged["right"] is True
        else:
            await until(lambda name=action["objective"]: _verified(host, range_id, name))

    status = await host.client.status(range_id=range_id)

    assert status["score"] == {"points": 100, "possible": 100, "hints": 0}
    block = next(one for one in status["objectives"] if one["id"] == "block")
    assert [(one["check"], one["holds"], one["where"]) for one in block["evidence"]] == [
        ("flow_blocked", True, "bridge workshop"), ("poll_alive", True, "bridge workshop"), ("plant_count", True, "plant"),
    ]  # fmt: skip


async def _alive(host: Running, range_id: str) -> bool:
    return (await host.client.status(range_id=range_id))["production"]["alive"] is True


async def _verified(host: Running, range_id: str, name: str) -> bool:
    return (await objective(host, range_id, name))["state"] == "verified"


async def test_telemetry_topology_and_captures_show_what_happens(host: Running, range_id: str) -> None:
    async def link_seen() -> Any:
        links = (await host.client.topology(range_id=range_id))["links"]
        return [link for link in links if (link["source"], link["target"], link["port"]) == ("hmi", "plc", 502)]

    links = await until(link_seen)
    telemetry = await host.client.telemetry(range_id=range_id, history=5)
    level = next(one for one in telemetry["variables"] if one["name"] == "fill_setpoint")

    assert links[0]["packets_s"] > 0
    assert (level["unit"], level["value"], level["counts"]) == ("mL", 500.0, False)
    assert len(telemetry["history"]["t"]) == len(telemetry["history"]["values"]["fill_setpoint"]) > 5
    assert telemetry["views"]["hmi"]["devices"]["filler"]["values"]["last_fill"] > 400

    capture = next(c for c in (await host.client.captures(range_id=range_id))["captures"] if c["zone"] == "workshop")
    data = b"".join([piece async for piece in host.client.file("capture", range_id=range_id, name=capture["name"])])
    frames = list(dpkt.pcapng.Reader(io.BytesIO(data)))
    assert len(frames) >= capture["packets"] > 10


async def test_script_fills_values_and_tells_no_answers(host: Running, range_id: str) -> None:
    script = await host.client.script(range_id=range_id)
    plc = next(n for n in (await host.client.topology(range_id=range_id))["nodes"] if n["name"] == "plc")["legs"][0][
        "ip"
    ]

    assert script["injects"][0]["body"]["zh"] == f"质检反映液位偏高,请查看 **{plc}**。"
    assert script["hints"] == [{"id": "look", "objective": "name_it", "cost": 5}]
    assert "answer" not in str(script["objectives"])


async def test_hints_cost_once(host: Running, range_id: str) -> None:
    taken = [await host.client.hint(range_id=range_id, hint="look", session="p", seat="blue") for _ in range(2)]

    assert taken[0] == taken[1] == {
        "hint": "look", "cost": 5, "text": {"zh": "看看探针的告警", "en": "Look at the sensor's alerts"},
    }  # fmt: skip
    assert (await host.client.status(range_id=range_id))["score"]["hints"] == 5


async def test_another_teams_value_raises_the_cheat_alarm(host: Running, range_id: str) -> None:
    other = await host.client.launch(scenario="tiny", seed="s", team="wolves")
    actions = (await host.client.solver(range_id=other["range_id"]))["actions"]
    theirs = next(one["value"] for one in actions if one.get("objective") == "tag" and one["do"] == "submit")

    judged = await host.client.submit(range_id=range_id, objective="tag", value=theirs, session="p", seat="blue")
    harmless = await host.client.submit(range_id=range_id, objective="tag", value="?", session="p", seat="blue")

    assert (judged["right"], harmless["right"]) == (False, False)
    page = await host.client.events(range_id=range_id, limit=5000, wait=1)
    status = await host.client.status(range_id=range_id)
    assert status["counts"]["cheats"] == 1
    assert [e["data"] for e in page["events"] if e["kind"] == "cheat"] == [
        {"objective": "tag", "session": "p", "seat": "blue", "owner": "wolves"}
    ]


async def test_events_are_gapless_and_wait_for_the_next(host: Running, range_id: str) -> None:
    page = await host.client.events(range_id=range_id, limit=5000)
    assert [event["number"] for event in page["events"]] == list(range(1, page["last"] + 1))

    waiting = asyncio.create_task(host.client.events(range_id=range_id, after=page["last"] + 1, wait=10))
    await asyncio.sleep(0.2)
    await host.client.extend(range_id=range_id, seconds=60)
    await host.client.extend(range_id=range_id, seconds=60)

    assert (await asyncio.wait_for(waiting, 5))["events"] != []


async def test_pause_stops_the_clock_and_resume_goes_on(host: Running, range_id: str) -> None:
    paused = await host.client.pause(range_id=range_id)
    await asyncio.sleep(0.3)
    later = await host.client.status(range_id=range_id)
    resumed = await host.client.resume(range_id=range_id)

    assert (paused["state"], later["clock"]["at"], resumed["state"]) == ("paused", paused["clock"]["at"], "ready")
    assert (later["clock"]["paused"], resumed["clock"]["paused"]) == (True, False)


async def test_reset_goes_back_to_the_start_and_the_log_goes_on(host: Running, range_id: str) -> None:
    await host.client.hint(range_id=range_id, hint="look", session="p", seat="blue")
    await host.client.clock(range_id=range_id, speed=100.0)

    async def later() -> dict[str, Any] | None:
        status = await host.client.status(range_id=range_id)
        return status if status["clock"]["at"] > 200 else None

    before = await until(later)
    await host.client.clock(range_id=range_id, speed=1.0)

    after = await host.client.reset(range_id=range_id)

    assert (after["state"], after["score"]["hints"], after["range_id"]) == ("ready", 0, range_id)
    assert after["clock"]["at"] < before["clock"]["at"]
    assert after["events"]["last"] >= before["events"]["last"]


async def test_a_destroyed_range_is_readable_until_acknowledged(host: Running, range_id: str) -> None:
    await host.client.destroy(range_id=range_id)
    assert await host.client.destroy(range_id=range_id) == {"destroyed": True}

    page = await host.client.events(range_id=range_id, limit=5000)

    assert page["events"][-1]["data"] == {"state": "gone", "before": "closing", "reason": "destroyed"}
    assert await host.client.ack(range_id=range_id, number=page["last"]) == {"acked": page["last"]}
    with pytest.raises(Refused, match="is gone"):
        await host.client.submit(range_id=range_id, objective="tag", value="x", session="p", seat="blue")


async def test_a_scenario_of_a_browser_is_sent_as_data(host: Running) -> None:
    document = bundle(load(SCENARIOS / "tiny"))

    status = await host.client.launch(document=document, seed="s", team="t")

    assert (status["state"], status["scenario"]["id"]) == ("ready", "tiny")
    with pytest.raises(ScenarioError) as caught:
        await host.client.launch(document={**document, "zonen": []}, seed="s", team="t")
    assert caught.value.what.startswith('scenario.yml: unknown key "zonen". Allowed: ')


async def test_a_program_that_does_not_start_ends_the_launch_and_is_named(host: Running) -> None:
    document = bundle(load(SCENARIOS / "tiny"))
    document["nodes"][1]["programs"][0]["with"]["logic"] = "nothing"

    with pytest.raises(RangeError) as caught:
        await host.client.launch(document=document, seed="s", team="t", range_id="00000000000b")

    assert caught.value.code == "driver_error"
    assert caught.value.what.startswith("program modbus_plc of node plc did not start: ")
    assert (await host.client.status(range_id="00000000000b"))["state"] == "gone"
    assert (await host.client.capacity())["ranges"] == 0


@pytest.mark.parametrize(
    ("verb", "args", "kind", "said"),
    [
        ("status", {"range_id": "0" * 12}, UnknownRange,
         "there is no range 000000000000 on this host. Launch it again; `list` says which there are"),
        ("status", {"range_id": "../../../x"}, BadRequest,
         "status: range_id: String should match pattern '^[0-9a-f]{12}$'. See cyber_range/engine/host/README.md"),
        ("status", {}, BadRequest, "status: range_id: Missing required argument. See cyber_range/engine/host/README.md"),
        ("launch", {"seed": "s", "team": "t", "scenario": "tiny", "sped": 1}, BadRequest,
         "launch: sped: Unexpected keyword argument. See cyber_range/engine/host/README.md"),
        ("launch", {"seed": "s", "team": "t", "scenario": "nothing"}, ScenarioError,
         'there is no scenario "nothing". Choose one of: tiny'),
        ("_lab", {}, BadRequest, None),
        ("call", {}, BadRequest, None),
    ],
)  # fmt: skip
async def test_wrong_requests_are_said(
    host: Running, verb: str, args: dict[str, Any], kind: type, said: str | None
) -> None:
    with pytest.raises(kind) as caught:
        await host.client.call(verb, **args)

    assert said is None or str(caught.value) == said


async def test_garbage_on_the_socket_hurts_nobody(host: Running) -> None:
    reader, writer = await asyncio.open_unix_connection(str(host.socket))
    writer.write(b'\xff\xfe not json\n[1]\n{"verb": 3}\n')

    answers = [await reader.readline() for _ in range(3)]
    writer.close()

    assert all(b'"code":"bad_request"' in answer for answer in answers)
    assert (await host.client.ping())["version"] == 1


async def test_a_host_that_is_not_there_is_said(folder: Path) -> None:
    async with AsyncClient(folder / "nobody.sock") as client:
        with pytest.raises(HostUnreachable) as caught:
            await client.ping()

    assert caught.value.remedy == "Start it: python -m cyber_range.engine host"


async def test_quota_of_the_host(folder: Path) -> None:
    host = await start(folder, max_ranges=1)
    try:
        await host.client.launch(scenario="tiny", seed="s", team="t")
        with pytest.raises(Refused, match="this host carries 1 ranges already"):
            await host.client.launch(scenario="tiny", seed="s", team="u")
    finally:
        await host.stop()


async def test_a_range_whose_time_is_over_ends(host: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    status = await host.client.launch(scenario="tiny", seed="s", team="t", ttl=0.5)

    async def gone() -> bool:
        return (await host.client.status(range_id=status["range_id"]))["state"] == "gone"

    await until(gone, 15)

    assert (await host.client.status(range_id=status["range_id"]))["reason"] == "its time to live is over"


async def test_after_a_crash_the_range_is_said_gone_and_can_be_made_anew(folder: Path) -> None:
    host = await start(folder)
    status = await host.client.launch(scenario="tiny", seed="s", team="t")
    range_id = status["range_id"]
    plc = next(n for n in (await host.client.topology(range_id=range_id))["nodes"] if n["name"] == "plc")
    last = (await host.client.events(range_id=range_id, limit=5000))["last"]
    state = (folder / "state" / "ranges" / range_id / "lab.json").read_text()
    await host.stop()
    (folder / "state" / "ranges" / range_id / "lab.json").write_text(state)  # as kill -9 would have left it

    host = await start(folder)
    try:
        page = await host.client.events(range_id=range_id, after=last)
        assert page["events"][-1]["data"]["reason"] == "range-host was restarted and the range ended with it"

        again = await host.client.reset(range_id=range_id)

        same = next(n for n in (await host.client.topology(range_id=range_id))["nodes"] if n["name"] == "plc")
        assert (again["state"], same["legs"]) == ("ready", plc["legs"])
    finally:
        await host.stop()


async def test_capture_pieces_add_up(host: Running, range_id: str) -> None:
    async def packets() -> Any:
        return [c for c in (await host.client.captures(range_id=range_id))["captures"] if c["packets"] > 5]

    capture = (await until(packets))[0]
    head = await host.client.capture(range_id=range_id, name=capture["name"], offset=0, limit=100)
    rest = await host.client.capture(range_id=range_id, name=capture["name"], offset=100)

    assert len(base64.b64decode(head["data"])) == 100
    assert head["end"] is False
    assert rest["end"] is True
    with pytest.raises(RangeError, match="there is no capture"):
        await host.client.capture(range_id=range_id, name="../lab.json")


async def test_snapshots_over_the_socket(host: Running, range_id: str) -> None:
    taken = await host.client.snapshot(range_id=range_id, name="before the attack")
    listed = await host.client.snapshots(range_id=range_id)
    with pytest.raises(RangeError, match="there is no snapshot 'later'"):
        await host.client.restore(range_id=range_id, name="later")
    untouched = await host.client.status(range_id=range_id)
    back = await host.client.restore(range_id=range_id, name="before the attack")
    left = await host.client.delete_snapshot(range_id=range_id, name="before the attack")

    assert listed == {"snapshots": [taken["snapshot"]]}
    assert (untouched["state"], untouched["reason"]) == ("ready", "")
    assert (back["state"], back["reason"]) == ("ready", "restored to snapshot 'before the attack'")
    assert taken["snapshot"]["at"] <= back["clock"]["at"] < taken["snapshot"]["at"] + 100
    assert left == {"snapshots": []}


async def test_a_reset_range_lives_on(host: Running, range_id: str) -> None:
    """The end of its nodes' messages is no loss of the range."""
    await host.client.reset(range_id=range_id)
    await asyncio.sleep(0.5)

    assert (await host.client.status(range_id=range_id))["state"] == "ready"
