"""One direction of a TCP connection put back in order."""

from __future__ import annotations

PENDING_LIMIT = 64 * 1024  # bytes kept for a hole to be filled before the hole is given up
MODULUS = 1 << 32


def after(a: int, b: int) -> int:
    """How far sequence number `a` is after `b`, negative when before (numbers wrap at 2**32)."""
    distance = (a - b) % MODULUS
    return distance - MODULUS if distance >= MODULUS // 2 else distance


class Stream:
    """Gives payload in order, each byte once, whatever is repeated or overtaken on the wire.

    A stream joined in the middle starts at the first segment seen. `holes` counts bytes that never came.
    """

    __slots__ = ("_next", "_pending", "_waiting", "holes")

    def __init__(self, next_number: int | None = None) -> None:
        self._next = next_number
        self._pending: dict[int, bytes] = {}
        self._waiting = 0
        self.holes = 0

    @property
    def next(self) -> int:
        """The number the next byte in order will have; -1 before anything came."""
        return -1 if self._next is None else self._next

    @property
    def waiting(self) -> bool:
        """Whether something came early and waits for a hole to be filled."""
        return bool(self._pending)

    def push(self, sequence: int, payload: bytes, *, syn: bool = False) -> bytes:
        """The bytes that are now in order; SYN occupies one number and sets the start."""
        if syn:
            self._next = (sequence + 1) % MODULUS
            self._pending.clear()
            self._waiting = 0
            return b""
        if not payload:
            return b""
        if self._next is None:
            self._next = sequence
        ahead = after(sequence, self._next)
        if ahead > 0:
            if len(payload) > len(self._pending.get(sequence, b"")):
                self._waiting += len(payload) - len(self._pending.get(sequence, b""))
                self._pending[sequence] = payload
            if self._waiting <= PENDING_LIMIT:
                return b""
            nearest = min(self._pending, key=lambda s: after(s, self._next or 0))
            self.holes += after(nearest, self._next)
            self._next = nearest
            return self._drain(b"")
        fresh = payload[-ahead:] if ahead else payload
        if not fresh:
            return b""
        self._next = (self._next + len(fresh)) % MODULUS
        return self._drain(fresh) if self._pending else fresh

    def _drain(self, ready: bytes) -> bytes:
        found = True
        assert self._next is not None
        while found:
            found = False
            for sequence in sorted(self._pending, key=lambda s: after(s, self._next or 0)):
                ahead = after(sequence, self._next)
                if ahead > 0:
                    break
                payload = self._pending.pop(sequence)
                self._waiting -= len(payload)
                fresh = payload[-ahead:] if ahead else payload
                ready += fresh
                self._next = (self._next + len(fresh)) % MODULUS
                found = True
        return ready
