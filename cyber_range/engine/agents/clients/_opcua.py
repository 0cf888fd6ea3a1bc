"""One OPC UA server: its own variables, written and read by node id (asyncua; see _opcua_link)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from asyncua import Client, ua

from cyber_range.engine.agents._opcua_link import OpcUaLink
from cyber_range.engine.agents.context import Connecting


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except ua.UaError as exc:
        raise PermissionError(str(exc)) from exc


class OpcUaClient:
    def __init__(self, link: OpcUaLink) -> None:
        self._link = link

    @classmethod
    async def open(
        cls, net: Connecting, host: str, port: int = 4840, user: str = "", password: str = ""
    ) -> OpcUaClient:
        try:
            return cls(await OpcUaLink.connect(net, host, port, user, password))
        except ConnectionError as exc:
            if isinstance(exc.__cause__, ua.UaError):
                raise PermissionError(str(exc)) from exc
            raise

    @property
    def _client(self) -> Client:
        return self._link.client

    def close(self) -> None:
        self._link.close()

    async def browse(self, limit: int) -> dict[str, float | str]:
        """Breadth first below Objects, without the standard's own namespace."""
        found: dict[str, float | str] = {}
        with refusals():
            todo = [child for child in await self._client.nodes.objects.get_children() if own(child)]
            while todo and len(found) < limit:
                node = todo.pop(0)
                kind = await node.read_node_class()
                if kind == ua.NodeClass.Variable:
                    found[node.nodeid.to_string()] = plain(await node.read_value())
                elif kind == ua.NodeClass.Object:
                    todo += [child for child in await node.get_children() if own(child)]
        return found

    async def read(self, node: str) -> float | None:
        try:
            return (await self._link.read([node]))[0]
        except ConnectionError as exc:
            raise refusal(exc) from exc

    async def write(self, node: str, value: float) -> None:
        try:
            await self._link.write(node, value)
        except ConnectionError as exc:
            raise refusal(exc) from exc

    async def call(self, node: str) -> None:
        """On the object that the method belongs to."""
        with refusals():
            method = self._client.get_node(node)
            parent = await method.get_parent()
            if parent is None:
                raise LookupError(f"{node} belongs to no object")
            await parent.call_method(method.nodeid)


def own(node: Any) -> bool:
    return bool(node.nodeid.NamespaceIndex)


def plain(value: Any) -> float | str:
    return float(value) if isinstance(value, (bool, int, float)) else str(value)


def refusal(exc: ConnectionError) -> OSError:
    """What the server said is a refusal; a line that broke stays one."""
    return PermissionError(str(exc)) if isinstance(exc.__cause__, ua.UaError) else exc
