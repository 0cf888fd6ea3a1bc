"""A rule after it was understood, and what it is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cyber_range.engine.sensor.flows import Flow
from cyber_range.engine.sensor.protocols.message import Message
from cyber_range.engine.sensor.rules.content import Step
from cyber_range.engine.sensor.rules.header import Addresses
from cyber_range.engine.sensor.rules.limits import Limit

PAYLOAD = ""  # the buffer of contents behind no sticky buffer


@dataclass(slots=True)
class Sight:
    """One thing that is looked at: a packet, its payload in order, or a message in it."""

    at: float  # s
    up: bool
    flow: Flow | None
    src: Any
    dst: Any
    payload: bytes = b""
    message: Message | None = None
    flags: int = 0
    size: int = 0  # payload bytes of the packet


Check = Callable[[Sight], bool]


@dataclass(slots=True)
class Rule:
    """`functions`: the only functions (of `app`) it can match; None: any. `steps`: what is looked for in which buffer."""

    sid: int
    rev: int
    msg: str
    action: str
    line: int
    file: str
    text: str
    protos: frozenset[int]  # IP protocol numbers; empty: any
    app: str
    src: Addresses
    sport: Addresses
    dst: Addresses
    dport: Addresses
    both_ways: bool
    up: bool | None = None  # flow:to_server / to_client
    established: bool | None = None
    severity: int = 3
    classtype: str = ""
    references: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    technique: str = ""
    functions: frozenset[int] | None = None
    of_message: bool = False  # needs a decoded message
    checks: Sequence[Check] = ()
    steps: Mapping[str, Sequence[Step]] = field(default_factory=dict)
    bits: Sequence[tuple[str, frozenset[str]]] = ()  # flowbits that are tested
    sets: Sequence[tuple[str, frozenset[str]]] = ()  # flowbits that are changed when all else holds
    flags: Callable[[int], bool] | None = None
    limit: Limit | None = None
    quiet: bool = False  # noalert
    foreign: bool = False  # uses keywords that only this engine has: not for Suricata
    icmp: tuple[range | None, range | None] = (None, None)
