"""A control centre for one question or one command: IEC 60870-5-104."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

from cyber_range.engine.agents.context import Connecting
from cyber_range.engine.agents.iec104_frames import (
    BY_NAME,
    GENERAL,
    SELECT,
    Asdu,
    Body,
    Cause,
    Element,
    FrameError,
    unpack_asdu,
)
from cyber_range.engine.agents.iec104_link import Link

ANSWER_WITHIN = 5.0  # s for a confirmation
GENERAL_RESET = 1  # qualifier of C_RP_NA_1
REASONS = {44: "unknown type", 45: "unknown cause", 46: "unknown common address", 47: "unknown information object"}


class Iec104Client:
    """Owner of its link (`iec104_link.Owner`)."""

    def __init__(self, common: int) -> None:
        self._common = common
        self._link: Link | None = None
        self._started = asyncio.Event()
        self._over = asyncio.Event()
        self._points: dict[int, tuple[str, float]] = {}
        self._confirmed: asyncio.Queue[Asdu] = asyncio.Queue()
        self._ended = asyncio.Event()

    @classmethod
    async def connect(cls, net: Connecting, host: str, port: int = 2404, *, common: int = 1) -> Iec104Client:
        """After STARTDT; ConnectionResetError when the station ends the connection instead."""
        client = cls(common)
        await net.create_connection(lambda: Link(client, controlling=True), host, port, timeout=3.0)
        try:
            await asyncio.wait_for(client._started.wait(), 3.0)
        except BaseException:
            client.close()
            raise
        if client._over.is_set():
            raise ConnectionResetError(
                f"{host} closed the connection: it has no room for another master, or none for us"
            )
        return client

    @property
    def open(self) -> bool:
        return self._link is not None and self._link.open

    def close(self) -> None:
        if self._link is not None:
            self._link.close()

    async def interrogate(self, seconds: float = ANSWER_WITHIN) -> dict[int, tuple[str, float]]:
        self._ended.clear()
        await self._ask("C_IC_NA_1", Element(0, GENERAL))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)
        return dict(self._points)

    async def command(self, kind: str, address: int, value: float, *, select: bool = False) -> None:
        if kind not in BY_NAME:
            raise LookupError(f"there is no type {kind}; like C_SC_NA_1, C_DC_NA_1, C_SE_NC_1")
        body = BY_NAME[kind].body
        said: float = value
        if body is Body.DOUBLE:
            said = 2 if value else 1
        elif body is Body.SINGLE:
            said = int(bool(value))
        element = Element(address, said)
        if select:
            await self._ask(kind, dataclasses.replace(element, flags=SELECT))
        await self._ask(kind, element)

    async def reset(self) -> None:
        """The answer may be cut short by the restart it confirms."""
        with contextlib.suppress(ConnectionError):
            await self._ask("C_RP_NA_1", Element(0, GENERAL_RESET))

    async def _ask(self, kind: str, element: Element) -> None:
        if self._link is None or not self._link.open:
            raise ConnectionResetError("the station closed the connection")
        asked = Asdu(BY_NAME[kind], Cause.ACTIVATION, self._common, (element,))
        self._link.send(asked)
        async with asyncio.timeout(ANSWER_WITHIN):
            while True:
                over = asyncio.ensure_future(self._over.wait())
                getting = asyncio.ensure_future(self._confirmed.get())
                try:
                    await asyncio.wait((over, getting), return_when=asyncio.FIRST_COMPLETED)
                    if not getting.done():
                        raise ConnectionResetError("the station closed the connection")
                    answer = getting.result()
                finally:
                    over.cancel()
                    getting.cancel()
                if answer.kind.name != kind or answer.cause == Cause.ACTIVATION_TERM:
                    continue
                if answer.negative:
                    raise PermissionError(f"{kind}: {REASONS.get(answer.cause, 'negative confirmation')}")
                return

    # the link's owner

    def link_opened(self, link: Link) -> None:
        self._link = link

    def link_started(self, link: Link, started: bool) -> None:
        if started:
            self._started.set()

    def link_asdu(self, link: Link, data: bytes) -> None:
        try:
            asdu = unpack_asdu(data)
        except FrameError:
            return
        if asdu.kind.number >= 45:
            self._confirmed.put_nowait(asdu)
            if asdu.kind.name == "C_IC_NA_1" and asdu.cause == Cause.ACTIVATION_TERM:
                self._ended.set()
            return
        for element in asdu.elements:
            value = float(element.value == 2) if asdu.kind.body is Body.DOUBLE else float(element.value)
            self._points[element.address] = (asdu.kind.name, value)

    def link_closed(self, link: Link) -> None:
        self._over.set()
        self._ended.set()
        self._started.set()
