"""A patched frame is byte for byte the one scapy would have built, and one at a time gives what many at once give."""

from __future__ import annotations

from ipaddress import IPv4Address

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from cyber_range.engine.traffic.compiled import pieces_now
from cyber_range.engine.traffic.dice import Dice
from cyber_range.engine.traffic.patch import dnp3_crc, patched, played, spelled
from cyber_range.engine.traffic.profiles import CATALOGUE, order
from cyber_range.engine.traffic.rows import Flows, Moments, rendered
from cyber_range.engine.traffic.templates import Endpoint, Flow, Moment, Piece, Var

ports = st.integers(1, 65535)
addresses = st.integers(0x0A000001, 0x0AFFFFFE).map(lambda n: str(IPv4Address(n)))
macs = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))
endpoints = st.builds(Endpoint, addresses, macs, ports, st.integers(1, 255))
words32, words16 = st.integers(0, 2**32 - 1), st.integers(0, 65535)
flows = st.builds(Flow, endpoints, endpoints, words32, words32, words16, words16, words32, words32, words32, words16)
moments = st.builds(
    Moment, st.integers(10**18, 2 * 10**18), st.integers(100, 400), st.integers(0, 100_000), words32, words32,
    words16, words16, st.integers(0, 10**18), st.integers(0, 10**18),
)  # fmt: skip


@pytest.fixture(scope="module")
def pieces() -> dict[str, Piece]:
    orders = {o for profile in CATALOGUE.values() for o in profile.write({}).orders}
    return pieces_now([*orders, order("modbus_read", table="holding", address=7, count=3)])


def rebuilt(frame: bytes) -> bytes:
    """The frame with every length and checksum made anew by scapy."""
    packet = Ether(frame)
    for layer, fields in ((IP, ("chksum", "len")), (TCP, ("chksum",)), (UDP, ("chksum", "len"))):
        if layer in packet:
            for field in fields:
                delattr(packet[layer], field)
    return bytes(packet)


@settings(max_examples=40, deadline=None)
@given(flow=flows, moment=moments, data=st.data())
def test_patched_equals_what_scapy_builds(
    pieces: dict[str, Piece], flow: Flow, moment: Moment, data: st.DataObject
) -> None:
    names = sorted(name for name, piece in pieces.items() if piece.transport in ("tcp", "udp"))
    piece = pieces[data.draw(st.sampled_from(names))]
    moment.dice = Dice("law")

    for _, frame in patched(piece, flow, moment):
        assert rebuilt(frame) == frame


@settings(max_examples=60, deadline=None)
@given(flow=flows, moment=moments, data=st.data())
def test_addresses_ports_and_numbers_are_where_scapy_reads_them(
    pieces: dict[str, Piece], flow: Flow, moment: Moment, data: st.DataObject
) -> None:
    piece = pieces["tcp_open"]
    moment.dice = Dice("law")

    syn, answer, last = (Ether(frame) for _, frame in patched(piece, flow, moment))

    assert (syn.src, syn.dst, answer.src) == (flow.client.mac, flow.server.mac, flow.server.mac)
    assert (syn[IP].src, syn[IP].dst, syn[IP].ttl) == (flow.client.ip, flow.server.ip, flow.client.ttl)
    assert (syn.sport, syn.dport, answer.sport) == (flow.client.port, flow.server.port, flow.server.port)
    here = (flow.client_isn + moment.client_sent) % 2**32
    there = (flow.server_isn + moment.server_sent) % 2**32
    assert (syn.seq, answer.seq, answer.ack) == (here, there, (here + 1) % 2**32)
    assert (last.seq, last.ack) == ((here + 1) % 2**32, (there + 1) % 2**32)
    assert (syn[IP].id, last[IP].id) == ((flow.client_id + moment.client_count) % 65536,
                                         (flow.client_id + moment.client_count + 1) % 65536)  # fmt: skip
    stamps = [
        {name: value for name, value in p[TCP].options if name == "Timestamp"}["Timestamp"] for p in (syn, answer, last)
    ]
    assert stamps[0][1] == 0
    assert (stamps[1][1], stamps[2][1]) == (stamps[0][0], stamps[1][0])


