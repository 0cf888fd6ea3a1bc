"""A broker, a machine and a panel on real sockets, and paho-mqtt as the client."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cyber_range.engine.agents.mqtt_link import MqttLink, NotAccepted
from cyber_range.engine.agents.mqtt_packets import Bare, Connect, Publish, Will, pack
from tests.cyber_range.engine.agents import stations
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs
from tests.cyber_range.engine.agents.test_iec104 import real_client, shows

PAHO = Path(__file__).parent / "clients" / "paho_client.py"
PANEL = {"user": "panel", "password": b"p-secret"}


SEEN = {  # by paho_client.py
    "refused": [0x87, 0x86, 0x86],  # paho speaks of version 5: not authorised, bad user name or password
    "granted": [2, 1, 0],
    "not granted": [0x80, 1, 2],
    "received": [
        ["$SYS/broker/version", "lianbing broker 1.0", 0, True],
        ["a/b/c", "zero", 0, False], ["a/b/c", "one", 1, False], ["a/b/c", "two", 2, False],
    ],
    "visitor": [["factory/tank/tags/level", "7", 1, False], ["own/visitor/x", "mine", 2, False]],
    "retained": [["factory/tank/other", "no", 0, True], ["factory/tank/tags/level", "7", 0, True]],
    "after clearing": [["factory/tank/tags/level", "7", 1, True]],
    "will": [["a/will", "gone", 1, False]],
    "kept": [False, True, [number for number in range(30) if number % 3], True],
    "taken over": [False, True],
    "version 5": ["Unsupported protocol version"],
}  # fmt: skip


async def test_the_paho_client_publishes_and_receives() -> None:
    broker = Running("broker", "mqtt_broker", "127.51.0.4", stations.broker())
    async with programs(broker):
        seen = await real_client(PAHO, "127.51.0.4", "1883")
        failed = broker.of("login_failed")

    assert seen == SEEN
    assert [failure["user"] for failure in failed] == ["", "panel", "nobody"]


async def test_a_machine_reports_and_takes_commands() -> None:
    broker = Running("broker", "mqtt_broker", "127.52.0.4", stations.broker())
    machine = Running("press", "mqtt_device", "127.52.0.5", stations.mqtt_machine("127.52.0.4"))
    panel = Running("panel", "mqtt_panel", "127.52.0.6", stations.mqtt_panel("127.52.0.4"))
    heard: list[Publish] = []
    async with programs(broker, machine, panel):
        watcher = await opened("127.52.0.9", "127.52.0.4", heard.append)
        await watcher.subscribe(("factory/tank/ack", 1), ("factory/tank/status", 1))
        await panel.until(shows("level_setpoint", 60.0), 20)
        done = await panel.ask("operate", device="station", tag="level_setpoint", value=44)
        refused = await panel.ask("operate", device="station", tag="nosuch", value=1)
        await panel.until(shows("level_setpoint", 44.0))
        for topic, payload in [("set/interlock", b"0"), ("set/auto", b'{"value": 0}'), ("set/auto", b"off")]:
            await watcher.publish(f"factory/tank/{topic}", payload, qos=2)
        await watcher.publish("factory/tank/command", b"restart")
        await machine.until("restarted")
        await until(lambda: len([m for m in heard if m.topic.endswith("status")]) == 3)
        await until(lambda: '{"command":"restart","ok":true}' in acks(heard))
        inside = await machine.ask("read", tags=["level_setpoint", "interlock"])
        written = await machine.until("written")
        kept = await broker.ask("retained", topic="factory/tank/tags/level_setpoint")
        watcher.leave()

    assert (done["published"], inside["values"]) == (True, [44.0, 1.0])
    assert refused["error"] == "LookupError: station shows no tag 'nosuch'; it shows: auto, level, level_setpoint"
    assert written["writes"][0] == {
        "tag": "level_setpoint", "value": 44.0, "topic": "factory/tank/set/level_setpoint",
    }  # fmt: skip
    assert kept["retained"] == {"factory/tank/tags/level_setpoint": "44"}
    assert list(dict.fromkeys(acks(heard))) == [  # one may come twice: QoS 1 over a connection that was cut
        '{"tag":"level_setpoint","value":44.0,"ok":true}',
        '{"tag":"interlock","ok":false,"error":"tags are: auto, level_setpoint, valve_manual"}',
        '{"tag":"auto","value":0.0,"ok":true}',
        '{"tag":"auto","ok":false,"error":"send a number or {\\"value\\": number}"}',
        '{"command":"restart","ok":true}',
    ]
    assert [m.payload for m in heard if m.topic.endswith("status")] == [b"online", b"offline", b"online"]


def acks(heard: list[Publish]) -> list[str]:
    return [message.payload.decode() for message in heard if message.topic == "factory/tank/ack"]


async def test_a_machine_outlives_its_broker() -> None:
    machine = Running("press", "mqtt_device", "127.53.0.5", stations.mqtt_machine("127.53.0.4"))
    async with programs(machine):
        await machine.until(lambda m: m["kind"] == "broker" and not m["connected"])
        broker = Running("broker", "mqtt_broker", "127.53.0.4", stations.broker())
        async with programs(broker):
            await machine.until(lambda m: m["kind"] == "broker" and m["connected"], 20)


async def test_silence_for_one_and_a_half_keep_alives_ends_a_connection_with_its_will() -> None:
    broker = Running("broker", "mqtt_broker", "127.54.0.4", {})
    heard: list[Publish] = []
    async with programs(broker):
        watcher = await opened("127.54.0.9", "127.54.0.4", heard.append, anonymous=True)
        await watcher.subscribe(("will", 0))
        reader, writer = await asyncio.open_connection("127.54.0.4", 1883)
        writer.write(pack(Connect("mute", keep_alive=1, will=Will("will", b"silent"))))
        async with asyncio.timeout(20):
            assert await reader.read() == b"\x20\x02\x00\x00"
        await until(lambda: bool(heard))
        writer.close()
        watcher.leave()

    assert heard == [Publish("will", b"silent")]


@pytest.mark.parametrize(
    "wrong",
    [
        b"\0", b"\x30\x00", b"\xff" * 20, b"\x10\xff\xff\xff\xff\x01", pack(Publish("a", b"b")), pack(Bare(12)),
        pack(Connect("x")) * 2, pack(Connect("x")) + b"\x82\x02\x00\x00", b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x3c\x00\x00",
        pack(Connect("x")) + b"\x36\x05\x00\x01a\x00\x01",
    ],
)  # fmt: skip
async def test_a_client_that_breaks_the_rules_loses_its_connection(wrong: bytes) -> None:
    broker = Running("broker", "mqtt_broker", "127.55.0.4", {})
    async with programs(broker):
        reader, writer = await asyncio.open_connection("127.55.0.4", 1883)
        writer.write(wrong)
        async with asyncio.timeout(20):
            await reader.read()
        writer.close()
        good = await opened("127.55.0.9", "127.55.0.4", lambda message: None, anonymous=True)
        good.leave()


async def test_a_refused_login_takes_over_nothing() -> None:
    broker = Running("broker", "mqtt_broker", "127.56.0.4", stations.broker())
    async with programs(broker):
        right = await opened("127.56.0.9", "127.56.0.4", lambda message: None)
        with pytest.raises(NotAccepted, match="user or password"):
            await MqttLink.open(
                LoopbackNet("127.56.0.8"), "127.56.0.4", 1883, Connect("probe", user="panel", password=b"guess")
            )
        await right.publish("a", b"b", qos=1)
        clients = await broker.ask("clients")
        right.leave()

    assert clients["clients"] == [{"client": "probe", "user": "panel", "connected": True, "address": "127.56.0.9"}]


async def opened(own: str, host: str, on_message: object, *, anonymous: bool = False) -> MqttLink:
    login = {} if anonymous else PANEL
    connect = Connect("probe", **login)  # type: ignore[arg-type]
    return await MqttLink.open(LoopbackNet(own), host, 1883, connect, on_message)  # type: ignore[arg-type]


async def until(condition: object, seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110 - what is awaited is a list
            await asyncio.sleep(0.02)
