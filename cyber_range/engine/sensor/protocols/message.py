"""One application message, in the form that counts, allow-lists, rules and the inventory share.

A decoder belongs to one conversation and may hand out the same object again for the same bytes, so nobody changes a
message; `calm` is the one exception: the monitor's note that seeing it again cannot change anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

REQUEST, RESPONSE, NOTICE = 0, 1, 2  # a notice comes from the server without being asked
NOTHING: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return NOTHING


@dataclass(slots=True)
class Message:
    """`function` is what the protocol calls function, service or type; `unit` whom or what it addresses beyond the host.

    `address`/`count` are a range where the function has one (-1: none), `values` what is written, `error` a refusal
    (0: none). `fields` are numbers and lists for rule keywords, `buffers` bytes for sticky buffers (`dns.query`),
    `identity` what the *sender* says about itself.
    """

    proto: str
    kind: int
    function: int = -1
    name: str = ""
    unit: int | str = ""
    address: int = -1
    count: int = 0
    values: tuple[int, ...] = ()
    writes: bool = False
    error: int = 0
    fields: Mapping[str, Any] = field(default_factory=_nothing)
    buffers: Mapping[str, bytes] = field(default_factory=_nothing)
    identity: Mapping[str, str] | None = None
    calm: int = field(default=0, compare=False, repr=False)


class Decoder(Protocol):
    """What one conversation says. `feed` takes in-order bytes of a TCP direction, or one datagram.

    `broken`: bytes came with which no message of this protocol begins; `done`: nothing more is worth reading.
    """

    broken: bool
    done: bool

    def feed(self, up: bool, data: bytes) -> Sequence[Message]: ...

    def lose(self, up: bool) -> None:
        """Bytes of that direction are missing: half messages are forgotten."""
        ...


def text(data: bytes, most: int = 120) -> str:
    """A name from the wire for screens: printable, one line, bounded."""
    return "".join(c if c.isprintable() else "·" for c in data[:most].decode("utf-8", "replace")).strip("· ")
