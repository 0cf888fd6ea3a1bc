"""The driver's hold on its warm process (zygote): started when first needed, started anew when it died, ended with us."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cyber_range.engine.drivers.netns import wire
from cyber_range.engine.drivers.netns.probe import look
from cyber_range.engine.drivers.netns.sweep import Owner
from cyber_range.engine.drivers.netns.terminal import settle
from cyber_range.engine.errors import DriverError, DriverUnavailable
from cyber_range.engine.plan import Limits

PROJECT = str(Path(__file__).resolve().parents[4])  # what holds the package cyber_range
TITLE_ROOM = "-" * 96  # argv bytes the zygote and its children write their titles into
AGENTS = "cyber_range.engine.agents"
START_SECONDS = 60.0  # imports on a cold disk


class WarmProcess:
    """`skipped` names modules it could not preload, with the reason; their nodes import them themselves, and slower."""

    def __init__(self, owner: Owner, user: str | int | None, preload: Sequence[str], execed: Sequence[str]) -> None:
        self._config = {"owner": str(owner), "user": user, "preload": list(preload), "execed": list(execed)}
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._starting = asyncio.Lock()
        self.skipped: Mapping[str, str] = {}

    @property
    def pid(self) -> int:
        """0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def cannot_fork(self, use: str) -> bool:
        """Whether the warm process lacks that program, so that an interpreter of its own must load it."""
        return f"{AGENTS}.{use}" in self.skipped

    async def start(self) -> None:
        """Nothing happens when it runs. DriverUnavailable says why it cannot."""
        async with self._starting:
            if self._socket is not None:
                return
            await self.stop()
            ours, theirs = wire.pair()
            environment = {
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG": "C.UTF-8",
                "PYTHONPATH": PROJECT,
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONWARNINGS": "ignore::DeprecationWarning",
            }
            try:
                # Popen takes a millisecond; asyncio's own would keep a child watcher for a process we watch by its socket
                self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own module, by our own interpreter
                    [
                        sys.executable,
                        "-P",
                        "-s",
                        "-m",
                        "cyber_range.engine.drivers.netns.zygote",
                        str(theirs.fileno()),
                        TITLE_ROOM,
                    ],
                    pass_fds=(theirs.fileno(),),
                    env=environment,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as exc:
                ours.close()
                raise DriverUnavailable(
                    f"The warm process cannot be started: {exc}",
                    remedy=f"{sys.executable} must be executable for this user",
                ) from exc
            finally:
                theirs.close()
            ours.setblocking(False)
            wire.send(ours, self._config)
            try:
                answer = await asyncio.wait_for(first_answer(ours), START_SECONDS)
            except BaseException as exc:
                ours.close()
                await self.stop()
                if not isinstance(exc, TimeoutError):
                    raise
                answer = {"error": f"no answer in {START_SECONDS:.0f} s"}
            if answer.get("event") != "ready":
                ours.close()
                await self.stop()
                raise DriverUnavailable(
                    f"The warm process failed: {answer.get('error')}",
                    remedy=str(answer.get("remedy", "")) or (await look()).remedy,
                )
            self.skipped = dict(answer["skipped"])
            self._socket = ours
            asyncio.get_running_loop().add_reader(ours, self._ended)

    def _ended(self) -> None:
        """It speaks only once; anything readable now is its end. Its ranges die with it and tell us themselves."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def fork_range(self, range_id: str, number: int, limits: Limits, control: int, death: int) -> None:
        """Asks for a new range; it answers on its own control socket. `number` is what `kill_range` knows it by."""
        try:
            if self._socket is None:
                raise BrokenPipeError("it has just ended")
            wire.send(
                self._socket,
                {"verb": "open", "range": range_id, "number": number, "limits": asdict(limits)},
                [control, death],
            )
        except OSError as exc:
            raise DriverError(
                f"Range {range_id} could not be opened: the warm process is gone ({exc})", remedy="Try again"
            ) from exc

    def kill_range(self, range_id: str, number: int) -> None:
        """The hard way, for a range whose supervisor does not end by itself."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                wire.send(self._socket, {"verb": "kill", "number": number})

    async def stop(self) -> None:
        self._ended()
        process, self._process = self._process, None
        if process is None:
            return
        for attempt in range(100):
            if process.poll() is not None:
                return
            if attempt == 50:
                process.kill()
            await asyncio.sleep(0.005 if attempt < 50 else 0.05)


async def first_answer(sock: socket.socket) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
    try:
        received = wire.receive(sock)
    except ConnectionResetError:
        received = None
    return {"error": "it ended while starting"} if received is None else received[0]
