"""Whatever bytes come: no decoder raises, grows without limit, or hands out a message of another protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.sensor.protocols import registry
from cyber_range.engine.sensor.protocols.message import Decoder
from tests.cyber_range.engine.sensor.recordings import PROTOCOLS, recorded

MAKERS = {f"tcp-{port}": found for port, found in registry.TCP.items()} | {
    f"udp-{port}": found for port, found in registry.UDP.items()
}


def feed(make: Callable[[], Decoder], pieces: list[tuple[bool, bytes]]) -> list[str]:
    decoder = make()
    found = []
    for up, data in pieces:
        if data:
            found += [message.proto for message in decoder.feed(up, data)]
        if decoder.broken:
            decoder.lose(True)
            decoder.lose(False)
    return found


@pytest.mark.parametrize("name", MAKERS)
@given(pieces=st.lists(st.tuples(st.booleans(), st.binary(max_size=120)), max_size=8))
@settings(max_examples=120, deadline=None)
def test_random_bytes(name: str, pieces: list[tuple[bool, bytes]]) -> None:
    proto, make = MAKERS[name]

    assert set(feed(make, pieces)) <= {proto}


@pytest.mark.parametrize("proto", PROTOCOLS)
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_real_conversations_with_bytes_changed_and_pieces_lost(proto: str, data: st.DataObject) -> None:
    port, conversations = recorded(proto)
    conversation = data.draw(st.sampled_from(conversations))
    start = data.draw(st.integers(0, len(conversation) - 1))
    pieces = []
    for up, piece in conversation[start : start + 6]:
        changed = bytearray(piece)
        for _ in range(data.draw(st.integers(0, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        pieces.append((up, bytes(changed[: data.draw(st.integers(1, len(changed)))])))

    assert set(feed(registry.TCP[port][1], pieces)) <= {proto}
