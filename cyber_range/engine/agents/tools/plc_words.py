"""The words of lb-plc: protocols, what can be done in each, and doing it."""

from __future__ import annotations

import hashlib
import importlib
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from cyber_range.engine.agents.context import Net

Setting = tuple[str, type, Any, str]  # option, type, default, meaning
Words = tuple[tuple[str, str], ...]  # positional names, each with its nargs ("" for one)

NAMES = {
    "what": "点位", "value": "值", "block": "程序块", "node": "节点", "topic": "主题", "payload": "内容", "ioa": "信息体地址",
    "object": "对象", "kind": "类型", "index": "序号",
}  # fmt: skip
LOGIN: tuple[Setting, ...] = (("user", str, "", "账号 (user)"), ("password", str, "", "口令 (password)"))
PROTOCOLS: Mapping[str, tuple[str, int, tuple[Setting, ...]]] = {
    "s7": ("S7 控制器", 102, (("slot", int, 2, "插槽 (slot)"), ("password", str, "", "会话口令 (password)"))),
    "enip": ("EtherNet/IP 控制器", 44818, ()),
    "opcua": ("OPC UA 服务器", 4840, LOGIN),
    "104": ("IEC 60870-5-104 子站", 2404, (
        ("common", int, 1, "公共地址 (common address)"), ("type", str, "C_SC_NA_1", "命令类型 (type)"),
        ("select", int, 0, "1：先选择后执行 (select before operate)"),
    )),
    "dnp3": ("DNP3 子站", 20000, (("own", int, 1, "本站链路地址"), ("station", int, 10, "子站链路地址"))),
    "bacnet": ("BACnet 设备", 47808, (
        ("priority", int, 8, "命令优先级 1–16 (priority)"), ("password", str, "", "口令 (password)"),
        ("property", str, "present-value", "属性 (property)"),
    )),
    "mqtt": ("MQTT 代理", 1883, (
        *LOGIN, ("seconds", float, 3.0, "监听秒数 (seconds)"), ("retain", int, 0, "1：保留消息 (retain)"),
        ("client", str, "lb-plc", "客户端名 (client id)"),
    )),
}  # fmt: skip
WORDS: Mapping[str, bool | None] = {"null": None, "true": True, "false": False}  # values that are no numbers (BACnet)
INFO = ("设备标识 (identity)", ())
HASH = ("程序的校验值 (hash of the program)", ())
ACTIONS: Mapping[str, Mapping[str, tuple[str, Words]]] = {
    "s7": {
        "info": INFO, "mode": ("运行方式 (mode)", ()),
        "read": ("读取 (read)", (("what", "+"),)), "write": ("写入 (write)", (("what", ""), ("value", ""))),
        "stop": ("停止 (stop)", ()), "start": ("启动 (start)", ()), "cold": ("冷启动 (cold start)", ()),
        "hash": ("程序块的校验值 (hash)", (("block", "?"),)), "upload": ("上载程序块 (upload)", (("block", ""),)),
        "download": ("下装程序块 (download)", (("block", ""),)), "delete": ("删除程序块 (delete)", (("block", ""),)),
    },
    "enip": {
        "info": INFO, "tags": ("变量表 (tags)", ()), "read": ("读取 (read)", (("what", "+"),)),
        "write": ("写入 (write)", (("what", ""), ("value", ""))), "stop": ("停止 (stop)", ()), "start": ("启动 (start)", ()),
        "reset": ("重启 (reset)", ()), "hash": HASH, "upload": ("上载程序 (upload)", ()), "download": ("下装程序 (download)", ()),
    },
    "opcua": {
        "browse": ("变量表 (browse)", ()), "read": ("读取 (read)", (("node", ""),)),
        "write": ("写入 (write)", (("node", ""), ("value", ""))), "call": ("调用方法 (call)", (("node", ""),)),
    },
    "104": {
        "read": ("总召唤 (general interrogation)", ()), "command": ("命令 (command)", (("ioa", ""), ("value", ""))),
    },
    "dnp3": {
        "read": ("总查询 (integrity poll)", ()),
        "operate": ("控制：output 或 setpoint (control)", (("kind", ""), ("index", ""), ("value", ""))),
        "restart": ("重启 (cold restart)", ()),
    },
    "bacnet": {
        "find": ("查找设备 (who-is, and this address)", ()), "info": INFO, "objects": ("对象表 (objects)", ()),
        "read": ("读取 (read)", (("object", ""),)), "write": ("写入，null 为撤销命令 (write)", (("object", ""), ("value", ""))),
        "priorities": ("优先级表 (priority array)", (("object", ""),)), "restart": ("重启 (reinitialise)", ()),
        "enable": ("恢复通信 (communication on)", ()),
    },
    "mqtt": {
        "listen": ("监听 (listen)", (("topic", "*"),)), "publish": ("发布 (publish)", (("topic", ""), ("payload", ""))),
        "clear": ("清除保留消息 (clear a retained message)", (("topic", ""),)),
    },
}  # fmt: skip


@asynccontextmanager
async def client(opening: Awaitable[Any]) -> AsyncIterator[Any]:
    one = await opening
    try:
        yield one
    finally:
        one.close()


def clients(module: str) -> Any:
    return importlib.import_module(f"cyber_range.engine.agents.clients.{module}")


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text} 不是数") from None


def program(content: bytes) -> dict[str, Any]:
    return {"content": content, "sha256": hashlib.sha256(content).hexdigest()}


