"""MQTT 3.1.1 on the wire: laws of the codec and of topics."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.agents import mqtt_packets as packets
from cyber_range.engine.agents.mqtt_broker import covers
from cyber_range.engine.agents.mqtt_packets import (
    Ack,
    Bare,
    Connack,
    Connect,
    PacketError,
    Publish,
    Suback,
    Subscribe,
    Unsubscribe,
    Will,
    matches,
    valid_filter,
)

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
LEVEL = st.sampled_from(["a", "b", "c", "", "$x"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
FILTER = st.builds(
    lambda levels, last: "/".join([*levels, *last]),
    st.lists(st.sampled_from(["a", "b", "c", "", "+", "$x"]), max_size=3),
    st.sampled_from([["#"], ["a"], ["+"]]),
)
NUMBER, QOS = st.integers(1, 65535), st.integers(0, 2)
WILL = st.builds(Will, TOPIC, st.binary(max_size=20), QOS, st.booleans())
LOGIN = st.one_of(st.just((None, None)), st.tuples(TEXT, st.none()), st.tuples(TEXT, st.binary(max_size=20)))
PACKETS = st.one_of(
    st.builds(
        lambda client, clean, keep, will, login, protocol: Connect(client, clean, keep, will, *login, protocol),
        TEXT, st.booleans(), st.integers(0, 65535), st.none() | WILL, LOGIN, st.sampled_from(["MQTT", "MQIsdp"]),
    ),
    st.builds(Connack, st.integers(0, 5), st.booleans()),
    st.builds(
        lambda topic, payload, qos, retain, again, number: Publish(
            topic, payload, qos, retain, again and qos > 0, number if qos else 0
        ),
        TOPIC, st.binary(max_size=300), QOS, st.booleans(), st.booleans(), NUMBER,
    ),
    st.builds(Ack, st.sampled_from(sorted(packets.WITH_ID)), NUMBER),
    st.builds(Subscribe, NUMBER, st.lists(st.tuples(FILTER, QOS), min_size=1, max_size=5).map(tuple)),
    st.builds(Suback, NUMBER, st.lists(st.sampled_from([0, 1, 2, 0x80]), max_size=5).map(tuple)),
    st.builds(Unsubscribe, NUMBER, st.lists(FILTER, min_size=1, max_size=5).map(tuple)),
    st.builds(Bare, st.sampled_from(sorted(packets.BARE))),
)  # fmt: skip


@given(PACKETS, st.binary(max_size=5))
def test_a_packet_comes_back_and_leaves_what_follows(packet: packets.Packet, following: bytes) -> None:
    buffer = bytearray(packets.pack(packet) + following)

    assert packets.take(buffer) == packet
    assert bytes(buffer) == following


@given(PACKETS, st.integers(1, 30))
def test_a_packet_cut_short_is_awaited(packet: packets.Packet, missing: int) -> None:
    data = packets.pack(packet)
    buffer = bytearray(data[: max(0, len(data) - missing)])

    assert packets.take(buffer) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_packets_or_an_error_or_too_few(data: bytes) -> None:
    buffer = bytearray(data)
    try:
        while packets.take(buffer) is not None:
            pass
    except PacketError:
        return


def test_a_packet_beyond_the_limit_is_refused_before_it_is_whole() -> None:
    with pytest.raises(PacketError, match="the limit is 100"):
        packets.take(bytearray(packets.pack(Publish("a", bytes(200)))[:10]), 100)


@pytest.mark.parametrize(
    ("wanted", "topic", "taken"),
    [  # the examples of clause 4.7
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/monitor/Clients", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/monitor/Clients", True),
    ],
)
def test_topics_of_the_standard(wanted: str, topic: str, taken: bool) -> None:
    assert matches(wanted, topic) is taken


@pytest.mark.parametrize("wrong", ["", "sport/tennis#", "sport/tennis/#/ranking", "sport+", "a/+b/c"])
def test_filters_that_are_none(wrong: str) -> None:
    assert not valid_filter(wrong)


@given(FILTER, TOPIC)
def test_a_topic_is_a_filter_for_itself_and_everything_takes_it(wanted: str, topic: str) -> None:
    assert matches(topic, topic) or topic.startswith("$")
    assert matches("#", topic) or topic.startswith("$")
    assert valid_filter(wanted)


@given(FILTER, FILTER, TOPIC)
def test_a_right_that_covers_a_filter_takes_all_its_topics(granted: str, wanted: str, topic: str) -> None:
    if covers(granted, wanted) and matches(wanted, topic):
        assert matches(granted, topic)
