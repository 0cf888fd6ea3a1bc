"""From what peers say to whole frames: lines with their varying places become Ethernet/IPv4/TCP or UDP by scapy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from cyber_range.engine.traffic.templates import L4, SHORTEST, TCP_PAYLOAD, Frame, Piece, Var

conf.verb = 0
ZERO_MAC, ZERO_IP = "00:00:00:00:00:00", "0.0.0.0"  # noqa: S104 - a field to be patched, nothing is bound
WINDOW = 64240  # what Linux announces
SEGMENT = 1448  # bytes of payload beside the time stamps in an Ethernet frame of 1500
ACK_AFTER, ANSWER_AFTER, SEGMENT_AFTER = 8_000, 1_800, 40  # µs: delayed ACK, a small device's thought, wire time
UDP_PAYLOAD = L4 + 8


@dataclass(frozen=True, slots=True)
class Line:
    """One message: who says it, its bytes (a scapy packet or bytes), where it varies (offsets from its start)."""

    from_client: bool
    data: Packet | bytes
    vars: tuple[Var, ...] = ()
    gap: int = ANSWER_AFTER


def says(data: Packet | bytes, *vars: Var, gap: int = ANSWER_AFTER) -> Line:
    return Line(True, data, vars, gap)


def answers(data: Packet | bytes, *vars: Var, gap: int = ANSWER_AFTER) -> Line:
    return Line(False, data, vars, gap)


def moved(variables: Iterable[Var], by: int, data: bytes) -> tuple[Var, ...]:
    """The varying places in the frame; each must be zero in the declaration, or patched checksums would be wrong."""
    found = []
    for var in variables:
        if any(data[var.at : var.at + var.width]) or var.at + var.width > len(data):
            raise ValueError(f"the {var.kind} at {var.at}..{var.at + var.width} is not left at zero: {data.hex()}")
        found.append(replace(var, at=var.at + by, start=var.start + by))
    return tuple(found)


def tcp_segment(flags: str, payload: bytes = b"") -> bytes:
    options: list[tuple[str, object]] = [("NOP", None), ("NOP", None), ("Timestamp", (0, 0))]
    if "S" in flags:
        options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (0, 0)), ("NOP", None), ("WScale", 7)]
    header = TCP(sport=0, dport=0, flags=flags, window=WINDOW if "S" in flags else 502, options=options)
    return framed(IP(src=ZERO_IP, dst=ZERO_IP, id=0, ttl=0, flags="DF") / header / Raw(payload))


def framed(packet: Packet) -> bytes:
    return bytes(Ether(src=ZERO_MAC, dst=ZERO_MAC) / packet).ljust(SHORTEST, b"\0")


def tcp(name: str, lines: Sequence[Line]) -> Piece:
    """Established data in both directions; at the end everything is acknowledged."""
    frames: list[Frame] = []
    sent = {True: 0, False: 0}
    acked = {True: 0, False: 0}  # how much of the *other* side's bytes this side has acknowledged

    def acknowledge(by_client: bool, gap: int) -> None:
        frames.append(Frame(tcp_segment("A"), by_client, gap, sent[by_client], sent[not by_client], TCP_PAYLOAD - 8))
        acked[by_client] = sent[not by_client]

    for line in lines:
        data, gap, since = bytes(line.data), line.gap, 0
        for start in range(0, len(data), SEGMENT):
            chunk = data[start : start + SEGMENT]
            last = start + SEGMENT >= len(data)
            inside = [part for var in line.vars for part in clipped(var, start, start + len(chunk))]
            frame = tcp_segment("PA" if last else "A", chunk)
            frames.append(
                Frame(
                    frame, line.from_client, gap, sent[line.from_client], sent[not line.from_client],
                    TCP_PAYLOAD - 8, True, moved(inside, TCP_PAYLOAD - start, frame_view(chunk, start)),
                )
            )  # fmt: skip
            sent[line.from_client] += len(chunk)
            acked[line.from_client] = sent[not line.from_client]
            gap, since = SEGMENT_AFTER, since + 1
            if since % 2 == 0 and not last:  # every second full segment is acknowledged (RFC 5681)
                acknowledge(not line.from_client, 30)
    for side in (True, False):
        if acked[side] < sent[not side]:
            acknowledge(side, ACK_AFTER)
    return Piece(name, "tcp", tuple(frames), sent[True], sent[False])


def clipped(var: Var, first: int, end: int) -> list[Var]:
    """The part of a varying place that lies in one segment; only noise may be cut in two."""
    low, high = max(var.at, first), min(var.at + var.width, end)
    if low >= high:
        return []
    if (low, high) != (var.at, var.at + var.width) and var.kind not in ("random", "letters"):
        raise ValueError(f"the {var.kind} at {var.at} lies across two segments")
    return [replace(var, at=low, width=high - low)]


def frame_view(chunk: bytes, start: int) -> bytes:
    """The chunk at its place in the whole message, so that offsets need no second arithmetic."""
    return bytes(start) + chunk


def udp(name: str, lines: Sequence[Line]) -> Piece:
    frames = []
    for line in lines:
        data = bytes(line.data)
        frame = framed(IP(src=ZERO_IP, dst=ZERO_IP, id=0, ttl=0) / UDP(sport=0, dport=0) / Raw(data))
        frames.append(Frame(frame, line.from_client, line.gap, vars=moved(line.vars, UDP_PAYLOAD, data)))
    return Piece(name, "udp", tuple(frames))


def layer2(name: str, lines: Sequence[Line]) -> Piece:
    """Whole frames, addresses included in their `vars` where they are part of the message."""
    return Piece(
        name, "l2",
        tuple(
            Frame(bytes(line.data).ljust(SHORTEST, b"\0"), line.from_client, line.gap, vars=moved(line.vars, 0, bytes(line.data)))
            for line in lines
        ),
    )  # fmt: skip


def echo(name: str, size: int = 56) -> Piece:
    """ICMP echo and its reply; identifier and number vary."""
    payload = Raw(bytes(range(256))[:size])
    variables = (Var("token", L4 + 4, 2), Var("count", L4 + 6, 2, modulo=1 << 16, add=1))
    frames = []
    for asks in (True, False):
        frame = framed(IP(src=ZERO_IP, dst=ZERO_IP, id=0, ttl=0) / ICMP(type=8 if asks else 0, id=0, seq=0) / payload)
        frames.append(Frame(frame, asks, 0 if asks else 400, vars=moved(variables, 0, frame)))
    return Piece(name, "icmp", tuple(frames))
