"""In the middle: what is changed on the way, byte for byte, and what stays as it was; and the whole of it on the memory network."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Any

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.agents.packet_filter import PacketFilter
from cyber_range.engine.attack.ethernet import ACK, PSH, arp, checksum, read_arp, read_segment, segment
from cyber_range.engine.attack.middle import Lie, Middle, Rules
from cyber_range.engine.drivers.memory.fabric import Fabric
from cyber_range.engine.drivers.memory.net import MemoryNet
from cyber_range.engine.plan import InterfacePlan, NodePlan, ZonePlan
from tests.cyber_range.engine.agents import plans
from tests.cyber_range.engine.agents.loopback import Running, programs
from tests.cyber_range.engine.attack.playing import did

OWN, HMI, PLC = b"\x02\0\0\0\0\x07", b"\x02\0\0\0\0\x05", b"\x02\0\0\0\0\x04"
HMI_IP, PLC_IP, OWN_IP = "10.9.0.5", "10.9.0.4", "10.9.0.7"


def middle() -> Middle:
    return Middle(OWN, OWN_IP, {HMI_IP: HMI, PLC_IP: PLC})


def question(function: int = 3, first: int = 40, count: int = 4, transaction: int = 9) -> bytes:
    return struct.pack(">HHHBBHH", transaction, 0, 6, 1, function, first, count)


def answer(values: list[int], transaction: int = 9, function: int = 3) -> bytes:
    data = struct.pack(f">{len(values)}H", *values)
    return struct.pack(">HHHBBB", transaction, 0, 3 + len(data), 1, function, len(data)) + data


def to_plc(payload: bytes) -> bytes:
    return segment((HMI, OWN), (HMI_IP, PLC_IP), (40000, 502), flags=PSH | ACK, seq=7, ack=8, payload=payload).pack()


def to_hmi(payload: bytes) -> bytes:
    return segment((PLC, OWN), (PLC_IP, HMI_IP), (502, 40000), flags=PSH | ACK, seq=8, ack=19, payload=payload).pack()


def test_everything_is_handed_on_with_other_macs_only() -> None:
    sent = to_plc(question())

    assert middle().take(sent) == [PLC + OWN + sent[12:]]
    assert middle().take(OWN + b"\x02\0\0\0\0\x63" + sent[12:]) == []  # of somebody else
    assert middle().take(PLC + HMI + sent[12:]) == []  # not for us


def test_a_lie_is_told_where_it_was_asked_for_and_nowhere_else() -> None:
    between = middle()
    between.rules = Rules(lies={PLC_IP: (Lie("holding", 41, 500), Lie("holding", 43, plus=-5), Lie("input", 42, 1))})
    between.take(to_plc(question()))
    lied = read_segment(between.take(to_hmi(answer([1, 2, 3, 40])))[0])
    between.take(to_plc(question(first=60)))
    honest = read_segment(between.take(to_hmi(answer([1, 2, 3, 40])))[0])

    assert lied is not None
    assert honest is not None
    assert (lied.payload, honest.payload) == (answer([1, 500, 3, 35]), answer([1, 2, 3, 40]))
    assert between.counts.rewritten == 1


def test_reports_or_orders_are_kept_back() -> None:
    between = middle()
    between.rules = Rules(keep_reports=True)
    assert (len(between.take(to_plc(question()))), between.take(to_hmi(answer([1, 2, 3, 4])))) == (1, [])
    between.rules = Rules(keep_orders=True)
    order = struct.pack(">HHHBBHH", 1, 0, 6, 1, 6, 40, 640)
    assert (len(between.take(to_plc(question()))), between.take(to_plc(order))) == (1, [])
    assert between.counts.kept_back == 2


@given(st.binary(max_size=4000), st.integers(0, 2**32 - 1))
def test_what_goes_out_has_right_checksums_and_fits_the_wire(payload: bytes, seq: int) -> None:
    whole = segment((HMI, OWN), (HMI_IP, PLC_IP), (40000, 102), flags=ACK, seq=seq, payload=payload)
    out = middle().take(whole.pack())

    assert b"".join(dpkt.ethernet.Ethernet(frame).data.data.data for frame in out) == payload
    for frame in out:
        ip = frame[14:34]
        assert len(frame) <= 1514
        assert checksum(ip) == 0
        l4 = frame[34:]
        assert checksum(ip[12:20] + struct.pack(">BBH", 0, 6, len(l4)) + l4) == 0


def test_arp_frames_are_what_they_say() -> None:
    said = read_arp(arp(2, (OWN, PLC_IP), (HMI, HMI_IP), HMI))

    assert said is not None
    assert (said.operation, said.mac, said.ip, said.target) == (2, OWN, PLC_IP, HMI_IP)


# ------------------------------------------------------------ the whole of it, on the memory network


class Segment:
    """plc, hmi and attacker in one segment whose machines learn their neighbours."""

    def __init__(self) -> None:
        self.fabric = Fabric("00000000beef", PacketFilter)
        self.fabric.add_segment(ZonePlan("shop", "10.9.0.0/28", "lbshop", 2.0))
        self.nets: dict[str, Any] = {}
        for name, number, caps in (("plc", 4, ()), ("hmi", 5, ()), ("attacker", 7, ("net_raw",))):
            leg = InterfacePlan("shop", "eth0", f"10.9.0.{number}", 28, f"02:00:00:00:00:{number:02x}")
            self.nets[name] = MemoryNet(
                self.fabric, self.fabric.add_host(NodePlan(name, (leg,), (), caps=frozenset(caps)))
            )


@pytest.fixture
async def shop() -> AsyncIterator[Segment]:
    made = Segment()
    yield made
    made.fabric.close()
    await asyncio.sleep(0.01)


def cast(shop: Segment, **hmi: Any) -> tuple[Running, Running, Running]:
    plc = plans.filler(9)
    plc_spec = {"logic": "filler", "controller": "filler", "plant": "10.9.0.2", "tags": plans.tags(plans.FillerLogic()), "identity": plans.IDENTITY}  # fmt: skip
    plc.task.cancel()
    device = {
        "name": "filler", "host": "10.9.0.4", "blocks": [{"table": "holding", "address": 0, "count": 10}],
        "tags": [{"name": "fill_setpoint", "table": "holding", "address": 0}],
    }  # fmt: skip
    lab = {"range": "0123456789ab", "networks": ["10.9.0.0/28"]}
    return (
        Running("plc", "modbus_plc", "10.9.0.4", plc_spec, shop.nets["plc"]),
        Running("hmi", "modbus_hmi", "10.9.0.5", {"cycle": 0.2, "view_every": 0.2, "devices": [device], **hmi}, shop.nets["hmi"]),
        Running("attacker", "attack", "10.9.0.7", {"lab": lab}, shop.nets["attacker"]),
    )  # fmt: skip


def setpoint(view: dict[str, Any]) -> Any:
    return view["devices"]["filler"]["values"]["fill_setpoint"]


async def test_arp_is_poisoned_reports_are_kept_back_and_undo_heals(shop: Segment) -> None:
    plc, hmi, attacker = cast(shop)
    async with programs(plc, hmi, attacker):
        await hmi.until(lambda m: m["kind"] == "view" and setpoint(m) == 500, 20)
        spoof = await did(attacker, "arp_spoof", between=["10.9.0.5", "10.9.0.4"])
        believed = {one.ip: one.mac for one in shop.nets["hmi"].neighbours().all()}
        blocked = await did(attacker, "block_reports", seconds=2)
        old = await hmi.until(lambda m: m["kind"] == "view" and (m["devices"]["filler"]["age"] or 0) > 1.5, 30)
        undone = await did(attacker, "undo")
        healed = {one.ip: one.mac for one in shop.nets["hmi"].neighbours().all()}
        hmi.messages.clear()
        await hmi.until(lambda m: m["kind"] == "view" and (m["devices"]["filler"]["age"] or 9) < 1, 60)

    assert (spoof["result"], spoof["as"]) == ("done", "02:00:00:00:00:07")
    assert believed["10.9.0.4"] == "02:00:00:00:00:07"
    assert blocked["result"] == "done"
    assert setpoint(old) == 500
    assert {"healed": ["10.9.0.5", "10.9.0.4"]} in undone["restored"]
    assert healed["10.9.0.4"] == "02:00:00:00:00:04"


async def test_orders_are_kept_back_and_obeyed_again_after_undo(shop: Segment) -> None:
    plc, hmi, attacker = cast(shop)
    order = {"device": "filler", "tag": "fill_setpoint", "value": 510}
    async with programs(plc, hmi, attacker):
        await hmi.until(lambda m: m["kind"] == "view" and setpoint(m) == 500, 20)
        await did(attacker, "arp_spoof", between=["10.9.0.5", "10.9.0.4"])
        blocked = await did(attacker, "block_commands", seconds=1)
        with contextlib.suppress(TimeoutError):  # the operator waits in vain
            await hmi.ask("operate", 8, **order)
        kept = (await plc.ask("read", tag="fill_setpoint"))["values"]
        await did(attacker, "undo")
        hmi.messages.clear()
        await hmi.until(lambda m: m["kind"] == "view" and (m["devices"]["filler"]["age"] or 9) < 1, 60)
        await hmi.ask("operate", 20, **order)
        obeyed = (await plc.ask("read", tag="fill_setpoint"))["values"]

    assert blocked["result"] == "done"
    assert (kept, obeyed) == ([500], [510])


async def test_pinned_neighbours_do_not_believe(shop: Segment) -> None:
    plc, hmi, attacker = cast(shop)
    shop.nets["hmi"].host.permanent["10.9.0.4"] = "02:00:00:00:00:04"
    async with programs(plc, hmi, attacker):
        await did(attacker, "arp_spoof", between=["10.9.0.5", "10.9.0.4"])
        believed = {one.ip: one.mac for one in shop.nets["hmi"].neighbours().all()}

    assert believed["10.9.0.4"] == "02:00:00:00:00:04"


async def test_a_laptop_announces_itself_listens_masquerades_and_floods(shop: Segment) -> None:
    plc, hmi, attacker = cast(shop)
    seen: list[bytes] = []
    await shop.nets["plc"].tap("eth0", lambda batch: seen.extend(frame for _, frame in batch))
    async with programs(plc, hmi, attacker):
        joined = await did(attacker, "join_zone", hostname="NB-SERVICE")
        mask = await did(attacker, "masquerade", address="10.9.0.9", mac="00:0e:8c:11:22:33", hostname="EWS-01")
        heard = await did(attacker, "sniff", seconds=0.5)
        flood = await did(attacker, "flood_syn", host="10.9.0.4", port=502, rate=400, seconds=0.5)
        asked = await did(attacker, "connections")
        await asyncio.sleep(0.05)

    packets = [read_segment(frame) for frame in seen]
    assert any(p is not None and p.dport == 67 and b"NB-SERVICE" in p.payload for p in packets)
    assert any(
        said is not None and said.ip == "10.9.0.9" and said.mac.hex() == "000e8c112233" for said in map(read_arp, seen)
    )
    assert (joined["result"], mask["mac"], heard["result"]) == ("done", "00:0e:8c:11:22:33", "done")
    assert flood["frames"] == 200
    assert sum(p is not None and p.dport == 502 and p.src == "10.9.0.7" and p.flags == 2 for p in packets) == 200
    assert asked["result"] == "done"