def written(where: str, before: Any, after: Any) -> str:
    return f"{where}: {before} → {after}"


async def s7(options: Namespace, net: Net) -> Any:
    async with client(clients("s7").S7Client.open(net, options.host, options.port, slot=options.slot)) as plc:
        if options.password:
            await plc.password(options.password)
        match options.action:
            case "info":
                return {**await plc.identity(), "mode": await plc.mode()}
            case "mode":
                return await plc.mode()
            case "read":
                return {what: await plc.read(what) for what in options.what}
            case "write":
                before = await plc.read(options.what)
                await plc.write(options.what, number(options.value))
                return written(options.what, before, await plc.read(options.what))
            case "stop":
                await plc.stop()
            case "start" | "cold":
                await plc.start(cold=options.action == "cold")
            case "hash":
                return f"SHA-256 {program(await plc.upload(options.block or 'OB1'))['sha256']}"
            case "upload":
                return program(await plc.upload(options.block))
            case "download":
                await plc.download(options.block, options.content)
                return f"已下装 {options.block}，SHA-256 {program(await plc.upload(options.block))['sha256']}"
            case "delete":
                await plc.delete(options.block)
    return "完成"


async def enip(options: Namespace, net: Net) -> Any:
    async with client(clients("enip").EnipClient.open(net, options.host, options.port)) as plc:
        match options.action:
            case "info":
                return await plc.identity()
            case "tags":
                return await plc.tags()
            case "read":
                return dict(zip(options.what, await plc.read(options.what), strict=True))
            case "write":
                before = (await plc.read([options.what]))[0]
                await plc.write(options.what, number(options.value))
                return written(options.what, before, (await plc.read([options.what]))[0])
            case "hash":
                return f"SHA-256 {program(await plc.upload())['sha256']}"
            case "upload":
                return program(await plc.upload())
            case "download":
                await plc.download(options.content)
                return f"已下装，SHA-256 {program(await plc.upload())['sha256']}"
            case "stop":
                await plc.stop()
            case "start":
                await plc.start()
            case "reset":
                await plc.reset()
    return "完成"


async def opcua(options: Namespace, net: Net) -> Any:
    opening = clients("_opcua").OpcUaClient.open(net, options.host, options.port, options.user, options.password)
    async with client(opening) as server:
        match options.action:
            case "browse":
                return await server.browse(500)
            case "read":
                return {options.node: await server.read(options.node)}
            case "write":
                before = await server.read(options.node)
                await server.write(options.node, number(options.value))
                return written(options.node, before, await server.read(options.node))
        await server.call(options.node)
    return "完成"


async def iec104(options: Namespace, net: Net) -> Any:
    opening = clients("iec104").Iec104Client.connect(net, options.host, options.port, common=options.common)
    async with client(opening) as station:
        if options.action == "read":
            points = await station.interrogate()
            return {str(at): f"{value:g} {kind}" for at, (kind, value) in sorted(points.items())}
        await station.command(
            options.type, int(number(options.ioa)), number(options.value), select=bool(options.select)
        )
    return "已确认"


async def dnp3(options: Namespace, net: Net) -> Any:
    opening = clients("dnp3").Dnp3Client.open(net, options.host, options.port, own=options.own, station=options.station)
    async with client(opening) as station:
        if options.action == "read":
            return await station.integrity()
        if options.action == "restart":
            await station.restart(cold=True)
            return "已确认"
        await station.operate(options.kind, int(number(options.index)), number(options.value))
    return "已确认"


async def bacnet(options: Namespace, net: Net) -> Any:
    async with client(clients("bacnet").BacnetClient.open(net)) as station:
        host = options.host
        match options.action:
            case "find":
                found = await station.who_is([host])
                return {str(device): where for device, where in found.items()}
            case "info":
                return await station.identity(host)
            case "objects":
                return "\n".join(await station.objects(host))
            case "read":
                return {options.object: await station.read(host, options.object, options.property)}
            case "write":
                value = WORDS[options.value] if options.value in WORDS else number(options.value)
                before = await station.read(host, options.object, options.property)
                await station.write(host, options.object, value, priority=options.priority, what=options.property)
                return written(options.object, before, await station.read(host, options.object, options.property))
            case "priorities":
                return {str(level): value for level, value in (await station.priorities(host, options.object)).items()}
            case "restart":
                await station.reinitialise(host, options.password)
            case "enable":
                await station.communicate(host, "enable", 0, options.password)
    return "完成"


async def mqtt(options: Namespace, net: Net) -> Any:
    opening = clients("mqtt").MqttClient.connect(
        net, options.host, options.port, client=options.client, user=options.user, password=options.password
    )
    async with client(opening) as broker:
        if options.action == "listen":
            heard = await broker.listen(options.topic or ["#"], options.seconds)
            return "\n".join(f"{topic} {payload.decode('utf-8', 'replace')}" for topic, payload in heard) or "没有消息"
        payload = b"" if options.action == "clear" else options.payload.encode()
        await broker.publish(options.topic, payload, retain=options.action == "clear" or bool(options.retain), qos=1)
    return "已发布"


RUN: Mapping[str, Callable[[Namespace, Net], Awaitable[Any]]] = {
    "s7": s7, "enip": enip, "opcua": opcua, "104": iec104, "dnp3": dnp3, "bacnet": bacnet, "mqtt": mqtt,
}  # fmt: skip
