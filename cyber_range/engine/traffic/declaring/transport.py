"""How TCP sessions begin and end, well or not."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP

from cyber_range.engine.traffic.declaring.speech import ZERO_IP, echo, framed, tcp_segment
from cyber_range.engine.traffic.templates import ABSENT, L4, TCP_PAYLOAD, Frame, Maker, Piece

SYN_STAMPS = L4 + 20 + 6  # MSS (4 bytes), SACK permitted (2), then kind and length: TSval two bytes on
DATA_STAMPS = TCP_PAYLOAD - 8


def syn() -> Frame:
    return Frame(tcp_segment("S"), True, 0, 0, ABSENT, SYN_STAMPS + 2, echo=False)


def tcp_open(name: str) -> Piece:
    """The handshake (RFC 9293, 3.5)."""
    return Piece(
        name, "tcp",
        (
            syn(),
            Frame(tcp_segment("SA"), False, 350, 0, 1, SYN_STAMPS + 2),
            Frame(tcp_segment("A"), True, 60, 1, 1, DATA_STAMPS),
        ),
        1, 1,
    )  # fmt: skip


def tcp_close(name: str, by_server: bool = False) -> Piece:
    """FIN from one side, FIN from the other, each acknowledged (RFC 9293, 3.6)."""
    first, second = (False, True) if by_server else (True, False)
    return Piece(
        name, "tcp",
        (
            Frame(tcp_segment("FA"), first, 200, 0, 0, DATA_STAMPS),
            Frame(tcp_segment("FA"), second, 320, 0, 1, DATA_STAMPS),
            Frame(tcp_segment("A"), first, 50, 1, 1, DATA_STAMPS),
        ),
        1, 1,
    )  # fmt: skip


def tcp_refused(name: str) -> Piece:
    """A closed port: SYN, RST (RFC 9293, 3.10.7.1)."""
    reset = framed(IP(src=ZERO_IP, dst=ZERO_IP, id=0, ttl=0, flags="DF") / TCP(sport=0, dport=0, flags="RA", window=0))
    return Piece(name, "tcp", (syn(), Frame(reset, False, 250, ABSENT, 1)), 1, 0)


def tcp_silent(name: str) -> Piece:
    """A filtered port: one SYN, nothing comes back."""
    return Piece(name, "tcp", (syn(),), 1, 0)


def tcp_unanswered(name: str) -> Piece:
    """A handshake that a flooded server is left with: SYN, SYN-ACK, silence."""
    return Piece(name, "tcp", (syn(), Frame(tcp_segment("SA"), False, 300, 0, 1, SYN_STAMPS + 2)), 1, 1)


def tcp_knock(name: str) -> Piece:
    """A half-open scan's find: SYN, SYN-ACK, RST."""
    reset = framed(IP(src=ZERO_IP, dst=ZERO_IP, id=0, ttl=0, flags="DF") / TCP(sport=0, dport=0, flags="R", window=0))
    return Piece(
        name, "tcp", (syn(), Frame(tcp_segment("SA"), False, 250, 0, 1, SYN_STAMPS + 2), Frame(reset, True, 40, 1, ABSENT)), 1, 1
    )  # fmt: skip


MAKERS: dict[str, Maker] = {
    "tcp_open": tcp_open, "tcp_close": tcp_close, "tcp_refused": tcp_refused, "tcp_silent": tcp_silent,
    "tcp_unanswered": tcp_unanswered, "tcp_knock": tcp_knock, "ping": echo,
}  # fmt: skip
