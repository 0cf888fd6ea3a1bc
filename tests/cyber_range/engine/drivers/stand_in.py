"""A node program that no test of a driver needs to know the agents for: it does what its spec or a command says.

Commands: {"do": "echo", …} → reply; {"do": "call", "host", "port"} → what a TCP peer answered; {"do": "grow", "mib"};
{"do": "chatter", "count"}; {"do": "frames", "zone", "seconds"} (hub); {"do": "exit", "code"}.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


def serve(use: str, spec: Mapping[str, Any], read_fd: int, write_fd: int) -> int:
    return asyncio.run(live(use, spec, read_fd, write_fd))


async def live(use: str, spec: Mapping[str, Any], read_fd: int, write_fd: int) -> int:
    def emit(kind: str, **data: Any) -> None:
        os.write(write_fd, json.dumps({"kind": kind, **data}).encode() + b"\n")

    if use == "modbus":
        device = SimDevice(1, [SimData(0, values=[7] * 10, datatype=DataType.REGISTERS)])
        await ModbusTcpServer(device, address=("0.0.0.0", 502)).serve_forever(background=True)
    elif use == "echo":
        await asyncio.start_server(echo, "0.0.0.0", int(spec.get("port", 7)))
    elif use == "master":
        asked = asyncio.get_running_loop().create_task(poll(spec["targets"], emit))
    elif use == "crash":
        sys.stderr.write("the pump is dry\n")
        return 3
    emit("ready", spec=dict(spec))
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", buffering=0)
    )
    hoard: list[Any] = [asked] if use == "master" else []
    while line := await reader.readline():
        command = json.loads(line)
        do = command["do"]
        if do == "echo":
            emit("reply", **command)
        elif do == "call":
            emit("reply", id=command.get("id"), answer=await call(command["host"], command["port"]))
        elif do == "grow":
            hoard.append(bytearray(os.urandom(1) * (command["mib"] << 20)))
            emit("reply", id=command.get("id"))
        elif do == "chatter":
            for number in range(command["count"]):
                emit("telemetry", number=number)
        elif do == "frames":
            emit("reply", id=command.get("id"), frames=await frames(spec["taps"][command["zone"]], command["seconds"]))
        elif do == "exit":
            transport.close()
            return int(command["code"])
    transport.close()
    return 0


READ_TWO = bytes.fromhex("000100000006010300000002")


async def poll(targets: list[str], emit: Any) -> None:
    """Reads two registers of each target once a second over connections that stay; says how many answered each round."""
    links = [await connected(target) for target in targets]
    while True:
        answers = 0
        for _, writer in links:
            writer.write(READ_TWO)
        for reader, _ in links:
            answers += len(await asyncio.wait_for(reader.readexactly(13), 30.0)) == 13
        emit("polled", answers=answers)
        await asyncio.sleep(1.0)


async def connected(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Servers start beside their master and may not listen yet."""
    while True:
        try:
            return await asyncio.open_connection(target, 502)
        except OSError:
            await asyncio.sleep(0.1)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


async def call(host: str, port: int) -> str:
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 1.0)
        writer.write(b"hello")
        answer = await asyncio.wait_for(reader.read(100), 1.0)
        writer.close()
        return answer.decode()
    except (OSError, TimeoutError) as exc:
        return type(exc).__name__


async def frames(device: str, seconds: float) -> int:
    """Frames seen on a bridge, promiscuously, for a while."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tap:
        tap.bind((device, 0))
        tap.setsockopt(263, 1, socket.if_nametoindex(device).to_bytes(4, sys.byteorder) + b"\1\0\0\0" + bytes(8))
        tap.setblocking(False)
        await asyncio.sleep(seconds)
        count = 0
        while True:
            try:
                tap.recv(65536)
            except BlockingIOError:
                return count
            count += 1
