"""A way inside through one SSH session: byte streams to what the far side lets its account reach, and its console."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh

from cyber_range.engine.agents.context import Net
from cyber_range.engine.attack.ways import Channel

CONSOLE = 10.0  # s for a command at a console
LOGIN = 15  # s


class StreamChannel:
    """asyncssh's or asyncio's reader and writer as a channel."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self, count: int, timeout: float) -> bytes:
        try:
            return bytes(await asyncio.wait_for(self._reader.readexactly(count), timeout))
        except asyncio.IncompleteReadError as exc:
            raise ConnectionResetError("closed by the far side") from exc

    async def line(self, timeout: float) -> bytes:
        data: bytes = await asyncio.wait_for(self._reader.readline(), timeout)
        if not data:
            raise ConnectionResetError("closed by the far side")
        return data

    async def rest(self, timeout: float) -> bytes:
        return bytes(await asyncio.wait_for(self._reader.read(-1), timeout))

    async def some(self) -> bytes:
        return bytes(await self._reader.read(65536))

    def close(self) -> None:
        self._writer.close()


class SshWay:
    """Port forwarding through one SSH session (`attack.ways.Way`)."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection

    @property
    def alive(self) -> bool:
        return not self._connection.is_closed()

    async def open(self, host: str, port: int, timeout: float) -> Channel:
        try:
            reader, writer = await asyncio.wait_for(
                self._connection.open_connection(host, port, encoding=None), timeout + 2
            )
        except asyncssh.ChannelOpenError as exc:
            if exc.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                raise PermissionError(exc.reason) from exc
            if "timed out" in exc.reason:
                raise TimeoutError(exc.reason) from exc
            raise ConnectionRefusedError(exc.reason) from exc
        except asyncssh.Error as exc:
            raise ConnectionResetError(str(exc)) from exc
        return StreamChannel(reader, writer)

    async def run(self, command: str) -> tuple[int, str]:
        try:
            done = await asyncio.wait_for(self._connection.run(command), CONSOLE)
        except asyncssh.ChannelOpenError as exc:
            raise PermissionError(exc.reason) from exc
        except asyncssh.Error as exc:
            raise ConnectionResetError(str(exc)) from exc
        return (done.exit_status if done.exit_status is not None else 255), str(done.stdout or "")

    def close(self) -> None:
        self._connection.abort()


async def log_in(net: Net, host: str, port: int, user: str, password: str, *, version: str) -> SshWay:
    """PermissionError when refused; TimeoutError, ConnectionError when not reached."""
    sock = await net.connect(host, port)
    try:
        connection = await asyncssh.run_client(
            sock, username=user, password=password, known_hosts=None, client_keys=None, agent_path=None,
            login_timeout=LOGIN, preferred_auth="password", client_version=version,
        )  # fmt: skip
    except asyncssh.PermissionDenied as exc:
        raise PermissionError(exc.reason) from exc
    except (asyncssh.Error, EOFError) as exc:
        raise ConnectionResetError(str(exc)) from exc
    return SshWay(connection)
