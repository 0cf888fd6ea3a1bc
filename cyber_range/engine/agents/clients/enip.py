"""One EtherNet/IP controller, asked and told by tag names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from cyber_range.engine.agents.context import Connecting
from cyber_range.engine.agents.enip_link import EnipLink
from cyber_range.engine.agents.enip_wire import PORT, CipError


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except CipError as exc:
        raise PermissionError(str(exc)) from exc


class EnipClient:
    def __init__(self, link: EnipLink) -> None:
        self._link = link

    @classmethod
    async def open(cls, net: Connecting, host: str, port: int = PORT) -> EnipClient:
        return cls(await EnipLink.connect(net, host, port))

    def close(self) -> None:
        self._link.close()

    async def identity(self) -> dict[str, Any]:
        return dict(await self._link.identity())

    async def tags(self) -> dict[str, str]:
        with refusals():
            return await self._link.tags()

    async def read(self, names: Sequence[str]) -> list[float]:
        with refusals():
            return await self._link.read(names)

    async def write(self, name: str, value: float) -> None:
        with refusals():
            await self._link.write(name, value)

    async def upload(self) -> bytes:
        with refusals():
            return await self._link.upload()

    async def download(self, content: bytes) -> None:
        with refusals():
            await self._link.download(content)

    async def stop(self) -> None:
        with refusals():
            await self._link.stop()

    async def start(self) -> None:
        with refusals():
            await self._link.start()

    async def reset(self) -> None:
        with refusals():
            await self._link.reset()
