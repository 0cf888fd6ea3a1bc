"""Cutting byte streams into messages whose first bytes say how long they are."""

from __future__ import annotations

from collections.abc import Sequence

from cyber_range.engine.sensor.protocols.message import Message

KNOWN_LIMIT = 512  # remembered messages of one conversation
NONE: tuple[Message, ...] = ()


class Framed:
    """A decoder for such a protocol; the protocol itself says `size` and `message`.

    A segment that holds exactly one message, which is nearly every one on a plant network, is never copied.
    """

    head = 8  # bytes needed before `size` can be asked
    longest = 65536

    def __init__(self) -> None:
        self.broken = self.done = False
        self._left: list[bytes] = [b"", b""]
        self._known: dict[bytes, Message] = {}

    def size(self, data: bytes, at: int) -> int:
        """Whole length of the message that begins at `at`; 0 where no message begins so."""
        raise NotImplementedError

    def message(self, up: bool, data: bytes) -> Message | None:
        raise NotImplementedError

    def lose(self, up: bool) -> None:
        self._left[up] = b""
        self.broken = False

    def feed(self, up: bool, data: bytes) -> Sequence[Message]:
        if self.broken:
            return NONE
        left = self._left[up]
        if left:
            data = left + data
        length = len(data)
        if length >= self.head and self.size(data, 0) == length:
            if left:
                self._left[up] = b""
            found = self.message(up, data)
            return NONE if found is None else (found,)
        return self._several(up, data)

    def _several(self, up: bool, data: bytes) -> Sequence[Message]:
        messages: list[Message] = []
        at, length = 0, len(data)
        while length - at >= self.head:
            size = self.size(data, at)
            if size < self.head or size > self.longest:
                self.broken = True
                self._left = [b"", b""]
                return messages
            if length - at < size:
                break
            found = self.message(up, data[at : at + size])
            if found is not None:
                messages.append(found)
            at += size
        self._left[up] = data[at:]
        return messages

    def remember(self, key: bytes, message: Message) -> Message:
        if len(self._known) >= KNOWN_LIMIT:
            self._known.clear()
        self._known[key] = message
        return message
