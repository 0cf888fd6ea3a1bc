"""Conversations as the sensor keeps them: two directions, who opened it, what is counted since the last report."""

from __future__ import annotations

from typing import Any

from cyber_range.engine.sensor.alerts import Item
from cyber_range.engine.sensor.protocols.message import Decoder
from cyber_range.engine.sensor.streams import Stream


class Side:
    """One direction. `next` is the sequence number expected; `stream` holds what came out of order, else None."""

    __slots__ = ("bytes", "flow", "last", "next", "packets", "plan", "seen", "stream", "up")

    def __init__(self, flow: Flow, up: bool) -> None:
        self.flow, self.up = flow, up
        self.packets = self.bytes = 0
        self.seen = 0  # ns
        self.next = -1
        self.stream: Stream | None = None
        self.last: Item | None = None  # the newest frame with payload
        self.plan: Any = None  # signatures that can match this direction (rules.book.Plan)

    def begin(self) -> None:
        self.next, self.stream = -1, None


class Flow:
    """A TCP or UDP conversation in one zone, or what is left without ports. `client` opened it."""

    __slots__ = (
        "accused",
        "answered",
        "app",
        "bits",
        "client",
        "client_name",
        "cport",
        "decoder",
        "down",
        "established",
        "exceptions",
        "looked",
        "port",
        "proto",
        "requests",
        "responses",
        "server",
        "server_name",
        "told",
        "unacknowledged",
        "up",
        "whole",
        "writes",
        "zone",
    )

    def __init__(self, zone: str, client: bytes, cport: int, server: bytes, port: int, proto: int) -> None:
        self.zone, self.client, self.cport, self.server, self.port, self.proto = (
            zone,
            client,
            cport,
            server,
            port,
            proto,
        )
        self.client_name = self.server_name = ""
        self.up, self.down = Side(self, True), Side(self, False)
        self.requests = self.responses = self.exceptions = self.writes = self.established = 0
        self.begin()

    def begin(self) -> None:
        """A new conversation on the same ports; counts go on."""
        self.answered = self.whole = self.looked = self.told = self.accused = False
        self.app = ""
        self.decoder: Decoder | None = None
        self.bits: set[str] | None = None  # flowbits that signatures set
        self.unacknowledged: list[int] | None = None  # ends of MQTT messages that nobody but TCP acknowledges
        self.up.begin()
        self.down.begin()
