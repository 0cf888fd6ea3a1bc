"""An OPC UA client of a node's own network (asyncua; imported only where an operator station polls such a server)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from asyncua import Client, ua
from asyncua.client.ua_client import UaClientState

from cyber_range.engine.agents.context import Connecting

logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # the station shows the age of its values instead
TIMEOUT = 3.0  # s for one answer


class OpcUaLink:
    """One session. Any failure closes it; the owner opens a new one (see `connect`)."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._closing: asyncio.Task[None] | None = None
        self._types: dict[str, Any] = {}
        self.open = True

    @classmethod
    async def connect(
        cls, net: Connecting, host: str, port: int = 4840, user: str = "", password: str = ""
    ) -> OpcUaLink:
        """ConnectionError when the server refuses the session."""
        client = Client(f"opc.tcp://{host}:{port}/", timeout=TIMEOUT)
        if user:
            client.set_user(user)
            client.set_password(password)

        async def connect_socket(to: str, number: int) -> None:
            # asyncua opens sockets of the kernel; a node's come from its network
            low = client.uaclient
            low._set_state(UaClientState.CONNECTING)
            try:
                await net.create_connection(low._make_protocol, to, number, timeout=TIMEOUT)
            except BaseException:
                low._set_state(UaClientState.DISCONNECTED)
                raise
            low._set_state(UaClientState.SOCKET_OPEN)

        client.uaclient.connect_socket = connect_socket  # type: ignore[method-assign, assignment]
        try:
            await client.connect(auto_reconnect=False)
        except ua.UaError as exc:
            raise ConnectionError(f"{host} refused the session: {exc}") from exc
        return cls(client)

    def close(self) -> None:
        if self.open:
            self.open = False
            self._closing = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        with contextlib.suppress(Exception):  # it is being given up; the server forgets the session by itself
            await asyncio.wait_for(self.client.disconnect(), TIMEOUT)

    async def read(self, nodes: Sequence[str]) -> list[float | None]:
        """Values as numbers; None for what is none. ConnectionError for a refused read."""
        try:
            found = await self.client.read_values([self.client.get_node(node) for node in nodes])
        except ua.UaError as exc:
            raise ConnectionError(str(exc)) from exc
        return [float(value) if isinstance(value, (bool, int, float)) else None for value in found]

    async def write(self, node: str, value: float) -> None:
        """In the type the variable has."""
        try:
            variable = self.client.get_node(node)
            if node not in self._types:
                self._types[node] = await variable.read_data_type_as_variant_type()
            kind = self._types[node]
            if kind == ua.VariantType.Boolean:
                typed: float | bool | int = bool(value)
            else:
                typed = value if kind in (ua.VariantType.Float, ua.VariantType.Double) else round(value)
            await variable.write_value(typed, kind)
        except ua.UaError as exc:
            raise ConnectionError(str(exc)) from exc
