"""A BACnet device and its supervisor on real sockets, bacpypes3's own client and nmap's script."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import skip_or_fail
from tests.cyber_range.engine.agents import stations
from tests.cyber_range.engine.agents.loopback import Running, programs
from tests.cyber_range.engine.agents.test_iec104 import real_client, shows

BACPYPES = Path(__file__).parent / "clients" / "bacnet_client.py"
READ_MODEL = bytes.fromhex("810a001101040005010c0c023fffff1946")  # nmap's question for the model name
ALIVE = b"HD-CS12"
IDENTITY = (  # lines of nmap's bacnet-info
    "47808/udp open  bacnet", "Vendor ID: ", "(999)", "Vendor Name: Hengda Automation", "Object-identifier: 3401",
    "Firmware: 3.2.1", "Application Software: CS 1.8", "Object Name: COLD-STORE-2", "Model Name: HD-CS12",
    "Location: Cold store 2",
)  # fmt: skip
OBJECTS = [
    "device,3401", "analog-value,1", "analog-output,1", "binary-value,1", "binary-output,1", "analog-input,1",
    "analog-input,2", "binary-input,1", "network-port,1",
]  # fmt: skip


def what_the_client_saw(host: str, *, foreign: int = 0x30) -> dict[str, Any]:
    """The whole answer of bacnet_client.py."""
    return {
        "i-am": [[3401, host, 999, 1024]],
        "i-have": [["device,3401", "analog-value,1", "level_setpoint"]],
        "identity": ["COLD-STORE-2", "Hengda Automation", "HD-CS12", "3.2.1", "Cold store 2", "B-4477"],
        "objects": OBJECTS,
        "first": [60.0, 1],
        "units": 98,
        "many": ["present-value", "priority-array", "file-size", "unknown-property"],
        "everything": [[name, True] for name in OBJECTS],
        "wrote": [None, None],
        "priority 8 wins": [41.5],
        "released": [None, 55.0],
        "binary": [None, 0, None, 0],
        "denied": ["property: write-access-denied", "object: unknown-object"],
        "changes": [55.0, 56.5],
        "foreign": foreign,
        "wrong password": "security: password-failure",
        "silenced": "SimpleAckPDU",
        "silent": "no-response",
        "speaks": "SimpleAckPDU",
        "again": 55.0,
        "restart": "SimpleAckPDU",
    }


async def test_the_bacpypes_client_reads_writes_and_restarts() -> None:
    unit = Running("cold", "bacnet_device", "127.61.0.4", stations.cold_store())
    async with programs(unit):
        seen = await real_client(
            BACPYPES, "127.61.0.9/24:47809", "127.61.0.4"
        )  # on the loopback bacpypes3 takes its own port for itself
        await unit.until("restarted")
        inside = await unit.ask("read", tags=["level_setpoint", "interlock"])
        written = unit.of("written")[0]["writes"][0]
        again = await model_name("127.61.0.4")

    assert seen == what_the_client_saw("127.61.0.4")
    assert inside["values"] == [55.0, 1.0]  # set-points are retentive, switches are not
    assert written == {
        "tag": "level_setpoint", "value": 41.5, "object": "analog-value,1", "priority": 8, "source": "127.61.0.9",
    }  # fmt: skip
    assert ALIVE in again


async def test_nmap_finds_a_plausible_identity() -> None:
    if shutil.which("nmap") is None:
        skip_or_fail("nmap: apt-get install nmap")
    unit = Running("cold", "bacnet_device", "127.62.0.4", stations.cold_store())
    async with programs(unit):
        process = await asyncio.create_subprocess_exec(
            "nmap", "-sU", "-Pn", "-n", "-p", "47808", "--script", "bacnet-info", "127.62.0.4",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), 120)

    assert [line for line in IDENTITY if line not in out.decode()] == []


async def test_the_supervisor_shows_and_commands() -> None:
    unit = Running("cold", "bacnet_device", "127.63.0.4", stations.cold_store())
    bms = Running("bms", "bacnet_bms", "127.63.0.5", stations.bms("127.63.0.4"))
    async with programs(unit, bms):
        await bms.until(shows("level_setpoint", 60.0), 20)
        done = await bms.ask("operate", device="station", tag="level_setpoint", value=37.5)
        await bms.ask("operate", device="station", tag="auto", value=0)
        await bms.until(shows("level_setpoint", 37.5))
        await bms.until(shows("auto", 0.0))
        refused = await bms.ask("operate", device="station", tag="level", value=1)
        inside = await unit.ask("read", tags=["level_setpoint", "auto"])
        found = await bms.ask("who_is")

    assert (done["priority"], inside["values"]) == (8, [37.5, 0.0])
    assert "write-access-denied" in refused["error"]
    assert found["devices"] == {}  # the loopback of these tests carries no broadcasts


async def test_a_broadcast_manager_registers_strangers_until_its_door_is_closed() -> None:
    unit = Running(
        "cold", "bacnet_device", "127.64.0.4", stations.cold_store(bbmd={"peers": ["127.64.1.4"]}, password="")
    )
    async with programs(unit):
        opened = await datagram("127.64.0.4", bytes.fromhex("810500060e10"))
        table = await unit.ask("bbmd")
        read_bdt = await datagram("127.64.0.4", bytes.fromhex("81020004"))
        read_fdt = await datagram("127.64.0.4", bytes.fromhex("81060004"))
        write_bdt = await datagram("127.64.0.4", bytes.fromhex("8101000e7f4000e4bac0ffffffff"))
        unknown = await datagram("127.64.0.4", bytes.fromhex("8109000c0120ffff00ff1008"), own="127.64.0.8")
        closing = bytes.fromhex("810a001901040005020f0c0e0000011a019d3e103f")  # network-port 1, property 413 := false
        closed_by = await datagram("127.64.0.4", with_length(closing))
        await unit.until("bbmd")
        closed = await datagram("127.64.0.4", bytes.fromhex("810500060e10"))
        after = await unit.ask("bbmd")

    assert opened.hex() == "810000060000"
    assert (table["accept_foreign"], table["peers"]) == (True, ["127.64.0.4", "127.64.1.4"])
    assert table["foreign"][0].startswith("127.64.0.9")
    assert read_bdt.hex() == "81030018" + "7f400004bac0ffffffff" + "7f400104bac0ffffffff"
    assert read_fdt[:4].hex() == "8107000e"
    assert (write_bdt.hex(), unknown.hex()) == ("810000060010", "810000060060")
    assert closed_by[6:8].hex() == "2002"
    assert closed.hex() == "810000060030"
    assert (after["accept_foreign"], after["foreign"]) == (False, [])


async def test_an_input_out_of_service_shows_what_is_written_to_it() -> None:
    """How a supervisor is deceived: the object lies, the controller does not."""
    unit = Running("cold", "bacnet_device", "127.67.0.4", stations.cold_store())
    service, value = "810a001801040005010f0c000000011951", "810a001b01040005010f0c000000011955"
    async with programs(unit):
        refused = await datagram("127.67.0.4", with_length(bytes.fromhex(value + "3e4442280000" + "3f")))
        taken_out = await datagram("127.67.0.4", with_length(bytes.fromhex(service + "3e113f")))
        written = await datagram("127.67.0.4", with_length(bytes.fromhex(value + "3e4442280000" + "3f")))
        shown = await datagram("127.67.0.4", bytes.fromhex("810a001101040005010c0c000000011955"))
        inside = await unit.ask("read", tag="level")

    assert refused[6:].hex() == "50010f91029128"  # property: write access denied
    assert (taken_out[6:].hex(), written[6:].hex()) == ("20010f", "20010f")
    assert shown[-6:].hex() == "44422800003f"
    assert inside["values"] == [0.0]


@settings(max_examples=3, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=20, max_size=60), st.randoms(use_true_random=False))
def test_any_datagram_leaves_the_device_serving(noise: list[bytes], chance: Any) -> None:
    async def law() -> None:
        unit = Running("cold", "bacnet_device", "127.65.0.4", stations.cold_store(bbmd={}))
        async with programs(unit):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind(("127.65.0.8", 0))
                for data in noise:
                    broken = bytearray(READ_MODEL)
                    broken[chance.randrange(4, len(broken))] = chance.randrange(256)
                    npdu = b"\x01\x04\x00\x05\x02" + data
                    for packet in (data, bytes(broken), b"\x81\x0a" + (4 + len(npdu)).to_bytes(2, "big") + npdu):
                        sender.sendto(packet, ("127.65.0.4", 47808))
                    await asyncio.sleep(0)
            for _ in range(50):
                if ALIVE in await model_name("127.65.0.4"):
                    break

            assert ALIVE in await model_name("127.65.0.4")

    asyncio.run(law())


def with_length(packet: bytes) -> bytes:
    return packet[:2] + len(packet).to_bytes(2, "big") + packet[4:]


async def model_name(host: str) -> bytes:
    return await datagram(host, READ_MODEL)


async def datagram(host: str, data: bytes, own: str = "127.64.0.9") -> bytes:
    """The answer to one datagram."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((own, 0))
        await loop.sock_sendto(sock, data, (host, 47808))
        try:
            return await asyncio.wait_for(loop.sock_recv(sock, 2000), 5)
        except TimeoutError:
            return b""
