"""A conversation of a step: what goes over it is counted as evidence, and its failures are the defenders' success."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.speakers import Speaker
from cyber_range.engine.attack.ways import Blocked, Channel, Evidence, Reach

S = TypeVar("S", bound=Speaker)


class Counted:
    """A channel whose bytes are evidence."""

    def __init__(self, channel: Channel, evidence: Evidence) -> None:
        self._channel, self._evidence = channel, evidence

    async def send(self, data: bytes) -> None:
        await self._channel.send(data)
        self._evidence.sent += len(data)

    async def receive(self, count: int, timeout: float) -> bytes:
        return self._heard(await self._channel.receive(count, timeout))

    async def line(self, timeout: float) -> bytes:
        return self._heard(await self._channel.line(timeout))

    async def rest(self, timeout: float) -> bytes:
        return self._heard(await self._channel.rest(timeout))

    async def some(self) -> bytes:
        return self._heard(await self._channel.some())

    def _heard(self, data: bytes) -> bytes:
        self._evidence.received += len(data)
        return data

    def close(self) -> None:
        self._channel.close()


def reach_of(intruder: Intruder, evidence: Evidence) -> Reach:
    """Streams through the way in, inside the fence, counted."""

    async def reach(host: str, port: int, timeout: float) -> Channel:
        return Counted(await intruder.channel(host, port, timeout), evidence)

    return reach


@contextlib.asynccontextmanager
async def speaking(host: str, opening: Callable[[], Awaitable[S]]) -> AsyncIterator[S]:
    """The conversation that `opening` begins; ends with the block. Blocked for a refusal or a broken line."""
    speaker: S | None = None
    try:
        speaker = await opening()
        yield speaker
    except PermissionError as exc:
        raise Blocked(f"{host} refused: {exc}") from exc
    except (TimeoutError, OSError, EOFError) as exc:
        raise Blocked(f"{host} broke off ({str(exc) or type(exc).__name__})") from exc
    finally:
        if speaker is not None:
            speaker.close()
