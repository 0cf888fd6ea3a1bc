"""Compiled pieces of conversation: frames as bytes, with the places where every repetition differs.

A *piece* is what two peers say without a pause worth naming: a handshake, one request with its answer, a broadcast.
It was declared with scapy in a process of its own (`declaring`) with every field that changes left at **zero** and
checksums right for that; so the checksum of a patched frame is ~(~old + sum of the new words) (RFC 1624, eqn. 3 with
m = 0). A *flow* is who speaks with whom; a *moment* says when a piece is played in a flow and how far the flow has come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Offsets in an Ethernet frame with an IPv4 header of 20 bytes: every frame made here has one.
IP_ID, IP_TTL, IP_SUM, IP_SRC, IP_DST, L4 = 18, 22, 24, 26, 30, 34
TCP_SEQ, TCP_ACK, TCP_SUM, UDP_SUM, ICMP_SUM = 38, 42, 50, 40, 36
TCP_PAYLOAD = 66  # 20 bytes of header and 12 of options (NOP NOP timestamps), also behind a SYN's 20 of options less 8
ABSENT = -1  # a `seq` or `ack` that stays zero: a SYN acknowledges nothing
SHORTEST = 60  # bytes of an Ethernet frame without its check sequence


@dataclass(frozen=True, slots=True)
class Var:
    """`width` bytes at offset `at` that differ per repetition.

    kinds: `count` (((number * step + add) % modulo << shift) + plus, from the flow's `base` where `based`), `random` bytes,
    `letters` (of base 32, lower case), `spelled` (letters that follow from flow and number alone), `process` (16-bit words that wander slowly), `token` (bytes the flow chose), `ntp`
    and `filetime` (64-bit time stamps), `cmac` `smac` `cip` `sip` (the flow's own addresses), `dnp3` (CRC over the bytes
    start..at).
    """

    kind: str
    at: int
    width: int
    step: int = 1
    add: int = 0
    modulo: int = 1 << 32
    shift: int = 0
    plus: int = 0
    little: bool = False
    based: bool = False
    start: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `gap`: microseconds after the frame before it. `seq`, `ack`: relative to the piece's start."""

    data: bytes
    from_client: bool
    gap: int
    seq: int = 0
    ack: int = 0
    stamps: int = 0  # offset of TCP's TSval (TSecr follows); 0: none
    echo: bool = True  # a SYN has nothing to echo
    vars: tuple[Var, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """`transport`: tcp, udp, icmp or l2 (no IPv4 header at all)."""

    name: str
    transport: str
    frames: tuple[Frame, ...]
    client_bytes: int = 0  # how far TCP's sequence numbers move
    server_bytes: int = 0

    @property
    def client_frames(self) -> int:
        return sum(frame.from_client for frame in self.frames)

    @property
    def server_frames(self) -> int:
        return len(self.frames) - self.client_frames

    @property
    def sum_at(self) -> int:
        """Offset of the transport checksum; 0: it has none."""
        return {"tcp": TCP_SUM, "udp": UDP_SUM, "icmp": ICMP_SUM}.get(self.transport, 0)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of a flow as it looks on the segment where it is seen."""

    ip: str
    mac: str
    port: int = 0
    ttl: int = 64


@dataclass(frozen=True, slots=True)
class Flow:
    """Two endpoints and where their numbers start. `token` and `base` are what a protocol chose for this session."""

    client: Endpoint
    server: Endpoint
    client_isn: int = 0
    server_isn: int = 0
    client_id: int = 0
    server_id: int = 0
    client_clock: int = 0
    server_clock: int = 0
    token: int = 0
    base: int = 0


@dataclass(slots=True)
class Moment:
    """How far a flow has come when a piece is played. Times in nanoseconds since the epoch.

    `pace`: 256 plays the gaps as declared, 128 twice as fast. `client_last`/`server_last`: when that side spoke last
    (0: not yet), for the echoed time stamps.
    """

    time: int
    pace: int = 256
    number: int = 0
    client_sent: int = 0
    server_sent: int = 0
    client_count: int = 0
    server_count: int = 0
    client_last: int = 0
    server_last: int = 0
    dice: Any = field(default=None)  # where random bytes come from: an object with take(count) -> bytes


Maker = Callable[..., Piece]


def offsets(piece: Piece) -> tuple[int, ...]:
    """Microseconds of each frame after the piece's start."""
    found, at = [], 0
    for frame in piece.frames:
        at += frame.gap
        found.append(at)
    return tuple(found)


def piece_from(name: str, said: Mapping[str, Any]) -> Piece:
    """A piece as the declaring process prints it."""
    frames = tuple(
        Frame(
            bytes.fromhex(frame["hex"]), frame["client"], frame["gap"], frame.get("seq", 0), frame.get("ack", 0),
            frame.get("stamps", 0), frame.get("echo", True), tuple(Var(**var) for var in frame.get("vars", ())),
        )
        for frame in said["frames"]
    )  # fmt: skip
    return Piece(name, said["transport"], frames, said.get("client_bytes", 0), said.get("server_bytes", 0))


def piece_as(piece: Piece) -> dict[str, Any]:
    """The JSON form of `piece_from`."""
    fields = ("kind", "at", "width", "step", "add", "modulo", "shift", "plus", "little", "based", "start")
    return {
        "transport": piece.transport, "client_bytes": piece.client_bytes, "server_bytes": piece.server_bytes,
        "frames": [
            {
                "hex": frame.data.hex(), "client": frame.from_client, "gap": frame.gap, "seq": frame.seq, "ack": frame.ack,
                "stamps": frame.stamps, "echo": frame.echo,
                "vars": [{name: getattr(var, name) for name in fields} for var in frame.vars],
            }
            for frame in piece.frames
        ],
    }  # fmt: skip
