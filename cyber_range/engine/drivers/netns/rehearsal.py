"""Runs a controller in the warm process a few times before anything is forked from it, on no network at all.

The interpreter rewrites a function's code while it is first called, fills caches, makes types and signal tables. Done here
once, these pages stay shared; done in each fork they would be copied: a third of what a node costs in time and memory.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from typing import Any

from cyber_range.engine.drivers.netns import confine, gathering, linux, rtnetlink, wire
from cyber_range.engine.plan import Limits
from cyber_range.engine.process.controllers import LOGICS

RUNNER = "cyber_range.engine.agents.runner"
GETPPID = {"x86_64": 110, "aarch64": 173}
EARNEST_SECONDS = 10  # a tenth of one on an idle machine
SCAN_SECONDS = 0.1  # of a controller
ROUNDS = 20  # a function is rewritten at its eighth call, and each of its instructions some calls later
READ_TEN_REGISTERS = bytes.fromhex("00010000000601030000000a")


class Rehearsed(Exception):
    """Ends a program that has said `ready`."""


class NoNet:
    """As much of `NodeContext.net` as a controller asks for. Nothing listens and nothing is sent."""

    def __init__(self) -> None:
        self.factory: Callable[[], asyncio.Protocol] | None = None

    async def create_server(self, factory: Callable[[], asyncio.Protocol], port: int) -> NoNet:
        self.factory = factory
        return self

    async def udp(self, local_port: int, on_datagram: object = None) -> NoNet:
        return self

    def send(self, data: bytes, host: str, port: int) -> None:
        return None

    def close(self) -> None:
        return None

    async def asked(self) -> None:
        """One request of a master, in memory."""
        if self.factory is None:
            return
        protocol, wire = self.factory(), NoWire()
        protocol.connection_made(wire)
        protocol.data_received(READ_TEN_REGISTERS)
        for _ in range(20):  # turns of the loop; the answer takes a few
            await asyncio.sleep(0)
        wire.close()
        protocol.connection_lost(None)


class NoWire(asyncio.Transport):
    """The far side of a connection that is not there."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 502) if name in ("peername", "sockname") else default

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        return None

    def close(self) -> None:
        return None

    abort = close


def controller() -> dict[str, Any]:
    """A spec with every key a controller must have; the plant's address is of the block for documentation."""
    name = sorted(LOGICS)[0]
    tags = {tag.name: {"address": index} for index, tag in enumerate(LOGICS[name]().tags)}
    return {"logic": name, "controller": name, "tags": tags, "plant": "192.0.2.1", "identity": {"vendor": "none"}}


async def one_controller(runner: Any, store: str) -> None:
    """A program on no network from its first line to its last."""
    net, inbox = NoNet(), asyncio.Queue[dict[str, Any] | None]()

    def emit(message: dict[str, Any]) -> None:
        if message["kind"] == "ready":
            inbox.put_nowait({"kind": "read", "id": 1, "table": "holding", "address": 0, "count": 2})
        elif message["kind"] == "reply":
            asyncio.get_running_loop().create_task(rest())
        elif message["kind"] == "error":
            raise Rehearsed(message["what"])

    async def rest() -> None:
        await net.asked()
        inbox.put_nowait(None)

    await asyncio.wait_for(
        runner.run_inside("none", "modbus_plc", {**controller(), "store": store}, net, inbox, emit), 5.0
    )


def rehearse(skipped: dict[str, str]) -> None:
    """Whatever goes wrong is noted like a module that could not be preloaded: nodes then start slower, nothing else."""
    try:
        runner = importlib.import_module(RUNNER)
        with tempfile.TemporaryDirectory() as store:

            def once() -> None:
                asyncio.run(one_controller(runner, store))
                through_pipes(runner, store)
                words_of_an_init(store)

            gathering.gather(gathering.called(once) | in_earnest(runner, store), __package__)
            for _ in range(ROUNDS):
                once()
            for _ in range(ROUNDS):
                words_of_an_init(store)
    except Exception as exc:  # a changed program must not stop the others
        skipped["rehearsal"] = f"{type(exc).__name__}: {exc}"


def words_of_an_init(store: str) -> None:
    """What every node's first process says and does, as far as it can be done here and changes nothing."""
    ours, theirs = wire.pair()
    with ours, theirs:
        memory = wire.in_memory(b'{"node": "none", "spec": {}}')
        wire.send(ours, {"id": 1, "verb": "program", "job": 1, "name": "none"}, [memory])
        os.close(memory)
        received = wire.receive(theirs)
        for fd in received[1] if received else ():
            wire.read_memory(fd)
        wire.send(theirs, {"id": 1, "ok": True})
        wire.receive(ours)
    fence = confine.Fence.from_dict(confine.Fence.of(Limits(), frozenset()).as_dict())
    confine.capabilities(fence.caps)
    linux.prctl(linux.PR_SET_DUMPABLE, 1)
    linux.syscall("getppid", GETPPID[linux.MACHINE])
    linux.write_text("/dev/null", linux.read_text("/proc/self/stat"))
    path = os.path.join(store, "none")
    os.makedirs(path, exist_ok=True)
    os.rmdir(path)
    with rtnetlink.Netlink() as kernel:
        kernel.links()


def through_pipes(runner: Any, store: str) -> None:
    """The runner's own reading and writing of lines, with a program that needs no network: it waits for commands."""
    commands, to_program = os.pipe()
    from_program, messages = os.pipe()
    try:
        os.write(to_program, b'{"kind": "clock", "speed": 1.0, "at": 0.0, "id": 1}\n')
        os.close(to_program)
        to_program = -1
        runner.serve("probe", {"store": store}, commands, messages, "none")
    finally:
        for fd in (commands, to_program, from_program, messages):
            if fd >= 0:
                os.close(fd)


def in_earnest(runner: Any, store: str) -> set[int]:
    """The code (by identity) that a controller runs on a real network, with its master: in a child, in namespaces of its own.

    Empty where the kernel forbids them: a range cannot be made then either.
    """
    told, telling = os.pipe()
    user, group = os.geteuid(), os.getegid()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(EARNEST_SECONDS)
            linux.null_stdio()
            linux.set_dumpable(True)
            linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNET)
            linux.new_user_namespace_maps(0, user, group)
            with rtnetlink.Netlink() as kernel:
                kernel.up("lo")
            codes = gathering.called(lambda: with_a_master(runner, store))
            with os.fdopen(telling, "w") as report:
                json.dump([*codes], report)
        finally:
            os._exit(0)
    os.close(telling)
    with os.fdopen(told, encoding="ascii") as report:
        text = report.read()
    os.waitpid(pid, 0)
    return set(json.loads(text)) if text else set()


def with_a_master(runner: Any, store: str) -> None:
    """Goes on in a child, as a program does (libraries have words to say after a fork); its parent is the master."""
    commands, to_program = os.pipe()
    from_program, messages = os.pipe()
    if os.fork():
        try:
            os.close(messages)
            with os.fdopen(from_program, "rb") as lines:
                lines.readline()  # it is ready
                with socket.create_connection(("127.0.0.1", 502), EARNEST_SECONDS) as link:
                    link.sendall(READ_TEN_REGISTERS)
                    link.recv(100)
                os.write(to_program, b'{"kind": "read", "id": 1, "table": "holding", "address": 0, "count": 2}\n')
                lines.readline()
                time.sleep(2 * SCAN_SECONDS)
        finally:
            os._exit(0)
    signal.alarm(EARNEST_SECONDS)
    os.close(to_program)
    runner.serve("modbus_plc", {**controller(), "plant": "127.0.0.1", "store": store}, commands, messages, "none")
