"""An MQTT 3.1.1 client's connection over `node.net`: publish and subscribe with QoS 0 to 2, a will, keep-alive.

A session lasts as long as its connection (clean session); whoever needs more publishes again after a reconnect.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import cast

from cyber_range.engine.agents.context import Connecting
from cyber_range.engine.agents.mqtt_packets import (
    ACCEPTED,
    DISCONNECT,
    FAILURE,
    PINGREQ,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    Ack,
    Bare,
    Connack,
    Connect,
    Packet,
    PacketError,
    Publish,
    Suback,
    Subscribe,
    pack,
    take,
)

OnMessage = Callable[[Publish], None]
REASONS = {
    1: "protocol version",
    2: "client identifier",
    3: "server unavailable",
    4: "user or password",
    5: "not authorised",
}


class NotAccepted(ConnectionError):
    """The broker refused the connection or a subscription."""


class MqttLink(asyncio.Protocol):
    def __init__(self, connect: Connect, on_message: OnMessage | None = None) -> None:
        self._connect = connect
        self._on_message = on_message
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: dict[int, asyncio.Future[Packet]] = {}
        self._received: set[int] = set()
        self._numbers = itertools.cycle(range(1, 65536))
        self._timer: asyncio.TimerHandle | None = None
        self.over = asyncio.Event()

    @classmethod
    async def open(
        cls,
        net: Connecting,
        host: str,
        port: int,
        connect: Connect,
        on_message: OnMessage | None = None,
        *,
        timeout: float = 5.0,
    ) -> MqttLink:
        """A link the broker has accepted; NotAccepted says why it has not."""
        link = cls(connect, on_message)
        await net.create_connection(lambda: link, host, port, timeout=timeout)
        try:
            await asyncio.wait_for(asyncio.shield(link._accepted), timeout)
        except BaseException:
            link.close()
            raise
        return link

    @property
    def connected(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Ends it abruptly: the broker publishes the will."""
        if not self._accepted.done():
            self._accepted.cancel()
        if self._transport is not None:
            self._transport.close()

    def leave(self) -> None:
        """Says goodbye: no will."""
        self._send(Bare(DISCONNECT))
        self.close()

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, timeout: float = 5.0
    ) -> None:
        """Returns when it is sent (QoS 0) or the broker has it (1, 2)."""
        if not self.connected:
            raise ConnectionResetError("not connected")
        if qos == 0:
            self._send(Publish(topic, payload, 0, retain))
            return
        number = self._number()
        await self._ask(Publish(topic, payload, qos, retain, False, number), number, timeout)

    async def subscribe(self, *filters: tuple[str, int], timeout: float = 5.0) -> None:
        number = self._number()
        answer = await self._ask(Subscribe(number, filters), number, timeout)
        assert isinstance(answer, Suback)
        refused = [wanted for (wanted, _), code in zip(filters, answer.codes, strict=False) if code == FAILURE]
        if refused:
            raise NotAccepted(f"the broker refuses the subscription to {refused[0]!r}")

    def _number(self) -> int:
        return next(number for number in self._numbers if number not in self._waiting)

    async def _ask(self, packet: Packet, number: int, timeout: float) -> Packet:
        if not self.connected:
            raise ConnectionResetError("not connected")
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send(packet)
        try:
            return await asyncio.wait_for(future, timeout)
        finally:
            self._waiting.pop(number, None)

    def _send(self, packet: Packet) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(packet))

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send(self._connect)
        if self._connect.keep_alive:
            self._ping()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        gone = ConnectionResetError("the broker closed the connection")
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(gone)
        if not self._accepted.done():
            self._accepted.set_exception(gone)
            self._accepted.exception()  # nobody may be waiting any more
        self.over.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while (packet := take(self._buffer)) is not None:
                self._take(packet)
        except PacketError:
            self.close()

    def _take(self, packet: Packet) -> None:
        match packet:
            case Connack():
                if self._accepted.done():
                    return
                if packet.code == ACCEPTED:
                    self._accepted.set_result(None)
                else:
                    reason = REASONS.get(packet.code, f"code {packet.code}")
                    self._accepted.set_exception(NotAccepted(f"the broker refuses the connection: {reason}"))
            case Publish():
                self._published(packet)
            case Ack(kind=kind, number=number) if kind == PUBREC:
                self._send(Ack(PUBREL, number))
            case Ack(kind=kind, number=number) if kind == PUBREL:
                self._received.discard(number)
                self._send(Ack(PUBCOMP, number))
            case Ack() | Suback():
                future = self._waiting.get(packet.number)
                if future is not None and not future.done():
                    future.set_result(packet)
            case _:
                pass

    def _published(self, packet: Publish) -> None:
        fresh = packet.qos < 2 or packet.number not in self._received
        if packet.qos == 1:
            self._send(Ack(PUBACK, packet.number))
        elif packet.qos == 2:
            self._received.add(packet.number)
            self._send(Ack(PUBREC, packet.number))
        if fresh and self._on_message is not None:
            self._on_message(packet)

    def _ping(self) -> None:
        if self._accepted.done():
            self._send(Bare(PINGREQ))
        self._timer = asyncio.get_running_loop().call_later(self._connect.keep_alive / 2, self._ping)
