"""An MQTT 3.1.1 broker: users and access lists, QoS 0 to 2, retained messages, wills, sessions that outlive connections.

Spec: `port` (1883), `users` {name: password} (none: everybody may connect), `anonymous` (connections without a user
name, default only when there are no users), `acl` [{user? ("*"), access (read, write, readwrite), topic (filter; %u the
user, %c the client)}] (none: everything is allowed), `version` (what $SYS/broker/version says), `max_packet` (octets,
262144), `max_clients` (100).

Emits `client` {address, client, user, connected, reason} and `login_failed` {address, client, user}.
Commands: `clients`, `retained` {topic?}, `subscriptions`.

Written here, because amqtt 0.12 sends by the subscriber's QoS alone (against 3.8.4), marks queued messages as retained
(against 3.3.1.3) and lets a failed login take over a session; it would also bring six libraries to every node.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import itertools
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, cast

from cyber_range.engine.agents.context import NodeContext, answer
from cyber_range.engine.agents.mqtt_packets import (
    ACCEPTED,
    BAD_CLIENT,
    BAD_LOGIN,
    BAD_VERSION,
    DISCONNECT,
    FAILURE,
    NOT_AUTHORIZED,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    REFUSED_5,
    UNAVAILABLE,
    UNSUBACK,
    Ack,
    Bare,
    Connack,
    Connect,
    Packet,
    PacketError,
    Publish,
    Suback,
    Subscribe,
    Unsubscribe,
    WrongVersion,
    matches,
    pack,
    take,
)

CONNECT_WITHIN = 10.0  # s for the first packet
WINDOW = 20  # messages of QoS 1 and 2 on their way to one client
QUEUE_LIMIT = 1000  # messages waiting for one session
RETAINED_LIMIT = 10_000
SESSION_LIMIT = 500  # sessions kept for clients that are away; the longest away go first
SLOW = 1024 * 1024  # octets unsent to a client before messages of QoS 0 are dropped
SYS_EVERY = 10.0  # s between updates of $SYS


class Session:
    """What is kept for a client, connected or not (3.1.2.4)."""

    def __init__(self, client: str, *, clean: bool) -> None:
        self.client, self.clean = client, clean
        self.user = ""
        self.link: ClientLink | None = None
        self.left = 0.0  # monotonic, when it went away
        self.filters: dict[str, int] = {}
        self.received: set[int] = set()  # identifiers of QoS 2 that came and were not released yet
        self._waiting: deque[Publish] = deque()
        self._sent: dict[int, Publish | None] = {}  # on their way; None: PUBREC came, PUBREL is out
        self._numbers = itertools.cycle(range(1, 65536))

    def deliver(self, message: Publish) -> None:
        """Sends, or keeps what has to be kept."""
        if message.qos == 0:
            if self.link is not None and not self.link.slow:
                self.link.send(message)
            return
        if len(self._waiting) >= QUEUE_LIMIT:
            self._waiting.popleft()
        self._waiting.append(message)
        self._flush()

    def _flush(self) -> None:
        while self.link is not None and self._waiting and len(self._sent) < WINDOW:
            number = next(number for number in self._numbers if number not in self._sent)
            message = dataclasses.replace(self._waiting.popleft(), number=number)
            self._sent[number] = message
            self.link.send(message)

    def resume(self) -> None:
        """Sends again what was not acknowledged, in its order (4.4)."""
        assert self.link is not None
        for number, message in self._sent.items():
            again = Ack(PUBREL, number) if message is None else dataclasses.replace(message, again=True)
            self.link.send(again)
        self._flush()

    def acknowledged(self, ack: Ack) -> None:
        if ack.kind == PUBREC:
            if ack.number in self._sent:
                self._sent[ack.number] = None
            if self.link is not None:
                self.link.send(Ack(PUBREL, ack.number))
            return
        self._sent.pop(ack.number, None)
        self._flush()


class Broker:
    def __init__(self, node: NodeContext) -> None:
        spec = node.spec
        self._node = node
        self._users: Mapping[str, str] = dict(spec.get("users") or {})
        self._anonymous = bool(spec.get("anonymous", not self._users))
        self._acl: list[Mapping[str, str]] = list(spec.get("acl") or ())
        for rule in self._acl:
            if rule.get("access") not in ("read", "write", "readwrite") or "topic" not in rule:
                raise ValueError(f"an acl line has a topic and access read, write or readwrite: {dict(rule)}")
        self.max_packet = int(spec.get("max_packet", 256 * 1024))
        self._max_clients = int(spec.get("max_clients", 100))
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, Publish] = {}
        self._begun = time.monotonic()
        self._auto = itertools.count(1)
        self._version = str(spec.get("version", "lianbing broker 1.0"))
        self.links: set[ClientLink] = set()

    # ------------------------------------------------------------ who may what

    def code(self, connect: Connect) -> int:
        """Return code of a CONNECT."""
        if not connect.client and not connect.clean:
            return BAD_CLIENT
        if sum(session.link is not None for session in self.sessions.values()) >= self._max_clients:
            return UNAVAILABLE
        if connect.user is None:
            return ACCEPTED if self._anonymous else NOT_AUTHORIZED
        if not self._users and self._anonymous:
            return ACCEPTED
        known = self._users.get(connect.user)
        given = connect.password or b""
        right = hmac.compare_digest((known or "").encode(), given) and known is not None
        return ACCEPTED if right else BAD_LOGIN

    def allowed(self, session: Session, access: str, topic: str) -> bool:
        """Whether an access line covers a topic (write, or read when it is delivered) or a whole filter (read)."""
        if not self._acl:
            return True
        for rule in self._acl:
            if rule.get("user", "*") not in ("*", session.user) or access not in rule["access"]:
                continue
            granted = rule["topic"].replace("%u", session.user).replace("%c", session.client)
            if covers(granted, topic):
                return True
        return False

    # ------------------------------------------------------------ sessions

    def opened(self, link: ClientLink, connect: Connect) -> None:
        code = self.code(connect)
        if code != ACCEPTED:
            self._node.emit("login_failed", address=link.peer, client=connect.client, user=connect.user or "")
            link.send(Connack(code))
            link.close()
            return
        client = connect.client or f"auto-{next(self._auto)}"
        session = self.sessions.get(client)
        if session is not None and session.link is not None:
            session.link.end("taken over")  # 3.1.4-2: the older connection goes
            session = self.sessions.get(client)
        if session is None or connect.clean or session.clean:
            session = self.sessions[client] = Session(client, clean=connect.clean)
            present = False
        else:
            present = True
        session.user, session.link, link.session, link.will = connect.user or "", link, session, connect.will
        self._node.emit("client", address=link.peer, client=client, user=session.user, connected=True, reason="")
        link.send(Connack(ACCEPTED, present))
        if present:
            session.resume()

    def closed(self, link: ClientLink, reason: str) -> None:
        session, link.session = link.session, None
        if session is None or session.link is not link:
            return
        session.link, session.left = None, time.monotonic()
        if session.clean:
            self.sessions.pop(session.client, None)
        else:
            away = sorted((s for s in self.sessions.values() if s.link is None), key=lambda s: s.left)
            for old in away[: max(0, len(away) - SESSION_LIMIT)]:
                self.sessions.pop(old.client, None)
        self._node.emit(
            "client", address=link.peer, client=session.client, user=session.user, connected=False, reason=reason
        )
        if link.will is not None:
            will, link.will = link.will, None
            if self.allowed(session, "write", will.topic) and not will.topic.startswith("$"):
                self.publish(Publish(will.topic, will.payload, will.qos, will.retain))

    # ------------------------------------------------------------ messages

    def publish(self, message: Publish) -> None:
        """To every session with a matching subscription, once, by the best QoS it asked for (3.3.5)."""
        if message.retain:
            if message.payload and (message.topic in self.retained or len(self.retained) < RETAINED_LIMIT):
                self.retained[message.topic] = dataclasses.replace(message, again=False, number=0)
            elif not message.payload:
                self.retained.pop(message.topic, None)
        for session in list(self.sessions.values()):
            granted = [qos for wanted, qos in session.filters.items() if matches(wanted, message.topic)]
            if granted and self.allowed(session, "read", message.topic):
                qos = min(message.qos, max(granted))
                session.deliver(Publish(message.topic, message.payload, qos))

    def subscribe(self, session: Session, asked: Subscribe) -> None:
        codes = [qos if self.allowed(session, "read", wanted) else FAILURE for wanted, qos in asked.filters]
        assert session.link is not None
        for (wanted, _), code in zip(asked.filters, codes, strict=True):
            if code != FAILURE:
                session.filters[wanted] = code
        session.link.send(Suback(asked.number, tuple(codes)))
        for (wanted, _), code in zip(asked.filters, codes, strict=True):
            if code == FAILURE:
                continue
            for topic, message in list(self.retained.items()):
                if matches(wanted, topic) and self.allowed(session, "read", topic):
                    session.deliver(dataclasses.replace(message, qos=min(message.qos, code), retain=True))

    async def tell_about_itself(self) -> None:
        """$SYS, as other brokers do."""
        while True:
            connected = sum(session.link is not None for session in self.sessions.values())
            for name, value in (
                ("version", self._version),
                ("uptime", f"{int(time.monotonic() - self._begun)} seconds"),
                ("clients/connected", str(connected)),
                ("clients/total", str(len(self.sessions))),
                ("retained messages/count", str(len(self.retained))),
            ):
                self.publish(Publish(f"$SYS/broker/{name}", value.encode(), retain=True))
            await asyncio.sleep(SYS_EVERY)


class ClientLink(asyncio.Protocol):
    """One connection; its session is None before CONNECT was accepted and after the end."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._keep_alive = 0.0
        self._connected = False
        self.peer = ""
        self.session: Session | None = None
        self.will: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self._broker.links.add(self)
        self._timer = asyncio.get_running_loop().call_later(CONNECT_WITHIN, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._broker.links.discard(self)
        self._broker.closed(self, "connection lost")

    @property
    def slow(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() > SLOW

    def send(self, packet: Packet) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(packet))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def end(self, reason: str) -> None:
        """Ends the connection now, with its will."""
        self._broker.closed(self, reason)
        self.close()

    def _check(self) -> None:
        """Nothing for one and a half times the keep-alive ends the connection (3.1.2.10)."""
        if not self._connected:
            self.close()
            return
        left = self._heard + 1.5 * self._keep_alive - time.monotonic()
        if left <= 0:
            self.end("keep alive")
            return
        self._timer = asyncio.get_running_loop().call_later(left, self._check)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._heard = time.monotonic()
        try:
            while self._transport is not None and not self._transport.is_closing():
                packet = take(self._buffer, self._broker.max_packet)
                if packet is None:
                    break
                self._take(packet)
        except WrongVersion as exc:
            if not self._connected and self._transport is not None:
                self._transport.write(REFUSED_5 if exc.level >= 5 else pack(Connack(BAD_VERSION)))
            self.close()
        except PacketError:
            self.end("broken packet")

    def _take(self, packet: Packet) -> None:
        if isinstance(packet, Connect):
            if self._connected:
                raise PacketError("a second CONNECT")
            self._connected = True
            self._keep_alive = float(packet.keep_alive)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._broker.opened(self, packet)
            if self._keep_alive and self.session is not None:
                self._check()
            return
        session = self.session
        if session is None:
            raise PacketError("a packet before CONNECT")
        match packet:
            case Publish():
                self._published(session, packet)
            case Ack(kind=kind) if kind in (PUBACK, PUBREC, PUBCOMP):
                session.acknowledged(packet)
            case Ack(kind=kind, number=number) if kind == PUBREL:
                session.received.discard(number)
                self.send(Ack(PUBCOMP, number))
            case Subscribe():
                self._broker.subscribe(session, packet)
            case Unsubscribe():
                for wanted in packet.filters:
                    session.filters.pop(wanted, None)
                self.send(Ack(UNSUBACK, packet.number))
            case Bare(kind=kind) if kind == PINGREQ:
                self.send(Bare(PINGRESP))
            case Bare(kind=kind) if kind == DISCONNECT:
                self.will = None
                self.end("disconnected")
            case _:
                raise PacketError("a packet that only brokers send")

    def _published(self, session: Session, packet: Publish) -> None:
        """A message that may not be is acknowledged and dropped, as 3.3.5 leaves open and most brokers do."""
        fresh = packet.qos < 2 or packet.number not in session.received
        if packet.qos == 2:
            session.received.add(packet.number)
        if fresh and not packet.topic.startswith("$") and self._broker.allowed(session, "write", packet.topic):
            self._broker.publish(packet)
        if packet.qos:
            self.send(Ack(PUBACK if packet.qos == 1 else PUBREC, packet.number))


def covers(granted: str, wanted: str) -> bool:
    """Whether every topic that `wanted` (a topic or a filter) takes is taken by `granted`."""
    have, want = granted.split("/"), wanted.split("/")
    if want[0].startswith("$") and have[0] in ("+", "#"):
        return False
    for at, level in enumerate(have):
        if level == "#":
            return True
        if at >= len(want) or want[at] == "#" or (level != "+" and level != want[at]):
            return False
    return len(have) == len(want)


async def run(node: NodeContext) -> None:
    broker = Broker(node)
    listener = await node.net.create_server(lambda: ClientLink(broker), int(node.spec.get("port", 1883)))

    async def clients(_: dict[str, Any]) -> dict[str, Any]:
        return {
            "clients": [
                {
                    "client": s.client,
                    "user": s.user,
                    "connected": s.link is not None,
                    "address": s.link.peer if s.link else "",
                }
                for s in broker.sessions.values()
            ]
        }

    async def retained(command: dict[str, Any]) -> dict[str, Any]:
        wanted = str(command.get("topic", "#"))
        return {
            "retained": {
                topic: message.payload.decode(errors="replace")
                for topic, message in broker.retained.items()
                if matches(wanted, topic)
            }
        }

    async def subscriptions(_: dict[str, Any]) -> dict[str, Any]:
        return {"subscriptions": {session.client: dict(session.filters) for session in broker.sessions.values()}}

    telling = asyncio.ensure_future(broker.tell_about_itself())
    node.emit("ready")
    try:
        await answer(node, {"clients": clients, "retained": retained, "subscriptions": subscriptions})
    finally:
        telling.cancel()
        listener.close()
        for link in list(broker.links):
            link.close()