@settings(max_examples=60, deadline=None)
@given(
    flow_list=st.lists(flows, min_size=1, max_size=3),
    moment_list=st.lists(moments, min_size=1, max_size=6),
    data=st.data(),
)
def test_many_at_once_are_the_same_as_one_at_a_time(
    pieces: dict[str, Piece], flow_list: list[Flow], moment_list: list[Moment], data: st.DataObject
) -> None:
    def steady(piece: Piece) -> bool:
        return not any(var.kind in ("random", "letters") for frame in piece.frames for var in frame.vars)

    piece = pieces[data.draw(st.sampled_from(sorted(name for name, p in pieces.items() if steady(p))))]
    which = [data.draw(st.integers(0, len(flow_list) - 1)) for _ in moment_list]

    def column(name: str) -> np.ndarray:
        return np.array([getattr(moment, name) for moment in moment_list], np.int64)

    many = rendered(
        piece, Flows(flow_list),
        Moments(np.array(which, np.int64), column("time"), column("pace"), column("number"),
                {True: column("client_sent"), False: column("server_sent")},
                {True: column("client_count"), False: column("server_count")},
                {True: column("client_last"), False: column("server_last")}),
        Dice("law"), lead=28, tail=4,
    )  # fmt: skip

    for row, (flow, moment) in enumerate(zip(which, moment_list, strict=True)):
        one = patched(piece, flow_list[flow], moment)
        assert [(int(at[row]), bytes(matrix[row, 28:-4])) for at, matrix in many] == one


@settings(max_examples=30, deadline=None)
@given(flow=flows, moment=moments)
def test_a_piece_after_a_piece_goes_on_where_it_ended(pieces: dict[str, Piece], flow: Flow, moment: Moment) -> None:
    moment.dice = Dice("law")
    opened = played(moment, pieces["tcp_open"])
    read = pieces[order("modbus_read", table="holding", address=7, count=3).key]

    request = Ether(patched(read, flow, opened)[0][1])

    assert request.seq == (flow.client_isn + moment.client_sent + 1) % 2**32
    assert request.ack == (flow.server_isn + moment.server_sent + 1) % 2**32
    assert request[IP].id == (flow.client_id + moment.client_count + 2) % 65536


def test_dnp3_crc_is_the_one_of_the_standard() -> None:
    # IEEE 1815, annex E: CRC-16/DNP of "123456789" is 0xEA82
    assert dnp3_crc(b"123456789") == (0xEA82).to_bytes(2, "little")


def test_letters_of_a_tunnel_differ_by_number_and_are_letters() -> None:
    spoken = {spelled(7, number, 44) for number in range(200)}

    assert len(spoken) == 200
    assert all(set(text) <= set(b"abcdefghijklmnopqrstuvwxyz234567") for text in spoken)


def test_an_unknown_field_is_named() -> None:
    piece = Piece("odd", "l2", (pieces_now([order("lldp")])["lldp"].frames[0],))
    frame = piece.frames[0]
    odd = Piece("odd", "l2", (type(frame)(frame.data, True, 0, vars=(Var("moon", 0, 2),)),))

    with pytest.raises(ValueError, match="nobody knows the varying field 'moon'"):
        patched(
            odd, Flow(Endpoint("10.0.0.1", "02:00:00:00:00:01"), Endpoint("10.0.0.2", "02:00:00:00:00:02")), Moment(1)
        )


def test_raw_payload_is_not_touched(pieces: dict[str, Piece]) -> None:
    flow = Flow(Endpoint("10.0.0.1", "02:00:00:00:00:01", 5), Endpoint("10.0.0.2", "02:00:00:00:00:02", 502))

    frames = patched(pieces["tcp_open"], flow, Moment(10**18))

    assert all(Raw not in Ether(frame) for _, frame in frames)
