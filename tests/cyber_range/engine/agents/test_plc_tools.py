"""lb-plc and lb-attack: what a person at a terminal does with controllers, and where the red one's tool refuses."""

from __future__ import annotations

import io
from typing import Any

from cyber_range.engine.agents.packet_filter import PacketFilter
from cyber_range.engine.agents.tools import arp, attack, plc
from cyber_range.engine.drivers.memory.fabric import Fabric
from cyber_range.engine.drivers.memory.net import MemoryNet
from cyber_range.engine.plan import InterfacePlan, NodePlan, ZonePlan
from cyber_range.engine.process.controllers import TankLogic
from tests.cyber_range.engine.agents import plc_specs, stations
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs


async def typed(tool: Any, net: Any, *argv: str) -> tuple[int, str]:
    out = io.StringIO()
    return await tool.main(list(argv), net, out), out.getvalue()


async def test_s7_and_enip_by_hand() -> None:
    here = LoopbackNet("127.141.0.9")
    s7 = Running("s7", "s7_plc", "127.141.0.4", plc_specs.s7())
    enip = Running("enip", "enip_plc", "127.141.0.5", plc_specs.enip())
    async with programs(s7, enip):
        info = await typed(plc, here, "s7", "info", "127.141.0.4")
        write = await typed(plc, here, "s7", "write", "127.141.0.4", "DB1.DBD0", "44")
        stop = await typed(plc, here, "s7", "stop", "127.141.0.4")
        mode = await typed(plc, here, "s7", "mode", "127.141.0.4")
        digest = await typed(plc, here, "s7", "hash", "127.141.0.4", "OB1")
        true = (await s7.ask("hash", path="OB1"))["sha256"]
        wrong = await typed(plc, here, "s7", "read", "127.141.0.4", "DB1")
        absent = await typed(plc, here, "s7", "read", "127.141.0.4", "DB77.DBD0")
        tag = await typed(plc, here, "enip", "write", "127.141.0.5", "Level_SP", "33")
        nobody = await typed(plc, here, "enip", "tags", "127.141.0.6")

    assert "order_code: HD7 314-6EH04-0AB0" in info[1]
    assert (write, stop, mode[1]) == ((0, "DB1.DBD0: 60.0 → 44.0\n"), (0, "完成\n"), "stop\n")
    assert digest[1] == f"SHA-256 {true}\n"
    assert (wrong[0], absent[0], tag) == (2, 4, (0, "Level_SP: 60.0 → 33.0\n"))
    assert (nobody[0], "连接被拒绝" in nobody[1]) == (1, True)


async def test_telecontrol_and_building_by_hand() -> None:
    here = LoopbackNet("127.142.0.9")
    rtu = Running("rtu", "iec104_rtu", "127.142.0.4", stations.rtu())
    cold = Running("cold", "bacnet_device", "127.142.0.5", stations.cold_store())
    dnp3 = Running("dnp3", "dnp3_outstation", "127.142.0.6", stations.outstation())
    async with programs(rtu, cold, dnp3):
        points = await typed(plc, here, "104", "read", "127.142.0.4", "--common", "7")
        command = await typed(plc, here, "104", "command", "127.142.0.4", "6004", "0", "--common", "7")
        interlock = (await rtu.ask("read", tag="interlock"))["values"]
        write = await typed(plc, here, "bacnet", "write", "127.142.0.5", "analog-value,1", "20")
        relinquish = await typed(plc, here, "bacnet", "write", "127.142.0.5", "analog-value,1", "null")
        poll = await typed(plc, here, "dnp3", "read", "127.142.0.6")

    assert "1004: 1 M_SP_NA_1" in points[1]
    assert (command, interlock) == ((0, "已确认\n"), [0.0])
    assert (write, relinquish[1]) == ((0, "analog-value,1: 60.0 → 20.0\n"), "analog-value,1: 20.0 → 60.0\n")
    assert "setpoint/0: 60" in poll[1]


async def test_a_person_performs_the_steps_of_the_running_program() -> None:
    tags = {tag.name: {"address": index} for index, tag in enumerate(TankLogic().tags)}
    device = Running("plc", "modbus_plc", "127.143.0.4", plc_specs.base(tags=tags))
    lab = {"range": "0123456789ab", "networks": ["127.143.0.0/28"]}
    red = Running("attacker", "attack", "127.143.0.7", {"lab": lab, "person": True})
    async with programs(device, red):
        steps = await typed(attack, red.net, "steps")
        early = await typed(attack, red.net, "run", "scan", 'hosts=["127.143.0.4"]')
        await typed(attack, red.net, "run", "foothold")
        write = await typed(
            attack, red.net, "run", "write", "host=127.143.0.4", "table=holding", "address=0", "value=910"
        )
        outside = await typed(attack, red.net, "run", "write", "host=8.8.8.8", "table=holding", "address=0", "value=1")
        unknown = await typed(attack, red.net, "run", "dance")
        state = await typed(attack, red.net, "state")
        changed = (await device.ask("read", table="holding", address=0))["values"]
        await typed(attack, red.net, "undo")
        after = (await device.ask("read", table="holding", address=0))["values"]
        elsewhere = await typed(attack, LoopbackNet("127.143.0.9"), "run", "foothold")

    assert "s7_write" in steps[1]
    assert (early[0], "scan needs session" in early[1]) == (1, True)
    assert (write[0], changed, after) == (0, [910], [600])
    assert (outside[0], "8.8.8.8 is not an address of this lab" in outside[1]) == (2, True)
    assert (unknown[0], '"session"' in state[1]) == (2, True)
    assert (elsewhere[0], "拒绝运行" in elsewhere[1]) == (3, True)


async def test_without_a_person_there_is_no_door() -> None:
    lab = {"range": "0123456789ab", "networks": ["127.144.0.0/28"]}
    script = Running("attacker", "attack", "127.144.0.7", {"lab": lab})
    async with programs(script):
        refused = await typed(attack, script.net, "steps")

    assert refused[0] == 3


async def test_the_neighbour_table_is_shown_and_pinned() -> None:
    fabric = Fabric("00000000beef", PacketFilter)
    fabric.add_segment(ZonePlan("shop", "10.9.0.0/28", "lbshop", 2.0))
    nets = {}
    for name, number, caps in (("fw", 2, {"net_admin"}), ("pc", 3, set())):
        leg = InterfacePlan("shop", "eth0", f"10.9.0.{number}", 28, f"02:00:00:00:00:{number:02x}")
        nets[name] = MemoryNet(fabric, fabric.add_host(NodePlan(name, (leg,), (), caps=frozenset(caps))))
    pinned = await typed(arp, nets["fw"], "pin", "10.9.0.4", "00-80-F4-12-34-56")
    shown = await typed(arp, nets["fw"], "show")
    refused = await typed(arp, nets["pc"], "pin", "10.9.0.4", "00:80:f4:12:34:56")
    bad = await typed(arp, nets["fw"], "pin", "10.9.0.4", "router")
    elsewhere = await typed(arp, nets["fw"], "pin", "10.8.0.4", "00:80:f4:12:34:56")
    cleared = await typed(arp, nets["fw"], "clear", "10.9.0.4")

    assert pinned == (0, "已固定 10.9.0.4 为 00:80:f4:12:34:56\n")
    assert "10.9.0.4  00:80:f4:12:34:56  固定" in shown[1]
    assert (refused[0], bad[0], elsewhere[0], cleared[0]) == (1, 2, 1, 0)
    assert nets["fw"].neighbours().all() == []
