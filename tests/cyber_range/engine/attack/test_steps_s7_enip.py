"""Steps against the two controllers of programming tools: what they read is true, what they change has an effect."""

from __future__ import annotations

from tests.cyber_range.engine.agents import plc_specs
from tests.cyber_range.engine.agents.loopback import Running, programs
from tests.cyber_range.engine.attack.playing import did, inside, intruder

PATCH = "FORCE inlet_valve_pct 100"


async def test_s7_is_identified_read_and_taken() -> None:
    plc, attacker = Running("plc", "s7_plc", "127.101.0.4", plc_specs.s7()), intruder(101)
    async with programs(plc, attacker):
        await inside(attacker)
        identity = await did(attacker, "s7_identify", host="127.101.0.4")
        mode = await did(attacker, "s7_mode", host="127.101.0.4")
        image = await did(attacker, "s7_image", host="127.101.0.4")
        program = await did(attacker, "s7_upload", host="127.101.0.4")
        in_plc = (await plc.ask("hash", path="OB1"))["sha256"]

    assert identity["identity"]["order_code"] == "HD7 314-6EH04-0AB0"
    assert identity["identity"]["module"] == "CPU 314E-2"
    assert identity["identity"]["firmware"] == "3.3.8"
    assert (mode["mode"], sorted(image["image"])) == ("run", ["I", "M", "Q"])
    assert program["taken"]["OB1"]["sha256"] == in_plc


async def test_s7_set_points_are_overwritten_and_put_back() -> None:
    plc, attacker = Running("plc", "s7_plc", "127.102.0.4", plc_specs.s7()), intruder(102)
    async with programs(plc, attacker):
        await inside(attacker)
        before = (await plc.ask("read", tag="level_setpoint"))["values"]
        setpoint = await did(attacker, "s7_write", host="127.102.0.4", address="DB1.DBD0", value=91.5)
        switch = await did(attacker, "s7_write", host="127.102.0.4", address="DB1.DBX8.1", value=0)
        changed = (await plc.ask("read", tags=["level_setpoint", "interlock"]))["values"]
        nowhere = await did(attacker, "s7_write", host="127.102.0.4", address="DB900.DBD0", value=1)
        undone = await did(attacker, "undo")
        after = (await plc.ask("read", tags=["level_setpoint", "interlock"]))["values"]

    assert (setpoint["before"], setpoint["after"], switch["after"]) == (before[0], 91.5, 0.0)
    assert (changed, after) == ([91.5, 0.0], [before[0], 1.0])
    assert nowhere["result"] == "blocked"
    assert "127.102.0.4 refused" in nowhere["reason"]
    assert len(undone["restored"]) == 2


async def test_s7_is_stopped_restarted_and_reprogrammed() -> None:
    plc, attacker = Running("plc", "s7_plc", "127.103.0.4", plc_specs.s7()), intruder(103)
    async with programs(plc, attacker):
        await inside(attacker)
        original = (await plc.ask("hash", path="OB1"))["sha256"]
        stopped = await did(attacker, "s7_stop", host="127.103.0.4")
        mode = (await plc.ask("state"))["mode"]
        load = await did(attacker, "s7_download", host="127.103.0.4", append=PATCH)
        loaded = (await plc.ask("hash", path="OB1"))["sha256"]
        new = await did(attacker, "s7_download", host="127.103.0.4", block="FC7", code=PATCH)
        blocks = (await plc.ask("state"))["blocks"]
        cold = await did(attacker, "s7_start", host="127.103.0.4", cold=True)
        await plc.until("restarted")
        undone = await did(attacker, "undo")
        state = await plc.ask("state")
        restored = (await plc.ask("hash", path="OB1"))["sha256"]

    assert (stopped["before"], stopped["after"], mode) == ("run", "stop", "stop")
    assert (load["before"], load["after"]) == (original, loaded)
    assert (new["before"], blocks) == (None, ["FC7", "OB1"])
    assert cold["result"] == "done"
    assert {"target": "127.103.0.4", "block": "FC7"} in undone["restored"]
    assert (state["mode"], state["blocks"], restored) == ("run", ["OB1"], original)


async def test_a_protected_s7_refuses_until_its_password_is_known() -> None:
    plc = Running("plc", "s7_plc", "127.104.0.4", plc_specs.s7(protection=2, password="pump7"))
    attacker = intruder(104)
    async with programs(plc, attacker):
        await inside(attacker)
        refused = await did(attacker, "s7_stop", host="127.104.0.4")
        known = await did(attacker, "s7_stop", host="127.104.0.4", password="pump7")

    assert (refused["result"], known["result"]) == ("blocked", "done")


async def test_enip_is_identified_and_its_tags_are_read_and_overwritten() -> None:
    plc, attacker = Running("plc", "enip_plc", "127.105.0.4", plc_specs.enip()), intruder(105)
    async with programs(plc, attacker):
        await inside(attacker)
        identity = await did(attacker, "enip_identify", host="127.105.0.4")
        tags = await did(attacker, "enip_tags", host="127.105.0.4")
        write = await did(attacker, "enip_write", host="127.105.0.4", tag="Level_SP", value=88)
        changed = (await plc.ask("read", tag="level_setpoint"))["values"]
        unknown = await did(attacker, "enip_write", host="127.105.0.4", tag="Nothing", value=1)
        await did(attacker, "undo")
        after = (await plc.ask("read", tag="level_setpoint"))["values"]

    assert identity["identity"]["name"]
    assert tags["tags"]["Level_SP"] == ["REAL", after[0]]
    assert "Recipe" in tags["tags"]
    assert (write["before"], write["after"], changed) == (after[0], 88.0, [88.0])
    assert unknown["result"] == "blocked"


async def test_enip_is_stopped_reprogrammed_and_reset() -> None:
    plc, attacker = Running("plc", "enip_plc", "127.106.0.4", plc_specs.enip()), intruder(106)
    async with programs(plc, attacker):
        await inside(attacker)
        taken = await did(attacker, "enip_upload", host="127.106.0.4")
        load = await did(attacker, "enip_download", host="127.106.0.4", append=[PATCH])
        changed = (await plc.ask("hash", path="OB1"))["sha256"]
        await did(attacker, "enip_stop", host="127.106.0.4")
        mode = (await plc.ask("state"))["mode"]
        undone = await did(attacker, "undo")
        state, restored = await plc.ask("state"), (await plc.ask("hash", path="OB1"))["sha256"]
        await inside(attacker)
        await did(attacker, "enip_reset", host="127.106.0.4")
        await plc.until("restarted")

    assert (load["before"], load["after"]) == (taken["taken"]["sha256"], changed)
    assert (mode, state["mode"], restored) == ("stop", "run", taken["taken"]["sha256"])
    assert len(undone["restored"]) == 2
